"""McNemar's exact test for pass/fail items, and how much it can see."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from joyctl.report.estimate import Floats

Counts = npt.NDArray[np.int64]

_TAILS = 7.0  # standard deviations of the number of discordant items that are summed over


def mcnemar(lost: int, won: int) -> float:
    """Two-sided exact p of `lost` items that only the control passes and `won` that only the run passes.

    Given their number, either is binomial with one half where nothing differs (Q. McNemar, Psychometrika 12, 1947; in
    its exact form the sign test). Items must be independent of each other.
    """
    from scipy.special import bdtr

    both = lost + won
    return min(1.0, 2.0 * float(bdtr(min(lost, won), both, 0.5))) if both else 1.0


def mcnemar_power(effect: float, discordant: float, items: int, level: float = 0.05) -> float:
    """Probability that `mcnemar` falls to `level` or below.

    `effect` is the true difference of the pass rates, `discordant` the true share of items that one passes and the
    other fails, at least abs(effect). Exact: the number of discordant items is binomial, and so is the number won among
    them (R. Connett, J. Smith and R. McHugh, Statistics in Medicine 6, 1987).
    """
    from scipy.special import bdtr

    share = min(1.0, max(discordant, abs(effect)))
    if share == 0:
        return 0.0
    counts, chances = _discordant(items, share)
    critical = _critical(items, level)[counts]
    won = 0.5 + min(abs(effect) / share, 1.0) / 2
    # At most `critical` losses, or wins, among the discordant; the two never overlap, being below half of them.
    floor = np.maximum(critical, 0)
    rejects = bdtr(floor, counts, 1 - won) + bdtr(floor, counts, won)
    return float((chances * np.where(critical < 0, 0.0, rejects)).sum())


def mcnemar_detectable(discordant: float, items: int, level: float = 0.05, power: float = 0.8) -> float:
    """Smallest difference that `mcnemar` shows with probability `power`; 1 where not even the largest is shown.

    Where a difference needs more discordant items than `discordant`, all of them are won.
    """
    low, high = 0.0, 1.0
    if mcnemar_power(high, discordant, items, level) < power:
        return 1.0
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if mcnemar_power(middle, discordant, items, level) >= power else (middle, high)
    return high


def _discordant(items: int, share: float) -> tuple[Counts, Floats]:
    """Likely numbers of discordant items, and the chance of each."""
    from scipy.special import gammaln, xlog1py, xlogy

    spread = _TAILS * math.sqrt(items * share * (1 - share)) + 1
    first, last = max(0, math.floor(items * share - spread)), min(items, math.ceil(items * share + spread))
    m = np.arange(first, last + 1)
    logs = gammaln(items + 1) - gammaln(m + 1) - gammaln(items - m + 1) + xlogy(m, share) + xlog1py(items - m, -share)
    return m, np.exp(logs)


@lru_cache(maxsize=64)
def _critical(items: int, level: float) -> Counts:
    """For every number of discordant items the most that the losing side may have for p <= level; -1 for none."""
    from scipy.special import bdtr, bdtrik

    m = np.arange(items + 1)
    with np.errstate(invalid="ignore"):
        near = np.nan_to_num(np.floor(bdtrik(level / 2, np.maximum(m, 1), 0.5)), nan=0.0)
    k = np.minimum(near.astype(np.int64) + 1, m)  # bdtrik rounds: begin above it and step down to what holds
    for _ in range(3):
        k = k - ((k >= 0) & (2 * bdtr(np.maximum(k, 0), m, 0.5) > level))
    return np.asarray(k, dtype=np.int64)
