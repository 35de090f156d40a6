"""The texts of test items, as whoever knows the benchmarks leaves them for the overlap check."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from joyctl.errors import Missing
from joyctl.store.files import write_text

Item = tuple[str, ...]
"""Texts of one item, each judged by itself: the whole of it, and where there is one its question alone."""


@dataclass(frozen=True)
class TaskItems:
    """The items of one of lm-eval's leaf tasks."""

    hash: str
    """Digest of their texts."""
    test: tuple[Item, ...]
    """What is scored, by doc_id."""
    train: tuple[Item, ...] = ()
    """The task's training split, where it has one beside: to find it in a source is no leak."""


def write_items(path: Path, tasks: Mapping[str, TaskItems]) -> None:
    """Keep the items of several tasks in a file, atomically."""
    text = {name: {"hash": task.hash, "test": task.test, "train": task.train} for name, task in sorted(tasks.items())}
    write_text(path, json.dumps(text))


def read_items(path: Path) -> dict[str, TaskItems]:
    """What `write_items` wrote. Raises Missing where there is nothing, or something else."""
    try:
        found = json.loads(path.read_bytes())
        return {
            name: TaskItems(task["hash"], tuple(map(tuple, task["test"])), tuple(map(tuple, task["train"])))
            for name, task in found.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Missing(f"{path} holds no test items: {error!r}", hint="Remove it and look for overlap again.") from error
