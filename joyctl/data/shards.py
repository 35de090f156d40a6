"""A source's tokens as one sequence, whatever files they lie in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import numpy as np
import numpy.typing as npt

from joyctl.data.formats.mapping import Ends, map_ends, map_ids
from joyctl.data.shardfiles import single_file, sound_files
from joyctl.data.sidecar import AGAIN, Boundary, Shard, Sidecar, read_sidecar
from joyctl.data.tokenizer_files import token_that
from joyctl.errors import Missing

__all__ = ["Boundary", "Ids", "Int64", "Shard", "SourceTokens", "open_source"]

Ids = npt.NDArray[Any]
"""Token ids of an unsigned or signed integer type, little-endian."""
Int64 = npt.NDArray[np.int64]
_AT_ONCE = 16
"""Files that are looked at, or fetched, at the same time: on a shared disk each look waits for a server."""


class SourceTokens:
    """Random access to the ids of a source; every array it gives is read-only or a copy.

    `arrays` are its shards' ids; `ends`, of equal length, the positions in each shard behind every document's last
    token, rising, or None where only `boundary` tells. Both may be sequences that map a file when it is first touched;
    then `lengths` are the tokens of each.
    """

    def __init__(
        self,
        arrays: Sequence[Ids],
        ends: Sequence[Ends | None] = (),
        boundary: Boundary | None = None,
        lengths: Sequence[int] | None = None,
    ) -> None:
        self.arrays = arrays
        self.ends = ends or (None,) * len(arrays)
        self.boundary = boundary
        sizes = [len(a) for a in arrays] if lengths is None else lengths
        self.first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        """[shards + 1] position in the source at which each shard begins, and its number of tokens."""
        self._edges: list[int] = self.first.tolist()  # bisect in a list takes a third of the time

    def __len__(self) -> int:
        return self._edges[-1]

    def read(self, start: int, stop: int) -> Ids:
        """Ids of positions start..stop-1; a view where one shard has them all."""
        i = min(bisect_right(self._edges, start), len(self.arrays)) - 1
        base = self._edges[i]
        if stop <= self._edges[i + 1]:
            return self.arrays[i][start - base : stop - base]
        return np.concatenate([self.arrays[i][a:b] for i, a, b in self._parts(start, stop)])

    def document_starts(self, start: int, stop: int) -> Int64:
        """Positions in start..stop-1 at which a document begins, rising. Raises ValueError where nothing tells.

        The source's first position always is one, and with an index every file's.
        """
        found = [self._starts_in(i, a, b) + self._edges[i] for i, a, b in self._parts(start, stop)]
        return found[0] if len(found) == 1 else np.concatenate([np.empty(0, np.int64), *found])

    def _parts(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """(shard, start, stop) in it, for every shard that has some of the positions."""
        i = bisect_right(self._edges, start) - 1
        while start < stop:
            base, end = self._edges[i], min(stop, self._edges[i + 1])
            if start < end:
                yield i, start - base, end - base
            start, i = end, i + 1

    def _starts_in(self, i: int, start: int, stop: int) -> Int64:
        ends = self.ends[i]
        if ends is not None:
            # A document begins where the one before it ends; ones without a token leave the same place twice.
            inner = ends[int(ends.searchsorted(start, "left")) : int(ends.searchsorted(stop, "left"))]
            if start == 0:
                inner = np.concatenate([[0], inner])
            if len(inner) > 1 and not (rises := inner[1:] != inner[:-1]).all():
                inner = inner[np.concatenate([[True], rises])]
            return inner
        if self.boundary is None:
            raise ValueError("neither an index nor a token tells where this source's documents begin")
        ids = self.arrays[i]
        if self.boundary.begins:
            found = np.flatnonzero(ids[start:stop] == self.boundary.token) + start
        else:
            found = np.flatnonzero(ids[max(start - 1, 0) : stop - 1] == self.boundary.token) + max(start, 1)
        begins_here = start == 0 and self._begins_document(i) and not (len(found) and found[0] == 0)
        return np.concatenate([[0], found]) if begins_here else found

    def _begins_document(self, i: int) -> bool:
        """Whether a document begins where shard i does, as far as what stands before it tells."""
        if self._edges[i] == 0 or self.ends[i - 1] is not None:
            return True
        before = int(self.read(self._edges[i] - 1, self._edges[i])[0])
        return self.boundary is not None and not self.boundary.begins and before == self.boundary.token


def open_source(folder: Path, name: str) -> SourceTokens:
    """The tokens of source `name` of a data folder, as its sidecar sources/<name>/source.json describes them.

    A sidecar without `shards` means one file, train.bin, of two bytes an id. Files that lie in an object store are
    brought into the local cache first. All are looked at, none is mapped before it is needed. Raises Missing for a file
    that is absent, cut short or has changed since its digest was made; one whose time of change moved is read once to
    know, and what came of it kept in the folder's `checked/`.
    """
    sidecar = read_sidecar(folder, name)
    if not sidecar.shards:
        return _open_single(folder, sidecar)
    with ThreadPoolExecutor(min(_AT_ONCE, len(sidecar.shards))) as pool:
        found = list(pool.map(lambda shard: sound_files(folder, sidecar, shard), sidecar.shards))
    shards = list(zip(sidecar.shards, found, strict=True))
    return SourceTokens(
        _Lazy([partial(map_ids, shard, path) for shard, (path, _) in shards]),
        _Lazy([partial(map_ends, shard, path, index) for shard, (path, index) in shards]),
        sidecar.boundary,
        [shard.tokens for shard in sidecar.shards],
    )


def _open_single(folder: Path, sidecar: Sidecar) -> SourceTokens:
    """As long as the file is, whatever the sidecar says: whoever reads rows knows how many were planned."""
    path = folder / "sources" / sidecar.name / "train.bin"
    if not path.is_file():
        raise Missing(f"{path} does not exist", hint="Make it: joyctl data build RECIPE")
    size = path.stat().st_size
    if size == 0 or size % 2:
        raise Missing(f"{path} has {size:,} bytes, which are no ids of two bytes each", hint=AGAIN)
    boundary = sidecar.boundary
    if boundary is None and (token := token_that(folder / "tokenizer", "bos")) is not None:
        boundary = Boundary(token, begins=True)
    whole = replace(single_file(sidecar), tokens=size // 2, bytes=size)
    return SourceTokens([map_ids(whole, path)], boundary=boundary)


T = TypeVar("T")


class _Lazy(Sequence[T]):
    """Values that are made when they are first asked for."""

    def __init__(self, makers: Sequence[Callable[[], T]]) -> None:
        self._makers = makers
        self._made: list[T | None] = [None] * len(makers)
        self._done = bytearray(len(makers))

    def __len__(self) -> int:
        return len(self._makers)

    @overload
    def __getitem__(self, i: int) -> T: ...
    @overload
    def __getitem__(self, i: slice) -> list[T]: ...
    def __getitem__(self, i: int | slice) -> T | list[T]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        if not self._done[i]:
            self._made[i] = self._makers[i]()
            self._done[i] = True
        return cast(T, self._made[i])
