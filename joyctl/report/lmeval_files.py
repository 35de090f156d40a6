"""One output of lm-eval's command line: which results file it is, what it scored, and where the items lie."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from joyctl.errors import Missing, Refused
from joyctl.report.items import BITS_PER_BYTE
from joyctl.report.lmeval_samples import number
from joyctl.store import layout

_DATE = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?"
# `results_<date>.json`; with `--output_path out/name.json` it is `out/name_<date>.json`.
_RESULTS = re.compile(rf"results_(?P<tag>.+)|.+_(?P<date>{_DATE})")
_LM_EVAL = "lm_eval run --model hf --model_args pretrained=MODEL --tasks TASKS --log_samples --output_path DIR"


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two outputs."""

    path: Path
    """Its results file."""
    older: int
    """Results files in the same folder that are older, and not read."""
    results: Mapping[str, Any]
    """The object in the file."""

    @property
    def model(self) -> str:
        """The model as lm-eval calls it, or the folder's name."""
        return str(self.results.get("model_name") or self.path.parent.name)

    @property
    def lm_eval(self) -> str | None:
        """The version of lm-eval that wrote it, where it says."""
        version = self.results.get("lm_eval_version")
        return None if version is None else str(version)

    def part(self, name: str, task: str) -> Any:
        """What the section `name` of the file holds for `task`; None where it holds nothing."""
        section = self.results.get(name)
        return section.get(task) if isinstance(section, Mapping) else None

    @cached_property
    def scores(self) -> Mapping[str, Mapping[tuple[str, str], Any]]:
        """Values by task or group and by (metric, filter), as they stand in the file; only what has any."""
        found = {}
        for task, values in self.results["results"].items():
            here = {}
            for key, value in values.items() if isinstance(values, Mapping) else ():
                metric, comma, filter_ = str(key).partition(",")
                if comma and not metric.endswith("_stderr"):
                    here[metric, filter_] = value
            if here:
                found[str(task)] = here
        return found

    def value(self, task: str, metric: str, filter_: str) -> float | None:
        """One score; None where it is no number."""
        return number(self.scores[task][metric, filter_])

    def below(self, task: str) -> tuple[str, ...]:
        """All groups and tasks that a group holds, whether directly or not; nothing for a task."""
        found: dict[str, None] = {}
        left = list(self.part("group_subtasks", task) or [])
        while left:
            name = str(left.pop(0))
            if name not in found and name != task:
                found[name] = None
                left += self.part("group_subtasks", name) or []
        return tuple(found)

    def leaves(self, task: str) -> tuple[str, ...]:
        """The tasks with items that `task` is made of, in the order of the file: itself where it is no group."""
        below = self.below(task)
        return tuple(name for name in below if not self.part("group_subtasks", name)) if below else (task,)

    def samples(self, leaf: str) -> Path | None:
        """The file of a leaf task's items, if it is there."""
        match = _RESULTS.fullmatch(self.path.stem)
        tag = (match["tag"] or match["date"]) if match else self.path.stem
        path = self.path.with_name(f"samples_{leaf}_{tag}.jsonl")
        return path if path.is_file() else None

    def higher_is_better(self, task: str, metric: str) -> bool:
        """Which way is better; where the file does not say, up, but for bits per byte."""
        # A group of groups, such as mmlu, may have no entry of its own.
        for name in (task, *self.leaves(task)):
            directions = self.part("higher_is_better", name)
            if not isinstance(directions, Mapping) or not directions:
                continue
            # pass@1 stands there as pass_at_k: a name that is not there goes the way of the others.
            if isinstance(way := directions.get(metric, all(directions.values())), bool):
                return way
        return metric != BITS_PER_BYTE

    def summary(self) -> dict[str, Any]:
        """Whose scores they are, for JSON."""
        return {"results": str(self.path), "model": self.model, "lm_eval": self.lm_eval, "older": self.older}


def read_side(path: Path) -> Side:
    """The output in a folder, the newest results file where there are several, or of the results file given.

    Raises Missing where there is none; Refused for a torn file, and for a folder that holds outputs of several models.
    """
    if path.is_file():
        return Side(path, 0, _results(path))
    if not path.is_dir():
        raise Missing(f"{path} is no folder and no file", hint=f"Give an output folder of lm-eval: {_LM_EVAL}")
    files = sorted((f for f in {*path.rglob("results_*.json"), *path.rglob("*_*T*.json")} if _is_results(f)), key=_age)
    if not files:
        raise Missing(f"{path} holds no results of lm-eval (results_<date>.json)", hint=_remedy(path))
    folders = sorted({str(file.parent) for file in files})
    if len(folders) > 1:
        raise Refused(
            f"{path} holds outputs of {len(folders)} models: {', '.join(folders)}", hint="Give one of these folders."
        )
    return Side(files[-1], len(files) - 1, _results(files[-1]))


def _is_results(path: Path) -> bool:
    return _RESULTS.fullmatch(path.stem) is not None and path.is_file()


def _age(path: Path) -> tuple[str, float]:
    """Sorts by the date in the name, files without one by the time they were written, before all others."""
    date = re.search(_DATE, path.stem)
    return (date[0] if date else "", path.stat().st_mtime)


def _remedy(path: Path) -> str:
    if (path / layout.CAMPAIGN).is_file():
        return f"It is a campaign's folder: joyctl report {path}"
    return f"lm-eval writes them with --output_path: {_LM_EVAL}"


def _results(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        raise Refused(f"{path} is torn: it is no JSON", hint="Run lm_eval again.") from None
    if not isinstance(found, dict) or not isinstance(found.get("results"), dict):
        raise Refused(f"{path} is no results file of lm-eval: it has no object `results`", hint="Run lm_eval again.")
    return found
