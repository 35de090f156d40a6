"""What the overlap check found, item by item: overlap/<key>.json in a data folder, as reports read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from joyctl.errors import Missing
from joyctl.store.files import write_text

VERSION = 1
FOLDER = "overlap"
NGRAMS = (13, 8)
"""Lengths of the sequences of words that are looked for."""


@dataclass(frozen=True)
class Match:
    """The best passage of a source for an item."""

    n: int
    """Words of the longest n-gram in common: 13 or 8, or all of a shorter item."""
    share: float
    """Share of the item's words that stand in the passage, in n-grams that count."""
    text: str
    """Of the source, the longest run in common, cut short."""
    document: int
    """Number of the document in the source, from 0."""
    position: int
    """Number of the source's token at which that run begins."""
    hits: int
    """Passages of the source that the item is found in."""


@dataclass(frozen=True)
class FoundItem:
    """An item that stands in some source."""

    doc_id: int
    """As in samples.jsonl for the test split; its number in the training split."""
    split: str
    """`test` (what is scored, whatever the benchmark calls it) or `train`."""
    sources: dict[str, Match]


@dataclass(frozen=True)
class TrainFindings:
    """A task's training split: found in a source it is no leak."""

    n: int
    found: tuple[FoundItem, ...]


@dataclass(frozen=True)
class TaskFindings:
    """One of lm-eval's leaf tasks."""

    hash: str
    """Digest of its items' texts."""
    n: int
    """How many are scored."""
    found: tuple[FoundItem, ...]
    too_short: tuple[int, ...]
    """Items of too few words to tell."""
    train: TrainFindings


@dataclass(frozen=True)
class Findings:
    """One check: the sources by their digests, what stands in them by task."""

    sources: dict[str, str]
    items: dict[str, TaskFindings]
    ngrams: tuple[int, ...] = NGRAMS

    @property
    def n(self) -> int:
        """Items that are scored."""
        return sum(task.n for task in self.items.values())

    @property
    def found(self) -> int:
        """How many of them stand in a source."""
        return sum(len(task.found) for task in self.items.values())


def write_findings(path: Path, findings: Findings) -> None:
    """Write findings, atomically."""
    write_text(path, json.dumps({"version": VERSION, **asdict(findings)}, ensure_ascii=False) + "\n")


def read_findings(path: Path) -> Findings:
    """Raises Missing where the file is absent, damaged or of another version."""
    try:
        text = json.loads(path.read_bytes())
        if text["version"] != VERSION:
            raise ValueError(f"version {text['version']}")
        items = {
            name: TaskFindings(
                task["hash"],
                task["n"],
                _found(task["found"]),
                tuple(task["too_short"]),
                TrainFindings(task["train"]["n"], _found(task["train"]["found"])),
            )
            for name, task in text["items"].items()
        }
        return Findings(dict(text["sources"]), items, tuple(text["ngrams"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Missing(f"{path} holds no findings: {error!r}", hint="Make them: joyctl data overlap RECIPE") from error


def _found(rows: list[dict[str, object]]) -> tuple[FoundItem, ...]:
    made = []
    for row in rows:
        sources = row["sources"]
        assert isinstance(sources, dict)
        matches = {name: Match(**match) for name, match in sources.items()}
        made.append(FoundItem(int(str(row["doc_id"])), str(row["split"]), matches))
    return tuple(made)


def known_findings(folder: Path, sources: Mapping[str, str]) -> dict[str, TaskFindings]:
    """What is known of tasks in a data folder's sources, given as digests by name; by leaf task.

    A check counts where it looked through all these sources, as they are; what it found in others is left out. Of
    several that know a task the newest counts. Files that cannot be read are passed over.
    """
    known: dict[str, TaskFindings] = {}
    files = sorted((folder / FOLDER).glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    for path in files:
        try:
            found = read_findings(path)
        except Missing:
            continue
        if all(found.sources.get(name) == digest for name, digest in sources.items()):
            known |= {name: _of(task, sources) for name, task in found.items.items()}
    return known


def _of(task: TaskFindings, sources: Mapping[str, str]) -> TaskFindings:
    train = TrainFindings(task.train.n, _within(task.train.found, sources))
    return TaskFindings(task.hash, task.n, _within(task.found, sources), task.too_short, train)


def _within(found: tuple[FoundItem, ...], sources: Mapping[str, str]) -> tuple[FoundItem, ...]:
    kept = []
    for item in found:
        here = {name: match for name, match in item.sources.items() if name in sources}
        if here:
            kept.append(FoundItem(item.doc_id, item.split, here))
    return tuple(kept)
