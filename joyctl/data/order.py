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

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from joyctl.campaign.spec import OrderSpec
from joyctl.data.deal import Deal
from joyctl.data.deal import deal as deal_of
from joyctl.data.shuffle import Int64, UInt32, keys_of, permute_parts


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
class _Piece:
    """Positions first..first+count-1 of one source's epoch."""

    source: int
    epoch: int
    first: int
    count: int


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
        self._deals: list[Deal] = []
        self._origin: list[int] = []  # global row at which each phase's deal began
        self._base: list[Int64] = []  # cursors of all sources there
        self._free: list[Int64] = []  # cursors from which on the phase's own seed shuffles
        for j, phase in enumerate(spec.phases):
            for name, weight in phase.weights.items():
                if weight and not spec.rows.get(name):
                    raise ValueError(f"source '{name}' has weight but no rows")
            deal = deal_of(tuple(phase.weights.get(name, 0) for name in self.names))
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
        n = max(stop - start, 0)
        found = Rows(np.empty(n, np.int16), np.empty(n, np.int64), np.empty(n, np.int64))
        for j, first in enumerate(self._starts):
            last = self._starts[j + 1] if j + 1 < len(self._starts) else stop
            a, b = max(start, int(first)), min(stop, int(last))
            if a < b:
                part = slice(a - start, b - start)
                self._fill(j, a, b, Rows(found.source[part], found.row[part], found.epoch[part]))
        return found

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

    def _fill(self, j: int, start: int, stop: int, rows: Rows) -> None:
        """Write rows start..stop-1, all of phase j, into `rows`."""
        origin, deal = self._origin[j], self._deals[j]
        rows.source[:] = deal.sources(start - origin, stop - origin)
        # A source's cursors follow on from each other: its share of the stretch is one range, cut where an epoch ends.
        pieces = []
        cursors = zip(self._cursors(j, start).tolist(), self._cursors(j, stop).tolist(), strict=True)
        for i, (cursor, end) in enumerate(cursors):
            while cursor < end:
                epoch, first = divmod(cursor, int(self._size[i]))
                count = min(int(self._size[i]) - first, end - cursor)
                pieces.append(_Piece(i, epoch, first, count))
                cursor += count
        places = np.argsort(rows.source, kind="stable")  # by source, in the order of its cursors; a radix sort
        rows.row[places] = self._shuffled(j, pieces)
        rows.epoch[places] = np.repeat([piece.epoch for piece in pieces], [piece.count for piece in pieces])

    def _shuffled(self, j: int, pieces: list[_Piece]) -> Int64:
        """The rows of the pieces, in phase j, one piece after the other."""
        position = np.concatenate([np.arange(piece.first, piece.first + piece.count) for piece in pieces])
        counts = [piece.count for piece in pieces]
        sizes = [int(self._size[piece.source]) for piece in pieces]
        # Another data order for a part alone shuffles the positions that were left over before it, so that
        # still no row comes twice before the epoch ends: of the phase those of its trunk,
        shuffles = [(self.spec.phases[j].seed, "phase", self._free[j])]
        # of another trunk on the same base those of the base.
        shuffles.append((self._other, "after base", self._seen))
        for seed, stream, before in shuffles:
            if seed:
                gone = [
                    min(max(int(before[piece.source]) - piece.epoch * size, 0), size)
                    for piece, size in zip(pieces, sizes, strict=True)
                ]
                left = [size - g for size, g in zip(sizes, gone, strict=True)]
                offset = np.repeat(gone, counts)
                position = offset + permute_parts(position - offset, counts, left, self._keys(seed, stream, pieces))
        return permute_parts(position, counts, sizes, self._keys(self._key, "trunk", pieces))

    def _keys(self, seed: int, stream: str, pieces: list[_Piece]) -> list[UInt32]:
        return [keys_of(seed, stream, self.names[piece.source], piece.epoch) for piece in pieces]
