"""Digests of large files, computed again only when a file's size or time of change moved."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from joyctl.store.files import write_json

_CHUNK = 8 << 20


def digest_of(files: Sequence[Path]) -> str:
    """SHA-256 of the bytes of `files`, one behind the other."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def changed_ns(files: Sequence[Path]) -> int:
    """The times of change of `files`, added up: whichever moves, back or forth, the sum does."""
    return sum(path.stat().st_mtime_ns for path in files)


def remembered_digest(files: Sequence[Path], remember: Path) -> str:
    """`digest_of`, or what folder `remember` keeps of it for files of these sizes and times.

    Of several processes one computes it and the others wait. Where `remember` cannot be written, all compute it.
    """
    kept = remember / f"{hashlib.sha256(str(files[0].absolute()).encode()).hexdigest()[:16]}.json"
    seen = _seen(files)
    if (known := _read(kept, seen)) is not None:
        return known
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            remember.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(kept.with_suffix(".lock")))
        if (known := _read(kept, seen)) is not None:
            return known
        found = digest_of(files)
        if _seen(files) == seen:
            with contextlib.suppress(OSError):
                write_json(kept, {"file": str(files[0]), "seen": seen, "sha256": found})
    return found


def _seen(files: Sequence[Path]) -> list[list[int]]:
    return [[status.st_size, status.st_mtime_ns] for status in (path.stat() for path in files)]


def _read(kept: Path, seen: list[list[int]]) -> str | None:
    try:
        about = json.loads(kept.read_bytes())
        return str(about["sha256"]) if about["seen"] == seen else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
