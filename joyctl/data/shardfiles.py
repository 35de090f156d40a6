"""Where the files of a source's shards are on this machine, and whether they are as its sidecar says."""

from __future__ import annotations

from pathlib import Path

from joyctl.data import remote
from joyctl.data.sidecar import AGAIN, Shard, Sidecar, read_sidecar
from joyctl.data.verified import changed_ns, digest_of, remembered_digest
from joyctl.errors import Missing

REMOTE = "remote"
"""Folder of copies of remote files in a data folder."""
CHECKED = "checked"
"""Folder of digests that had to be computed again, in a data folder or a cache of copies."""


def sound_files(folder: Path, sidecar: Sidecar, shard: Shard) -> tuple[Path, Path | None]:
    """A shard's file and its index, which are as the sidecar of data folder `folder` says; copies of remote ones.

    Raises Missing for one that is absent, cut short or has changed since its digest was made.
    """
    if remote.is_url(shard.path):
        return _copies(shard, _cache(folder, sidecar))
    path, index = _places(folder, sidecar, shard)
    try:
        size, same = path.stat().st_size, _untouched(folder, shard, path, index)
    except FileNotFoundError as error:
        raise Missing(f"{error.filename} does not exist", hint=AGAIN) from error
    if size != shard.bytes:
        raise Missing(
            f"{path} has {size:,} bytes; it had {shard.bytes:,} when its digest was made: cut short, or replaced",
            hint=AGAIN,
        )
    if not same:
        raise Missing(f"{_named(path, index)} changed since the digest was made", hint=AGAIN)
    return path, index


def check_files(folder: Path, name: str, *, digests: bool) -> str | None:
    """What is wrong with the files of a data folder's source, in words; None if nothing is.

    Sizes and times of change are looked at, with `digests` every byte is read. Remote files are brought here with
    `digests`, else taken as they may be. Raises Missing and Refused for the sidecar itself, and for a remote file that
    cannot be had.
    """
    sidecar = read_sidecar(folder, name)
    for shard in sidecar.shards or (single_file(sidecar),):
        if remote.is_url(shard.path):
            if digests:
                _copies(shard, _cache(folder, sidecar))
            continue
        path, index = _places(folder, sidecar, shard)
        gone = next((file for file in _both(path, index) if not file.is_file()), None)
        if gone is not None:
            return f"{gone} is missing"
        if (size := path.stat().st_size) != shard.bytes:
            return f"{path} has {size:,} bytes; {shard.tokens:,} tokens have {shard.bytes:,}"
        same = digest_of(_both(path, index)) == shard.sha256 if digests else _untouched(folder, shard, path, index)
        if not same:
            return f"the contents of {_named(path, index)} have changed"
    return None


def single_file(sidecar: Sidecar) -> Shard:
    """The one file of a source whose sidecar names none."""
    size = sidecar.tokens * 2
    return Shard("train.bin", "joyctl", "uint16", 0, sidecar.tokens, sidecar.documents, size, sidecar.sha256)


def _untouched(folder: Path, shard: Shard, path: Path, index: Path | None) -> bool:
    """Whether the files are those of the digest: by their time of change; where that moved, by what they hold."""
    files = _both(path, index)
    if shard.mtime_ns is None or changed_ns(files) == shard.mtime_ns:
        return True
    return path.stat().st_size == shard.bytes and remembered_digest(files, folder / CHECKED) == shard.sha256


def _copies(shard: Shard, cache: Path) -> tuple[Path, Path | None]:
    """Local copies, brought here if need be. One that is not the file of the digest is brought once more."""
    path = remote.local_copy(shard.path, cache, shard.bytes)
    index = None if shard.index is None else remote.local_copy(shard.index, cache, keep=True)
    if remembered_digest(_both(path, index), cache / CHECKED) == shard.sha256:
        return path, index
    for file in _both(path, index):
        file.unlink(missing_ok=True)
    path = remote.local_copy(shard.path, cache)
    index = None if shard.index is None else remote.local_copy(shard.index, cache)
    if remembered_digest(_both(path, index), cache / CHECKED) != shard.sha256:
        raise Missing(f"{_named(shard.path, shard.index)} changed since the digest was made", hint=AGAIN)
    return path, index


def _places(folder: Path, sidecar: Sidecar, shard: Shard) -> tuple[Path, Path | None]:
    here = folder / "sources" / sidecar.name  # an absolute path stays what it is
    return here / shard.path, None if shard.index is None else here / shard.index


def _cache(folder: Path, sidecar: Sidecar) -> Path:
    return folder / REMOTE if sidecar.cache is None else Path(sidecar.cache)


def _both(path: Path, index: Path | None) -> list[Path]:
    return [path] if index is None else [path, index]


def _named(path: Path | str, index: Path | str | None) -> str:
    return str(path) if index is None else f"{path} or {index}"
