"""What every key of report.json means: the types behind `joyctl schema report`."""

from __future__ import annotations

from typing import Any

from joyctl.campaign.spec import Protocol
from joyctl.recipe.types import Strict
from joyctl.report.claim import About
from joyctl.report.jsondata import CleanScore, Overlap, RunLedger
from joyctl.report.jsonsections import Cost, DatasetTable, Delta, DurationCurve, Floor, Key, ProbeTable, Published


class ModelPart(Strict):
    """A part of the protocol that came with the model."""

    part: str
    """`tokenizer_sha256`, `max_length` or `dtype`."""
    runs: Any
    """Its value for the campaign's runs."""
    own: Any
    """Its value for this model."""


class Reference(Strict):
    """Another model, trained elsewhere and scored beside the runs."""

    model: str
    """A folder, or a name on the hub."""
    revision: str | None
    """Of a model on the hub, as the recipe gives it."""
    about: str | None
    """What the recipe says of it."""
    commit: str | None
    """Of a model on the hub."""
    sha256: str | None
    """Digest of a folder."""
    protocol: list[ModelPart]
    """In what its protocol differs from the runs'."""


class PhaseProtocol(Protocol):
    """How phases are trained and read off; only runs of equal protocol compare."""

    words: str
    """The same in words."""


class Claim(Strict):
    """What the differences are about."""

    about: About
    """`this base checkpoint`: other base runs may differ; `base runs`: several were made."""
    trunks: int
    """Base runs behind every variant, at least."""
    phases: int
    """Orders of the phase's data behind every variant within each base run, at least."""
    words: str
    """The same in words."""


class Run(Strict):
    """One run that has been planned and whose run.json can be read."""

    id: str
    """Variant and seeds: `upsample-20/s0`, `upsample-20/t1s0` on the second base run."""
    variant: str
    """What is changed: `control`, `upsample-20`, `drop-math-20`, ...; `campaign:variant` where a report over several
    campaigns has two of one name."""
    seed: int
    """Seed of the phase's order of data."""
    trunk_seed: int
    """Seed of the base run."""
    control: str | None
    """Id of the run it is compared with; null for a control."""
    mix: dict[str, float]
    """Share of tokens by source in the phase; for a control, in the base run."""
    tokens: int
    """Tokens trained for it: its phase's, or the whole base run's for a control."""
    duration: float
    """Share of all steps that the phase takes; 0 for a control that is the base run's own end."""
    branch_step: int | None
    """Step of the base run at which it branches; null where it is the base run itself."""
    end_step: int
    """Its last step, counted from the base run's first."""
    dropped: list[str]
    """Sources left out."""
    policy: str | None
    """Where their share went: `renormalise`, `shrink` or `replace:<source>`; null where none is left out."""
    added: str | None
    """Source that a probe adds."""
    share: float | None
    """Its share of the phase."""
    beside: str | None
    """Source that takes the rest of a probe's phase; null where that is the base mix, and where it is no probe."""
    protocol: PhaseProtocol
    """How its phase was trained and read off."""
    changed: dict[str, str]
    """Swept recipe keys in which it differs, with their values; `campaign` where a report over several campaigns has
    its variant's name twice."""
    fingerprint: str
    """SHA-256 of all that determines its weights; equal weights have equal ones. Of a reference, of what it is."""
    reference: Reference | None
    """The model that is scored, where it is none of the campaign's."""


class Score(Key):
    """A run's own score."""

    run: str
    """The run's id."""
    value: float
    """A fraction for metrics between 0 and 1; bits per byte as they are. Of metric `rescaled` 0 is guessing, 1 all
    right, and below 0 worse than guessing."""
    stderr: float
    """Standard error, clustered by subject, problem or document."""
    n: int
    """Items."""
    protocol: str
    """Which of `protocols` it was scored by."""
    higher_is_better: bool
    """Whether a higher value is an improvement."""
    clean: CleanScore | None
    """On clean items alone; null where no overlap check has looked for all of its tasks."""


class Missing(Strict):
    """A score that is not there."""

    run: str
    """The run's id."""
    task: str | None
    """The benchmark, category or average; null for all of the run."""
    reason: str
    """Why, in words."""


class Scoring(Strict):
    """How one task of one run was scored, besides its protocol."""

    run: str
    """The run's id."""
    task: str
    """The benchmark."""
    items: int
    """Items of the task; 0 where lm-eval did not say."""
    truncated: int
    """Items whose prompt lost its beginning, to fit into the model's context."""
    sandbox: str | None
    """What confined generated code: `bubblewrap`, `none`, or null where no code ran."""


class AtChance(Key):
    """A score of the control that is not detectably above guessing."""

    control: str
    """The control's variant."""
    value: float
    """Its score."""
    low: float
    """Lower end of the 95 % interval of `value`."""
    baseline: float
    """Score of guessing."""
    read: list[str]
    """Continuous metrics of the same benchmark to read instead."""


class ReportJson(Strict):
    """report.json, and `joyctl report --format json`: what a campaign says at this moment.

    Keys may be added, never renamed. Values are fractions or bits per byte, never per cent.
    """

    campaign: str
    """The campaign's name; several joined by ` + `."""
    hypothesis: str
    """The question, as the recipe puts it."""
    conclusion: str
    """The answer in a line: nothing that a verdict does not carry."""
    claim: Claim | None
    """What the differences are about; null where there is none."""
    runs: list[Run]
    """All runs that are planned."""
    scores: list[Score]
    """All scores of all runs; categories and average of a suite's aggregate too, by metric `rescaled`."""
    deltas: list[Delta]
    """Every run against its matched control on every score; corrected apart from `averages`."""
    averages: list[Delta]
    """Every variant against its control over its seeds; with one seed they repeat `deltas` under variants' names."""
    missing: list[Missing]
    """What is not there, and why."""
    protocols: dict[str, dict[str, Any]]
    """Parts of every protocol, by its digest: all that determines a score, given the weights."""
    scorings: list[Scoring]
    """How each task of each run was scored."""
    at_chance: list[AtChance]
    """Scores of the control that are not detectably above guessing."""
    noise: list[Floor]
    """How much the control's scores move from run to run; empty where it was run once."""
    curve: DurationCurve | None
    """The duration curve; null below two scored durations, or without a control or a benchmark."""
    datasets: DatasetTable | None
    """What each source is worth; null where nothing was left out."""
    probes: ProbeTable | None
    """What each added source is worth; null where nothing was added."""
    cost: Cost | None = None
    """What the campaign cost; null where it tells of no attempt, and for several campaigns together."""
    published: list[Published]
    """Published numbers that the recipe has, beside these."""
    ledger: list[RunLedger]
    """What every run sees of its sources, planned and by its log; empty where no segment.json can be read."""
    overlap: Overlap | None
    """Items found in the training data; null where no training is known."""
    notes: list[str]
    """What went otherwise than a benchmark means it: cut prompts, few items, code that nothing confined; rows shown
    again, items found in the training data."""
    alpha: float
    """Family-wise error of the verdicts."""


def report_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of report.json; a key that it does not describe is against it."""
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **ReportJson.model_json_schema(), "title": "Report"}
