"""What a job needs to know, complete and serialisable: the contents of segment.json and run.json."""

from typing import Literal

from joyctl.recipe.types import Aggregate, Average, Model, Optimizer, Schedule, Strict, SuiteTask, Training

Stage = Literal["train", "export", "eval", "score"]
"""`eval` scores and generates on the GPU; `score` executes generated code in the sandbox, on the processor."""


class OrderPhase(Strict):
    """From `start_row` on, rows are dealt to sources in proportion to integer `weights`."""

    start_row: int
    """Global row at which this mix begins; the first phase begins at 0, or where a base stands."""
    weights: dict[str, int]
    """Integer weight by source; a source that is absent or 0 gets no rows."""
    seed: int = 0
    """Data-order seed of this phase; 0 goes on exactly in the trunk's order."""


class OrderSpec(Strict):
    """All that determines which row of which source stands at global row g (joyctl.data.order)."""

    rows: dict[str, int]
    """Rows available in every source: (tokens - 1) // seq_len."""
    phases: tuple[OrderPhase, ...]
    """Mixes in order of their start rows; a branch has the trunk's phase first, then its own."""
    seed: int
    """Seed of the trunk's data order."""
    start_row: int | None = None
    """Global row at which the order begins, where a base trained elsewhere stands before it; else it begins at 0."""
    seen: dict[str, int] | None = None
    """Rows of every source that such a base has seen: they come again only when the source's epoch is over."""


class BaseSpec(Strict):
    """Where a trunk goes on from that was trained elsewhere."""

    kind: Literal["dcp", "hf"]
    """`dcp`: torchtitan's checkpoint with optimizer state; `hf`: a Hugging Face folder, without."""
    path: str
    """Absolute path of the checkpoint or folder; not part of the identity."""
    step: int
    """Steps of the run that it has behind it."""
    sha256: str
    """Its digest (joyctl.store.digest); of a model on the hub its commit."""
    hub: str | None = None
    """Name of a model on the hub; then `path` is its name too until it is downloaded. Not part of the identity."""
    tokenizer: str | None = None
    """Absolute path of the folder of its tokenizer, where that is known; not part of the identity."""
    rewarm: int = 0
    """Steps after `step` over which the LR rises from zero to the schedule's."""


class Redecay(Strict):
    """The LR of a phase of protocol `redecay`: from the schedule's at its branch to zero."""

    start_step: int
    """The branch."""
    end_step: int
    """Where it would reach zero one step later: the end of the phase."""


class Protocol(Strict):
    """How phases are trained and read off; only runs of equal protocol compare."""

    lr: Literal["continue", "redecay"] = "continue"
    """Whether the LR stays on the schedule, or falls anew in each phase from the branch to zero."""
    average: Average | None = None
    """Which checkpoints' mean is scored; None for the last one."""
    optimizer: Literal["carried on", "started anew"] = "carried on"
    """What became of the optimizer's state where the campaign's own training begins."""
    rewarm: int = 0
    """Steps over which the LR rises there, where the optimizer was started anew."""


class SegmentSpec(Strict):
    """One stretch of training, from a checkpoint (or scratch) to a step, on one mix."""

    id: str
    """`trunk/s0/0-2050` or `runs/upsample-20/s0`: also its folder below the campaign's."""
    parent: str | None
    """id of the segment whose checkpoint at `start_step` it goes on from; None from scratch."""
    start_step: int
    end_step: int
    total_steps: int
    """Steps of a full run: the horizon of the LR schedule, the same for every arm."""
    order: OrderSpec
    model: Model
    training: Training
    optimizer: Optimizer
    schedule: Schedule
    init_seed: int
    """Seed of the parameters' initial values; 0 where they are a base's."""
    source_sha256: dict[str, str]
    """Digest of every source's training tokens."""
    tokenizer_sha256: str
    data_folder: str
    """Absolute path of the tokenised data; not part of the identity."""
    base: BaseSpec | None = None
    """What the trunk goes on from; also in the identity of everything after it."""
    redecay: Redecay | None = None
    """Set in the phases of protocol `redecay`."""
    average: Average | None = None
    """Which checkpoints at its end are kept and averaged at export; only where a run ends."""

    @property
    def kept_steps(self) -> tuple[int, ...]:
        """Steps, rising, whose checkpoints stay when it is trained: those that are averaged, or its end alone."""
        if self.average is None:
            return (self.end_step,)
        return tuple(self.end_step - i * self.average.every for i in reversed(range(self.average.last)))

    def identity(self) -> dict[str, object]:
        """What determines the trained weights, and nothing else (no path, no name, nothing without effect)."""
        exclude: dict[str, bool | dict[str, bool]] = {"id": True, "parent": True, "data_folder": True}
        exclude["base"] = {"path": True, "hub": True, "tokenizer": True}
        always_falls = self.schedule.kind in ("linear", "cosine")
        exclude["schedule"] = {
            "cooldown": always_falls,
            "cooldown_shape": self.redecay is None and (always_falls or not self.schedule.cooldown),
        }
        exclude["training"] = {"documents": self.training.documents == "joined"}  # as it was before there was a choice
        exclude["optimizer"] = {"eps": self.optimizer.name == "lionw"}
        return self.model_dump(mode="json", exclude=exclude, exclude_none=True)


