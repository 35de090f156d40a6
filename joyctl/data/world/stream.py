"""A keyed stream of random numbers that is the same on every machine and Python version.

`random.Random` promises the same `random()` for a seed, but not the same `choice`, `shuffle` or `sample`
across versions; a world must not change with the interpreter. The generator is SplitMix64 (G. Steele,
D. Lea, C. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014), keyed by SHA-256.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")
Key = str | int

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


class Stream:
    """An endless stream of numbers, fixed by its seed and key; streams of different keys are independent."""

    def __init__(self, seed: int, *key: Key) -> None:
        self._state = int.from_bytes(_digest(seed, key)[:8], "big")

    def bits(self) -> int:
        """The next 64 bits, as an integer."""
        self._state = z = (self._state + _GOLDEN) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def below(self, n: int) -> int:
        """An integer from 0 to n - 1; no value is favoured by more than n / 2**64."""
        if n <= 0:
            raise ValueError(f"no integer is below {n}")
        return (self.bits() * n) >> 64

    def between(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        """True in `percent` of 100 cases."""
        return self.below(100) < percent

    def choice(self, items: Sequence[T]) -> T:
        """One item, all equally likely."""
        return items[self.below(len(items))]

    def zipf(self, items: Sequence[T], flatten: int = 2) -> T:
        """One item, the one at place i (from 0) with weight 1 / (i + flatten), as words in a language."""
        sums = _zipf_sums(len(items), flatten)
        return items[bisect_right(sums, self.below(sums[-1]))]

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """`k` different places of `items`, in random order."""
        pool = list(items)
        if not 0 <= k <= len(pool):
            raise ValueError(f"cannot draw {k} of {len(pool)}")
        for i in range(k):
            j = i + self.below(len(pool) - i)
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:k]

    def shuffle(self, items: Sequence[T]) -> list[T]:
        """All items in random order, as a new list (Fisher and Yates)."""
        return self.sample(items, len(items))


def rank_key(seed: int, *key: Key) -> bytes:
    """A sort key that puts things in an order fixed by seed and key alone."""
    return _digest(seed, ("rank", *key))


def _digest(seed: int, key: tuple[Key, ...]) -> bytes:
    return hashlib.sha256("\x1f".join(map(str, (seed, *key))).encode()).digest()


@lru_cache(maxsize=256)
def _zipf_sums(n: int, flatten: int) -> tuple[int, ...]:
    """Running sums of the weights, in whole numbers: floating point could round differently elsewhere."""
    total, sums = 0, []
    for i in range(n):
        total += 1_000_000 // (i + flatten)
        sums.append(total)
    return tuple(sums)
