"""Maps files of token ids, and the ends of their documents, into memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from joyctl.data.formats import datatrove, megatron
from joyctl.data.sidecar import AGAIN, Shard
from joyctl.errors import Missing

Ends = npt.NDArray[np.int64] | megatron.Ends
"""[documents] positions behind every document's last token, rising; only `len`, `searchsorted` with one number and
slices are to be asked for."""


def map_ids(shard: Shard, path: Path) -> npt.NDArray[np.generic]:
    """[tokens] the shard's ids from its file here, read-only. Raises Missing for a file too short by now."""
    dtype, buffer = np.dtype(shard.dtype).newbyteorder("<"), mapped(path)
    if len(buffer) < shard.offset + shard.tokens * dtype.itemsize:
        raise Missing(f"{path} has {len(buffer):,} bytes: it was cut short while it was in use", hint=AGAIN)
    return np.frombuffer(buffer, dtype, shard.tokens, shard.offset)


def map_ends(shard: Shard, path: Path, index: Path | None) -> Ends | None:
    """The ends of its documents where a file beside it tells. Raises Refused for one that does not fit the shard.

    joyctl's own files have theirs in `.ends`, in datatrove's form. A digest does not go over them: they can be made
    again from the ids.
    """
    if shard.format == "joyctl":
        ends = path.with_name(f"{path.name}.ends")
        index = ends if ends.is_file() else None
    if index is None:
        return None
    if shard.format == "megatron":
        header = megatron.read_header(index)
        megatron.check_size(header, index)
        found = megatron.Ends(mapped(index), header, shard.tokens)
        megatron.check_fit(found, header, shard, path, index)
        return found
    datatrove.check_index(index, shard.tokens, path)
    return np.frombuffer(mapped(index), "<i8")


def mapped(path: Path) -> memoryview:
    """A file's bytes, read-only. Unlike `np.memmap` it keeps no file handle: a process may have a thousand, a source
    more files than that."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        return memoryview(file.read_buffer()).cast("B")
