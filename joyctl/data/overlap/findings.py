"""What an overlap check found, as it lies in a data folder: test items by task, and where in the sources they stand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from joyctl.errors import Missing
from joyctl.store.files import write_json

FOLDER = "overlap"
"""Below a data folder."""
VERSION = 1


@dataclass(frozen=True)
class Passage:
    """Where an item stands in one source."""

    n: int
    """Length of the longest n-gram found, in words."""
    share: float
    """Share of the item's words that stand there."""
    text: str
    """The matching text, an excerpt."""
    document: int | None = None
    """Number of the first document that has it."""
    position: int | None = None
    """Position of the first hit, in tokens from the source's first."""
    hits: int | None = None
    """How often it was found."""


@dataclass(frozen=True)
class Found:
    """One item that stands in the training data."""

    doc_id: int
    """As samples.jsonl has it."""
    split: str
    """`test`, or `train`, which is no leak."""
    sources: Mapping[str, Passage]


@dataclass(frozen=True)
class Training:
    """Items of a task's training split."""

    n: int
    found: tuple[Found, ...]


@dataclass(frozen=True)
class TaskItems:
    """What was found of one task, by its name in samples.jsonl."""

    hash: str
    """Digest of the task's documents."""
    n: int
    """Items looked for."""
    found: tuple[Found, ...]
    """In the order of their ids."""
    too_short: tuple[int, ...] = ()
    """Items with too few words to tell."""
    train: Training | None = None

    def leaked(self, sources: Mapping[str, str]) -> dict[int, tuple[str, ...]]:
        """Items of the test split that stand in any of `sources`, with which of these."""
        inside = {
            found.doc_id: tuple(name for name in found.sources if name in sources)
            for found in self.found
            if found.split == "test"
        }
        return {doc: names for doc, names in inside.items() if names}


@dataclass(frozen=True)
class Overlap:
    """Everything one check found."""

    sources: Mapping[str, str]
    """Digest of every source that was looked through."""
    items: Mapping[str, TaskItems]
    ngrams: tuple[int, ...] = (13, 8)


def write(path: Path, overlap: Overlap) -> None:
    """Write it, atomically, as `<data folder>/overlap/<key>.json`."""
    items = {task: _without_absent(asdict(found)) for task, found in overlap.items.items()}
    whole = {"version": VERSION, "sources": dict(overlap.sources), "items": items, "ngrams": list(overlap.ngrams)}
    write_json(path, whole)


def read(data_folder: Path, sources_sha256: Mapping[str, str]) -> Overlap | None:
    """What is known of these sources; None where no check has looked through all of them as they are.

    Several checks of the same tokens, of different suites, are one: of a task in several, the newest. Items that stand
    only in other sources stay in it; `TaskItems.leaked` leaves them out. Raises Missing for a damaged file.
    """
    files = sorted((data_folder / FOLDER).glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    covering = [each for each in map(_read, files) if sources_sha256.items() <= each.sources.items()]
    if not covering:
        return None
    items = {task: found for each in covering for task, found in each.items.items()}
    return Overlap(covering[-1].sources, items, covering[-1].ngrams)


def _read(path: Path) -> Overlap:
    try:
        value = json.loads(path.read_bytes())
        if value["version"] != VERSION:
            raise ValueError(f"version {value['version']}")
        items = {task: _task(found) for task, found in value["items"].items()}
        return Overlap({**value["sources"]}, items, tuple(value["ngrams"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "Remove it and check again: joyctl data overlap RECIPE"
        raise Missing(f"{path} is damaged: {error!r}", hint=hint) from error


def _task(value: Mapping[str, Any]) -> TaskItems:
    train = value.get("train")
    return TaskItems(
        hash=value["hash"],
        n=value["n"],
        found=tuple(map(_found, value["found"])),
        too_short=tuple(value.get("too_short", ())),
        train=None if train is None else Training(train["n"], tuple(map(_found, train["found"]))),
    )


def _found(value: Mapping[str, Any]) -> Found:
    sources = {name: _passage(passage) for name, passage in value["sources"].items()}
    return Found(int(value["doc_id"]), value["split"], sources)


def _passage(value: Mapping[str, Any]) -> Passage:
    optional = {name: value.get(name) for name in ("document", "position", "hits")}
    return Passage(value["n"], value["share"], value["text"], **optional)


def _without_absent(value: dict[str, Any]) -> dict[str, Any]:
    if value["train"] is None:
        del value["train"]
    return value
