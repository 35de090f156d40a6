"""What a recipe says of training: the network, its length and shape, optimizer, schedule, phase and base."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from joyctl.recipe import rules
from joyctl.recipe.strict import DropPolicy, Name, Share, Strict


class Model(Strict):
    """The network, in torchtitan's terms."""

    family: Literal["llama3"] = "llama3"
    """Architecture family: RMSNorm, rotary positions, SwiGLU, grouped-query attention, untied head."""
    dim: int = Field(gt=0)
    """Width of the residual stream."""
    n_layers: int = Field(gt=0)
    """Number of decoder blocks."""
    n_heads: int = Field(gt=0)
    """Number of query heads; divides `dim`."""
    n_kv_heads: int = Field(gt=0)
    """Number of key and value heads; divides `n_heads`."""
    ffn_hidden: int = Field(gt=0)
    """Width of the feed-forward layer."""
    vocab_size: int = Field(gt=0)
    """Rows of the embedding; at least the tokenizer's size."""
    rope_theta: float = Field(default=10_000.0, gt=0)
    """Base of the rotary position frequencies."""
    init_std: float = Field(default=0.02, gt=0)
    """Standard deviation of the linear layers' initial values, as in torchtitan; narrow models want more,
    about 1 / sqrt(dim). Layers that write to the residual stream have it divided by sqrt(2 * depth)."""
    embedding_init_std: float = Field(default=1.0, gt=0)
    """Standard deviation of the embedding's initial values, as in torchtitan."""
    max_seq_len: int = Field(default=512, gt=0)
    """Longest sequence the exported model accepts; at least `training.seq_len`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self._refuse(rules.check_model(self))


class Training(Strict):
    """Length and shape of training."""

    tokens: int = Field(gt=0)
    """Tokens of one full run, trunk and phase together."""
    seq_len: int = Field(gt=0)
    """Tokens in a row (one sequence)."""
    batch_size: int = Field(gt=0)
    """Rows (sequences) in one optimizer step, over all ranks."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute type of parameters under mixed precision."""
    documents: Literal["joined", "apart"] = "apart"
    """`apart`: positions restart where a document begins, and attention does not cross from one document into another.
    `joined`: a row is one sequence, whatever documents are in it."""

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one optimizer step sees."""
        return self.seq_len * self.batch_size

    @property
    def steps(self) -> int:
        """Steps of one full run; tokens that do not fill a step are left over."""
        return self.tokens // self.tokens_per_step

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self._refuse(rules.check_training(self))


class Optimizer(Strict):
    """AdamW or LionW, with decoupled weight decay: a step takes lr * weight_decay of every parameter."""

    name: Literal["adamw", "lionw"] = "adamw"
    """`adamw`, or `lionw` (arXiv 2302.06675), which keeps one moment and steps by its sign."""
    lr: float = Field(gt=0)
    """Peak learning rate."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    """Decay rates of the first and second moments; of LionW those of the update and of the momentum."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment; LionW has none."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay; as in torchtitan a step takes lr * weight_decay of all parameters. The paper's and
    llm-foundry's LionW takes lr / peak lr * weight_decay: divide theirs by the peak LR. Their 1.2e-4 at a peak LR of
    1.2e-4 is 1.0 here."""
    grad_clip: float = Field(default=1.0, gt=0)
    """Largest global norm of the gradient."""


class Schedule(Strict):
    """Learning rate by global step, the same for every arm."""

    kind: Literal["linear", "cosine", "wsd", "inverse_sqrt"] = "linear"
    """After warm-up: `linear` or `cosine` decay over all remaining steps; `wsd` stays at the peak and
    `inverse_sqrt` falls as 1 / sqrt(step), both until the cooldown."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of all steps spent warming up linearly from zero."""
    cooldown: float = Field(default=0.0, ge=0, lt=1)
    """Share of all steps, the last ones, in which `wsd` and `inverse_sqrt` fall to the LR at the last step; without
    it they never do."""
    cooldown_shape: Literal["linear", "one_minus_sqrt"] = "linear"
    """Shape of that fall: a straight line, or 1 - sqrt(progress) (arXiv 2405.18392). Also that of a phase's fall to
    zero under `phase.lr: redecay`, whatever the kind."""
    min_lr_factor: float = Field(default=0.0, ge=0, le=1)
    """LR at the last step as a share of the peak; `inverse_sqrt` falls no further at any step."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self._refuse(rules.check_schedule(self))


class Average(Strict):
    """Averaging of the last checkpoints of a phase: what is scored is the mean of their weights."""

    last: int = Field(ge=2)
    """How many checkpoints, the end of the phase among them."""
    every: int = Field(ge=1)
    """Steps between two of them."""

    @property
    def reach(self) -> int:
        """Steps from the first of them to the end of the phase."""
        return (self.last - 1) * self.every


class Phase(Strict):
    """The final phase: what varies between arms."""

    durations: tuple[Share, ...] = Field(min_length=1)
    """Shares of all steps that the upsampled mix takes at the end."""
    drop_at: tuple[Share, ...] = (0.2,)
    """Durations at which `joyctl ablate` leaves datasets out unless told otherwise."""
    policy: DropPolicy = "renormalise"
    """Where a dropped source's share goes: renormalise | renormalise-category | shrink | replace:<source>."""
    lr: Literal["continue", "redecay"] = "continue"
    """`continue`: every arm stays on the schedule. `redecay`: from the LR at the branch to zero over the phase, in the
    control as well. One campaign has one of them: they never stand in one table."""
    average: Average | None = None
    """Score the mean of the last checkpoints, of the control as well, instead of the last; a protocol of its own."""


class Base(Strict):
    """A base run that was trained elsewhere, up to one step; the trunk goes on from there."""

    dcp: str | None = None
    """A full checkpoint of torchtitan's, `.../checkpoint/step-N`, with its optimizer state. Give this or `hf`."""
    hf: str | None = None
    """A Hugging Face folder of a Llama, or a name on the hub. It has no optimizer state: the optimizer starts anew."""
    step: int | None = Field(default=None, gt=0)
    """Step of this recipe's run at which it stands; a checkpoint of torchtitan's knows its own."""
    rewarm: int | None = Field(default=None, ge=0)
    """Steps over which the LR rises from zero to the schedule's, because the optimizer starts anew; for `hf`. All
    arms have it, the control too: it belongs to the base."""
    tokenizer: str | None = None
    """Folder of its tokenizer, to be compared with that of the data; not needed where an `hf` folder has its own."""
    seen: dict[Name, int] = Field(default={})
    """Tokens of each source of the data folder that it was trained on; none when not given."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self._refuse(rules.check_base(self))
