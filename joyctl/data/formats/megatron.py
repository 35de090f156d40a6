"""The .idx beside Megatron-core's .bin: its header, whether it agrees with the .bin, the ends of documents.

    9 bytes MMIDIDX\\0\\0, uint64 version 1, uint8 type of ids, uint64 sequences S, uint64 entries of documents D + 1,
    int32 [S] tokens of each sequence, int64 [S] byte of the .bin at which it begins,
    int64 [D + 1] the sequence with which each document begins, and S

(megatron/core/datasets/indexed_dataset.py of 0.16). Nothing after the header is aligned, so numpy would copy the whole
index before it searches; `bisect` on a memoryview reads a few of its entries.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from joyctl.data.sidecar import Shard
from joyctl.errors import Missing, Refused

MAGIC = b"MMIDIDX\x00\x00"
_HEADER = struct.Struct("<9sQBQQ")
_DTYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float64", 7: "float32", 8: "uint16"}
_STEP = 1 << 20  # entries that are looked at in one go


@dataclass(frozen=True)
class Header:
    """What an .idx says before its tables."""

    dtype: str
    sequences: int
    documents: int

    @property
    def bytes(self) -> int:
        """Size of the whole index."""
        return _HEADER.size + 12 * self.sequences + 8 * (self.documents + 1)

    @property
    def width(self) -> int:
        """Bytes of an id."""
        return np.dtype(self.dtype).itemsize


def index_of(path: Path) -> Path:
    """The .idx that belongs to a .bin."""
    return path.with_suffix(".idx")


def read_header(index: Path) -> Header:
    """The header of an .idx. Raises Missing where there is none, Refused for what is no index of token ids."""
    try:
        with index.open("rb") as file:
            head = file.read(_HEADER.size)
    except FileNotFoundError as error:
        raise Missing(f"{index} does not exist", hint="A Megatron .bin is read with the .idx beside it.") from error
    if len(head) < _HEADER.size or not head.startswith(MAGIC):
        raise Refused(f"{index} is not an index of Megatron's: it does not begin as one", hint=_HINT)
    _, version, code, sequences, entries = _HEADER.unpack(head)
    if version != 1:
        raise Refused(f"{index} is of version {version}; only version 1 can be read", hint=_HINT)
    if not np.issubdtype(np.dtype(_DTYPES.get(code, "float64")), np.integer):
        raise Refused(f"{index}: ids of type {_DTYPES.get(code, code)}; token ids are integers", hint=_HINT)
    if not entries:
        raise Refused(f"{index} has no list of documents", hint=_HINT)
    return Header(_DTYPES[code], sequences, entries - 1)


def check_size(header: Header, index: Path) -> None:
    """Raise Refused where the .idx is not as long as its header says."""
    if (size := index.stat().st_size) != header.bytes:
        raise Refused(
            f"{index} has {size:,} bytes; {header.sequences:,} sequences in {header.documents:,} documents take"
            f" {header.bytes:,}",
            hint=_HINT,
        )


def check(header: Header, index: Path, path: Path, buffer: memoryview) -> None:
    """Raise Refused where the .idx (`buffer`) disagrees with itself or with its .bin, naming both; reads all of it."""
    place = 0
    lengths, pointers, begins = _tables(buffer, header)
    for first in range(0, header.sequences, _STEP):
        sizes = lengths[first : first + _STEP].astype(np.int64) * header.width
        starts = place + np.concatenate([[0], np.cumsum(sizes)])
        wrong = np.flatnonzero((pointers[first : first + _STEP] != starts[:-1]) | (sizes < 0))
        if len(wrong):
            at = first + int(wrong[0])
            raise Refused(
                f"{index}: sequence {at:,} begins at byte {int(pointers[at]):,} of {path}, not where the one before it"
                f" ends ({int(starts[wrong[0]]):,})",
                hint="Only sequences that lie one behind the other are read; write the files anew in this order.",
            )
        place = int(starts[-1])
    if (size := path.stat().st_size) != place:
        raise Refused(f"{path} has {size:,} bytes, {index} says {place:,}", hint=_HINT)
    rising = all(bool((np.diff(part) >= 0).all()) for part in _overlapping(begins))
    if begins[0] != 0 or begins[-1] != header.sequences or not rising:
        raise Refused(f"{index}: its documents are not the {header.sequences:,} sequences of {path}", hint=_HINT)


def check_fit(ends: Ends, header: Header, shard: Shard, path: Path, index: Path) -> None:
    """Raise Refused where an .idx cannot be that of `shard`; looks at its ends only."""
    if (header.dtype, header.documents) != (shard.dtype, shard.documents) or ends.stop != shard.bytes:
        raise Refused(
            f"{index} and {path} do not agree: {header.documents:,} documents of {header.dtype} up to byte"
            f" {ends.stop:,}, but {shard.documents:,} of {shard.dtype} up to {shard.bytes:,}",
            hint=_HINT,
        )


class Ends:
    """Where the documents of a .bin end: `len`, `searchsorted` and slices as of a rising array of [documents] tokens.

    Nothing is held but the mapped .idx; a search takes about 2 microseconds in an index of any size.
    """

    def __init__(self, buffer: memoryview, header: Header, tokens: int) -> None:
        places = _HEADER.size + 4 * header.sequences
        self._width, self._tokens, self._sequences = header.width, tokens, header.sequences
        self._starts = buffer[places : places + 8 * header.sequences].cast("q")
        self._begins = buffer[places + 8 * header.sequences + 8 : header.bytes].cast("q")
        last = header.sequences - 1
        size = (
            int.from_bytes(buffer[_HEADER.size + 4 * last : _HEADER.size + 4 * last + 4], "little") if last >= 0 else 0
        )
        self.stop = self._starts[last] + size * self._width if last >= 0 else 0
        """Byte of the .bin at which its last sequence ends."""

    def __len__(self) -> int:
        return len(self._begins)

    def searchsorted(self, position: int, side: str = "left") -> int:
        """How many documents end before token `position`; with side `right`, there or before."""
        position = int(position)
        if position > self._tokens or (position == self._tokens and side == "right"):
            return len(self)
        k = (bisect_right if side == "right" else bisect_left)(self._starts, position * self._width)
        # Where every document is one sequence, as nearly always, the k-th stands where it should: no second search.
        if 2 <= k <= len(self) and self._begins[k - 1] == k and self._begins[k - 2] == k - 1:
            return k - 1
        return bisect_left(self._begins, k)

    def __getitem__(self, part: slice) -> npt.NDArray[np.int64]:
        begins = np.frombuffer(self._begins[part], "<i8")
        if not len(begins):
            return np.empty(0, np.int64)
        first, last = int(begins[0]), int(begins[-1])
        starts = np.frombuffer(self._starts[first : last + 1], "<i8")
        if last == self._sequences:  # the last document ends where nothing begins
            starts = np.append(starts, self._tokens * self._width)
        ends: npt.NDArray[np.int64] = starts[begins - first] // self._width
        return ends


_HINT = "Copy both files anew from where they were made, or make them again."


def _tables(
    buffer: memoryview, header: Header
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """[S] lengths, [S] starts, [D + 1] first sequences."""
    n, place = header.sequences, _HEADER.size
    lengths = np.frombuffer(buffer, "<i4", n, place)
    starts = np.frombuffer(buffer, "<i8", n, place + 4 * n)
    return lengths, starts, np.frombuffer(buffer, "<i8", header.documents + 1, place + 12 * n)


def _overlapping(values: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Parts that share their ends with their neighbours."""
    edges = [*range(0, len(values) - 1, _STEP), len(values) - 1]
    for first, last in pairwise(edges):
        yield values[first : last + 1]
