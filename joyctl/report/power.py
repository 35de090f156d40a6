"""What a comparison can see: probability of a verdict, and the smallest difference shown with a given probability.

Sizes are those of the estimates they belong to (`estimate.Estimate`); the verdict is its p at or below `level`.
"""

from __future__ import annotations

import math

import numpy as np

from joyctl.report.estimate import Estimate

POWER = 0.8
"""Probability with which a smallest detectable difference is detected."""
_NODES = (np.arange(400) + 0.5) / 400


def power(effect: float, found: Estimate, level: float = 0.05) -> float:
    """Probability that `found`'s p falls to `level` or below when the true value is `effect`.

    `found` tells the variances; its value is not used. One part: the noncentral t distribution. Two parts, items and
    seeds: the variance between seeds is itself drawn (chi-square over its degrees of freedom), that of items is taken
    as known, and the interval is that of `Estimate.half_width`; the chance is averaged over 400 quantiles of the
    former.
    """
    from scipy.special import chdtri, nctdtr, ndtr, stdtrit

    effect = abs(effect)
    if found.stderr == 0:
        return 1.0 if effect > 0 else 0.0
    parts = [part for part in found.parts if part.variance > 0]
    if len(parts) == 1:
        df, shift = parts[0].df, effect / found.stderr
        edge = float(stdtrit(df, 1 - level / 2))
        return float(1 - nctdtr(df, shift, edge) + nctdtr(df, shift, -edge))
    items, seeds = sorted(parts, key=lambda part: -part.df)
    low, high = (float(stdtrit(part.df, level / 2)) ** 2 for part in (items, seeds))
    drawn = seeds.variance * chdtri(seeds.df, _NODES) / seeds.df
    total = items.variance + drawn
    edges = np.sqrt(total * (low + (high - low) * (drawn / total) ** (1 + math.sqrt(low / high))))
    return float((ndtr((effect - edges) / found.stderr) + ndtr((-effect - edges) / found.stderr)).mean())


def detectable(found: Estimate, level: float = 0.05, power_: float = POWER) -> float:
    """Smallest true difference that is called at `level` with probability `power_`; 0 without any variance."""
    if found.stderr == 0:
        return 0.0
    low, high = 0.0, found.stderr
    while power(high, found, level) < power_:
        low, high = high, 2 * high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, found, level) >= power_ else (middle, high)
    return high
