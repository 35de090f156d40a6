"""What lies beside datatrove's .ds: .ds.index (uint64 ends of documents, in tokens) and .ds.metadata.

The metadata's first line is the tokenizer's name and the bytes of an id (`gpt2|2`), its second the number of tokens
(datatrove/pipeline/tokens/tokenizer.py of 0.10).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from joyctl.errors import Refused

DTYPES = {2: "uint16", 4: "uint32"}
"""By bytes of an id."""
_UNKNOWN = "Unknown Tokenizer"
_HINT = "Copy the files anew from where they were made, or make them again."
_STEP = 1 << 20


@dataclass(frozen=True)
class Metadata:
    """What a .ds.metadata says."""

    tokenizer: str | None
    """A name on the hub or a path; None where whoever made the file did not say."""
    width: int
    """Bytes of an id."""
    tokens: int


def index_of(path: Path) -> Path:
    """The index that belongs to a .ds."""
    return path.with_name(f"{path.name}.index")


def metadata_of(path: Path) -> Path:
    """The metadata that belong to a .ds."""
    return path.with_name(f"{path.name}.metadata")


def read_metadata(text: str, where: str) -> Metadata:
    """What the metadata in `where` say. Raises Refused for anything else."""
    try:
        first, second = text.splitlines()[:2]
        name, _, width = first.rpartition("|")
        found = Metadata(None if not name or name.startswith(_UNKNOWN) else name, int(width), int(second))
    except ValueError as error:
        raise Refused(f"{where} is not datatrove's: it has no tokenizer|width and number of tokens") from error
    if found.width not in DTYPES:
        raise Refused(f"{where}: ids of {found.width} bytes; datatrove writes 2 or 4")
    return found


def check_index(index: Path, tokens: int, path: Path) -> None:
    """Raise Refused where the last document of `index` does not end where `path` does; reads its end only."""
    if (last := last_end(index)) != tokens:
        raise Refused(f"{index} ends at token {last:,}, {path} at {tokens:,}", hint=_HINT)


def check_rising(index: Path, buffer: memoryview) -> None:
    """Raise Refused where an index (`buffer`) falls somewhere."""
    ends, before = np.frombuffer(buffer, "<i8"), 0
    for first in range(0, len(ends), _STEP):
        part = ends[first : first + _STEP]
        if part[0] < before or (np.diff(part) < 0).any():
            raise Refused(f"{index}: a document ends before it begins", hint=_HINT)
        before = int(part[-1])


def last_end(index: Path) -> int:
    """The end of an index's last document, in tokens. Raises Refused where it has none."""
    size = index.stat().st_size
    if not size or size % 8:
        raise Refused(f"{index} has {size:,} bytes; the ends of documents have 8 each", hint=_HINT)
    with index.open("rb") as file:
        file.seek(size - 8)
        return int.from_bytes(file.read(8), "little")
