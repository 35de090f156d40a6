"""Reads the rows that the data order names out of the sources' tokens, as numpy arrays."""

from __future__ import annotations

import ctypes
import mmap
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from joyctl.data.documents import told
from joyctl.data.formats.mapping import Ends
from joyctl.data.order import Order
from joyctl.data.shards import Ids, SourceTokens, open_source
from joyctl.errors import Refused

Int64 = npt.NDArray[np.int64]
PLACES = 16384
"""Rows whose places are computed in one call of the data order, at most: a call costs 0.4 ms however few it is asked
for, and more for every epoch of a source that the rows go through, so it is no more than all sources have."""
_KEPT = 3  # such stretches that are remembered, of 0.8 MB: the one being read, the next, and that of rows far ahead
_LOOK = 32  # rows after which it is asked whether the disk was waited for
_madvise = ctypes.CDLL(None).madvise  # by address, since what maps a file may keep its mapping to itself
_madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_ADVISED = 16384  # rows of which the kernel is told in advance after it was


class Batch(NamedTuple):
    """Rows ready for training; int64 arrays of shape [rows, seq_len] that nobody else holds."""

    inputs: Int64
    labels: Int64
    """The token behind every input."""
    positions: Int64 | None
    """Of every token in its document, as far as the row has it: a row that begins inside one starts at 0."""


_Places = tuple[list[int], list[int]]
"""Where rows lie: which of all arrays has the whole row, and where it begins there. Of a row that none has whole,
number of arrays + source, and where it begins in that source. Plain numbers: one by one, numpy's are slower."""


