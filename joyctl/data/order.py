"""The order of rows: which row of which source stands at global row g, as a pure function.

Two independent parts. *Which source*: one period of a deal in which every source's count stays within one
row of its exact share at every prefix (R. Tijdeman, The chairman assignment problem, Discrete Mathematics
32, 1980). *Which row of it*: the source's own cursor, sent through a keyed permutation of its rows (a
Feistel network on the next power of two with cycle walking; J. Black and P. Rogaway, Ciphers with
arbitrary finite domains, CT-RSA 2002), keyed by data seed, source name and epoch.

Nothing is stored but integers, so a row is the same for any number of ranks, any batch split and after
any restart; the cursors go on across a change of mix, so no row is shown again before its source's epoch
is over; and a source's permutation depends on no other source, so dropping one moves no other.

After a base that was trained elsewhere the order begins at its step's row, with cursors behind what it has seen. Which
rows those were is its own affair: they are taken to be the first of this order, as they are where it came from here.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from joyctl.campaign.spec import OrderSpec

Int64 = npt.NDArray[np.int64]
UInt32 = npt.NDArray[np.uint32]
_ROUNDS = 6


@dataclass(frozen=True)
class Rows:
    """A stretch of global rows; arrays of equal length."""

    source: npt.NDArray[np.int16]
    """Index into `Order.names`."""
    row: Int64
    """Row inside that source."""
    epoch: Int64
    """How many times that source had been used up before."""


@dataclass(frozen=True)
class _Deal:
    """One period of dealing rows to sources."""

    weights: Int64
    source: npt.NDArray[np.int16]  # [period] which source gets the row
    rank: Int64  # [period] how many rows of that source came before it in the period
    before: Int64  # [period + 1, sources] counts at every prefix

    def counts(self, n: int) -> Int64:
        """Rows of every source among the first n."""
        whole, rest = divmod(n, len(self.source))
        counts: Int64 = whole * self.weights + self.before[rest]
        return counts


class Order:
    """Random access to the rows of a run.

    `spec.phases` start at rising rows, the first at `spec.start_row` (0 where there is none); raises ValueError
    otherwise, for a phase without weights and for a source with weight but no rows.
    """

    def __init__(self, spec: OrderSpec) -> None:
        self.spec = spec
        self.names = tuple(sorted(spec.rows))
        self._size = np.array([spec.rows[name] for name in self.names], np.int64)
        self._starts = np.array([phase.start_row for phase in spec.phases], np.int64)
        self.first = spec.start_row or 0
        """The first global row that this order deals."""
        if not len(self._starts) or self._starts[0] != self.first or (np.diff(self._starts) < 0).any():
            raise ValueError(f"phases must start at row {self.first} and rise")
        # Cursors before the first row; seed 0 goes on behind them in the order that keys them.
        self._seen = np.array([(spec.seen or {}).get(name, 0) for name in self.names], np.int64)
        self._key, self._other = (spec.seed, 0) if spec.start_row is None else (0, spec.seed)
        self._deals: list[_Deal] = []
        self._origin: list[int] = []  # global row at which each phase's deal began
        self._base: list[Int64] = []  # cursors of all sources there
        self._free: list[Int64] = []  # cursors from which on the phase's own seed shuffles
        for j, phase in enumerate(spec.phases):
            for name, weight in phase.weights.items():
                if weight and not spec.rows.get(name):
                    raise ValueError(f"source '{name}' has weight but no rows")
            deal = _deal(tuple(phase.weights.get(name, 0) for name in self.names))
            here = self._cursors(j - 1, phase.start_row) if j else self._seen
            before = spec.phases[j - 1] if j else None
            if before is not None and before.seed not in (0, phase.seed):
                raise ValueError("the data order's seed may change once, where the phase begins")
            # On the same mix the deal goes on: a branch that changes nothing is the trunk, row for row.
            goes_on = j > 0 and (deal.weights == self._deals[-1].weights).all()
            self._free.append(self._free[-1] if before and before.seed == phase.seed else here)
            self._deals.append(deal)
            if j == 0:
                # The deal is where it would be had it begun at row 0, so that a base which did is gone on from.
                self._origin.append(0)
                self._base.append(here - deal.counts(self.first))
            else:
                self._origin.append(self._origin[-1] if goes_on else phase.start_row)
                self._base.append(self._base[-1] if goes_on else here)

    def rows(self, start: int, stop: int) -> Rows:
        """Rows start..stop-1; any stretch, in any order of calls. Raises ValueError for one before the first row."""
        self._require(start)
        parts = []
        for j, first in enumerate(self._starts):
            last = self._starts[j + 1] if j + 1 < len(self._starts) else stop
            a, b = max(start, int(first)), min(stop, int(last))
            if a < b:
                parts.append(self._phase_rows(j, a, b))
        if not parts:
            return Rows(np.empty(0, np.int16), np.empty(0, np.int64), np.empty(0, np.int64))
        return Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def counts(self, g: int) -> dict[str, int]:
        """Rows of every source before global row g, with those that a base has seen.

        Raises ValueError for a row before the first.
        """
        self._require(g)
        j = int(np.searchsorted(self._starts, g, "right")) - 1
        counts = self._cursors(j, g)
        return {name: int(c) for name, c in zip(self.names, counts, strict=True)}

    def _require(self, g: int) -> None:
        if g < self.first:
            raise ValueError(f"the order begins at row {self.first}; row {g} was the base's")

    def _cursors(self, j: int, g: int) -> Int64:
        """Rows of every source before global row g, which lies in phase j or at its end."""
        cursors: Int64 = self._base[j] + self._deals[j].counts(g - self._origin[j])
        return cursors

    def _phase_rows(self, j: int, a: int, b: int) -> tuple[npt.NDArray[np.int16], Int64, Int64]:
        deal = self._deals[j]
        dealt = np.arange(a - self._origin[j], b - self._origin[j], dtype=np.int64)
        turn, place = np.divmod(dealt, len(deal.source))
        source = deal.source[place]
        cursor = self._base[j][source] + turn * deal.weights[source] + deal.rank[place]
        epoch, position = np.divmod(cursor, self._size[source])
        row = np.empty_like(position)
        for i in np.unique(source):
            mine = source == i
            for e in np.unique(epoch[mine]):
                here = mine & (epoch == e)
                row[here] = self._shuffle(j, int(i), int(e), position[here])
        return source, row, epoch

    def _shuffle(self, j: int, i: int, epoch: int, position: Int64) -> Int64:
        """Position within an epoch -> row of source i, in phase j."""
        size, name, seed = int(self._size[i]), self.names[i], self.spec.phases[j].seed
        # Another data order for a part alone shuffles the positions that were left over before it, so that
        # still no row comes twice before the epoch ends: of the phase those of its trunk,
        if seed:
            first = min(max(int(self._free[j][i]) - epoch * size, 0), size)
            position = _leave(position, first, size, _keys(seed, "phase", name, epoch))
        # of another trunk on the same base those of the base.
        if self._other:
            first = min(max(int(self._seen[i]) - epoch * size, 0), size)
            position = _leave(position, first, size, _keys(self._other, "after base", name, epoch))
        return permute(position, size, _keys(self._key, "trunk", name, epoch))


def _leave(position: Int64, first: int, size: int, keys: UInt32) -> Int64:
    """Positions first..size-1 shuffled among themselves."""
    return first + permute(position - first, size - first, keys)


def permute(x: Int64, n: int, keys: UInt32) -> Int64:
    """Keyed permutation of 0..n-1, elementwise; n up to 2**32."""
    if n <= 1:
        return x.copy()
    bits = max(2, (n - 1).bit_length())
    y = _feistel(x.astype(np.uint32), bits, keys)
    outside = np.flatnonzero(y >= n)
    while outside.size:  # cycle walking: the domain is below 2n, so about one more turn on average
        again = _feistel(y[outside], bits, keys)
        y[outside] = again
        outside = outside[again >= n]
    return y.astype(np.int64)


def _feistel(x: UInt32, bits: int, keys: UInt32) -> UInt32:
    low = bits // 2
    high_mask, low_mask = np.uint32((1 << (bits - low)) - 1), np.uint32((1 << low) - 1)
    left, right = x >> np.uint32(low), x & low_mask
    for i, key in enumerate(keys):  # alternating sides keep unequal halves at their width
        if i % 2:
            right = right ^ (_scramble(left, key) & low_mask)
        else:
            left = left ^ (_scramble(right, key) & high_mask)
    return (left << np.uint32(low)) | right


def _scramble(x: UInt32, key: np.uint32) -> UInt32:
    """Mix 32 bits; the multipliers are those of C. Wellons' hash-prospector `lowbias32` (public domain)."""
    x = x ^ key
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


