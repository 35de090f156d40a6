"""What the keys of report.json mean below its top: differences, noise, durations, datasets, cost, published numbers."""

from __future__ import annotations

from typing import Literal

from joyctl.recipe.types import Strict
from joyctl.report.curve import Kind
from joyctl.report.deltas import Family
from joyctl.report.jsondata import CleanDelta
from joyctl.report.judge import Verdict
from joyctl.report.published import Direction


class Key(Strict):
    """Which score something is about."""

    task: str
    """lm-eval's name of the benchmark, `heldout_<source>` for a held-out loss, or the name of a category or average."""
    metric: str
    """Metric: `acc`, `exact_match`, `pass@1`, `bits_per_byte`, ...; `rescaled` for a category or an average."""
    filter: str
    """lm-eval's filter, which says how an answer is read; `none` where there is only one way."""


class Delta(Key):
    """A score minus its matched control's, paired item by item."""

    run: str
    """A run's id among `deltas`; a variant among `averages`."""
    control: str
    """What it is compared with: a run's id, or a variant."""
    n: int
    """Items."""
    clusters: int
    """Groups of items that may be correlated: subjects, problems, documents."""
    few_clusters: bool
    """The clusters are too few to generalise over: the verdict is about these clusters only."""
    delta: float
    """The difference, in the score's own unit."""
    stderr: float
    """Its standard error: of items, and with several seeds of seeds too."""
    low: float
    """Lower end of the 95 % interval, not widened for the number of comparisons."""
    high: float
    """Upper end."""
    p: float
    """p of the hypothesis that the difference is 0."""
    p_adjusted: float
    """The same after Holm's correction over all differences of the family; the verdict goes by it."""
    q: float
    """Benjamini and Hochberg's false-discovery rate at which this difference would be called, over its family."""
    p_exact: float | None
    """McNemar's exact p, for pass/fail items that are independent of each other, of one run and its control."""
    bootstrap_low: float
    """Lower end of the 95 % interval by resampling clusters of items, the runs as they are."""
    bootstrap_high: float
    """Upper end."""
    detectable: float
    """Smallest true difference that this comparison, after Holm, would have shown with 80 % probability."""
    family: Family
    """Which differences it was corrected with: `headline`, the scores of the comparison table; `other`, all the rest;
    `reference`, other models against the control."""
    verdict: Verdict
    """Whether the value is higher or lower than the control's."""
    higher_is_better: bool
    """Whether a higher value is an improvement."""
    seeds: int
    """Runs averaged."""
    trunks: int
    """Base runs among them; with one, the interval holds no noise between base runs."""
    better: bool | None
    """True for an improvement, false for a loss, null where no difference is detectable."""
    clean: CleanDelta | None
    """On clean items alone; null where no overlap check has looked for all of its tasks."""


class Floor(Key):
    """Run-to-run noise of one score of one control, in the score's own unit."""

    variant: str
    """The control's variant."""
    phase_sd: float | None
    """Standard deviation between orders of data in the phase, within one base run; null below two runs of one."""
    phase_df: int
    """Degrees of freedom behind it."""
    trunk_sd: float | None
    """Standard deviation between base runs, each the mean of its phases; null below two base runs."""
    trunk_df: int
    """Degrees of freedom behind it."""
    delta_sd: float | None
    """Standard deviation from seed to seed of a difference to this control, beyond what its items explain; null where
    no difference has two seeds."""
    delta_df: int
    """Degrees of freedom behind it."""


class CurvePoint(Strict):
    """One duration of the phase against the control, averaged over seeds."""

    variant: str
    """Its variant; `control` at 0 where every duration has a control of its own."""
    duration: float
    """Share of all steps; 0 for the control."""
    gain: float
    """Mean difference over the targeted benchmarks, a fraction."""
    gain_low: float
    """Lower end of its 95 % interval."""
    gain_high: float
    """Upper end."""
    cost: float
    """Rise of the general loss, mean over its sources, in bits per byte; below 0 where it falls. By `cost_unit` `pp`
    the fall of the aggregate of general capability, a fraction."""
    cost_low: float
    """Lower end of its 95 % interval."""
    cost_high: float
    """Upper end."""
    value: float
    """What the rule maximises."""
    pareto: bool
    """Whether no other duration has at least its gain at no more cost."""
    chosen: float
    """Share of resampled campaigns in which the rule chooses it."""


class DurationCurve(Strict):
    """What the targeted benchmarks gain over the durations of the phase, against what the general loss pays."""

    targeted: list[Key]
    """Benchmarks behind `gain`."""
    general: list[Key]
    """Losses behind `cost`, or the aggregate."""
    cost_unit: str
    """`bits/byte`, or `pp` where costs are fractions."""
    points: list[CurvePoint]
    """The durations, the control first."""
    kind: Kind
    """What decides: gain and cost together, gain alone where no cost is detectable, nothing where no gain is."""
    rule: str
    """The rule that chooses, in words."""
    best: float
    """The duration that it chooses; 0 where no gain is detectable."""
    best_low: float
    """Of resampled campaigns 95 % choose a duration from here ..."""
    best_high: float
    """... to here."""
    seeds: int
    """Base runs (or, with a single one, orders of the phase) behind every duration, at least; with one, the intervals
    hold no run-to-run noise."""
    left_out: list[str]
    """Variants of durations that lack one of these scores, or whose control does."""


