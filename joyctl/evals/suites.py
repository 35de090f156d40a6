"""Which tasks a suite holds, given the task files of a data folder."""

from __future__ import annotations

from pathlib import Path

from joyctl.errors import Missing, Problem, RecipeError

SUITES = {"micro": ("micro_mc", "micro_math", "micro_code", "heldout_*")}
"""Suite -> tasks, each the stem of a task file; `*` stands for every one there is, in alphabetical order."""
RUN_CODE = frozenset({"micro_code"})
"""Tasks that execute what a model generated: known here so that planning need not import lm-eval."""


def tasks_of(suite: str, tasks_folder: Path) -> tuple[str, ...]:
    """Names of a suite's tasks.

    Raises RecipeError for an unknown suite, Missing when the folder or one of the task files is not there.
    """
    require_suite(suite)
    if not tasks_folder.is_dir():
        raise Missing(f"no task files: {tasks_folder} is no folder", hint=_HINT)
    found: list[str] = []
    for pattern in SUITES[suite]:
        names = sorted(path.stem for path in tasks_folder.glob(f"{pattern}.yaml"))
        if not names:
            raise Missing(f"suite {suite} needs {pattern}.yaml in {tasks_folder}", hint=_HINT)
        found += names
    return tuple(found)


def runs_code(suite: str) -> bool:
    """Whether a suite has tasks that execute generated code. Raises RecipeError for an unknown suite."""
    require_suite(suite)
    return not RUN_CODE.isdisjoint(SUITES[suite])


def require_suite(suite: str) -> None:
    """Raise RecipeError for an unknown suite."""
    if suite not in SUITES:
        known = ", ".join(sorted(SUITES))
        raise RecipeError([Problem("recipe", "eval.suite", f"unknown suite {suite!r}; there is: {known}")])


_HINT = "`joyctl data build` writes them"
