"""Sources that a finished folder beside this one has already, of the same inputs: linked, not made again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from joyctl.data.shardfiles import check_files
from joyctl.data.sidecar import SIDECAR
from joyctl.data.tokenise.inputs import Planned
from joyctl.errors import Missing, Refused
from joyctl.store.fingerprint import fingerprint


def inputs_digest(parts: Sequence[Planned]) -> str:
    """Digest of all that determines a source's tokens."""
    return fingerprint([part.key for part in parts])


def take(parts: Sequence[Planned], folder: Path, beside: Path) -> str | None:
    """Link the source of `parts` into `folder` from a finished folder in `beside`; gives that one's name.

    None where no folder has it with its files as they were. Files are copied where they cannot be linked.
    """
    name, wanted = parts[0].source, inputs_digest(parts)
    for sidecar in sorted(beside.glob(f"[!.]*/sources/{name}/{SIDECAR}")):
        other = sidecar.parents[2]
        try:
            whole = json.loads(sidecar.read_bytes()).get("inputs") == wanted and not check_files(
                other, name, digests=False
            )
        except (OSError, ValueError, Missing, Refused):
            continue
        if whole:
            _link(sidecar.parent, folder / "sources" / name)
            return other.name
    return None


def _link(source: Path, goal: Path) -> None:
    shutil.rmtree(goal, ignore_errors=True)
    goal.mkdir(parents=True)
    for file in source.iterdir():
        try:
            os.link(file, goal / file.name)
        except OSError:
            shutil.copyfile(file, goal / file.name)
            with (goal / file.name).open("rb") as copied:
                os.fsync(copied.fileno())