class EvalSpec(Strict):
    """What a model is scored on: a suite with all that its tasks need, so that a job reads no suite file.

    The defaults are for a run.json that was written before their keys.
    """

    suite: str
    """The suite's name as the recipe gives it."""
    tasks: tuple[SuiteTask, ...] = ()
    aggregate: Aggregate | None = None
    """The number that the tasks with a category make in the report."""
    heldout: bool = True
    """Whether the held-out loss of every source in `data_folder` is scored."""
    include_path: tuple[str, ...] = ()
    """Absolute paths of folders with further task files."""
    batch_size: int
    backend: Literal["hf", "vllm"] = "hf"
    """What generates text."""
    limit: int | None = None
    """Only so many first items of every task; all when None."""
    data: str = "hub"
    """Where datasets come from: `hub`, or the absolute path of a folder laid out as <folder>/<dataset path>."""
    data_folder: str
    """Absolute path of the tokenised data, whose tasks/ folder holds the micro-world's task files; empty where a model
    is scored outside a campaign."""
    data_sha256: str
    """Digest of the data folder's benchmarks."""
    runs_code: bool = True
    """Whether generated code is executed, in a stage of its own; it follows from the suite. Runs from before this key
    are all of the suite `micro`, which does."""

    def identity(self) -> dict[str, object]:
        """What determines a score, given the model: no place, and not what only plan and report read.

        What stands in task files and datasets is in the protocol of every score (joyctl.evals.protocol).
        """
        not_scoring = {"category", "metric", "baseline", "items", "clusters"}
        kept = self.model_dump(
            mode="json",
            exclude={
                "data_folder": True,
                "include_path": True,
                "runs_code": True,
                "aggregate": True,
                "tasks": {"__all__": not_scoring},
            },
        )
        return {**kept, "data": "hub" if self.data == "hub" else "folder"}


class ReferenceSpec(Strict):
    """Another model than the campaign's, trained elsewhere: what it is, and where it lies."""

    model: str
    """As the recipe names it: a folder's absolute path, or a name on the hub."""
    revision: str | None = None
    """Of a model on the hub, as the recipe gives it."""
    about: str | None = None
    folder: str | None
    """Absolute path of the files; None while a model of the hub is not downloaded. Not part of the identity."""
    commit: str | None = None
    """Of a model on the hub."""
    sha256: str | None = None
    """Of a folder: its digest (joyctl.evals.references)."""

    def identity(self) -> dict[str, object]:
        """Which model it is: the commit of a model on the hub, the digest of a folder."""
        return {"commit": self.commit} if self.commit else {"sha256": self.sha256}


class RunSpec(Strict):
    """A variant with its seeds: what is trained, exported and scored. The contents of run.json.

    A reference is a run that trains nothing: it has no segment, no mix and no steps, and is only scored.
    """

    id: str
    """`upsample-20/s0`; its folder is runs/<id>."""
    variant: str
    trunk_seed: int
    seed: int
    """Data-order seed of the phase."""
    control: str | None
    """id of the run this one is compared with; None for the control itself."""
    duration: float
    """Share of all steps that the phase takes; 0 for a control that is the trunk's own end."""
    dropped: tuple[str, ...]
    policy: str | None
    changed: dict[str, str]
    """Swept recipe keys in which this run differs, with their values."""
    added: str | None = None
    """Source that a probe adds."""
    share: float | None = None
    """Its share of the phase."""
    beside: str | None = None
    """Source that takes the rest of a probe's phase; None where that is the base mix."""
    protocol: Protocol = Protocol()
    mix: dict[str, float]
    """Share of tokens by source in the phase (the base mix for the control)."""
    branch_step: int | None
    end_step: int
    segment: str | None
    """id of the segment whose last checkpoint this run exports and scores; None for a reference."""
    fingerprint: str
    """Fingerprint of the trained weights; of a reference's identity."""
    eval: EvalSpec
    reference: ReferenceSpec | None = None
    """The model that is scored, where it is none of the campaign's."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What is done after its training, one after the other."""
        scoring: tuple[Stage, ...] = ("eval", "score") if self.eval.runs_code else ("eval",)
        return scoring if self.reference is not None else ("export", *scoring)
