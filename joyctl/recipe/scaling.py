"""How the cluster file has a training run: torchtitan's own settings by its own names, and trackers.

None of it is part of a result's identity: numbers differ by rounding alone. What changes more (`dtype`, `batch_size`)
stands in the recipe.
"""

from typing import Literal

from pydantic import Field

from joyctl.recipe.strict import Strict

Tracker = Literal["tensorboard", "wandb", "trackio"]


class Parallelism(Strict):
    """torchtitan's section `parallelism`: how the processes of one training share the model."""

    data_parallel_replicate_degree: int = Field(default=1, ge=1)
    """Copies of the model (DDP; with shards below each copy HSDP)."""
    data_parallel_shard_degree: int = Field(default=-1, ge=-1)
    """Processes over which FSDP2 shards parameters, gradients and optimizer state; -1 takes all that are left."""
    fsdp_reshard_after_forward: Literal["default", "always", "never"] = "default"
    """Whether gathered parameters are freed between forward and backward: less memory, more communication."""
    tensor_parallel_degree: int = Field(default=1, ge=1)
    """Processes that share each matrix; divides the recipe's `model.n_heads` and `model.n_kv_heads`."""
    enable_sequence_parallel: bool = True
    """With tensor parallelism: norms and residual stream are sharded along the sequence."""
    context_parallel_degree: int = Field(default=1, ge=1)
    """Only 1: joyctl's rows carry no positions, which torchtitan's context parallelism needs."""
    pipeline_parallel_degree: int = Field(default=1, ge=1)
    """Only 1: joyctl's model cannot be cut into stages."""


class ActivationCheckpoint(Strict):
    """torchtitan's `activation_checkpoint`, whose class `mode` names: less memory, more computing."""

    mode: Literal["none", "selective", "full"]
    """`none` keeps all activations, `selective` every second matrix product and attention, `full` only the input of
    each block."""


class Compile(Strict):
    """torchtitan's section `compile`."""

    enable: bool = False
    """Compile with torch.compile."""
    components: tuple[Literal["model", "loss"], ...] = Field(default=("model", "loss"), min_length=1)
    """What is compiled: each block of the model, the loss."""
    backend: str = Field(default="inductor", min_length=1)
    """Of torch.compile."""
    enable_async_tensor_parallel: bool = False
    """Pipeline tensor-parallel communication with matrix products; needs the model compiled."""


class Checkpoint(Strict):
    """torchtitan's section `checkpoint`, as far as it is the machine's."""

    async_mode: Literal["disabled", "async", "async_with_pinned_mem"] = "disabled"
    """Write checkpoints inside a segment beside the training; the last one of a segment, and the one written when asked
    to stop, are waited for. `async_with_pinned_mem` needs GPUs."""


class TrainingSettings(Strict):
    """torchtitan's section `training`, as far as it is the machine's."""

    local_batch_size: int | None = Field(default=None, ge=1)
    """Rows that one process takes through the model at once, of its share of a step's rows; all when not given."""
    mixed_precision_reduce: Literal["float32"] = "float32"
    """Type in which gradients are summed; torchtitan 0.3 has no other."""


class Torchtitan(Strict):
    """Settings of torchtitan's that change how fast and in how much memory a training runs, not what it learns."""

    parallelism: Parallelism = Parallelism()
    """How processes share the model."""
    activation_checkpoint: ActivationCheckpoint | None = None
    """What is computed again in the backward pass; when not given `selective` on GPUs and `none` on the CPU."""
    compile: Compile = Compile()
    """torch.compile."""
    checkpoint: Checkpoint = Checkpoint()
    """How checkpoints are written."""
    training: TrainingSettings = TrainingSettings()
    """Microbatches."""

    def data_parallel(self, processes: int) -> int:
        """Processes among which a step's rows are shared out: all, by the degree of tensor parallelism."""
        return processes // self.parallelism.tensor_parallel_degree

    def shards(self, processes: int) -> int:
        """Processes over which FSDP shards, of so many in all."""
        asked = self.parallelism.data_parallel_shard_degree
        return self.data_parallel(processes) // self.parallelism.data_parallel_replicate_degree if asked < 1 else asked


class Scaling(Strict):
    """All that a job of training is told of the cluster file: `python -m joyctl.worker ... --scaling JSON`."""

    torchtitan: Torchtitan = Torchtitan()
    trackers: tuple[Tracker, ...] = ()

    def argument(self) -> str | None:
        """As one word of a command line, without what is as always; None where all is."""
        return self.model_dump_json(exclude_defaults=True) if self != PLAIN else None


PLAIN = Scaling()
"""Where the cluster file says nothing."""
