"""From differences to verdicts: p-values, corrections over a family, bootstrap intervals, what could have been seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from joyctl.report.estimate import Estimate, Floats, Part, Term, benjamini_hochberg, combined, holm
from joyctl.report.exact import mcnemar, mcnemar_detectable
from joyctl.report.power import detectable
from joyctl.report.resample import cluster_sums, resampled

Verdict = Literal["higher", "lower", "no detectable difference"]
ALPHA = 0.05
"""Family-wise error: a verdict other than `no detectable difference` has p_adjusted below it."""


@dataclass(frozen=True)
class PassFail:
    """A difference of one run and its control in items that are passed or failed, each independent of the others."""

    lost: int
    """Items that only the control passes."""
    won: int
    """Items that only the run passes."""
    items: int


@dataclass(frozen=True, eq=False)
class Evidence:
    """One difference before it is seen beside the others of its family."""

    estimate: Estimate
    pass_fail: PassFail | None
    """Given where McNemar's exact test applies; it then decides."""
    sums: tuple[tuple[float, Floats, Floats], ...]
    """For every benchmark in it: its factor, and sums of numerator and denominator by cluster, for resampling."""

    @property
    def p_exact(self) -> float | None:
        """McNemar's p, where it applies."""
        return mcnemar(self.pass_fail.lost, self.pass_fail.won) if self.pass_fail else None


@dataclass(frozen=True)
class Judgement:
    """What is said of one difference; the fields are documented at `joyctl.report.deltas.Delta`."""

    low: float
    high: float
    p: float
    p_exact: float | None
    p_adjusted: float
    q: float
    bootstrap_low: float
    bootstrap_high: float
    detectable: float
    verdict: Verdict


def evidence(terms: Sequence[Term], pass_fail: PassFail | None = None) -> Evidence:
    """Evidence of a weighted sum of differences, usually a single one; `terms` are differences, run minus control."""
    sums = []
    for term in terms:
        both = cluster_sums(np.stack([term.numerators.mean(axis=0), term.denominator]), term.clusters)
        sums.append((term.factor, both[:, 0], both[:, 1]))
    return Evidence(combined(terms), pass_fail, tuple(sums))


def pass_fail(run: Floats, control: Floats, clusters: int) -> PassFail | None:
    """Counts for McNemar's test, from values of shape (items,); None unless all are 0 or 1 and no two items share a
    cluster."""
    if clusters < len(run) or not all(np.isin(values, (0.0, 1.0)).all() for values in (run, control)):
        return None
    return PassFail(lost=int((run < control).sum()), won=int((run > control).sum()), items=len(run))


def judge(family: Sequence[Evidence]) -> list[Judgement]:
    """Judge the differences of one family, in the order given.

    p is McNemar's where it applies, else that of the estimate. Holm's correction decides the verdicts. `detectable` is
    for the level that Holm asked of those he did not call: ALPHA over their number.
    """
    p_values = [one.estimate.p_value() if (exact := one.p_exact) is None else exact for one in family]
    adjusted, rates = holm(p_values), benjamini_hochberg(p_values)
    level = ALPHA / max(1, sum(p >= ALPHA for p in adjusted))
    intervals = _bootstrap(family)
    found = []
    for i, one in enumerate(family):
        low, high = one.estimate.interval()
        verdict: Verdict = "no detectable difference"
        if adjusted[i] < ALPHA:
            verdict = "higher" if one.estimate.value > 0 else "lower"
        seen = _detectable(one, level)
        found.append(
            Judgement(low, high, p_values[i], one.p_exact, adjusted[i], rates[i], *intervals[i], seen, verdict)
        )
    return found


def _detectable(one: Evidence, level: float) -> float:
    if one.pass_fail is not None:
        counts = one.pass_fail
        return mcnemar_detectable((counts.lost + counts.won) / counts.items, counts.items, level)
    estimate = one.estimate
    if estimate.stderr == 0:  # no item differs in the sample: count as if one did
        least = Part(float(np.square(1.0 / estimate.items)), estimate.parts[0].df)
        estimate = replace(estimate, parts=(least,))
    return detectable(estimate, level)


def _bootstrap(family: Sequence[Evidence]) -> list[tuple[float, float]]:
    """Central 95 % of resampled values; benchmarks within one difference are resampled independently."""
    groups: dict[tuple[int, int], list[tuple[int, float, Floats, Floats]]] = {}
    for i, one in enumerate(family):
        for place, (factor, numerator, denominator) in enumerate(one.sums):
            groups.setdefault((len(numerator), place), []).append((i, factor, numerator, denominator))
    values: dict[int, Floats] = {}
    for (_, place), members in groups.items():
        above = resampled(np.stack([member[2] for member in members], axis=1), seed=place)
        # Of one benchmark the denominators are equal, so that few are distinct.
        kinds, which = np.unique(np.stack([member[3] for member in members]), axis=0, return_inverse=True)
        below = resampled(np.ascontiguousarray(kinds.T), seed=place)
        for column, (i, factor, _, _) in enumerate(members):
            drawn = factor * above[:, column] / below[:, which.ravel()[column]]
            values[i] = values[i] + drawn if i in values else drawn
    return [_central(values[i]) for i in range(len(family))]


def _central(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
