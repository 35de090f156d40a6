"""Load suites, the sets of tasks that runs are scored on: built-in names, a user's own files, several joined by `+`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from joyctl.errors import Missing, Problem, RecipeError
from joyctl.recipe.compose import Layer
from joyctl.recipe.document import read_document
from joyctl.recipe.locate import builtin_folder, builtin_names, shown
from joyctl.recipe.origin import Origins
from joyctl.recipe.rules import Finding, did_you_mean
from joyctl.recipe.types import Aggregate, Suite, SuiteTask
from joyctl.recipe.validate import Validator

__all__ = ["Aggregate", "Suite", "SuiteTask", "bench_data", "load_suite", "require_datasets"]

DATASETS: Mapping[str, str] = {
    "mmlu": "cais/mmlu",
    "mmlu_continuation": "cais/mmlu",
    "gsm8k": "openai/gsm8k",
    "gsm8k_cot": "openai/gsm8k",
    "humaneval": "openai/openai_humaneval",
    "humaneval_64": "openai/openai_humaneval",
}
"""Dataset path of the built-in suites' tasks; of others, lm-eval finds it when it loads them."""


@dataclass(frozen=True)
class _Part:
    """One file of a suite."""

    name: str
    """As its user knows it."""
    suite: Suite
    origins: Origins


def _nowhere(message: str) -> Problem:
    return Problem("recipe", "eval.suite", message)


def load_suite(name: str, beside: Path | None = None, at: Callable[[str], Problem] = _nowhere) -> Suite:
    """Load a suite, or several joined by `+`: `core`, `core+general`, `mine`, `suites/mine.yaml`.

    `beside` is the folder of the recipe: a name is first looked for in its suites/, then among the built-in ones, a
    path is relative to it, or else to the current folder, which also stands for it when it is None. Folders of
    `include_path` come out absolute. Raises RecipeError with every problem of a file at its place, and with `at` of
    the message for a suite that there is not.
    """
    parts = [_read(_file(each.strip(), beside, at)) for each in name.split("+")]
    return parts[0].suite if len(parts) == 1 else _joined(parts)


def _file(name: str, beside: Path | None, at: Callable[[str], Problem]) -> Path:
    """The file of one suite, by name or path. Raises RecipeError when there is none."""
    here = beside if beside is not None else Path.cwd()
    own = here / "suites"
    if "/" not in name and not name.endswith((".yaml", ".yml")):
        for folder in (own, builtin_folder("suite")):
            if name and (folder / f"{name}.yaml").is_file():
                return folder / f"{name}.yaml"
        known = sorted({*builtin_names("suite"), *(path.stem for path in own.glob("*.yaml"))})
        hint = did_you_mean(name, known) or f"; there is {', '.join(known)}"
        remedy = f"A suite of your own: {shown(own)}/<name>.yaml, or any path."
        raise RecipeError([at(f"unknown suite '{name}'{hint}")], hint=remedy)
    path = Path(name).expanduser()
    found = next((each for each in (here / path, path) if each.is_file()), None)
    if found is None:
        raise RecipeError([at(f"no file {name}" + ("" if path.is_absolute() else f" in {shown(here)}"))])
    return found.absolute()


def bench_data(given: str) -> str:
    """`eval.data` as jobs need it: `hub`, or the folder's absolute path."""
    return given if given == "hub" else str(Path(given).expanduser().absolute())


def require_datasets(suite: Suite, data: str, said: str = "eval.data") -> None:
    """Raise Missing when `data` (`hub` or a folder) is no folder, or lacks datasets that the suite is known to need.

    `said` is what the user knows the setting as.
    """
    if data == "hub":
        return
    wanted = list(dict.fromkeys(DATASETS[each.task] for each in suite.tasks if each.task in DATASETS))
    layout = "Benchmark datasets are expected as <folder>/<dataset path>"
    example = f"{layout}, such as {data}/{wanted[0]}; or give 'hub'." if wanted else f"{layout}; or give 'hub'."
    if not Path(data).is_dir():
        raise Missing(f"no benchmark data: {said} is {data}, which is no folder", hint=example)
    missing = [each for each in wanted if not (Path(data) / each).is_dir()]
    if missing:
        raise Missing(f"benchmark data missing in {data} ({said}): {', '.join(missing)}", hint=example)


def _read(path: Path) -> _Part:
    name = shown(path)
    read_document(path, name)  # raises what is wrong with it as YAML
    container = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    origins = Origins(lambda: [Layer(path, name, ())], [])
    suite = Validator(lambda container, origins: Suite, path.stem).value(container, origins)
    folders = [path.parent / Path(folder).expanduser() for folder in suite.include_path]
    missing = [
        origins.problem(Finding(("include_path", i), f"no folder {folder}"))
        for i, folder in enumerate(folders)
        if not folder.is_dir()
    ]
    if missing:
        raise RecipeError(missing)
    absolute = tuple(str(folder.resolve()) for folder in folders)
    return _Part(name, suite.model_copy(update={"include_path": absolute}), origins)


def _joined(parts: Sequence[_Part]) -> Suite:
    """One suite of several; what is in two of them with equal settings is in it once."""
    tasks: dict[str, tuple[SuiteTask, _Part]] = {}
    aggregate: tuple[Aggregate, _Part] | None = None
    problems: list[Problem] = []
    for part in parts:
        for i, task in enumerate(part.suite.tasks):
            first, where = tasks.setdefault(task.task, (task, part))
            if changed := _differences(first.model_dump(), task.model_dump()):
                message = f"'{task.task}' is in {where.name} too, with another {', '.join(changed)}"
                problems.append(part.origins.problem(Finding(("tasks", i), message)))
        if part.suite.aggregate is not None:
            aggregate = aggregate or (part.suite.aggregate, part)
            if part.suite.aggregate != aggregate[0]:
                message = f"{aggregate[1].name} has another one; suites with two aggregates cannot be joined"
                problems.append(part.origins.problem(Finding(("aggregate",), message, at_key=True)))
    if problems:
        raise RecipeError(problems)
    return Suite(
        tasks=tuple(task for task, _ in tasks.values()),
        heldout=any(part.suite.heldout for part in parts),
        include_path=tuple(dict.fromkeys(folder for part in parts for folder in part.suite.include_path)),
        aggregate=aggregate[0] if aggregate else None,
    )


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Settings that differ; how many items a task has is none, and one suite may say it where another does not."""
    return [key for key in one if key not in ("items", "clusters") and one[key] != other[key]]
