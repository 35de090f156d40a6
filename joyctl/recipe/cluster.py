"""The frozen types a cluster file becomes; every field's docstring is its documentation."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from joyctl.recipe import gpus, rules
from joyctl.recipe.scaling import Scaling, Torchtitan, Tracker
from joyctl.recipe.scaling_rules import check_torchtitan
from joyctl.recipe.types import Strict

_VARIABLE = "use letters, digits and '_', beginning with a letter"

WallTime = Annotated[
    str | int,
    BeforeValidator(rules.check_time),
    WithJsonSchema(
        {
            "type": ["string", "integer"],
            "pattern": r"^(\d+|(\d+-)?\d{1,3}:[0-5]\d:[0-5]\d|\d+-\d{1,2}(:[0-5]\d)?)$",
            "minimum": 1,
            "patternErrorMessage": rules.TIME,
        }
    ),
]
Memory = Annotated[
    str,
    BeforeValidator(rules.check_memory),
    WithJsonSchema(
        {
            "type": ["string", "integer"],
            "pattern": r"^\d+([kmgtKMGT][bB]?)?$",
            "minimum": 0,
            "patternErrorMessage": rules.MEMORY,
        }
    ),
]
Option = Annotated[
    str,
    BeforeValidator(rules.check_option_name),
    WithJsonSchema({"type": "string", "pattern": r"^[a-z][a-z0-9_-]*$", "patternErrorMessage": rules.OPTION}),
]
OptionValue = Annotated[
    str | int | bool,
    BeforeValidator(rules.check_option),
    WithJsonSchema({"type": ["string", "integer", "boolean"], "not": {"const": False}}),
]
Variable = Annotated[
    str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", json_schema_extra={"patternErrorMessage": _VARIABLE})
]
ShellWord = Annotated[str, BeforeValidator(rules.number_as_text), WithJsonSchema({"type": ["string", "integer"]})]

Gpu = Literal[gpus.NAMES]  # type: ignore[valid-type]
PROCESSES = {
    "local": "on this machine a training is one process",
    "slurm": "stages.train of the cluster file: nodes x processes_per_node",
}
"""Where it stands how many processes train together."""


class LocalCluster(Strict):
    """Processes on this machine; never part of a result's identity."""

    model_config = ConfigDict(json_schema_extra={"unknownKey": "keys of a Slurm cluster need 'kind: slurm'"})

    kind: Literal["local"] = "local"
    """`local`: processes on this machine."""
    cores: int | None = Field(default=None, gt=0)
    """Processor cores to use; all that this process may run on when not given."""
    price_per_core_hour: float | None = Field(default=None, gt=0)
    """What one core costs for one hour, in `currency`: for the report. Each attempt keeps the price of its time."""
    currency: str | None = Field(default=None, min_length=1)
    """What prices are in, as the report shows it: `EUR`, `USD`, `credits`."""
    torchtitan: Torchtitan = Torchtitan()
    """How training runs, as torchtitan has it: parallelism, activation_checkpoint, compile, checkpoint, training."""
    trackers: tuple[Tracker, ...] = ()
    """Where training is logged as well, below each segment's folder: `tensorboard`, `wandb` (offline unless WANDB_MODE
    says otherwise), `trackio`. They come with `pip install 'joyctl[trackers]'`."""

    @property
    def scaling(self) -> Scaling:
        """What a job of training is told."""
        return Scaling(torchtitan=self.torchtitan, trackers=self.trackers)

    @property
    def training_processes(self) -> int:
        """Processes of one training."""
        return 1

    @model_validator(mode="after")
    def _check(self) -> Self:
        prices = rules.check_prices(self, ("price_per_core_hour",))
        return self._refuse([*prices, *check_torchtitan(self.torchtitan, 1, PROCESSES["local"])])


