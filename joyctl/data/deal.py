"""Which source gets a row: one period of a deal in which no source ever strays a whole row from its share.

The rule is Tijdeman's (R. Tijdeman, The chairman assignment problem, Discrete Mathematics 32, 1980). With n sources of
share s, the k-th row of a source (from 0) may be dealt as turn t (from 1) when t * s >= k + 1/(2n-2), and is due before
t * s = k + 1 - 1/(2n-2); of the rows that may be dealt the one due first is. Then every count stays within
1 - 1/(2n-2) of its share at every prefix.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from heapq import heappop, heappush, heappushpop

import numpy as np
import numpy.typing as npt

from joyctl.data.dealt import counts_early

Int16 = npt.NDArray[np.int16]
Int64 = npt.NDArray[np.int64]
_DEALT_AT_ONCE = 2_048
"""So long a period is dealt as fast as its counts are found without."""


class Deal:
    """Rows dealt in proportion to integer weights, over and over; the period is their sum.

    Raises ValueError for weights that are negative or sum to nothing. The turns are dealt when they are first asked
    for, and then take 6 bytes each.
    """

    def __init__(self, weights: tuple[int, ...]) -> None:
        if sum(weights) <= 0 or min(weights) < 0:
            raise ValueError("a mix needs weights that are not negative and sum to something")
        self.weights: Int64 = np.array(weights, np.int64)
        """[sources] rows of every source in a period."""
        self.period = sum(weights)

    @cached_property
    def source(self) -> Int16:
        """[period] which source gets the row."""
        return _turns(self.weights).astype(np.int16)

    @cached_property
    def turns(self) -> npt.NDArray[np.int32]:
        """[period] the turns of source 0, rising, then those of source 1, ..."""
        return np.argsort(self.source, kind="stable").astype(np.int32)

    def counts(self, n: int) -> Int64:
        """[sources] rows of every source among the first n."""
        whole, rest = divmod(n, self.period)
        if "source" not in self.__dict__ and self.period > _DEALT_AT_ONCE:
            early = counts_early(self.weights, rest)
            if early is not None:
                return whole * self.weights + early
        counts: Int64 = whole * self.weights
        first = 0
        for i, end in enumerate(np.cumsum(self.weights).tolist()):
            counts[i] += int(self.turns[first:end].searchsorted(rest))
            first = end
        return counts

    def sources(self, start: int, stop: int) -> Int16:
        """Which source gets the turns start..stop-1 of all periods one after the other."""
        start, stop = start % self.period, start % self.period + stop - start
        if stop <= self.period:
            return self.source[start:stop]
        return np.tile(self.source, -(-stop // self.period))[start:stop]


@lru_cache(maxsize=64)
def deal(weights: tuple[int, ...]) -> Deal:
    """The deal of these weights, which remembers its turns."""
    return Deal(weights)


def _turns(weights: Int64) -> Int64:
    """The source of every turn of one period."""
    period, slack = int(weights.sum()), 2 * int(np.count_nonzero(weights)) - 2
    source = np.repeat(np.arange(len(weights)), weights)
    if not slack:
        return source
    # Every row of the period as a job of one turn, with the turn from which on it may be dealt and the time it is due.
    weight = weights[source]
    nth = np.arange(period) - np.repeat(np.cumsum(weights) - weights, weights)
    released = -(-(period * (1 + slack * nth)) // (slack * weight)) - 1
    due = (slack - 1 + slack * nth) / weight  # in units of period / slack; equal ones go to the first source
    urgency = np.lexsort((source, due))
    by_urgency = source[urgency]
    if (released[urgency] <= np.arange(period)).all():
        return by_urgency  # each is there when its turn comes: nobody ever has to wait
    rank = np.empty(period, np.int64)
    rank[urgency] = np.arange(period)
    arrivals = rank[np.argsort(released, kind="stable")].tolist()
    arrived = np.bincount(released, minlength=period).tolist()
    return by_urgency[_most_urgent_first(arrivals, arrived)]


def _most_urgent_first(arrivals: list[int], arrived: list[int]) -> list[int]:
    """Jobs in the order they are done: at every turn the smallest of those that are there.

    `arrivals` are the jobs by turn, of which `arrived[t]` come as turn t begins.
    """
    waiting: list[int] = []
    done = []
    coming = iter(arrivals)
    for count in arrived:
        if count == 1:
            done.append(heappushpop(waiting, next(coming)))
            continue
        for _ in range(count):
            heappush(waiting, next(coming))
        done.append(heappop(waiting))
    return done
