"""Mixes: normalising, exact integer weights, and what dropping a source does to the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

# Longest period of the deal of rows to sources. Weights whose common denominator is larger are rounded
# to this one; no source's share changes by more than 1/65536 of all rows.
MAX_PERIOD = 65_536


@dataclass(frozen=True)
class Dropped:
    """A mix after leaving sources out."""

    mix: dict[str, Fraction]
    """Shares of tokens by source, summing to one."""
    length: Fraction
    """Phase length as a share of the undropped phase's: below one only under `shrink`."""


def normalise(weights: Mapping[str, float]) -> dict[str, Fraction]:
    """Shares that sum to exactly one; a decimal weight is taken at its written value.

    Raises ValueError when nothing has weight.
    """
    return dict(_normalised(tuple(weights.items())))


# A grid has few mixes and many runs, and arithmetic with fractions is slow.
@lru_cache(maxsize=16_384)
def _normalised(weights: tuple[tuple[str, float], ...]) -> tuple[tuple[str, Fraction], ...]:
    exact = {name: Fraction(str(w)) for name, w in weights if w > 0}
    total = sum(exact.values())
    if not total:
        raise ValueError("the weights sum to nothing")
    return tuple((name, w / total) for name, w in exact.items())


def drop(mix: Mapping[str, Fraction], sources: tuple[str, ...], policy: str, categories: Mapping[str, str]) -> Dropped:
    """Leave `sources` out of `mix`; `categories` are those of all its sources.

    `renormalise` gives their share to the others in proportion, `renormalise-category` to the others of the same
    category, so that each category keeps its share, `replace:<source>` to that source, and `shrink` to nobody: the
    phase gets shorter by that share. Raises ValueError when nothing is left to take it.
    """
    freed = sum((mix.get(name, Fraction(0)) for name in sources), Fraction(0))
    rest = {name: share for name, share in mix.items() if name not in sources}
    if policy.startswith("replace:"):
        heir = policy.removeprefix("replace:")
        if heir in sources:
            raise ValueError(f"'{heir}' cannot take the share: it is dropped itself")
        rest[heir] = rest.get(heir, Fraction(0)) + freed
        return Dropped(rest, Fraction(1))
    if not rest:
        raise ValueError("dropping these sources leaves nothing to train on")
    if policy == "renormalise-category":
        return Dropped(_within_categories(mix, rest, categories), Fraction(1))
    left = sum(rest.values(), Fraction(0))
    shares = {name: share / left for name, share in rest.items()}
    return Dropped(shares, left if policy == "shrink" else Fraction(1))


def _within_categories(
    mix: Mapping[str, Fraction], rest: Mapping[str, Fraction], categories: Mapping[str, str]
) -> dict[str, Fraction]:
    """What is left of a mix, every category grown to the share that it has in the whole."""

    def by_category(shares: Mapping[str, Fraction]) -> dict[str, Fraction]:
        found: dict[str, Fraction] = {}
        for name, share in shares.items():
            found[categories[name]] = found.get(categories[name], Fraction(0)) + share
        return found

    whole, left = by_category(mix), by_category(rest)
    for category in whole:
        if not left.get(category):
            raise ValueError(f"nothing else of category {category} has weight, so nothing can take the share")
    return {name: share * whole[categories[name]] / left[categories[name]] for name, share in rest.items()}


def integer_weights(mix: Mapping[str, Fraction]) -> dict[str, int]:
    """The smallest integers in the proportions of `mix`; their sum is the period of the deal.

    Above MAX_PERIOD they are rounded by largest remainder, a source with any share keeping at least 1.
    """
    return dict(_integers(tuple((name, share.numerator, share.denominator) for name, share in mix.items())))


@lru_cache(maxsize=16_384)
def _integers(shares: tuple[tuple[str, int, int], ...]) -> tuple[tuple[str, int], ...]:
    mix = {name: Fraction(numerator, denominator) for name, numerator, denominator in shares}
    period = math.lcm(*(share.denominator for share in mix.values()))
    if period <= MAX_PERIOD:
        return tuple((name, int(share * period)) for name, share in sorted(mix.items()))
    ideal = {name: share * MAX_PERIOD for name, share in sorted(mix.items())}
    floor = {name: max(1, math.floor(x)) for name, x in ideal.items()}
    missing = MAX_PERIOD - sum(floor.values())
    by_remainder = sorted(ideal, key=lambda name: (floor[name] - ideal[name], name))
    for name in by_remainder[: max(missing, 0)]:
        floor[name] += 1
    common = math.gcd(*floor.values())
    return tuple((name, w // common) for name, w in floor.items())
