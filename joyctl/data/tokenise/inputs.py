"""What a source's documents are read from: files found and cut into pieces, pieces gathered into parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from glob import has_magic
from pathlib import Path
from typing import Any, Literal

from joyctl.data.remote import failures
from joyctl.errors import Missing
from joyctl.recipe.types import Source, Text, Tokenised
from joyctl.store.files import sha256_file
from joyctl.store.fingerprint import fingerprint

MOST_PARTS = 256
"""A source is cut into so many parts where they come out no smaller than SMALLEST and no larger than LARGEST."""
SMALLEST, LARGEST = 8 << 20, 2 << 30  # bytes
CUT = (".jsonl", ".ndjson", ".json", ".parquet")
"""Files with these names can be read from the middle."""
_PACKED = ("", ".gz", ".zst", ".zstd")
KNOWN = (".parquet", *(kind + packed for kind in (".jsonl", ".ndjson", ".json", ".txt") for packed in _PACKED))
_VERSIONS = ("ETag", "etag", "mtime", "LastModified", "created")
"""What file systems call the time or version of a file."""


@dataclass(frozen=True)
class Piece:
    """A file, or a stretch of it."""

    path: str
    """Absolute, or a URL, or a dataset's name or folder."""
    start: int = 0
    """First byte of a file of lines, first row group of a Parquet file, number of a dataset's stretch."""
    stop: int | None = None
    """Where it stops (not included); None for the end. Of a dataset: into how many stretches it is cut."""
    size: int = 0
    """Bytes of the whole file."""
    changed: str | None = None
    """When the file was changed, or which version it is, as its store says it; a dataset's commit or digest."""


Gathered = tuple[list[Piece], int]
"""Pieces of one part and how many bytes they are."""


@dataclass(frozen=True)
class Planned:
    """One part of a build."""

    name: str
    source: str
    number: int
    """Its place among the source's parts: documents stay in this order."""
    kind: Literal["files", "dataset", "tokenised"]
    pieces: tuple[Piece, ...]
    bytes: int
    key: str
    """Digest of all that determines its result: another key, another result."""


def plan_source(name: str, source: Source, settings: object) -> list[Planned]:
    """The parts of a source, the same whoever does them. `settings` is what else determines their results.

    Raises Missing for files that are not there or of no known kind, and for a dataset that does not load.
    """
    if source.tokenised is not None:
        return _planned(name, "tokenised", _tokenised(source.tokenised), settings)
    assert source.text is not None  # the recipe's own check
    if source.text.dataset is not None:
        return _planned(name, "dataset", [([p], 0) for p in _dataset(name, source.text)], settings)
    files = [stat(path) for path in _expanded(f"sources.{name}.text.files", source.text.files or ())]
    for file in files:
        if not file.path.endswith(KNOWN):
            raise Missing(
                f"{file.path}: no file of text that joyctl knows",
                hint=f"Known are {', '.join(KNOWN)}; tokens go under 'tokenised'.",
            )
    return _planned(name, "files", _gathered(files), settings)


def stat(path: str) -> Piece:
    """A whole file with its size and version. Raises Missing when it is not there."""
    if "://" not in path:
        try:
            found = Path(path).stat()
        except OSError as error:
            what = "a link to nothing" if Path(path).is_symlink() else error.strerror
            raise Missing(f"{path}: {what}", hint="The recipe names it under sources.") from error
        return Piece(path, size=found.st_size, changed=str(found.st_mtime_ns))
    system, inner = filesystem(path)
    try:
        info = system.info(inner)
    except failures() as error:
        raise _unreached(path, error) from error
    changed = next((str(info[key]) for key in _VERSIONS if key in info), None)
    return Piece(path, size=int(info.get("size") or 0), changed=changed)


