"""From what a recipe says of its token files to their names, their formats and what lies beside them."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from joyctl.data import remote
from joyctl.errors import Missing, Refused
from joyctl.recipe.sources import Tokenised

Format = Literal["megatron", "datatrove", "npy", "flat"]

_BESIDE = (".idx", ".index", ".metadata", ".loss")
"""Endings of files that lie beside files of ids."""


def expand(spec: Tokenised) -> list[str]:
    """The files that `spec.files` stands for, in order: absolute paths and URLs, a glob's sorted by name.

    What only lies beside token files (.idx, .ds.index, .ds.metadata) is left out of a glob; Megatron's prefix without
    `.bin` is the file with it. Raises Missing where nothing is found, Refused for a file that
    is named twice.
    """
    found = [name for pattern in spec.files for name in _matching(pattern)]
    if twice := [name for name, times in Counter(found).items() if times > 1]:
        raise Refused(f"tokenised.files has {twice[0]} twice", hint="Name every file once.")
    return found


def format_of(path: str, spec: Tokenised) -> Format:
    """What a file is: what `spec` says, or by its name and what lies beside it."""
    if spec.format != "auto":
        return spec.format
    if path.endswith(".npy"):
        return "npy"
    if path.endswith(".ds"):
        return "datatrove"
    return "megatron" if path.endswith(".bin") and _exists(f"{path[:-4]}.idx") else "flat"


def beside(path: str, form: str) -> tuple[str, ...]:
    """Names of the files that are read with one of that format, whether they are there or not; the index first."""
    if form == "megatron":
        return (f"{path.removesuffix('.bin')}.idx",)
    return (f"{path}.index", f"{path}.metadata") if form == "datatrove" else ()


def _matching(pattern: str) -> Iterator[str]:
    url = remote.is_url(pattern)
    if not url:
        pattern = os.path.abspath(os.path.expanduser(pattern))  # noqa: PTH100, PTH111  a glob, not a path
    if glob.has_magic(pattern) and (url or not Path(pattern).exists()):
        names = remote.matching(pattern) if url else sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
        # A link to nothing is not left out: whoever reads it tells of it.
        names = [name for name in names if not name.endswith(_BESIDE) and (url or not Path(name).is_dir())]
        if not names:
            raise Missing(f"no file matches {pattern}", hint="Look at tokenised.files of the recipe.")
        yield from names
    elif _exists(pattern):
        if not url and Path(pattern).is_dir():
            raise Missing(f"{pattern} is a folder", hint=f"Name its files, in order or by a glob: {pattern}/*.bin")
        yield pattern
    elif _exists(f"{pattern}.bin"):
        yield f"{pattern}.bin"
    else:
        raise Missing(f"{pattern} does not exist", hint="Look at tokenised.files of the recipe.")


def _exists(name: str) -> bool:
    return remote.exists(name) if remote.is_url(name) else Path(name).exists()
