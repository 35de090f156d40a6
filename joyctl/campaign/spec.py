"""What a job needs to know, complete and serialisable: the contents of segment.json and run.json."""

from __future__ import annotations

from typing import Literal

from joyctl.recipe.types import Aggregate, Model, Optimizer, Schedule, Strict, SuiteTask, Training

Stage = Literal["train", "export", "eval", "score"]
"""`eval` scores and generates on the GPU; `score` executes generated code in the sandbox, on the processor."""


class OrderPhase(Strict):
    """From `start_row` on, rows are dealt to sources in proportion to integer `weights`."""

    start_row: int
    """Global row at which this mix begins; the first phase begins at 0."""
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
    """Seed of the parameters' initial values."""
    source_sha256: dict[str, str]
    """Digest of every source's training tokens."""
    tokenizer_sha256: str
    data_folder: str
    """Absolute path of the tokenised data; not part of the identity."""

    def identity(self) -> dict[str, object]:
        """What determines the trained weights, and nothing else (no path, no name)."""
        return self.model_dump(mode="json", exclude={"id", "parent", "data_folder"})


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


class RunSpec(Strict):
    """A variant with its seeds: what is trained, exported and scored. The contents of run.json."""

    id: str
    """`upsample-20/s0`; its folder is runs/<id>."""
    variant: str
    trunk_seed: int
    seed: int
    """Data-order seed of the phase."""
    control: str | None
    """id of the run this one is compared with; None for the control itself."""
    duration: float
    """Share of all steps that the phase takes; 0 for the control."""
    dropped: tuple[str, ...]
    policy: str | None
    changed: dict[str, str]
    """Swept recipe keys in which this run differs, with their values."""
    mix: dict[str, float]
    """Share of tokens by source in the phase (the base mix for the control)."""
    branch_step: int | None
    end_step: int
    segment: str
    """id of the segment whose last checkpoint this run exports and scores."""
    fingerprint: str
    """Fingerprint of the trained weights."""
    eval: EvalSpec

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What is done after its training, one after the other."""
        return ("export", "eval", "score") if self.eval.runs_code else ("export", "eval")
