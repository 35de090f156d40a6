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
        """Half the width of the two-sided interval.

        With one part it is the t interval. With two, of variances v and w, w the one with fewer degrees of freedom,
        their t quantiles t_v < t_w, and w's share s = w / (v + w), it is the root of

            (v + w) * (t_v**2 + (t_w**2 - t_v**2) * s**k),   k = 1 + t_v / t_w

        which is exact where one part dominates. With k = 1 this is the sum of t**2 * variance (F. Graybill and C. Wang,
        J. of the American Statistical Association 75, 1980), too wide between, with up to 97.7 % instead of 95 at
        three seeds; Satterthwaite's pooled degrees of freedom are too narrow there, down to 92.2 %. This k keeps 94.9
        to 96.5 % for any share from three seeds on (two seeds: up to 98.3 %), and no more than 1.1 times the nominal
        error at 0.01 and 0.001, by numerical integration (tests/test_report_estimate.py) and by simulation
        (benchmarks/simulate.py).
        """
        return math.sqrt(self._square(0.5 - level / 2))

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
            low, high = (low, middle) if self.value**2 > self._square(math.exp(middle) / 2) else (middle, high)
        return math.exp(high)

    def _square(self, tail: float) -> float:
        """Square of the half width that leaves `tail` on either side."""
        from scipy.special import stdtrit  # a quarter second, so only when used

        squares = sorted((float(stdtrit(part.df, tail)) ** 2, part.variance) for part in self.parts)
        if len(squares) == 1:
            return squares[0][0] * squares[0][1]
        (low, one), (high, other) = squares
        total = one + other
        if total == 0 or high == 0:
            return 0.0
        power = 1 + math.sqrt(low / high)
        return total * (low + (high - low) * math.pow(other / total, power))


def ratio(numerator: Floats, denominator: Floats, clusters: Ints) -> Estimate:
    """Estimate sum(numerator) / sum(denominator) with a clustered standard error.

    Arrays have shape (items,); clusters are numbered from 0. For a paired difference of two runs, `numerator` holds
    run minus control.

    Standard error: with residuals e_i = numerator_i - value * denominator_i (the delta method for a ratio; for a mean,
    the deviation from it) and clusters' shares w_c of the denominator,

        SE_cluster**2 = sum_c (sum_{i in c} e_i)**2 / (1 - w_c) / sum(denominator)**2

    which is the clustered standard error of E. Miller, Adding Error Bars to Evals (arXiv 2411.00640, section 2.2) with
    Bell and McCaffrey's correction for clusters of unequal size (CR2; Survey Methodology 28, 2002). Equal clusters make
    it the usual factor G / (G - 1), singletons the ordinary standard error of the mean. Over subjects of
    MMLU's sizes, 100 to 1,534 questions, 95 % intervals cover 94.2 to 95.2 % with it, 93.8 to 95.1 with that factor
    (tests/test_report_estimate.py).

    Degrees of freedom: G' - 1, where G' = 1 / sum_c w_c**2 counts unequal clusters for less (Satterthwaite's
    approximation for independent items; compare Carter, Schnepel and Steigerwald, Review of Economics and Statistics
    99, 2017).

    Few clusters (G' below FEW_CLUSTERS, as the four subjects of the micro-world) say nothing reliable about
    other clusters. They are then taken as fixed parts of the benchmark and the claim is about them alone:
    the standard error is the larger of SE_cluster and the item-level one (every item its own cluster), with
    n - 1 degrees of freedom. `few_clusters` says so, and every table repeats it.

    Raises ValueError below two items: no standard error exists.
    """
    if len(numerator) < 2:
        raise ValueError("a standard error needs at least two items")
    value = float(numerator.sum()) / float(denominator.sum())
    sampling = _Sampling(denominator, clusters)
    noise = 1e-12 * float(np.abs(numerator).sum())
    variance = max(sampling.variances((numerator - value * denominator)[None], noise))
    return Estimate(value, (Part(variance, sampling.df),), len(numerator), sampling.clusters, sampling.few)


@dataclass(frozen=True)
class Components:
    """Variances of an average over seeds and items."""

    items: float
    """Of what items have in common over the seeds: it does not shrink with more seeds."""
    seeds: float
    """Between seeds, over their number; what is neither an item's nor a seed's own is in here too."""
    interaction: float
    """The part of `seeds` that is neither: it shrinks with more items as well."""
    df: float
    """Degrees of freedom of `items`."""