@lru_cache(maxsize=4096)
def _keys(seed: int, stream: str, name: str, epoch: int) -> UInt32:
    digest = hashlib.sha256(f"{seed}/{stream}/{name}/{epoch}".encode()).digest()
    return np.frombuffer(digest, "<u4")[:_ROUNDS].astype(np.uint32)


@lru_cache(maxsize=64)
def _deal(weights: tuple[int, ...]) -> _Deal:
    period = sum(weights)
    if period <= 0 or min(weights) < 0:
        raise ValueError("a mix needs weights that are not negative and sum to something")
    live = [i for i, w in enumerate(weights) if w]
    # Tijdeman's bound, written in integers (all sides times 2 * n * period): a source may take turn t only
    # if its share so far exceeds its count by at least 1/(2n-2); of those, the one due first takes it.
    slack = 2 * len(live) - 2
    due = [(slack - 1) / w if w else 0.0 for w in weights]  # time of the next row: (1 - 1/slack + count) / share
    lead = [slack * w - period for w in weights]  # at least 0 where a source may take the turn
    count = [0] * len(weights)
    turns: list[int] = []
    for _ in range(period):  # plain numbers: one by one, numpy is three times slower
        pick, soonest = -1, math.inf
        for i in live:
            # (a single source is always ready: both sides would be 0 >= period)
            if (not slack or lead[i] >= 0) and due[i] < soonest:
                pick, soonest = i, due[i]
            lead[i] += slack * weights[i]
        turns.append(pick)
        count[pick] += 1
        lead[pick] -= slack * period
        due[pick] = (slack - 1 + slack * count[pick]) / weights[pick]
    source = np.array(turns, np.int16)
    before = np.zeros((period + 1, len(weights)), np.int64)
    np.cumsum(source[:, None] == np.arange(len(weights)), axis=0, out=before[1:])
    rank = before[np.arange(period), source]
    return _Deal(np.array(weights, np.int64), source, rank, before)
