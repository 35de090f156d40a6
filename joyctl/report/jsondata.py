"""What the keys of report.json about the data mean: the ledger of every run, and items found in the training data."""

from __future__ import annotations

from joyctl.recipe.types import Strict
from joyctl.report.judge import Verdict


class Use(Strict):
    """What a run sees of one source by its end, in tokens but for epochs and steps."""

    tokens: int
    """In all: by a base from elsewhere, in the trunk and in the phase."""
    epochs: float
    """How many times over the source is shown."""
    seen_before: int
    """Before the branch."""
    repeated: int
    """Of rows that had been shown before."""
    trunk: int
    """In the trunk; a control's phase is its trunk."""
    phase: int
    """After the branch."""
    rows_repeated: int
    """Rows that had been shown before."""
    first_repeat_step: int | None
    """Step whose batch is the first with a row shown again; null where none is."""


class Realised(Strict):
    """What it has seen so far, by the rows in metrics.jsonl."""

    tokens: int
    """In all."""
    trunk: int | None
    """In the trunk; null where the trunk's metrics.jsonl is not there."""
    phase: int | None
    """After the branch; null likewise."""
    epochs: float
    """How many times over the source was shown."""
    repeated: int
    """Tokens of rows that had been shown before."""


class SourceLine(Strict):
    """One source in one run."""

    source: str
    """The source."""
    planned: Use
    """By the end of the run."""
    realised: Realised | None
    """So far; null before anything is trained."""


class RunLedger(Strict):
    """What one run sees of its sources."""

    run: str
    """The run's id."""
    step: int
    """The last step that is in its metrics.jsonl, or in its trunk's."""
    end_step: int
    """Its last step as planned."""
    sources: list[SourceLine]
    """Every source that it reads."""
    differs: list[str]
    """In what its metrics.jsonl is not as planned, in words; empty where it is."""


class FoundItem(Strict):
    """An item of a benchmark that stands in the training data."""

    doc_id: str
    """Its document in samples.jsonl."""
    sources: list[str]
    """Where it stands."""


class TaskItems(Strict):
    """One task, by its name in samples.jsonl."""

    task: str
    """lm-eval's name; of a group the name of each of its parts."""
    n: int
    """Items looked for."""
    found: list[FoundItem]
    """Those that stand in the training data."""
    too_short: int
    """Items with too few words to tell; they count as clean."""


class Overlap(Strict):
    """Which items of the benchmarks stand in the sources that the runs are trained on (`joyctl data overlap`)."""

    unknown: str | None
    """Why nothing is known; null where it is."""
    sources: list[str]
    """What was looked through."""
    ngrams: list[int]
    """Lengths, in words, of the sequences that were looked for."""
    tasks: list[TaskItems]
    """What was looked for."""


class CleanScore(Strict):
    """A score on the items that do not stand in the training data."""

    value: float
    """As `value` of the score."""
    stderr: float
    """Its standard error."""
    n: int
    """Clean items."""
    found: int
    """Items left out."""


class CleanDelta(Strict):
    """A difference on the items that do not stand in the training data; it decides nothing."""

    n: int
    """Clean items."""
    found: int
    """Items left out."""
    delta: float
    """The difference."""
    stderr: float
    """Its standard error."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end."""
    verdict: Verdict
    """What would be said had all items been these, corrected over as many comparisons."""
