"""Files that lie in object stores: found, and brought whole into a local cache, through fsspec."""

from __future__ import annotations

import errno
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from joyctl.errors import Missing
from joyctl.store.files import atomic_path, write_json

_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
"""What has to be installed for the commonest stores, where fsspec's own words do not say it."""


def is_url(name: str) -> bool:
    """Whether a name is of an object store; all else is a local path."""
    return "://" in name


def exists(url: str) -> bool:
    """Whether there is such a file. Raises Missing where its store cannot be asked."""
    with _asking(url):
        fs, path = _open(url)
        return bool(fs.exists(path))


def matching(pattern: str) -> list[str]:
    """URLs of the files that match a glob, sorted. Raises Missing where the store cannot be asked."""
    with _asking(pattern):
        fs, path = _open(pattern)
        found = fs.glob(path, detail=True)
        return sorted(fs.unstrip_protocol(name) for name, about in found.items() if about["type"] == "file")


def local_copy(url: str, cache: Path, size: int | None = None, *, keep: bool = False) -> Path:
    """Bring a file whole into `cache`, unless it is there, and give its place.

    With `size`, a copy of so many bytes will do and the store is not asked; with `keep` any copy. Without, the copy
    must be of the file as the store has it now. Of several processes, on one node or many, one brings it and the others
    wait. It stands under its name only when it is whole. Raises Missing where it cannot be read or there is no room.
    """
    parent, _, name = url.rpartition("/")
    place = cache / hashlib.sha256(parent.encode()).hexdigest()[:16] / name
    if _will_do(place, size, keep):
        return place
    with _asking(url, cache):
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(f".{name}.lock")):
            if _will_do(place, size, keep):
                return place
            fs, path = _open(url)
            there, version = int(fs.info(path)["size"]), str(fs.ukey(path))
            origin = place.with_name(f".{name}.origin")
            if _has(place, there) and _version(origin) == version:
                return place
            with atomic_path(place) as temporary:
                fs.get_file(path, str(temporary))
                if not _has(temporary, there):
                    came = temporary.stat().st_size
                    raise Missing(f"{url}: {came:,} of {there:,} bytes came", hint="Try again.")
            write_json(origin, {"url": url, "version": version})
    return place


def read_text(url: str) -> str:
    """A small file's text. Raises Missing where it cannot be read."""
    with _asking(url):
        fs, path = _open(url)
        return str(fs.cat_file(path).decode("utf-8"))


def _open(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it; what it knew of folders is forgotten."""
    import fsspec

    fs, path = fsspec.core.url_to_fs(url)
    fs.invalidate_cache()
    return fs, path


def _will_do(place: Path, size: int | None, keep: bool) -> bool:
    return (keep and place.is_file()) or (size is not None and _has(place, size))


def _has(place: Path, size: int) -> bool:
    try:
        return place.stat().st_size == size
    except FileNotFoundError:
        return False


def _version(origin: Path) -> str | None:
    try:
        return str(json.loads(origin.read_bytes())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _asking(url: str, cache: Path | None = None) -> Iterator[None]:
    """Turn what a store's library raises into Missing that names the URL."""
    scheme = url.partition("://")[0]
    try:
        yield
    except ImportError as error:
        package = _PACKAGES.get(scheme, str(error))
        raise Missing(
            f"{url} cannot be read: {package} is not installed", hint=f"pip install {package}, or name local files."
        ) from error
    except failures() as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Missing(
                f"no space left in {cache} for {url}", hint="Make room, or name another data.cache."
            ) from error
        if isinstance(error, FileNotFoundError):
            raise Missing(f"{url} does not exist", hint="Look at tokenised.files of the recipe.") from error
        raise Missing(
            f"{url} cannot be read: {type(error).__name__}: {error}", hint="Look at its name and at your access to it."
        ) from error


def failures() -> tuple[type[Exception], ...]:
    """What stores and the hub raise: mostly OSError; ValueError for an unknown protocol; some libraries have trees of
    their own."""
    found: list[type[Exception]] = [OSError, ValueError]
    for module, name in (
        ("botocore.exceptions", "BotoCoreError"),
        ("botocore.exceptions", "ClientError"),
        ("aiohttp", "ClientError"),
        ("httpx", "HTTPError"),
        ("google.auth.exceptions", "GoogleAuthError"),
        ("azure.core.exceptions", "AzureError"),
    ):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return tuple(found)
