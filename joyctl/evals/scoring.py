"""Scores a model, or what it answered before, on tasks with lm-eval: the only module that calls its evaluator."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from joyctl.evals import preload  # noqa: F401  isort: skip - it sets the environment that the others read

import lm_eval
import numpy as np
import torch
from lm_eval import evaluator
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
from lm_eval.tasks import TaskManager

from joyctl.campaign.spec import EvalSpec
from joyctl.evals.lm import ProgressLM, load
from joyctl.evals.protocol import task_files, tokenizer_digest
from joyctl.evals.quick import quick_and_quiet
from joyctl.evals.replay import ReplayLM, request_key
from joyctl.evals.responses import Responses
from joyctl.evals.samples import Row, rows, scores
from joyctl.evals.sandbox import Verdict, pass_at_k, run_programs

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Outcome:
    """What scoring a task gave."""

    scores: list[dict[str, Any]]
    rows: list[Row]
    truncated: int
    """Prompts that lost their beginning because they are longer than the model accepts."""


class Scorer:
    """A model and a data folder's tasks, ready to be scored one after the other."""

    def __init__(self, lm: ProgressLM | ReplayLM, how: Mapping[str, object], spec: EvalSpec, threads: int) -> None:
        """`how` are the parts of the protocol that come with the model."""
        torch.set_num_threads(threads)
        self._lm, self._how = lm, how
        self._threads = threads
        self._spec = spec
        self._data = Path(spec.data_folder)
        self._manager = TaskManager(include_defaults=False, include_path=str(self._data / "tasks"))

    def load(self, name: str) -> dict[str, Any]:
        """lm-eval's task or group `name`, prepared as its `simple_evaluate` prepares it."""
        loaded: dict[str, Any] = self._manager.load([name])
        for task in loaded["tasks"].values():
            if task.get_config("num_fewshot") is None:
                task.set_config(key="num_fewshot", value=0)
            task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
        return loaded

    def protocol(self, name: str, loaded: Mapping[str, Any]) -> dict[str, object]:
        """All that determines the scores of a task, given a model."""
        tasks, index = loaded["tasks"], self._manager.task_index
        files = {each: index[each].yaml_path for each in [name, *tasks]}
        return {
            "task": name,
            "versions": {each: str(task.VERSION) for each, task in sorted(tasks.items())},
            "n_shot": {each: int(task.get_config("num_fewshot")) for each, task in sorted(tasks.items())},
            "filters": sorted({f.name for task in tasks.values() for f in task._filters}),
            "task_files": task_files(files, self._data),
            "data_sha256": self._spec.data_sha256,
            "lm_eval": lm_eval.__version__,
            **self._how,
        }

    def generate(self, loaded: Mapping[str, Any], progress: Progress) -> tuple[list[dict[str, Any]], int]:
        """Responses to a task or group that runs code, without a look at them, and the number of cut prompts.

        The requests are those of lm-eval's `evaluate`, in its order, which decides what shares a batch.
        """
        _seed()
        tasks = loaded["tasks"]
        for task in tasks.values():
            task.build_all_requests()
        requests = [r for task in tasks.values() for r in task.instances for _ in range(r.repeats)]
        items = _items(tasks)
        self._lm.truncated = 0
        with _counting(self._lm, tasks, items, progress):
            texts = self._lm.generate_until(requests)
        progress(items, items)
        answers = [{**request_key(r), "response": text} for r, text in zip(requests, texts, strict=True)]
        return answers, self._lm.truncated

    def score(self, name: str, loaded: Mapping[str, Any], progress: Progress) -> Outcome:
        """Score one task or group; `progress` gets (items done, items)."""
        verdicts: dict[tuple[str, str], Verdict] = {}
        items = _items(loaded["tasks"])
        self._lm.truncated = 0
        with _counting(self._lm, loaded["tasks"], items, progress) as count:
            for task in loaded["tasks"].values():
                _judge_at_once(task, verdicts, self._threads, count if isinstance(self._lm, ReplayLM) else None)
            _seed()
            results = evaluator.evaluate(self._lm, loaded)
        found: list[Row] = []
        for leaf, logged in results["samples"].items():
            made = rows(leaf, logged)
            if _is_code(loaded["tasks"][leaf]):
                for row, sample in zip(made, logged, strict=True):
                    row["reason"] = verdicts[sample["filtered_resps"][0][0], sample["target"]].reason
            found += made
        progress(items, items)
        return Outcome(scores(name, results, found), found, self._lm.truncated)


def _is_code(task: Any) -> bool:
    return "pass_at_k" in task._metric_fn_list


def _items(tasks: Mapping[str, Any]) -> int:
    return sum(len(task.eval_docs) for task in tasks.values())


@contextmanager
def scorer(model_folder: Path, spec: EvalSpec, threads: int) -> Iterator[Scorer]:
    """A `Scorer` of a model; what lm-eval does needlessly is left out inside this block.

    Raises Missing when the model does not load.
    """
    with quick_and_quiet():
        torch.set_num_threads(threads)
        lm = load(model_folder, spec.batch_size)
        how = {
            "tokenizer_sha256": tokenizer_digest(model_folder),
            "max_length": int(lm.max_length),
            "batch_size": spec.batch_size,
            "dtype": str(lm.model.dtype).removeprefix("torch."),
        }
        yield Scorer(lm, how, spec, threads)


@contextmanager
def replayer(stored: Responses, spec: EvalSpec, threads: int) -> Iterator[Scorer]:
    """A `Scorer` of stored responses, without the model that gave them."""
    with quick_and_quiet():
        how = {key: stored.protocol_parts[key] for key in ("tokenizer_sha256", "max_length", "batch_size", "dtype")}
        yield Scorer(ReplayLM(stored), how, spec, threads)


def _judge_at_once(
    task: Any, verdicts: dict[tuple[str, str], Verdict], workers: int, count: Callable[[int], None] | None
) -> None:
    """Judge all programs of a task together once they are there, into `verdicts`; `count` is told of each.

    lm-eval asks the metric for one item after the other, which would start a judge for each and use one core.
    """
    if not _is_code(task):
        return
    apply_filters = task.apply_filters

    def apply_and_judge() -> None:
        apply_filters()
        pairs = {
            (program, task.doc_to_target(instance.doc)): None
            for instance in task.instances
            for programs in instance.filtered_resps.values()
            for program in programs
        }
        told = None if count is None else partial(count, 1)
        verdicts.update(zip(pairs, run_programs(list(pairs), workers=workers, on_verdict=told), strict=True))

    def look_up(pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        return [verdicts[pair] for pair in pairs]

    task.apply_filters = apply_and_judge
    task._metric_fn_list["pass_at_k"] = partial(pass_at_k, run=look_up)


@contextmanager
def _counting(
    lm: ProgressLM | ReplayLM, tasks: Mapping[str, Any], items: int, progress: Progress
) -> Iterator[Callable[[int], None]]:
    """Turn the model's count of requests into a count of items while the block runs; gives what counts them."""
    done = 0

    def on_requests(requests: int) -> None:
        nonlocal done
        done += requests
        expected = sum(len(task.instances) for task in tasks.values())
        progress(min(items, done * items // max(1, expected)), items)

    lm.on_requests = on_requests
    try:
        yield on_requests
    finally:
        lm.on_requests = None


def _seed() -> None:
    """Every seed as `simple_evaluate` sets it."""
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    torch.manual_seed(DEFAULT_OTHER_SEED)