def filesystem(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it. Raises Missing where its driver is not installed."""
    import fsspec

    try:
        system, inner = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        hint = "Install what fsspec names, or copy the files."
        raise Missing(f"{url} cannot be opened: {error}", hint=hint) from error
    return system, str(inner)


def _expanded(key: str, patterns: Sequence[str]) -> list[str]:
    """Paths and URLs of all files, in the order given, a glob's by name. Raises Missing for what matches nothing."""
    found: list[str] = []
    for pattern in patterns:
        if not has_magic(pattern) or ("://" not in pattern and Path(pattern).exists()):
            found.append(pattern)
            continue
        if "://" in pattern:
            system, inner = filesystem(pattern)
            try:
                matches = sorted(system.unstrip_protocol(path) for path in system.glob(inner))
            except failures() as error:
                raise _unreached(pattern, error) from error
        else:
            place = Path(pattern).expanduser()
            place = place / "*" if place.name == "**" else place  # which alone stands for folders
            root = Path(place.anchor or ".")
            # A link to nothing is no file, but it is not left out: `stat` tells of it.
            matches = sorted(str(path) for path in root.glob(str(place.relative_to(place.anchor))) if not path.is_dir())
        if not matches:
            raise Missing(f"{key}: no file matches {pattern}", hint="A path is relative to the recipe file.")
        found += matches
    return list(dict.fromkeys(found))


def _unreached(url: str, error: Exception) -> Missing:
    return Missing(f"{url} cannot be reached: {error}", hint="The recipe names it under sources.")


def _gathered(files: Sequence[Piece]) -> list[Gathered]:
    """Pieces of about equal size by part: large files cut, small ones together, in order."""
    size = min(max(sum(file.size for file in files) // MOST_PARTS, SMALLEST), LARGEST)
    parts: list[Gathered] = []
    for piece, read in (cut for file in files for cut in _cut(file, size)):
        if parts and parts[-1][1] + read <= size:
            parts[-1] = ([*parts[-1][0], piece], parts[-1][1] + read)
        else:
            parts.append(([piece], read))
    return parts


def _cut(file: Piece, size: int) -> Iterator[tuple[Piece, int]]:
    """A file in pieces of at most about `size` bytes, where its kind can be cut, each with its bytes."""
    number = -(-file.size // size)
    ends = file.size
    if number > 1 and file.path.endswith(".parquet"):
        from joyctl.data.tokenise.readers import row_groups

        ends = row_groups(file.path)
        number = min(number, ends)
    if number <= 1 or not file.path.endswith(CUT):
        yield file, file.size
        return
    for i in range(number):
        piece = Piece(file.path, ends * i // number, ends * (i + 1) // number, file.size, file.changed)
        yield piece, file.size // number


def _tokenised(spec: Tokenised) -> list[Gathered]:
    """Every file of tokens, with what lies beside it and belongs to it."""
    from joyctl.data import formats, remote
    from joyctl.data.formats.names import beside, format_of

    parts: list[Gathered] = []
    for path in formats.expand(spec):
        there = remote.exists if remote.is_url(path) else lambda name: Path(name).is_file()
        pieces = [stat(path), *(stat(name) for name in beside(path, format_of(path, spec)) if there(name))]
        parts.append((pieces, pieces[0].size))
    return parts


def _dataset(name: str, text: Text) -> list[Piece]:
    """A dataset by its own shards; its version is a commit of the hub, or the digest of what a folder holds."""
    from joyctl.data.tokenise.hub import shards, version

    assert text.dataset is not None
    changed = version(f"sources.{name}.text.dataset", text)
    number = min(shards(text, changed), MOST_PARTS * 4)
    return [Piece(text.dataset, i, number, 0, changed) for i in range(number)]


def folder_version(folder: Path) -> str:
    """Digest of names, sizes and times of all files in a folder; of the contents of small ones."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts = [[str(path.relative_to(folder)), path.stat().st_size, str(path.stat().st_mtime_ns)] for path in files]
    small = [sha256_file(path) for path in files if path.stat().st_size < 1 << 16]
    return fingerprint([facts, small])


def _planned(
    source: str, kind: Literal["files", "dataset", "tokenised"], parts: Sequence[Gathered], settings: object
) -> list[Planned]:
    return [
        Planned(
            name=f"{source}-{number:05d}",
            source=source,
            number=number,
            kind=kind,
            pieces=tuple(pieces),
            bytes=read,
            key=fingerprint([settings, [asdict(piece) for piece in pieces]]),
        )
        for number, (pieces, read) in enumerate(parts)
    ]