def components(numerators: Floats, denominator: Floats, clusters: Ints) -> Components:
    """Variance components of the mean over seeds, from `numerators` of shape (seeds, items), at least two seeds.

    Items (in their clusters) and seeds are crossed: the two-way random-effects table (S. Searle, G. Casella,
    C. McCulloch, Variance Components, 1992). With V_items the variance over items of the seeds' mean, V_seeds that of
    the seeds' values over their number and V_both that of the residuals, items is V_items - V_both where positive, and
    seeds is V_seeds: V_both stands in V_items and V_seeds and is to be counted once.
    """
    seeds, total = len(numerators), float(denominator.sum())
    values = numerators.sum(axis=1) / total
    average = numerators.mean(axis=0)
    sampling = _Sampling(denominator, clusters)
    noise = 1e-12 * float(np.abs(average).sum())
    of_items = sampling.variances((average - values.mean() * denominator)[None], noise)
    residual = numerators - average - (values - values.mean())[:, None] * denominator
    both = [variance / ((seeds - 1) * seeds) for variance in sampling.variances(residual, noise)]
    # Of few clusters there are two estimates of each, by cluster and by item: those of one kind belong together.
    items, interaction = max((whole - part, part) for whole, part in zip(of_items, both, strict=True))
    return Components(max(items, 0.0), float(values.var(ddof=1)) / seeds, interaction, sampling.df)


def over_seeds(numerators: Floats, denominator: Floats, clusters: Ints) -> Estimate:
    """Average over seeds with both the items' and the seed-to-seed variance in the standard error.

    `numerators` has shape (seeds, items): the same items under every seed (for a delta, run minus control within each
    seed). The parts are those of `components`: items, with their degrees of freedom, and seeds, with seeds - 1. Few
    clusters are treated as in `ratio`.

    One seed gives `ratio`, whose interval knows nothing of run-to-run noise.
    """
    seeds = len(numerators)
    base = ratio(numerators.mean(axis=0), denominator, clusters)
    if seeds == 1:
        return base
    found = components(numerators, denominator, clusters)
    return replace(base, parts=(Part(found.items, found.df), Part(found.seeds, seeds - 1.0)))


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
    bases = [over_seeds(term.numerators, term.denominator, term.clusters) for term in terms]
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


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's adjustment, in the order given: calling those below q keeps the expected share of false
    ones among them at most q, under independence or positive dependence.

    Y. Benjamini and Y. Hochberg, J. of the Royal Statistical Society B 57, 1995.
    """
    adjusted = [0.0] * len(p_values)
    running = 1.0
    for rank, i in reversed(list(enumerate(sorted(range(len(p_values)), key=p_values.__getitem__), start=1))):
        running = min(running, p_values[i] * len(p_values) / rank)
        adjusted[i] = running
    return adjusted


class _Sampling:
    """How items were drawn: in clusters, or, where these are too few, from within each."""

    def __init__(self, denominator: Floats, clusters: Ints) -> None:
        n, self._total, self._index = len(denominator), float(denominator.sum()), clusters
        weights = np.bincount(clusters, weights=denominator)
        self._there = np.flatnonzero(np.bincount(clusters))
        self._shares = weights[self._there] / self._total
        self._item_shares = denominator / self._total
        self.clusters = len(self._there)
        effective = 1.0 / float(np.square(self._shares).sum())
        self.few = effective < FEW_CLUSTERS
        self.df = n - 1.0 if self.few else effective - 1.0

    def variances(self, residuals: Floats, noise: float) -> list[float]:
        """Sums over rows of residuals, shape (rows, items), of the variance of their sum over the denominator's.

        By cluster, and where these are few also by item. A root below `noise`, the rounding of constant values, counts
        as exactly 0.
        """
        size = int(self._there[-1]) + 1
        sums = np.stack([np.bincount(self._index, weights=row, minlength=size) for row in residuals])
        found = []
        if self.clusters > 1:
            found.append(float((np.square(sums[:, self._there]) / (1 - self._shares)).sum()))
        if self.few:
            found.append(float((np.square(residuals) / (1 - self._item_shares)).sum()))
        return [0.0 if math.sqrt(square) <= noise else square / self._total**2 for square in found]
