"""Estimates with intervals from per-item values: clustered, paired, averaged over seeds, Holm-corrected.

Every score here is a ratio of sums over items, sum(numerator) / sum(denominator). With a denominator of
ones it is a mean (accuracy); with bytes it is bits per byte. Items of one cluster (a subject, a problem, a
document) may be correlated; items of different clusters are taken as independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FEW_CLUSTERS = 10
"""Below this many (effective) clusters their variance cannot be estimated; see `ratio`."""


@dataclass(frozen=True)
class Part:
    """One source of an estimate's variance, and the degrees of freedom it was estimated with."""

    variance: float
    df: float


@dataclass(frozen=True)
class Estimate:
    """A value with its uncertainty, in the score's own unit."""

    value: float
    parts: tuple[Part, ...]
    """Items, and with several seeds also seeds; independent of each other."""
    items: int
    clusters: int
    few_clusters: bool
    """The clusters are too few to be a sample: the claim is about these clusters only."""

    @property
    def stderr(self) -> float:
        """Standard error: root of the sum of the parts' variances."""
        return math.sqrt(sum(part.variance for part in self.parts))

    def half_width(self, level: float = 0.95) -> float:
        """Half the width of the two-sided interval: root of sum_k t(level, df_k)**2 * variance_k.

        With one part it is the t interval. With several it is exact where one part dominates and slightly
        wide between, unlike Satterthwaite's pooled degrees of freedom, whose interval is too narrow when a
        part rests on two or three seeds (limits of this form: F. Graybill and C. Wang, Confidence intervals
        on nonnegative linear combinations of variances, J. of the American Statistical Association 75, 1980).
        """
        from scipy.special import stdtrit  # type: ignore[import-untyped]  # a quarter second, so only when used

        return math.sqrt(sum(float(stdtrit(p.df, 0.5 + level / 2)) ** 2 * p.variance for p in self.parts))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided interval value +- half_width(level)."""
        half = self.half_width(level)
        return self.value - half, self.value + half

    def p_value(self) -> float:
        """Two-sided p of the hypothesis that the value is 0: the level at which the interval just touches 0.

        Where every item moved by the same amount the standard error is 0 and no t exists; then it is the
        exact sign test over clusters, 2 * 0.5**clusters.
        """
        from scipy.special import stdtr

        if self.stderr == 0:
            return 1.0 if self.value == 0 else min(1.0, 2.0 * 0.5**self.clusters)
        if len(self.parts) == 1:
            return float(2 * stdtr(self.parts[0].df, -abs(self.value) / self.stderr))
        low, high = -40.0, 0.0  # bisect log(p)
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if self._excludes_zero(math.exp(middle)) else (middle, high)
        return math.exp(high)

    def _excludes_zero(self, p: float) -> bool:
        from scipy.special import stdtrit

        square = sum(float(stdtrit(part.df, p / 2)) ** 2 * part.variance for part in self.parts)
        return self.value**2 > square


def ratio(numerator: Floats, denominator: Floats, clusters: Ints) -> Estimate:
    """Estimate sum(numerator) / sum(denominator) with a clustered standard error.

    Arrays have shape (items,). For a paired difference of two runs, `numerator` holds run minus control.

    Standard error: with residuals e_i = numerator_i - value * denominator_i (the delta method for a ratio;
    for a mean, the deviation from it),

        SE_cluster**2 = G / (G - 1) * sum_c (sum_{i in c} e_i)**2 / sum(denominator)**2

    over G clusters: the clustered standard error of E. Miller, Adding Error Bars to Evals (arXiv 2411.00640,
    section 2.2) with the usual G / (G - 1), so that singleton clusters give the ordinary standard error of
    the mean. Degrees of freedom: G' - 1, where G' = (sum_c w_c)**2 / sum_c w_c**2, over the clusters' total
    denominators w_c, counts unequal clusters for less (Satterthwaite's approximation for independent items;
    compare Carter, Schnepel and Steigerwald, Review of Economics and Statistics 99, 2017).

    Few clusters (G' below FEW_CLUSTERS, as the four subjects of the micro-world) say nothing reliable about
    other clusters. They are then taken as fixed parts of the benchmark and the claim is about them alone:
    the standard error is the larger of SE_cluster and the item-level one (every item its own cluster), with
    n - 1 degrees of freedom. `few_clusters` says so, and every table repeats it.

    Raises ValueError below two items: no standard error exists.
    """
    n = len(numerator)
    if n < 2:
        raise ValueError("a standard error needs at least two items")
    total = float(denominator.sum())
    value = float(numerator.sum()) / total
    residual = numerator - value * denominator
    sums, weights = _by_cluster(residual, denominator, clusters)
    count = len(sums)
    by_item = _root(n / (n - 1) * float(np.square(residual).sum()), total, numerator)
    effective = float(weights.sum() ** 2 / np.square(weights).sum())
    by_cluster = 0.0
    if count > 1:
        by_cluster = _root(count / (count - 1) * float(np.square(sums).sum()), total, numerator)
    few = effective < FEW_CLUSTERS
    part = Part(max(by_item, by_cluster) ** 2, n - 1.0) if few else Part(by_cluster**2, effective - 1.0)
    return Estimate(value, (part,), n, count, few)


def over_seeds(numerators: Floats, denominator: Floats, clusters: Ints) -> Estimate:
    """Average over seeds with both the items' and the seed-to-seed variance in the standard error.

    `numerators` has shape (seeds, items): the same items under every seed (for a delta, run minus control
    within each seed). Items and seeds are crossed, so the variance has the two parts of a
    two-way random-effects table (S. Searle, G. Casella, C. McCulloch, Variance Components, 1992): the
    variance over items of the seeds' mean (`ratio`), plus the variance of the seeds' values (ddof 1) / seeds
    with seeds - 1 degrees of freedom. What is neither an item's nor a seed's own stands in both parts and is
    counted twice: the interval is never too narrow, and a little wide where seeds hardly differ (99 % instead
    of 95 % at three seeds without any noise between them). Few clusters are treated as in `ratio`.

    One seed gives `ratio`, whose interval knows nothing of run-to-run noise.
    """
    seeds = len(numerators)
    base = ratio(numerators.mean(axis=0), denominator, clusters)
    if seeds == 1:
        return base
    values = numerators.sum(axis=1) / float(denominator.sum())
    between = float(values.var(ddof=1)) / seeds
    return replace(base, parts=(*base.parts, Part(between, seeds - 1.0)))


@dataclass(frozen=True, eq=False)
class Term:
    """One score in a weighted sum of several."""

    factor: float
    numerators: Floats
    """Shape (seeds, items), as in `over_seeds`; the seeds are those of every other term, in the same order."""
    denominator: Floats
    """Shape (items,), as `clusters`."""
    clusters: Ints


def combined(terms: Sequence[Term], offset: float = 0.0) -> Estimate:
    """Estimate offset + sum_t factor_t * score_t, for scores of different benchmarks; `terms` is not empty.

    Different benchmarks have different items, drawn independently, so the variances over items add up:
    Var = sum_t factor_t**2 * Var(score_t), each score's own as in `ratio`, with Satterthwaite's degrees of freedom
    (sum_t v_t)**2 / sum_t (v_t**2 / df_t) of such a sum (F. Satterthwaite, Biometrics Bulletin 2, 1946). Seeds are
    shared, a good one being good for many benchmarks: their part is the variance of the whole sum over seeds, as in
    `over_seeds`. `few_clusters` holds where it does for any of the scores.
    """
    bases = [ratio(term.numerators.mean(axis=0), term.denominator, term.clusters) for term in terms]
    value = offset + math.fsum(term.factor * base.value for term, base in zip(terms, bases, strict=True))
    found = [
        (term.factor**2 * base.parts[0].variance, base.parts[0].df) for term, base in zip(terms, bases, strict=True)
    ]
    variance = math.fsum(v for v, _ in found)
    df = variance**2 / math.fsum(v * v / df for v, df in found) if variance else min(df for _, df in found)
    parts = [Part(variance, df)]
    if (seeds := len(terms[0].numerators)) > 1:
        values = sum(term.factor * term.numerators.sum(axis=1) / term.denominator.sum() for term in terms)
        parts.append(Part(float(np.var(values, ddof=1)) / seeds, seeds - 1.0))
    items, clusters = sum(base.items for base in bases), sum(base.clusters for base in bases)
    return Estimate(value, tuple(parts), items, clusters, any(base.few_clusters for base in bases))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the order given: family-wise error at most alpha under any dependence.

    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian J. of Statistics 6, 1979.
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def _by_cluster(residual: Floats, denominator: Floats, clusters: Ints) -> tuple[Floats, Floats]:
    _, index = np.unique(clusters, return_inverse=True)
    sums, weights = np.bincount(index, weights=residual), np.bincount(index, weights=denominator)
    return sums.astype(np.float64, copy=False), weights.astype(np.float64, copy=False)


def _root(sum_of_squares: float, total: float, numerator: Floats) -> float:
    """Standard error from a sum of squares; rounding noise on constant values counts as exactly 0."""
    root = math.sqrt(sum_of_squares)
    return 0.0 if root <= 1e-12 * float(np.abs(numerator).sum()) else root / total
