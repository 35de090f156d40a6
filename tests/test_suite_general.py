"""The built-in suite `general` against lm-eval's own task files: names, metrics, filters, numbers of choices.

The datasets behind these tasks are on the hub, so nothing is loaded here.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from joyctl.recipe.suite import load_suite
from joyctl.recipe.types import SuiteTask

SUITE = load_suite("general")
PLACES = """
lambada hellaswag wsc273 winogrande super_glue/boolq super_glue/copa coqa agieval piqa openbookqa siqa commonsense_qa
bigbench/multiple_choice arc triviaqa arithmetic asdiv mathqa
"""
DEFAULT_METRICS = {"multiple_choice": ["acc", "acc_norm"], "loglikelihood": ["perplexity", "acc"]}
"""lm_eval.api.registry.DEFAULT_METRIC_REGISTRY: what a task without `metric_list` is scored by."""


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("!function", lambda loader, node: node.value)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(path.read_text(), _Loader)
    return {**(_read(path.parent / found["include"]) if "include" in found else {}), **found}


@functools.cache
def stock() -> dict[str, dict[str, Any]]:
    """Settings of lm-eval's tasks by name."""
    import lm_eval.tasks

    top = Path(lm_eval.tasks.__file__).parent
    files = [path for place in PLACES.split() for path in (top / place).glob("*.yaml")]
    tasks = [_read(path) for path in files if re.search(r"^task: \S", path.read_text(), re.MULTILINE)]
    return {str(task["task"]): task for task in tasks}


def ids(task: SuiteTask) -> str:
    return task.task


def test_the_categories_are_the_gauntlets() -> None:
    assert list(dict.fromkeys(task.category for task in SUITE.tasks)) == [
        "language_understanding",
        "reading_comprehension",
        "commonsense",
        "world_knowledge",
        "symbolic_problem_solving",
    ]
    assert SUITE.aggregate is not None
    assert (SUITE.aggregate.name, SUITE.aggregate.version) == ("general_average", 1)


@pytest.mark.parametrize("task", SUITE.tasks, ids=ids)
def test_lm_eval_has_the_task_with_that_metric_and_filter(task: SuiteTask) -> None:
    settings = stock()[task.task]
    assert task.metric is not None and task.n_shot is not None
    metric, filter_ = task.metric.split(",")
    listed = settings.get("metric_list")
    metrics = [m["metric"] for m in listed] if listed else DEFAULT_METRICS[settings["output_type"]]
    assert metric in metrics
    assert metric == "acc_norm" or "acc_norm" not in metrics or task.task == "commonsense_qa"
    assert filter_ in [f["name"] for f in settings.get("filter_list", [{"name": "none"}])]


@pytest.mark.parametrize("task", SUITE.tasks, ids=ids)
def test_baselines_are_one_over_the_choices_that_the_task_file_shows(task: SuiteTask) -> None:
    """Choices that stand in the documents alone are known from the data sets' own papers."""
    settings = stock()[task.task]
    shown = {"social_iqa": 3, "commonsense_qa": 5, "piqa": 2, "boolq": 2, "mathqa": 5, "wsc273": 2}
    documented = {"hellaswag": 4, "winogrande": 2, "copa": 2, "openbookqa": 4, "arc_easy": 4, "arc_challenge": 4}
    documented |= {"agieval_lsat_ar": 5, "agieval_lsat_rc": 5, "agieval_lsat_lr": 5, "agieval_sat_en": 4}
    documented |= {"bigbench_strategyqa_multiple_choice": 2}
    if settings.get("output_type", "multiple_choice") != "multiple_choice":
        assert task.baseline == 0
        return
    choices = settings.get("doc_to_choice")
    if isinstance(choices, list):
        assert len(choices) == shown[task.task]
    elif task.task in ("social_iqa", "piqa", "wsc273"):
        assert str(choices).rpartition("{{")[2].count(",") + 1 == shown[task.task]
    assert task.baseline == pytest.approx(1 / {**documented, **shown}[task.task], abs=1e-4)