class Resources(Strict):
    """What one job of a stage asks Slurm for; of a key that stands at the top of the file too, this one counts."""

    time: WallTime
    """Wall time: minutes, `HH:MM:SS` or `D-HH:MM:SS`. Training that needs longer goes on in a further job."""
    nodes: int = Field(default=1, gt=0)
    """Nodes. Only training can use several."""
    gpus_per_node: int = Field(default=0, ge=0)
    """GPUs on each node; `gres` asks for them in the site's own words instead."""
    gres: str | None = None
    """Generic resources in Slurm's words, such as `gpu:h100:8`."""
    processes_per_node: int | None = Field(default=None, gt=0)
    """Processes on each node, of training and of `eval`; one a GPU when not given, one without GPUs."""
    cpus_per_task: int | None = Field(default=None, gt=0)
    """Processor cores on each node; the partition's default when not given."""
    mem: Memory | None = None
    """Memory of each node, such as `64G`; `0` is all of it."""
    mem_per_cpu: Memory | None = None
    """Memory for each core."""
    mem_per_gpu: Memory | None = None
    """Memory for each GPU."""
    partition: str | None = None
    """Partition of this stage, instead of the file's."""
    qos: str | None = None
    """Quality of service of this stage, instead of the file's."""
    constraint: str | None = None
    """Node features that this stage needs, instead of the file's."""

    @property
    def processes(self) -> int:
        """Processes over all nodes."""
        return self.nodes * (self.processes_per_node or max(1, self.gpus_per_node))

    @property
    def minutes(self) -> int:
        """Wall time in whole minutes, rounded up."""
        return rules.minutes(self.time)


class Stages(Strict):
    """What each kind of job asks for."""

    train: Resources
    """Training of one segment."""
    eval: Resources
    """Export and scoring of one run, on all GPUs that it asks for on one node: items are split over them."""
    score: Resources
    """Executing generated code in the sandbox; processor only."""
    data: Resources | None = None
    """`joyctl data build` and `overlap`: each job does a share of the files, `cpus_per_task` at once; processor only.
    What `score` asks for when not given."""

    def of(self, kind: Literal["train", "eval", "score", "data"]) -> Resources:
        """What a job of this kind asks for."""
        if kind == "data":
            return self.data or self.score
        found: Resources = getattr(self, kind)
        return found


class Container(Strict):
    """A container in which jobs run."""

    runtime: Literal["pyxis", "apptainer"]
    """`pyxis`: srun's own options; `apptainer`: `apptainer exec` around Python."""
    image: str
    """Image in the runtime's words: a file, or a registry's name."""
    mounts: tuple[str, ...] = ()
    """Folders to mount, `host` or `host:container`. The folders of results, data and joyctl must be among them."""
    workdir: str | None = None
    """Working folder inside."""


