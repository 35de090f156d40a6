"""What a comparison can see: probability of a verdict, and the smallest difference shown with a given probability.

Sizes are those of the estimates they belong to (`estimate.Estimate`); the verdict is its p at or below `level`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from joyctl.report.estimate import Estimate, Part

Float64 = npt.NDArray[np.float64]
POWER = 0.8
"""Probability with which a smallest detectable difference is detected."""
_NODES = (np.arange(400) + 0.5) / 400


def power(effect: float, found: Estimate, level: float = 0.05) -> float:
    """Probability that `found`'s p falls to `level` or below when the true value is `effect`.

    `found` tells the variances; its value is not used. The variance with the fewest degrees of freedom is itself drawn
    (chi-square over its degrees of freedom), the other, where there are two, is taken as known; the interval is that of
    `Estimate.half_width`, and the chance is averaged over quantiles of what is drawn. With one part this is the
    noncentral t distribution, to 2e-4 (scipy's own gives NaN in its tails).
    """
    if found.stderr == 0:
        return 1.0 if effect else 0.0
    return _beyond(abs(effect) / found.stderr, _edges(found, level))


def _edges(found: Estimate, level: float) -> Float64:
    """Half-widths of the interval at `level`, in standard errors, over quantiles of the variance that is drawn."""
    from scipy.special import chdtri, stdtrit

    *known, rough = sorted((part for part in found.parts if part.variance > 0), key=lambda part: -part.df)
    certain = known[0].variance if known else 0.0
    high = float(stdtrit(rough.df, level / 2)) ** 2
    low = float(stdtrit(known[0].df, level / 2)) ** 2 if known else high
    drawn = rough.variance * chdtri(rough.df, _NODES) / rough.df
    total = certain + drawn
    edges: Float64 = np.sqrt(total * (low + (high - low) * (drawn / total) ** (1 + math.sqrt(low / high))))
    return edges / found.stderr


def _beyond(effect: float, edges: Float64) -> float:
    """How often an effect, in standard errors, is seen outside of these edges."""
    from scipy.special import ndtr

    return float((ndtr(effect - edges) + ndtr(-effect - edges)).mean())


def detectable(found: Estimate, level: float = 0.05, power_: float = POWER) -> float:
    """Smallest true difference that is called at `level` with probability `power_`; 0 without any variance."""
    if found.stderr == 0:
        return 0.0
    parts = tuple((part.variance / found.stderr**2, part.df) for part in found.parts)
    # In standard errors it depends on the parts' shares alone: with one part it is the same for a whole benchmark.
    return found.stderr * _standard_errors(parts if len(parts) > 1 else ((1.0, parts[0][1]),), level, power_)


@lru_cache(maxsize=1024)
def _standard_errors(parts: tuple[tuple[float, float], ...], level: float, power_: float) -> float:
    unit = Estimate(0.0, tuple(Part(share, df) for share, df in parts), 0, 0, few_clusters=False)
    edges = _edges(unit, level)
    low, high = 0.0, 1.0
    while _beyond(high, edges) < power_:
        low, high = high, 2 * high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _beyond(middle, edges) >= power_ else (middle, high)
    return high
