"""The best duration by one rule, and how sure it is: the rule applied to resampled campaigns (PURE).

Why this rule and no other: docs/adr/0007-best-duration.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from joyctl.report.estimate import Estimate, Floats, Ints, Term, combined, ratio
from joyctl.report.resample import DRAWS, cluster_sums, cluster_weights

ALPHA = 0.05
_AT_ONCE = 8_000_000  # weights in memory
CONTROL = 0
"""Index of the control among choices; the durations follow from 1 on."""


@dataclass(frozen=True, eq=False)
class Arm:
    """One duration against the control, item by item."""

    gain: tuple[Term, ...]
    """Every targeted benchmark's difference, weighted; the same benchmarks with the same items in every arm."""
    cost: tuple[Term, ...]
    """Likewise the general side's, signed so that a positive sum is a cost."""
    seeds: tuple[tuple[int, int], ...]
    """What the rows of its terms are, (trunk, phase seed): arms share the noise of those that they share."""


@dataclass(frozen=True, eq=False)
class Optimum:
    """What the rule says of some arms."""

    gains: tuple[Estimate, ...]
    """By arm."""
    costs: tuple[Estimate, ...]
    values: tuple[float, ...]
    """By arm: what the rule maximises; 0 for all where no gain is detectable, as for the control."""
    best: int
    """CONTROL, or 1 + the arm's index."""
    pays: bool
    """Whether any arm's gain is detectably above 0."""
    trades: bool
    """Whether any arm's cost is detectably different from 0."""
    chosen: Floats
    """Shape (1 + arms,): share of resampled campaigns in which the rule chooses the control and each arm."""

    @property
    def interval(self) -> tuple[int, int]:
        """First and last of the central 95 % of the choices, in the order of durations, and never without `best`."""
        below = np.cumsum(self.chosen)
        low = int(np.searchsorted(below, ALPHA / 2, side="right"))
        high = int(np.searchsorted(below, 1 - ALPHA / 2 - 1e-9))
        return min(low, self.best), max(high, self.best)


def optimum(arms: Sequence[Arm], draws: int = DRAWS) -> Optimum:
    """The best of `arms`, which stand in the order of their durations, and of doing nothing.

    The same draws are taken for all arms of a benchmark, whose items and control they share, and other draws for
    every benchmark. Gains and costs have the statistics of `estimate.combined`; that one differs from 0 is judged by
    Bonferroni over the arms (Holm's first step). A resampled campaign stands for what may be true: there any gain above
    0 counts, so that gains too noisy to be detected leave the choice open instead of settling it on the control.
    """
    gains, costs = tuple(combined(arm.gain) for arm in arms), tuple(combined(arm.cost) for arm in arms)
    level = 1 - ALPHA / len(arms)
    limits = [np.array([one.half_width(level) for one in side]) for side in (gains, costs)]
    seen = [np.array([[one.value for one in side]]) for side in (gains, costs)]
    (values,), (best,) = apply_rule(*seen, *limits)
    drawn = _resampled(arms, draws)
    _, choices = apply_rule(seen[0] + drawn[0], seen[1] + drawn[1], np.zeros_like(limits[0]), limits[1])
    return Optimum(
        gains,
        costs,
        tuple(values.tolist()),
        int(best),
        bool((seen[0] > limits[0]).any()),
        bool((np.abs(seen[1]) > limits[1]).any()),
        np.bincount(choices, minlength=len(arms) + 1) / draws,
    )


def apply_rule(gains: Floats, costs: Floats, gain_limits: Floats, cost_limits: Floats) -> tuple[Floats, Ints]:
    """What the rule maximises, shape (campaigns, arms), and its choice in every campaign: CONTROL or 1 + the arm.

    value = gain / max gain - cost / max |cost|: the height above the line along which gain and cost rise in
    proportion, so the largest is the knee (V. Satopaa et al., Finding a "Kneedle" in a Haystack, ICDCS Workshops 2011).
    Without a cost beyond `cost_limits` (by size) there is no trade-off and value = gain / max gain. Without a gain
    beyond `gain_limits` the choice is the control and every value 0. Otherwise it is never the control: the arm of the
    largest gain has a value of at least 0. Of equal values the shorter duration's is chosen.
    """
    pays, trades = np.any(gains > gain_limits, axis=1), np.any(np.abs(costs) > cost_limits, axis=1)
    largest = np.where(pays, gains.max(axis=1), 1.0)[:, None]
    dearest = np.where(trades, np.abs(costs).max(axis=1), np.inf)[:, None]
    values = np.where(pays[:, None], gains / largest - costs / dearest, 0.0)
    return values, np.where(pays, 1 + values.argmax(axis=1), CONTROL).astype(np.int64)