class SlurmCluster(Strict):
    """A Slurm cluster as seen from its login node; never part of a result's identity."""

    model_config = ConfigDict(
        json_schema_extra={
            "unknownKey": "options of sbatch that have no key of their own go below 'additional_parameters'"
        }
    )

    kind: Literal["slurm"]
    """`slurm`: jobs are submitted with sbatch."""
    stages: Stages
    """Resources by stage."""
    partition: str | None = None
    """Partition (queue); the site's default when not given."""
    account: str | None = None
    """Account that pays; the user's default when not given."""
    qos: str | None = None
    """Quality of service."""
    reservation: str | None = None
    """Reservation to run in."""
    constraint: str | None = None
    """Node features that jobs need, such as `h100&nvlink`."""
    exclude: str | None = None
    """Nodes never to use, such as `n[3,7]`."""
    nodelist: str | None = None
    """Nodes that must be used."""
    exclusive: bool = False
    """Training takes whole nodes."""
    requeue: bool = True
    """Let Slurm queue a job again after a node's failure or preemption, and a job itself when its time is over."""
    max_requeues: int = Field(default=5, ge=0)
    """How often one job may be queued again before it counts as failed."""
    signal_grace_s: int = Field(default=120, gt=0)
    """Seconds before the end of its time at which training is told to save; longer than writing a checkpoint takes."""
    shutdown_timeout_s: int = Field(default=300, gt=0)
    """Seconds that processes asked to stop get before they are killed."""
    array_parallelism: int | None = Field(default=None, gt=0)
    """Jobs of one array that may run at once; no limit when not given."""
    max_array_size: int | None = Field(default=None, gt=0)
    """Largest array; Slurm's own MaxArraySize when not given."""
    max_submit: int | None = Field(default=None, gt=0)
    """Most jobs of the user in the queue at once; what sacctmgr says when not given."""
    rest: Literal["sweep", "job"] = "sweep"
    """Who submits what did not fit: the next `sweep`, or a small last `job` of this wave, on a node."""
    kill_on_invalid_dep: bool = True
    """Take jobs whose parent failed out of the queue. Without it they wait for ever."""
    tokens_per_second: float | None = Field(default=None, gt=0)
    """Training speed of one job, if known: segments that need longer than `stages.train.time` are then submitted as
    chained jobs. When not given it is measured from what this campaign has trained so far."""
    wckey: str | None = None
    """Workload characterisation key, where the site wants one."""
    env: dict[Variable, ShellWord] = Field(default={})
    """Environment variables of every job; values are taken as they stand, `$HOME` too."""
    setup: tuple[str, ...] = ("set -eo pipefail",)
    """Shell lines before the job's own, such as `module load cuda`."""
    srun_args: tuple[str, ...] = ()
    """Further arguments of srun."""
    additional_parameters: dict[Option, OptionValue] = Field(default={})
    """Further options of sbatch by their long names without the dashes, `true` for one without a value; they win
    over the keys above."""
    container: Container | None = None
    """Run inside a container."""
    python: str | None = None
    """Python of the jobs; the one that runs joyctl when not given."""
    shared_root: str | None = None
    """Folder that login and compute nodes see, for job files, logs and code snapshots; the campaign's own folder,
    `slurm/`, when not given."""
    poll_s: int = Field(default=30, ge=1)
    """Seconds between two looks of `joyctl status --watch`."""
    rdzv_ifname: str | None = None
    """Network interface over which the training processes meet (NCCL and gloo), such as `ib0`."""
    price_per_gpu_hour: float | None = Field(default=None, gt=0)
    """What one GPU costs for one hour, with the cores beside it, in `currency`: of jobs that have GPUs. For the report;
    each attempt keeps the price of its time."""
    price_per_core_hour: float | None = Field(default=None, gt=0)
    """What one processor core costs for one hour, in `currency`: of jobs without GPUs."""
    currency: str | None = Field(default=None, min_length=1)
    """What prices are in, as the report shows it: `EUR`, `USD`, `credits`."""
    torchtitan: Torchtitan = Torchtitan()
    """How training runs, as torchtitan has it: parallelism, activation_checkpoint, compile, checkpoint, training."""
    trackers: tuple[Tracker, ...] = ()
    """Where training is logged as well, below each segment's folder: `tensorboard`, `wandb` (offline unless WANDB_MODE
    says otherwise), `trackio`. They come with `pip install 'joyctl[trackers]'`."""
    gpu: Gpu | None = None
    """The kind of GPU that training runs on, for `plan` to estimate memory and time: `H100`, `A100-40GB`, ..."""
    gpu_memory_gib: float | None = Field(default=None, gt=0)
    """Memory of one GPU in GiB, where it is not what `gpu` says."""
    mfu: float = Field(default=0.4, gt=0, le=1)
    """Share of its GPUs' peak that training is assumed to reach, where no speed is given or measured."""

    @property
    def scaling(self) -> Scaling:
        """What a job of training is told."""
        return Scaling(torchtitan=self.torchtitan, trackers=self.trackers)

    @property
    def training_processes(self) -> int:
        """Processes of one training."""
        return self.stages.train.processes

    @model_validator(mode="after")
    def _check(self) -> Self:
        prices = rules.check_prices(self, ("price_per_gpu_hour", "price_per_core_hour"))
        degrees = check_torchtitan(self.torchtitan, self.training_processes, PROCESSES["slurm"])
        return self._refuse([*rules.check_slurm(self), *prices, *degrees])


Cluster = LocalCluster | SlurmCluster
"""Where and how jobs run."""
