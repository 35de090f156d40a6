"""Every run and every variant against its matched control: corrected over the table, with a verdict."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from joyctl.campaign.spec import RunSpec
from joyctl.report import aggregate
from joyctl.report.aggregate import Composite
from joyctl.report.estimate import Estimate, Term, over_seeds
from joyctl.report.items import RATIOS
from joyctl.report.judge import Evidence, Judgement, Verdict, evidence, judge, pass_fail
from joyctl.report.pairing import Pair, check_pairable, pairs, seed_rows
from joyctl.report.references import is_reference
from joyctl.report.results import CampaignResults, Key, Score

Family = Literal["headline", "other", "reference"]


@dataclass(frozen=True)
class CleanDelta:
    """The same difference on the items that do not stand in the training data."""

    n: int
    """Clean items."""
    found: int
    """Items that stand in the training data."""
    delta: float
    stderr: float
    low: float
    high: float
    verdict: Verdict
    """What it would be had all items been these, corrected over as many comparisons."""


@dataclass(frozen=True)
class Delta:
    """A score minus its matched control's, in the score's own unit (a fraction, or bits per byte)."""

    run: str
    """A run's id; for an average over seeds, the variant."""
    control: str
    task: str
    metric: str
    filter: str
    n: int
    clusters: int
    few_clusters: bool
    """The clusters are too few to generalise over: the verdict is about these clusters only."""
    delta: float
    stderr: float
    low: float
    high: float
    """Ends of the 95 % interval, not widened for the number of comparisons."""
    p: float
    p_adjusted: float
    """Holm's, over all deltas of its family."""
    q: float
    """Benjamini and Hochberg's false-discovery rate at which this difference would be called, over its family."""
    p_exact: float | None
    """McNemar's exact p, for pass/fail items that are independent of each other, of one run and its control."""
    bootstrap_low: float
    """95 % interval by resampling clusters of items, the runs as they are."""
    bootstrap_high: float
    detectable: float
    """Smallest true difference that this comparison, after Holm, would have shown with 80 % probability."""
    family: Family
    """`headline`: the scores of the comparison table. `other`: all the rest. `reference`: other models against the
    control. Each is corrected apart from the others."""
    verdict: Verdict
    """Whether the value is higher or lower than the control's; `better` says what that is worth."""
    higher_is_better: bool
    seeds: int
    """Runs averaged."""
    trunks: int
    """Base runs among them; with one, the interval holds no noise between base runs."""
    clean: CleanDelta | None = None
    """None where no overlap check has looked for all of its tasks."""

    @property
    def key(self) -> Key:
        """Which score it is a difference of."""
        return self.task, self.metric, self.filter

    @property
    def uncorrected(self) -> bool:
        """Whether the interval alone excludes 0 though the verdict, corrected for the family, does not."""
        return self.verdict == "no detectable difference" and not self.low <= 0 <= self.high

    @property
    def mark(self) -> str:
        """Sign of a table: better, worse (hollow where only the interval says so), or nothing detectable."""
        if self.verdict == "no detectable difference" and not self.uncorrected:
            return "·"
        improved = (self.delta > 0) == self.higher_is_better
        return ("△" if improved else "▽") if self.uncorrected else ("▲" if improved else "▼")

    @property
    def better(self) -> bool | None:
        """True where the difference is an improvement, False where a loss, None where none is detectable."""
        if self.verdict == "no detectable difference":
            return None
        return (self.verdict == "higher") == self.higher_is_better


@dataclass(frozen=True)
class _Comparison:
    """A difference estimated, before the correction over the table."""

    run: str
    control: str
    score: Score | Composite
    seeds: int
    trunks: int
    evidence: Evidence


def run_deltas(results: CampaignResults, made: Sequence[Composite], headline: Collection[Key]) -> tuple[Delta, ...]:
    """One delta for every scored run with a scored control, and every score and composite.

    Holm corrects the `headline` scores as one family and all others as another: what the question asks
    about does not pay for its near-duplicates (a lenient filter, the loss on what is upsampled). Raises
    Refused where the items or protocols of a run and its control disagree.
    """
    plain = [_Comparison(p.run.id, p.control.id, p.score, 1, 1, _evidence([p])) for p in pairs(results)]
    composed = [
        _Comparison(run.id, control.run, mine, 1, 1, evidence(aggregate.difference([(run, mine, control)])))
        for run, mine, control in _composite_pairs(results, made)
    ]
    return _judge(plain + composed, headline)


