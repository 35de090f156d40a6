"""The frozen types a recipe becomes; every field's docstring is its documentation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from joyctl.recipe import rules

# Editors and joyctl's own messages show `patternErrorMessage` where a pattern does not match.
_NAME = "use lower-case letters, digits and '_', beginning with a letter"
_FOLDER = "use lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit"
_METRIC = "give metric,filter as lm-eval names them, such as acc_norm,none"
_REFERENCE = "use lower-case letters, digits, '_' and '-', beginning with a letter or digit"
_POLICY = "give renormalise, shrink or replace:<source>"

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", json_schema_extra={"patternErrorMessage": _NAME})]
FolderName = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", json_schema_extra={"patternErrorMessage": _FOLDER})
]
ReferenceName = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", json_schema_extra={"patternErrorMessage": _REFERENCE})
]
Share = Annotated[float, Field(gt=0, lt=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Category = Literal["large_cc", "small_cc", "domain", "code"]
DropPolicy = Annotated[
    str,
    Field(
        pattern=r"^(renormalise|shrink|replace:[a-z][a-z0-9_]*)$",
        json_schema_extra={"patternErrorMessage": _POLICY},
    ),
]
MetricAndFilter = Annotated[
    str, Field(pattern=r"^[^,\s]+,[^,\s]+$", json_schema_extra={"patternErrorMessage": _METRIC})
]
MICRO_WORLD_SOURCES = ("web", "math", "code", "facts")
"""The sources that the generated world has data for."""


class Strict(BaseModel):
    """Frozen, and an unknown key is an error."""

    # No infinities: they have no place in JSON, and none of these settings means anything with one.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    def _refuse(self, findings: Iterable[rules.Finding]) -> Self:
        """Raise one ValidationError for all findings, each at its own key; self when there is none."""
        errors = [
            InitErrorDetails(
                type=PydanticCustomError("rule", "{message}", {"message": f.message, "finding": f}),
                loc=f.loc,
                input=None,
            )
            for f in findings
        ]
        if errors:
            raise ValidationError.from_exception_data(type(self).__name__, errors)
        return self


class MicroWorld(Strict):
    """The generated world of recipe `tiny`: sources, tokenizer and benchmarks from one seed, offline."""

    seed: int = Field(ge=0)
    """Seed of the world: texts, facts, tokenizer, benchmarks. Not the seed of training."""


class Data(Strict):
    """Where tokenised data lies."""

    world: MicroWorld | None = None
    """Generate the micro-world. Give either this or `folder`."""
    folder: str | None = None
    """A folder of tokenised data as `joyctl data build` writes it: sources/<name>/, tokenizer/, tasks/."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self._refuse(rules.check_data(self))


class Source(Strict):
    """One dataset of tokenised documents."""

    category: Category
    """Its place in the paper's four categories."""


class Mixes(Strict):
    """Weights by source, shares of tokens; each mix is normalised to sum to one."""

    base: dict[Name, Weight]
    """What the base run (the trunk) trains on."""
    upsampled: dict[Name, Weight]
    """What the final phase trains on."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self._refuse(rules.check_mixes(self))


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
    """AdamW with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    """Optimizer."""
    lr: float = Field(gt=0)
    """Peak learning rate."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    """Decay rates of the first and second moments."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay; as in torchtitan it applies to all parameters."""
    grad_clip: float = Field(default=1.0, gt=0)
    """Largest global norm of the gradient."""


class Schedule(Strict):
    """Learning rate by global step, the same for every arm."""

    kind: Literal["linear", "cosine"] = "linear"
    """Decay from the peak, after warm-up, over all remaining steps."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of all steps spent warming up linearly from zero."""
    min_lr_factor: float = Field(default=0.0, ge=0, le=1)
    """LR at the last step as a share of the peak."""


class Phase(Strict):
    """The final phase: what varies between arms."""

    durations: tuple[Share, ...] = Field(min_length=1)
    """Shares of all steps that the upsampled mix takes at the end."""
    drop_at: tuple[Share, ...] = (0.2,)
    """Durations at which `joyctl ablate` leaves datasets out unless told otherwise."""
    policy: DropPolicy = "renormalise"
    """Where a dropped source's share goes: renormalise | shrink | replace:<source>."""


class Seeds(Strict):
    """Which random streams a campaign uses."""

    trunk: int = Field(default=1, ge=1, le=100)
    """How many base runs, each with its own initialisation and data order."""
    phase: int = Field(default=1, ge=1, le=100)
    """How many data orders of the phase within each base run."""


class Eval(Strict):
    """What every run is scored on."""

    suite: str = Field(default="micro", min_length=1)
    """Name of the set of tasks: a built-in one, `suites/<name>.yaml` beside the recipe, or a file; `core+general` is
    both together."""
    data: str = Field(default="hub", min_length=1)
    """Where lm-eval's tasks find their datasets: `hub` (the Hugging Face hub or its cache), or a folder laid out as
    <folder>/<dataset path>, such as <folder>/cais/mmlu, for nodes without a network."""
    batch_size: int = Field(default=64, gt=0)
    """Prompts scored at once; fixed for a campaign, since padding moves scores in the last digits."""
    backend: Literal["hf", "vllm"] = "hf"
    """What generates text: transformers, or vllm, which must be installed. Choices and losses are always scored by
    transformers."""
    limit: int | None = Field(default=None, gt=0)
    """Only so many first items of every task, for a quick look; all of them when not given."""