class Column(Key):
    """A score as tables show it."""

    label: str
    """Its short name."""
    unit: str
    """`pp` where values are fractions shown in per cent, otherwise the unit they stand in."""
    n: int
    """Items."""
    higher_is_better: bool
    """Whether a higher value is an improvement."""
    of: str
    """What values shown in per cent are per cent of."""


class LeftOut(Strict):
    """An arm that leaves sources out, against the same duration with nothing left out."""

    variant: str
    """Its variant."""
    dropped: list[str]
    """Sources left out."""
    duration: float
    """Share of all steps that the phase takes."""
    policy: str
    """Where their share went: `renormalise`, `shrink` or `replace:<source>`."""
    against: str
    """Variant of the matched control."""
    share: float
    """Share of the phase's tokens that the sources have in the matched control."""
    deltas: list[Delta]
    """Without the sources minus with them: below 0 is what they are worth. Missing scores are absent."""


class Probed(Strict):
    """A probe: an arm that adds a source, against the same duration without it."""

    variant: str
    """Its variant."""
    added: str
    """The source."""
    share: float
    """Its share of the phase's tokens."""
    beside: str | None
    """Source that the rest of the phase is; null where that is the base mix."""
    duration: float
    """Share of all steps that the phase takes."""
    against: str
    """Variant of the matched control."""
    deltas: list[Delta]
    """With the source minus without: above 0 is what it is worth. Missing scores are absent."""


class Place(Strict):
    """A source's place in the order of what leaving it out costs, or of what adding it gains."""

    variant: str
    """The arm that leaves it out, or adds it."""
    place: int
    """1 for what costs, or gains, most; sources that are not detectably different from 0 share a place."""
    apart: bool
    """Whether its difference is told apart from the next one's; false for the last."""


class Ranking(Key):
    """The order of sources on one benchmark."""

    places: list[Place]
    """Single sources left out at one duration and by one policy, or added at one duration and share beside the same
    rest: of several such groups the largest."""


class DatasetTable(Strict):
    """What every source is worth on every benchmark, by the arms that leave it out."""

    columns: list[Column]
    """The scores it has."""
    arms: list[LeftOut]
    """The arms."""
    ranks: list[Ranking]
    """The order of sources, benchmark by benchmark; empty where fewer than two were left out."""


class ProbeTable(Strict):
    """What every added source is worth on every benchmark."""

    columns: list[Column]
    """The scores it has."""
    arms: list[Probed]
    """The probes."""
    ranks: list[Ranking]
    """The order of sources, benchmark by benchmark; empty where fewer than two were added alike."""


class Cost(Strict):
    """What the campaign cost so far, by the attempts that were made."""

    tokens: int
    """Trained so far, every stretch counted once."""
    flops: float
    """6 * parameters * tokens of that."""
    unit: Literal["GPU", "core"]
    """What hours count: GPUs where jobs had any, else processor cores."""
    hours: float
    """GPU- or core-hours of all attempts."""
    wasted_hours: float
    """Of these, in attempts that failed, were killed or lost, less what a later attempt could go on from."""
    by_stage: dict[str, float]
    """Hours by stage: `train`, `export`, `eval`, `score`."""
    separate_tokens: int
    """Tokens that a full run for every run of the campaign would have taken."""
    separate_flops: float
    """FLOPs of these."""
    separate_hours: float | None
    """Hours that these would have taken at the campaign's own speed; null before anything is trained."""
    price: float | None = None
    """Price of one hour, from the cluster file."""
    currency: str = ""
    """What the price is in."""
    wasted_by_stage: dict[str, float]
    """Wasted hours by stage."""
    further_core_hours: float
    """Core-hours of attempts without GPUs, where `hours` are of GPUs."""
    further_wasted_core_hours: float
    """Of these, wasted."""
    seconds: float
    """Time during which anything ran."""
    most_units: int
    """GPUs, or cores, that were busy at once."""
    money: float | None
    """Of all attempts, each at the price of its time; null where there is no price, or several currencies."""
    wasted_money: float | None
    """Of wasted hours."""
    separate_money: float | None
    """Of `separate_hours`, at `price`."""
    shared_tokens: dict[str, int]
    """Tokens of trunk that were taken over, by the campaign that trained them; they are not in `tokens`."""


class Benchmark(Key):
    """A score of this campaign and the published benchmark that stands beside it."""

    benchmark: str
    """Its name with its authors."""


class Beside(Key):
    """A variant's measured difference, and the published one of another model."""

    variant: str
    """The variant."""
    control: str
    """Variant that it is compared with, here and there."""
    benchmark: str
    """The published benchmark's name with its authors."""
    delta: float
    """The measured difference, averaged over seeds."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end."""
    verdict: Verdict
    """Its verdict, as in `averages`."""
    value: float
    """Published score of the variant, a fraction."""
    control_value: float
    """Published score of the variant that it is compared with, a fraction."""
    difference: float
    """The published difference, a fraction: `value - control_value`."""
    direction: Direction
    """Whether both move the same way; `not detectable` where the measured verdict names no direction."""
    inside: bool
    """Whether the published difference lies in the measured interval. Of another model, this says nothing of size."""


class Published(Strict):
    """Numbers that others have published, beside the measured ones."""

    name: str
    """What `--against` calls them."""
    source: str
    """Where they stand."""
    model: str
    """Whose they are."""
    second_hand: bool
    """Whether they were read in someone's excerpt and not in the publication itself."""
    benchmarks: list[Benchmark]
    """Which of their benchmarks stands beside which score."""
    beside: list[Beside]
    """What both have."""
    not_run: list[str]
    """Variants with published numbers that no comparison here has."""
