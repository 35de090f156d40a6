"""Where the documents of a row begin, and what can be known of that."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from joyctl.campaign.documents import JOINED, attention_words, sources_of
from joyctl.campaign.spec import SegmentSpec
from joyctl.data.shards import SourceTokens
from joyctl.data.sidecar import Boundary, read_sidecar
from joyctl.data.tokenizer_files import token_that

_NEVER = Boundary(-1, begins=True)
"""No id is below 0."""


def tells_documents(folder: Path, name: str) -> bool:
    """Whether anything tells where the documents of source `name` of a data folder begin; reads no tokens.

    Then `SourceTokens.document_starts` does not raise. Raises Missing where there is no such source.
    """
    about = read_sidecar(folder, name)
    if about.boundary is not None:
        return True
    if about.shards:
        return all(shard.index is not None for shard in about.shards)
    return token_that(folder / "tokenizer", "bos") is not None  # open_source goes by it too


def told(source: SourceTokens) -> SourceTokens:
    """The source, or where nothing tells its documents apart the same as one document."""
    if source.boundary is not None or all(ends is not None for ends in source.ends):
        return source
    return SourceTokens(source.arrays, source.ends, _NEVER, np.diff(source.first).tolist())


def untold(folder: Path, sources: Collection[str]) -> tuple[str, ...]:
    """Those of `sources`, sorted, of which nothing tells where documents begin."""
    return tuple(name for name in sorted(sources) if not tells_documents(folder, name))


def keeps_apart(segment: SegmentSpec) -> bool:
    """Whether a segment keeps documents apart: its recipe wants it, and something tells where any of them begin."""
    names = sources_of(segment)
    return segment.training.documents == "apart" and len(untold(Path(segment.data_folder), names)) < len(names)


def attention_of(segment: SegmentSpec) -> str:
    """What the documents of a segment's rows are to each other, for its record and a reader."""
    if segment.training.documents == "joined":
        return JOINED
    return attention_words(untold(Path(segment.data_folder), sources_of(segment)))