class RowReader:
    """Random access to the global rows of a run, and to the one token behind each that is its last label.

    `sources` are in the order of `order.names`. What stays in memory is a few stretches of places and which array is
    which, whatever the number of rows. Rows come out the same however they are asked for.

    Files that are not in the page cache are read ahead through `expect`. It costs a system call a row, so the kernel is
    told only while this thread has had to wait for the disk lately (`getrusage`: major faults), and at the beginning.
    """

    def __init__(self, order: Order, sources: Sequence[SourceTokens], seq_len: int) -> None:
        self.order = order
        self.seq_len = seq_len
        self._sources = tuple(sources)
        counts = [len(source.arrays) for source in self._sources]
        self._shard = np.cumsum([0, *counts])  # [sources + 1] index of each source's first array among all
        self._total = sum(counts)
        # All arrays, each as it is first read, since shards may map themselves then; behind them one place a source.
        self._arrays: list[Ids | None] = [None] * self._total
        self._addresses = [0] * self._total  # of their first bytes
        self._slices: list[Any] = [_Unread(self, i) for i in range(self._total)]
        self._slices += [_Across(self, source) for source in self._sources]
        self._dtype: np.dtype[Any] | None = None  # of all arrays that have come up
        self._mixed = False  # whether they differ in it
        self._ends: list[Ends | None] = [None] * len(self._slices)
        self._stride = max(64, min(PLACES, sum(order.spec.rows.values())))
        self._places: dict[int, _Places] = {}  # of stretch i, rows i * stride and on
        self._near: tuple[int, int, list[int], list[int]] = (0, 0, [], [])  # of them, with its first and last row
        boundaries = {source.boundary for source in self._sources}
        self._boundary = boundaries.pop() if len(boundaries) == 1 else None
        self.shown = [0] * len(self._sources)
        """Rows that `batch` has given out, by source: counted where they are read, not taken from the order."""
        self._source = [s for s, n in enumerate(counts) for _ in range(n)] + list(range(len(counts)))  # of every slice
        self._indexed = False  # whether an array has come up whose documents an index tells
        # Positions are counted in the smallest type that has them: a quarter of what has to be written.
        self._ramp: npt.NDArray[Any] = np.empty(0, np.uint16 if seq_len <= 1 << 16 else np.int64)
        self._advise = _ADVISED
        self._unseen = 0  # rows read since the last look
        self._faults = _major_faults()

    def ids(self, start: int, stop: int) -> Ids:
        """Token ids of global rows start..stop-1 as they are stored, [rows, seq_len + 1], not to be written to."""
        return self._gather(self._find(start, stop), self.seq_len + 1)

    def inputs(self, start: int, stop: int) -> Int64:
        """The rows alone, without the token behind each: int64 [rows, seq_len]."""
        return self._gather(self._find(start, stop), self.seq_len).astype(np.int64)

    def batch(self, start: int, stop: int, *, positions: bool = False) -> Batch:
        """Global rows start..stop-1 for training. Raises ValueError where nothing tells documents apart."""
        places, shape = self._find(start, stop), (stop - start, self.seq_len)
        for i in places[0]:
            self.shown[self._source[i]] += 1
        # One block, not three: freeing several at once gives memory back that the next batch has to be given anew.
        block = np.empty((2 + positions, *shape), np.int64)
        # Copied as they are and converted twice: less to read than converting twice from where they lie.
        ids = self._gather(places, self.seq_len + 1)
        block[0] = ids[:, :-1]
        block[1] = ids[:, 1:]
        if not positions:
            return Batch(block[0], block[1], None)
        block[2] = self._positions(self._begins(places, ids), shape)
        return Batch(block[0], block[1], block[2])

    def expect(self, start: int, stop: int) -> None:
        """Global rows start..stop-1 will be read soon: bring them into the page cache meanwhile. May do nothing."""
        if self._advise <= 0:
            return
        size = self.seq_len + 1
        for i, at in zip(*self._find(start, stop), strict=True):
            if i < self._total:
                _will_need(self.array(i), self._addresses[i], at, at + size)
                continue
            source, first = self._sources[i - self._total], int(self._shard[i - self._total])
            for shard in range(*_overlapped(source, at, at + size)):
                base, ids = int(source.first[shard]), self.array(first + shard)
                _will_need(ids, self._addresses[first + shard], max(at - base, 0), min(at + size - base, len(ids)))

    def _find(self, start: int, stop: int) -> _Places:
        """Where global rows start..stop-1 lie."""
        first, last, array, at = self._near
        if not first <= start <= stop <= last:
            if start < self.order.first:
                raise ValueError(f"the order begins at row {self.order.first}; row {start} was the base's")
            stride = self._stride
            i = start // stride
            if stop > (i + 1) * stride:
                before, after = self._find(start, (i + 1) * stride), self._find((i + 1) * stride, stop)
                return before[0] + after[0], before[1] + after[1]
            first, last = max(i * stride, self.order.first), (i + 1) * stride
            array, at = self._stretch(i, first, last)
            self._near = first, last, array, at
        return array[start - first : stop - first], at[start - first : stop - first]

    def _stretch(self, i: int, first: int, last: int) -> _Places:
        found = self._places.pop(i, None) or self._compute(first, last)
        self._places[i] = found  # the one asked for last stands last
        if len(self._places) > _KEPT:
            del self._places[next(iter(self._places))]
        return found

    def _compute(self, start: int, stop: int) -> _Places:
        rows = self.order.rows(start, stop)
        position = rows.row * self.seq_len
        array = np.empty(len(position), np.int32)
        at = position.copy()
        for s, source in enumerate(self._sources):
            mine = np.flatnonzero(rows.source == s)
            shard = np.searchsorted(source.first, position[mine], "right") - 1
            whole = position[mine] + self.seq_len + 1 <= source.first[np.minimum(shard + 1, len(source.first) - 1)]
            array[mine] = np.where(whole, self._shard[s] + shard, self._total + s)
            at[mine] -= np.where(whole, source.first[shard], 0)
        return array.tolist(), at.tolist()

    def _gather(self, places: _Places, size: int) -> Ids:
        """The first `size` tokens of every row, [rows, size], not to be written to: one call copies them all."""
        slices = self._slices
        parts = [slices[i][at : at + size] for i, at in zip(*places, strict=True)]
        self._unseen += len(parts)
        if self._unseen >= _LOOK:
            self._look()
        if self._mixed:
            return np.concatenate([np.asarray(part) for part in parts]).reshape(len(parts), size)
        # Slices of memoryviews, joined: a quarter less time than slices of arrays, concatenated.
        return np.frombuffer(b"".join(parts), self._dtype).reshape(len(parts), size)

    def array(self, i: int) -> Ids:
        """The i-th of all sources' arrays, as it is first read."""
        known = self._arrays[i]
        if known is not None:
            return known
        s = int(np.searchsorted(self._shard, i, "right")) - 1
        shard = i - int(self._shard[s])
        ids = self.seen(self._sources[s].arrays[shard].view(np.ndarray))
        ends = self._ends[i] = self._sources[s].ends[shard]
        self._indexed = self._indexed or ends is not None
        self._arrays[i], self._addresses[i] = ids, ids.ctypes.data
        self._slices[i] = memoryview(cast(Any, ids))
        return ids

    def seen(self, ids: Ids) -> Ids:
        """The same; its type is noted."""
        self._mixed = self._mixed or (self._dtype is not None and ids.dtype != self._dtype)
        self._dtype = ids.dtype
        return ids

    def _look(self) -> None:
        """Whether this thread has waited for the disk since the last look."""
        faults = _major_faults()
        self._advise = _ADVISED if faults != self._faults else self._advise - self._unseen
        self._faults, self._unseen = faults, 0

    def _begins(self, places: _Places, ids: Ids) -> Int64:
        """Where documents begin, counted through the rows' inputs one after another; in no order."""
        length = self.seq_len
        if self._boundary is None or self._indexed or max(places[0], default=0) >= self._total:
            rows = enumerate(zip(*places, strict=True))
            return np.concatenate([self._starts(i, at) + k * length for k, (i, at) in rows])
        begins: Int64 = (ids.reshape(-1) == self._boundary.token).nonzero()[0]
        if not self._boundary.begins:
            begins += 1
        # What the token behind a row begins or ends comes to lie where the next row begins anyway.
        begins -= begins // (length + 1)
        return begins

    def _starts(self, i: int, start: int) -> Int64:
        """Where documents begin in one row, counted from its first token."""
        ends = self._ends[i]
        if ends is not None:  # as SourceTokens.document_starts has it, without its steps from shard to shard
            inside: Int64 = ends[ends.searchsorted(start, "right") : ends.searchsorted(start + self.seq_len, "left")]
            return inside - start
        s, first = i - self._total, start
        if i < self._total:
            s = int(np.searchsorted(self._shard, i, "right")) - 1
            first += int(self._sources[s].first[i - int(self._shard[s])])
        found: Int64 = self._sources[s].document_starts(first, first + self.seq_len)
        return found - first

    def _positions(self, begins: Int64, shape: tuple[int, int]) -> npt.NDArray[Any]:
        """Counted from 0 at every beginning of a document or row."""
        size, dtype = shape[0] * shape[1], self._ramp.dtype
        if len(self._ramp) != size:
            self._ramp = np.arange(size).astype(dtype)  # uint16 goes round, and so do differences
        bounds = np.concatenate([begins, np.arange(0, size + 1, self.seq_len)])
        bounds.sort()  # one that stands twice is followed by 0 tokens
        positions = bounds[:-1].astype(dtype).repeat(bounds[1:] - bounds[:-1])
        np.subtract(self._ramp, positions, out=positions)
        return positions.reshape(shape)