def variant_deltas(results: CampaignResults, made: Sequence[Composite], headline: Collection[Key]) -> tuple[Delta, ...]:
    """One delta for every variant and score or composite, averaged over its seeds; Holm as in `run_deltas`.

    Pairs are taken within a trunk and seed. With several trunks, the phase seeds of one trunk are averaged
    first and the trunks are what varies; with one trunk, its phase seeds are. With one run it is that
    run's delta. Raises Refused as `run_deltas` does, and where seeds were not asked the same.
    """
    groups: dict[tuple[str, str, str, str], list[Pair]] = {}
    for pair in pairs(results):
        groups.setdefault((pair.run.variant, *pair.score.key), []).append(pair)
    composed: dict[tuple[str, str, str, str], list[tuple[RunSpec, Composite, Composite]]] = {}
    for run, mine, control in _composite_pairs(results, made):
        composed.setdefault((run.variant, *mine.key), []).append((run, mine, control))
    specs = {spec.id: spec for spec in results.runs}
    averages = [_average(group) for group in groups.values()]
    for found in composed.values():
        run, mine, control = found[0]
        trunks = len({run.trunk_seed for run, _, _ in found})
        against = specs[control.run].variant
        terms = aggregate.difference(found)
        averages.append(_Comparison(run.variant, against, mine, len(found), trunks, evidence(terms)))
    return _judge(averages, headline)


def _composite_pairs(results: CampaignResults, made: Sequence[Composite]) -> list[tuple[RunSpec, Composite, Composite]]:
    """(run, its composite, its control's) wherever both are there."""
    specs = {spec.id: spec for spec in results.runs}
    by_key = {(composite.run, *composite.key): composite for composite in made}
    found = [(specs[c.run], c, by_key.get((specs[c.run].control or "", *c.key))) for c in made]
    return [(run, mine, control) for run, mine, control in found if control is not None]


def variant_estimate(scores: Sequence[Score], results: CampaignResults) -> Estimate:
    """One score of one variant, averaged over its seeds as in `variant_deltas`; `scores` is not empty."""
    specs = {spec.id: spec for spec in results.runs}
    first = scores[0]
    for score in scores[1:]:
        check_pairable(score, first)
    rows = seed_rows([(specs[s.run], s.items.numerator(s.metric)) for s in scores])
    return over_seeds(rows, first.items.denominator(first.metric), first.items.clusters)


def _average(group: list[Pair]) -> _Comparison:
    first = group[0]
    for other in group[1:]:
        check_pairable(other.score, first.score)
    trunks = len({pair.run.trunk_seed for pair in group})
    return _Comparison(first.run.variant, first.control.variant, first.score, len(group), trunks, _evidence(group))


def _evidence(group: Sequence[Pair]) -> Evidence:
    """Evidence of one score's difference over its seeds."""
    first = group[0]
    rows = seed_rows([(pair.run, pair.differences) for pair in group])
    metric, items = first.score.metric, first.score.items
    counts = None
    if len(group) == 1 and metric not in RATIOS:
        mine = items.numerator(metric)
        counts = pass_fail(mine, mine - first.differences, len(np.unique(first.clusters)))
    return evidence([Term(1.0, rows, first.denominator, first.clusters)], counts)


def _judge(comparisons: Sequence[_Comparison], headline: Collection[Key]) -> tuple[Delta, ...]:
    families: list[Family] = [
        "reference" if is_reference(c.run) else "headline" if c.score.key in headline else "other" for c in comparisons
    ]
    found: dict[int, Delta] = {}
    for family in get_args(Family):
        members = [i for i, name in enumerate(families) if name == family]
        for i, judged in zip(members, judge([comparisons[i].evidence for i in members]), strict=True):
            found[i] = _delta(comparisons[i], judged, family)
    return tuple(found[i] for i in range(len(comparisons)))


def _delta(comparison: _Comparison, judged: Judgement, family: Family) -> Delta:
    estimate, score = comparison.evidence.estimate, comparison.score
    return Delta(
        run=comparison.run,
        control=comparison.control,
        task=score.task,
        metric=score.metric,
        filter=score.filter,
        n=score.n,
        clusters=estimate.clusters,
        few_clusters=estimate.few_clusters,
        delta=estimate.value,
        stderr=estimate.stderr,
        low=judged.low,
        high=judged.high,
        p=judged.p,
        p_adjusted=judged.p_adjusted,
        q=judged.q,
        p_exact=judged.p_exact,
        bootstrap_low=judged.bootstrap_low,
        bootstrap_high=judged.bootstrap_high,
        detectable=judged.detectable,
        family=family,
        verdict=judged.verdict,
        higher_is_better=score.higher_is_better,
        seeds=comparison.seeds,
        trunks=comparison.trunks,
    )