class SuiteTask(Strict):
    """One task of a suite, or a group of tasks that lm-eval knows by one name."""

    task: str = Field(min_length=1)
    """lm-eval's name of a task or group."""
    n_shot: int | None = Field(default=None, ge=0)
    """Examples in the prompt; the task's own number when not given."""
    gold: str | None = None
    """Jinja template over an item: the gold answer exactly as it would follow the prompt, a leading space included.
    Its bits per byte are scored beside a task that generates text."""
    runs_code: bool = False
    """Whether the generated text is a program that is executed, in a stage of its own."""
    max_gen_toks: int | None = Field(default=None, gt=0)
    """Most tokens to generate, instead of the task's own limit."""
    category: str | None = None
    """What it counts under in the aggregate."""
    metric: MetricAndFilter | None = None
    """Which score counts in the aggregate, `metric,filter`: `acc_norm,none`."""
    baseline: float | None = Field(default=None, ge=0, lt=1)
    """Score of guessing, a fraction: 0.25 for one of four. The aggregate is rescaled by it, and the report says which
    scores are at chance."""
    items: int | None = Field(default=None, gt=1)
    """How many items it has, for planning before anything is scored; a report counts what was scored."""
    clusters: int | None = Field(default=None, gt=0)
    """How many clusters these items fall into, such as the 57 subjects of MMLU; every item its own when not given."""


class Aggregate(Strict):
    """One number of several tasks: each rescaled from chance to 1, averaged by category, then over categories."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", json_schema_extra={"patternErrorMessage": _NAME})
    """What the report calls it."""
    version: int = Field(gt=0)
    """To be raised with every change of its tasks, categories, metrics or baselines: only equal versions compare."""


class Suite(Strict):
    """A set of tasks: the contents of a suite file."""

    tasks: tuple[SuiteTask, ...] = Field(min_length=1)
    """The tasks, in the order in which they are scored."""
    heldout: bool = True
    """Score the held-out loss by source too, where the recipe's data has held-out text."""
    include_path: tuple[str, ...] = ()
    """Folders with further task files of lm-eval's, relative to the suite file."""
    aggregate: Aggregate | None = None
    """The number that the tasks with a category make."""

    @property
    def runs_code(self) -> bool:
        """Whether any task executes generated programs."""
        return any(task.runs_code for task in self.tasks)

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self._refuse(rules.check_suite(self))


class Reference(Strict):
    """Another model, which the report shows beside the runs: scored under their protocol, trained elsewhere."""

    model: str = Field(min_length=1)
    """A Hugging Face folder, relative to the recipe file or to the current folder, or a name on the hub: org/name."""
    revision: str | None = Field(default=None, min_length=1)
    """Branch, tag or commit of a model on the hub; a commit never moves."""
    about: str | None = Field(default=None, min_length=1)
    """What the report says of it, such as `twice the training`."""


class PublishedNumbers(Strict):
    """Scores that others have published, to lay beside the measured ones: `joyctl report --against NAME`."""

    source: str = Field(min_length=1)
    """Where the numbers stand, as the report cites it."""
    model: str = Field(min_length=1)
    """Whose they are, in words: the report says of it that only directions compare."""
    second_hand: bool
    """Whether they were read in someone's excerpt and not in the publication itself; every table says so."""
    values: dict[Annotated[str, Field(min_length=1)], dict[Annotated[str, Field(min_length=1)], float]] = Field(
        min_length=1
    )
    """By variant (`control`, `upsample-20`, `drop-math-10`; any, run here or not), then by benchmark as its authors
    call it: the score in per cent, as printed."""
    tasks: dict[Annotated[str, Field(min_length=1)], Annotated[str, Field(min_length=1)]] = {}
    """Which of their benchmarks stands beside which task, or average over categories, of this recipe's suite."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self._refuse(rules.check_published(self))


class Recipe(Strict):
    """What a researcher writes: one question asked of one base run."""

    name: FolderName
    """Name of the recipe; a file's stem when it is not given."""
    campaign: FolderName
    """Folder of its results below results/; the recipe's name when it is not given."""
    hypothesis: str
    """The question, as the report will repeat it."""
    data: Data
    sources: dict[Name, Source] = Field(min_length=1)
    """The datasets that mixes weigh, by name."""
    mixes: Mixes
    model: Model
    training: Training
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    phase: Phase
    seeds: Seeds = Seeds()
    eval: Eval = Eval()
    references: dict[ReferenceName, Reference] = {}
    """Other models to be scored beside the runs, by name; part of no run's identity."""
    published: dict[Name, PublishedNumbers] = {}
    """Numbers of others, by the name that `--against` takes; files of the group `published` hold them. They are no
    part of what is trained or scored."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self._refuse(
            rules.check_recipe(
                sources=self.sources,
                mixes={"base": self.mixes.base, "upsampled": self.mixes.upsampled},
                data=self.data,
                model=self.model,
                training=self.training,
                phase=self.phase,
                policy=self.phase.policy,
                references=self.references,
                world_sources=MICRO_WORLD_SOURCES,
            )
        )