class _Unread:
    """Stands for an array that no row has been read from yet."""

    def __init__(self, reader: RowReader, i: int) -> None:
        self._reader, self._i = reader, i

    def __getitem__(self, positions: slice) -> Ids:
        return self._reader.array(self._i)[positions]


class _Across:
    """Rows that no array of their source has whole."""

    def __init__(self, reader: RowReader, source: SourceTokens) -> None:
        self._reader, self._source = reader, source

    def __getitem__(self, positions: slice) -> Ids:
        return self._reader.seen(self._source.read(positions.start, positions.stop))


def open_rows(order: Order, folder: Path, seq_len: int, *, positions: bool = False) -> RowReader:
    """Rows of `seq_len` tokens of a data folder; for `positions`, a source that does not tell documents apart is one.

    Raises Refused where a source is not as long as was planned, and what `open_source` raises.
    """
    sources = []
    for name in order.names:
        source = open_source(folder, name)
        there, planned = max(len(source) - 1, 0) // seq_len, order.spec.rows[name]
        if there != planned:
            raise Refused(
                f"{folder}: source '{name}' has {there} rows of {seq_len} tokens, the plan was made for {planned}",
                hint="The data changed after the campaign was planned: plan it again under another name.",
            )
        sources.append(told(source) if positions else source)
    return RowReader(order, sources, seq_len)


def _overlapped(source: SourceTokens, start: int, stop: int) -> tuple[int, int]:
    """Range of shards that positions start..stop-1 lie in."""
    first, last = np.searchsorted(source.first, [start, stop - 1], "right")
    return int(first) - 1, int(last)


def _will_need(ids: Ids, address: int, start: int, stop: int) -> None:
    """Have the kernel read ids[start:stop] from disk while we go on. In memory of another kind it does nothing."""
    first = (address + start * ids.itemsize) // mmap.PAGESIZE * mmap.PAGESIZE
    _madvise(first, address + stop * ids.itemsize - first, mmap.MADV_WILLNEED)


def _major_faults() -> int:
    """How often this thread has waited for a page from disk."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt
