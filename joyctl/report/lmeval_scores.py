"""One score of two outputs of lm-eval rebuilt from their paired items, and held against their results files (PURE)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from joyctl.report.estimate import Floats, Ints
from joyctl.report.items import RATIOS
from joyctl.report.lmeval_files import Side
from joyctl.report.lmeval_pairs import LeafPair
from joyctl.report.lmeval_samples import Logged
from joyctl.report.lmeval_units import Unit

_TOLERANCE = 1e-4
_Column = tuple[Floats, Floats]
"""What is summed above and below the fraction, each of shape (items,); NaN where an item has no number."""


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """One score on both sides; arrays have shape (items,), the same items in one order."""

    a: Floats
    """What is summed over items above the fraction: metric values or bits, times the item's weight."""
    b: Floats
    denominator: Floats
    """What is summed below it: ones or bytes, times the item's weight."""
    clusters: Ints


def rebuild(a: Side, b: Side, unit: Unit, metric: str, filter_: str, pairs: Mapping[str, LeafPair]) -> Rebuilt | str:
    """The score from its items, or why it does not follow from them.

    A task's score is the mean over its items (bits per byte: total bits over total bytes). A group's is the mean over
    the items of all its tasks, or the mean of its tasks' scores, by the group's own `weight_by_size`; the results files
    do not say which, so the one that gives their values to 1e-4 is taken. Other metrics (perplexity, F1 over a corpus)
    are no mean over items and cannot be paired.
    """
    leaves = [leaf for leaf in unit.leaves if (metric, filter_) in a.scores.get(leaf, ())]
    if not leaves or any(filter_ not in pairs[leaf].both for leaf in leaves):
        return "its samples have no such filter"
    whole = [[_column(side[filter_], metric) for side in (pairs[leaf].a, pairs[leaf].b)] for leaf in leaves]
    values = [side.value(unit.task, metric, filter_) for side in (a, b)]
    ways = (False, True) if unit.is_group else (False,)
    means = {equal: [_mean([columns[i] for columns in whole], equal=equal) for i in (0, 1)] for equal in ways}
    equal = next((way for way, found in means.items() if all(map(_agree, found, values))), None)
    if equal is None:
        return _disagreement(means[False], values)
    found: list[tuple[Floats, Floats, Floats]] = []
    labels: list[str] = []
    for leaf in leaves:
        mine, other = pairs[leaf].both[filter_]
        (above, below), (above_b, below_b) = _column(mine, metric), _column(other, metric)
        here = np.isfinite(above)
        if (here != np.isfinite(above_b)).any():
            return "some items have a number in one of A and B only"
        if (below[here] != below_b[here]).any():
            return "A and B do not agree on the bytes of an item"
        weight = 1.0 / float(below[here].sum()) if equal and here.any() else 1.0
        found.append((above[here] * weight, above_b[here] * weight, below[here] * weight))
        names: Sequence[str] = [leaf] * len(mine.docs) if unit.is_group else mine.clusters or mine.docs
        labels += [name for name, taken in zip(names, here, strict=True) if taken]
    if len(labels) < 2:
        return "fewer than two items: no standard error"
    above, above_b, below = (np.concatenate(column) for column in zip(*found, strict=True))
    return Rebuilt(above, above_b, below, np.unique(labels, return_inverse=True)[1].astype(np.int64))


def _column(items: Logged, metric: str) -> _Column:
    if metric in RATIOS:
        nats, size = RATIOS[metric]
        return items.columns[nats] / math.log(2), items.columns[size]
    values = items.columns[metric]
    return values, np.ones(len(values))


def _mean(columns: Sequence[_Column], *, equal: bool) -> float:
    """The score from all items that have a number; NaN where none has."""
    present = [(above[np.isfinite(above)], below[np.isfinite(above)]) for above, below in columns]
    sums = [(float(above.sum()), float(below.sum())) for above, below in present if len(above)]
    if not sums:
        return math.nan
    if equal:
        return math.fsum(above / below for above, below in sums) / len(sums)
    return math.fsum(above for above, _ in sums) / math.fsum(below for _, below in sums)


def _agree(mine: float, value: float | None) -> bool:
    return value is not None and math.isclose(mine, value, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)


def _disagreement(found: Sequence[float], values: Sequence[float | None]) -> str:
    for name, mine, value in zip("AB", found, values, strict=True):
        if value is None or math.isnan(value):
            return f"no number in the results of {name}"
        if math.isnan(mine):
            return f"no mean over its items: they have no numbers of their own in {name}"
        if not _agree(mine, value):
            return f"no mean over its items: {value:.6g} in the results of {name}, {mine:.6g} by its samples"
    return "the mean over its items in one of A and B, the mean of its tasks in the other"
