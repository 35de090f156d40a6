"""A source's sidecar, sources/<name>/source.json: what its tokens are and which files they lie in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from joyctl.errors import Missing, Refused
from joyctl.store.fingerprint import fingerprint

SIDECAR = "source.json"
AGAIN = "Restore it, or rename the data folder and build it again: joyctl data build RECIPE"


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
    """Of the file's bytes, followed by those of its index where it has one (`cat x.bin x.idx | sha256sum`)."""
    mtime_ns: int | None = None
    """When the file was changed last, and its index, added up, as it was when the digest was made; None where there is
    no such time."""
    index: str | None = None
    """The file beside it that says where its documents end, named as `path` is; None where there is none."""


@dataclass(frozen=True)
class Boundary:
    """How the ids themselves tell where documents begin."""

    token: int
    begins: bool
    """Whether it is a document's first token; else it is its last."""


@dataclass(frozen=True)
class Sidecar:
    """A source as its sidecar describes it."""

    name: str
    tokens: int
    documents: int
    sha256: str
    """Of the one file that it lies in, else of the digests of all."""
    tokenizer_sha256: str | None = None
    """Digest of the data folder's tokenizer as it was when the source was made."""
    boundary: Boundary | None = None
    shards: tuple[Shard, ...] = ()
    """Its files in order; none means one file, train.bin, of two bytes an id."""
    cache: str | None = None
    """Where copies of remote files go, if not into `remote/` of the data folder."""


def read_sidecar(folder: Path, name: str) -> Sidecar:
    """The sidecar of a data folder's source `name`.

    Raises Missing where it is absent or damaged, Refused where its digest is not that of its files.
    """
    path = folder / "sources" / name / SIDECAR
    if not path.is_file():
        raise Missing(f"{path} does not exist", hint="Make it: joyctl data build RECIPE")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        boundary = about.get("boundary")
        found = Sidecar(
            name=name,
            tokens=int(about["tokens"]),
            documents=int(about.get("documents", 0)),
            sha256=str(about["sha256"]),
            tokenizer_sha256=about.get("tokenizer_sha256"),
            boundary=None if boundary is None else Boundary(**boundary),
            shards=tuple(Shard(**shard) for shard in about.get("shards", ())),
            cache=about.get("cache"),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Missing(f"{path} is damaged: {error!r}", hint=AGAIN) from error
    shards = found.shards
    if shards and (source_digest(shards) != found.sha256 or sum(s.tokens for s in shards) != found.tokens):
        raise Refused(f"{path}: its digest or its size is not that of the files it names", hint=AGAIN)
    return found


def source_digest(shards: Sequence[Shard]) -> str:
    """The digest of a source's tokens: its one file's, else of [tokens, SHA-256] of every file in order."""
    if len(shards) == 1:
        return shards[0].sha256
    return fingerprint([[shard.tokens, shard.sha256] for shard in shards])


def describe(
    name: str,
    shards: Sequence[Shard],
    *,
    tokenizer_sha256: str,
    boundary: Boundary | None = None,
    heldout: Mapping[str, object] | None = None,
    cache: str | None = None,
) -> dict[str, object]:
    """What a source's sidecar says, as JSON has it. `format` and `dtype` are `mixed` where its files differ in them."""
    formats, dtypes = {shard.format for shard in shards}, {shard.dtype for shard in shards}
    return {
        "name": name,
        "format": formats.pop() if len(formats) == 1 else "mixed",
        "dtype": dtypes.pop() if len(dtypes) == 1 else "mixed",
        "tokens": sum(shard.tokens for shard in shards),
        "documents": sum(shard.documents for shard in shards),
        "sha256": source_digest(shards),
        "tokenizer_sha256": tokenizer_sha256,
        "boundary": None if boundary is None else asdict(boundary),
        "heldout": heldout,
        "cache": cache,
        "shards": [asdict(shard) for shard in shards],
    }
