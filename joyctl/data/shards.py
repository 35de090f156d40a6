"""A source's tokens as one sequence, whatever files they lie in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[Any]
"""Token ids of an unsigned or signed integer type, little-endian."""
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shard:
    """One file of token ids, as the source's sidecar describes it."""

    path: str
    """Relative to the source's folder where joyctl wrote it; else absolute, or a URL."""
    format: str
    """`joyctl`, `megatron`, `datatrove`, `npy` or `flat`."""
    dtype: str
    """numpy's name: `uint16`, `int32`, ..."""
    offset: int
    """Bytes of the file before the first id."""
    tokens: int
    documents: int
    bytes: int
    """Size of the file."""
    sha256: str
    mtime_ns: int | None = None
    """When the file was changed last, as it was when the digest was made; None where there is no such time."""


@dataclass(frozen=True)
class Boundary:
    """How the ids themselves tell where documents begin."""

    token: int
    begins: bool
    """Whether it is a document's first token; else it is its last."""


class SourceTokens:
    """Random access to the ids of a source; every array it gives is read-only or a copy.

    `arrays` are its shards' ids, mapped; `ends`, of equal length, the positions in each shard behind every document's
    last token, rising, or None where only `boundary` tells.
    """

    def __init__(
        self, arrays: Sequence[Ids], ends: Sequence[Int64 | None] = (), boundary: Boundary | None = None
    ) -> None:
        self.arrays = tuple(arrays)
        self.ends = tuple(ends) or (None,) * len(self.arrays)
        self.boundary = boundary
        self.first = np.concatenate([[0], np.cumsum([len(a) for a in self.arrays])]).astype(np.int64)
        """[shards + 1] position in the source at which each shard begins, and its number of tokens."""

    def __len__(self) -> int:
        return int(self.first[-1])

    def read(self, start: int, stop: int) -> Ids:
        """Ids of positions start..stop-1; a view where one shard has them all."""
        i = int(np.searchsorted(self.first, start, "right")) - 1
        if stop <= self.first[i + 1]:
            return self.arrays[i][start - int(self.first[i]) : stop - int(self.first[i])]
        parts = []
        while start < stop:
            end = min(stop, int(self.first[i + 1]))
            parts.append(self.arrays[i][start - int(self.first[i]) : end - int(self.first[i])])
            start, i = end, i + 1
        return np.concatenate(parts)

    def document_starts(self, start: int, stop: int) -> Int64:
        """Positions in start..stop-1 at which a document begins, rising. Raises ValueError where nothing tells."""
        raise NotImplementedError


def open_source(folder: Path, name: str) -> SourceTokens:
    """The tokens of source `name` of a data folder, as its sidecar sources/<name>/source.json describes them.

    A sidecar without `shards` means one file, train.bin, of two bytes an id. Files that lie in an object store are
    brought into the local cache first. Raises Missing for a file that is absent, cut short or has changed since its
    digest was made.
    """
    from joyctl.data.folder import tokens

    return SourceTokens([tokens(folder, name)])