def pareto(gains: Sequence[float], costs: Sequence[float]) -> list[bool]:
    """Whether no other has at least its gain at no more cost, one of the two better."""
    both = list(zip(gains, costs, strict=True))
    return [not any(g >= gain and c <= cost and (g, c) != (gain, cost) for g, c in both) for gain, cost in both]


def _resampled(arms: Sequence[Arm], draws: int) -> tuple[Floats, Floats]:
    """Deviations of gains and of costs in resampled campaigns, each of shape (draws, arms)."""
    count = len(arms[0].gain)
    found = []
    for side, first in (("gain", 0), ("cost", count)):
        terms: list[tuple[Term, ...]] = [getattr(arm, side) for arm in arms]
        by_items = sum(_by_items(of_arms, draws, seed) for seed, of_arms in enumerate(zip(*terms, strict=True), first))
        found.append(np.asarray(by_items))
    noise = np.random.default_rng([len(arms), draws])
    places = sorted({seed for arm in arms for seed in arm.seeds})
    repeated = [len(arm.seeds) - 1 for arm in arms if len(arm.seeds) > 1]
    if repeated:
        df = min(repeated)
        normal = noise.standard_normal((draws, len(places))) * np.sqrt(df / noise.chisquare(df, (draws, 1)))
        for i, arm in enumerate(arms):
            rows = normal[:, [places.index(seed) for seed in arm.seeds]]
            found[0][:, i] += _by_seeds(arm.gain, rows)
            found[1][:, i] += _by_seeds(arm.cost, rows)
    return found[0], found[1]


def _by_items(terms: Sequence[Term], draws: int, seed: int) -> Floats:
    """Weighted deviations of one benchmark's score by resampling its clusters, shape (draws, arms).

    They are scaled to the standard errors of `ratio`, which a bootstrap of G clusters falls short of by
    sqrt((G - 1) / G). Of few clusters, which are fixed parts of the benchmark there, the items are resampled.
    """
    bases = [ratio(term.numerators.mean(axis=0), term.denominator, term.clusters) for term in terms]
    clusters = np.arange(len(terms[0].clusters)) if bases[0].few_clusters else terms[0].clusters
    rows = np.stack([*(term.numerators.mean(axis=0) for term in terms), terms[0].denominator])
    sums = cluster_sums(rows, clusters)
    step = max(1, _AT_ONCE // len(sums))
    pieces = [(min(step, draws - start), seed * draws + start) for start in range(0, draws, step)]
    drawn = np.concatenate([cluster_weights(len(sums), size, of_piece) @ sums for size, of_piece in pieces])
    deviations: Floats = drawn[:, :-1] / drawn[:, -1:] - np.array([base.value for base in bases])
    spread = deviations.std(axis=0)
    wanted = np.array([abs(term.factor) * base.stderr for term, base in zip(terms, bases, strict=True)])
    sign = np.sign([term.factor for term in terms])
    scaled: Floats = deviations * (sign * np.divide(wanted, spread, out=np.zeros_like(spread), where=spread > 0))
    return scaled


def _by_seeds(terms: Sequence[Term], normal: Floats) -> Floats:
    """Deviations of a weighted sum of scores for what its seeds differ by, shape (draws,).

    `normal` has shape (draws, seeds). Independent normal amounts of every seed's own deviation have the variance of
    the seeds' mean; with the amounts of Student's t they are its multivariate t. A bootstrap of two or three seeds has
    too few different draws and no such tails.
    """
    seeds = normal.shape[1]
    if seeds == 1:
        return np.zeros(len(normal))
    values = sum(term.factor * term.numerators.sum(axis=1) / term.denominator.sum() for term in terms)
    found: Floats = normal @ (values - np.mean(values)) / math.sqrt(seeds * (seeds - 1))
    return found
