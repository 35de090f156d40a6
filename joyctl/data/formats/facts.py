"""All that a sidecar says of one file of token ids, found in one pass over its bytes."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from joyctl.data import remote
from joyctl.data.formats.layouts import COPY, Layout, layout_of
from joyctl.data.formats.names import beside, format_of
from joyctl.data.sidecar import Boundary, Shard
from joyctl.data.verified import changed_ns
from joyctl.errors import Missing, Refused
from joyctl.recipe.sources import Tokenised

_CHUNK = 8 << 20


def facts_of(
    path: str,
    spec: Tokenised,
    vocab_size: int,
    progress: Callable[[int], None] = lambda tokens: None,
    *,
    boundary: Boundary | None = None,
    cache: Path | None = None,
) -> Shard:
    """Inspect one file of `expand(spec)`: type, sizes, documents, SHA-256 over it and its index, ids in range.

    `progress` hears of tokens as they come. Where no index tells documents apart, they are counted by `boundary`;
    without either the count is 0. A URL is brought into `cache` and kept there; without a `cache` it is brought, looked
    at and removed. Memory is bounded, whatever the file's size.

    Raises Missing for what is not there or cannot be read, Refused for a file that is empty, cut short, disagrees with
    its index or has ids at or beyond `vocab_size`, RecipeError where the recipe must tell its type.
    """
    if not remote.is_url(path):
        return _facts(path, Path(path), format_of(path, spec), spec, _Pass(vocab_size, progress, boundary))
    if cache is None:
        with tempfile.TemporaryDirectory(prefix="joyctl-") as folder:
            return facts_of(path, spec, vocab_size, progress, boundary=boundary, cache=Path(folder))
    form = format_of(path, spec)
    local = remote.local_copy(path, cache)
    for name in beside(path, form):
        if remote.exists(name):
            remote.local_copy(name, cache)
    found = _facts(path, local, form, spec, _Pass(vocab_size, progress, boundary))
    return replace(found, mtime_ns=None, index=None if found.index is None else beside(path, form)[0])


@dataclass(frozen=True)
class _Pass:
    """What the pass over a file's ids looks at and tells."""

    vocab_size: int
    progress: Callable[[int], None]
    boundary: Boundary | None


def _facts(name: str, path: Path, form: str, spec: Tokenised, how: _Pass) -> Shard:
    if not path.is_file():
        raise Missing(f"{name} does not exist", hint="Look at tokenised.files of the recipe.")
    size = path.stat().st_size
    if size == 0:
        raise Refused(f"{name} is empty", hint="Leave it out, or make it again.")
    files = [path, *(file for file in map(Path, beside(str(path), form)[:1]) if file.is_file())]
    changed = changed_ns(files)
    layout = layout_of(path, form, spec)
    width = np.dtype(layout.dtype).itemsize
    if spec.dtype is not None and spec.dtype != layout.dtype:
        raise Refused(
            f"{name} has ids of type {layout.dtype}; tokenised.dtype says {spec.dtype}", hint="Leave dtype out."
        )
    tokens, rest = divmod(size - layout.offset, width)
    if layout.tokens is not None and (tokens, rest) != (layout.tokens, 0):
        raise Refused(
            f"{name} has {size:,} bytes; {layout.said_by} says {layout.tokens:,} ids of {layout.dtype}, which take"
            f" {layout.offset + layout.tokens * width:,}",
            hint=COPY,
        )
    if rest:
        raise Refused(
            f"{name} has {size:,} bytes, which is no multiple of {width}: it is cut short, or its ids are not"
            f" {layout.dtype}",
            hint=COPY,
        )
    if tokens == 0:
        raise Refused(f"{name} has no token ids", hint="Leave it out, or make it again.")
    documents, digest = _read_ids(name, path, layout, how, told=form in ("flat", "datatrove"))
    if layout.index is not None:
        _hash_into(digest, layout.index)
    if changed_ns(files) != changed or path.stat().st_size != size:
        raise Refused(f"{name} was changed while it was read", hint="Try again when nothing writes to it.")
    counted = documents if layout.documents is None else layout.documents
    index = None if layout.index is None else str(layout.index)
    return Shard(name, form, layout.dtype, layout.offset, tokens, counted, size, digest.hexdigest(), changed, index)


def _read_ids(name: str, path: Path, layout: Layout, how: _Pass, *, told: bool) -> tuple[int, Any]:
    """(documents by the boundary, digest so far) of one pass; `told` where the file itself does not say its type."""
    dtype = np.dtype(layout.dtype).newbyteorder("<")
    digest, place, documents, last = hashlib.sha256(), 0, 0, None
    with path.open("rb", buffering=0) as file:
        digest.update(file.read(layout.offset))
        while chunk := _read_full(file):
            digest.update(chunk)
            ids = np.frombuffer(chunk, dtype, len(chunk) // dtype.itemsize)
            if place == 0 and told:
                _refuse_half_ids(name, ids)
            _check_range(name, ids, place, how.vocab_size)
            if how.boundary is not None:
                documents += int(np.count_nonzero(ids == how.boundary.token))
                if place == 0 and how.boundary.begins and ids[0] != how.boundary.token:
                    documents += 1
            place, last = place + len(ids), int(ids[-1])
            how.progress(len(ids))
    if how.boundary is not None and not how.boundary.begins and last != how.boundary.token:
        documents += 1
    return documents, digest


def _read_full(file: Any) -> bytes:
    """The next chunk, whole unless the file ends: a raw read may give less, and an id must not be torn."""
    parts, wanted = [], _CHUNK
    while wanted and (part := file.read(wanted)):
        parts.append(part)
        wanted -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _check_range(name: str, ids: np.ndarray[Any, Any], place: int, vocab_size: int) -> None:
    if int(ids.max()) >= vocab_size or (ids.dtype.kind == "i" and int(ids.min()) < 0):
        at = int(np.flatnonzero((ids < 0) | (ids >= vocab_size))[0])
        raise Refused(
            f"{name}: id {int(ids[at]):,} at position {place + at:,} is not one of the vocabulary's {vocab_size:,}",
            hint="It is of another tokenizer, of another type than dtype says, or damaged.",
        )


def _refuse_half_ids(name: str, ids: np.ndarray[Any, Any]) -> None:
    """Ids of twice the width read as halves: every second one is 0."""
    if len(ids) >= 64 and not ids[1::2].any() and ids[::2].any():
        raise Refused(
            f"{name}: every second id is 0, so its ids have {2 * ids.dtype.itemsize} bytes, not {ids.dtype.itemsize}",
            hint="Correct tokenised.dtype.",
        )


def _hash_into(digest: Any, path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
