"""Whether tasks exist, told from lm-eval's task files without importing it: before anything is trained for them."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from joyctl.errors import Problem, RecipeError
from joyctl.recipe.rules import did_you_mean

# `task: name`, `group: name`, `tag: name` or a list's `- name`; what a name may be followed by is a comment.
_NAMED = re.compile(rb"^[\"' ]*(?:task|group|tag)[\"']?:[ \t]*[\"']?([\w.-]+)[\"']?[ \t]*(?:#.*)?$", re.MULTILINE)
_LISTED = re.compile(rb"^[ \t]*-[ \t]+[\"']?([\w.-]+)[\"']?[ \t]*(?:#.*)?$", re.MULTILINE)

_HINT = (
    "Folders with task files of your own go into the suite's 'include_path'; the micro-world's task files are in tasks/"
    " of its data folder."
)


def require_known(suite: str, tasks: Iterable[str], own: Sequence[Path]) -> None:
    """Raise RecipeError, naming `suite`, for tasks that neither the folders `own` nor lm-eval have a file for.

    A list's items count as names, since that is how tags are written: this is to find what is misspelt, and lm-eval
    itself has the last word.
    """
    missing = [task for task in dict.fromkeys(tasks) if not any(_has(task, folder) for folder in (*own, *likely(task)))]
    if not missing:
        return
    every = {name for folder in (*own, built_in()) for file in folder.rglob("*.yaml") for name in names(file)}
    problems = [
        Problem(
            f"suite {suite}", "tasks", f"unknown task '{task}': lm-eval has none{did_you_mean(task, sorted(every))}"
        )
        for task in missing
        if task not in every
    ]
    if problems:
        raise RecipeError(problems, hint=_HINT)


def built_in() -> Path:
    """The folder of lm-eval's own task files."""
    found = importlib.util.find_spec("lm_eval")
    assert found is not None and found.submodule_search_locations, "joyctl depends on lm-eval"
    return Path(found.submodule_search_locations[0]) / "tasks"


def likely(task: str) -> Iterator[Path]:
    """Folders that are quick to look through: a task's file is mostly in a folder called by how its name begins."""
    while task:
        yield built_in() / task
        task = task.rpartition("_")[0]


def _has(task: str, folder: Path) -> bool:
    return any(task in names(file, listed=False) for file in folder.rglob("*.yaml"))


def names(file: Path, *, listed: bool = True) -> set[str]:
    """Tasks, groups and tags that a task file names; with `listed` all items of lists as well."""
    text = file.read_bytes()
    found = {*_NAMED.findall(text), *(_LISTED.findall(text) if listed else ())}
    return {name.decode() for name in found}
