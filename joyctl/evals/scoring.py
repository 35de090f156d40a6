"""Scores a model's answers to a task with lm-eval: the only module that calls its evaluator."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval import evaluator
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

from joyctl.evals import proxies, tasks
from joyctl.evals.answers import Key, Value
from joyctl.evals.prompts import GOLD
from joyctl.evals.replay import ReplayLM
from joyctl.evals.samples import Row, finite, mean_score, ratio_score, rows, scores
from joyctl.evals.sandbox import Verdict, pass_at_k, run_programs
from joyctl.evals.tasks import Loaded

Count = Callable[[int], None]
"""Called with the number of programs executed since the last call."""
GOLD_FILTER = "gold"
"""Filter name of rows and scores of the gold answer of a generative task."""


@dataclass(frozen=True)
class Outcome:
    """What scoring a task gave."""

    scores: list[dict[str, Any]]
    rows: list[Row]
    items: int
    raw: Mapping[str, Any]
    """lm-eval's own results."""


def score(
    loaded: Loaded,
    leaves: Sequence[str],
    answers: Mapping[Key, Value],
    *,
    threads: int = 1,
    unsafe: bool = False,
    count: Count | None = None,
) -> Outcome:
    """Let lm-eval filter, judge and aggregate the answers to one entry; `leaves` are numbered as in the keys.

    Programs are executed `threads` at once, in the sandbox unless `unsafe`.
    """
    execute = partial(run_programs, workers=threads, unsafe=unsafe)
    verdicts: dict[tuple[str, str], Verdict] = {}
    with _judging(loaded, execute, verdicts, count):
        _seed()
        lm = ReplayLM(leaves, answers)
        raw = evaluator.evaluate(lm, loaded.found, limit=loaded.limit, confirm_run_unsafe_code=True)
    numbers = {name: number for number, name in enumerate(leaves)}
    found: list[Row] = []
    for name, logged in raw["samples"].items():
        task, made = loaded.leaves[name], rows(name, logged)
        for row, sample in zip(made, logged, strict=True):
            if loaded.entry.runs_code:
                _say_verdicts(row, sample, verdicts)
            elif task.OUTPUT_TYPE == "multiple_choice":
                row.update(_of_choices(task, sample))
            elif task.OUTPUT_TYPE == "loglikelihood":
                row.update(_finite(proxies.of_gold(float(sample["resps"][0][0][0]), sample["arguments"][0][1])))
        found += made
        if loaded.entry.gold is not None and task.OUTPUT_TYPE == "generate_until":
            found += _gold_rows(loaded, name, made, logged, answers, numbers[name])
    plain = [row for row in found if row["filter"] != GOLD_FILTER]
    made_scores = [*scores(loaded.name, raw, plain), *_proxy_scores(found)]
    return Outcome(made_scores, found, loaded.items, raw)


def _of_choices(task: Any, sample: Mapping[str, Any]) -> Row:
    """Proxies of a multiple-choice item; none where several choices are right."""
    doc = sample["doc"]
    choices = task.doc_to_choice(doc)
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    if isinstance(gold, str) and gold in choices:
        gold = choices.index(gold)
    if not isinstance(gold, int) or not 0 <= gold < len(choices):
        return {}
    # Where lm-eval also scores choices without their question, those come after the others.
    log_likelihoods = [float(response[0][0]) for response in sample["resps"]][: len(choices)]
    text = sample["arguments"][gold][1]
    return _finite({**proxies.of_choices(log_likelihoods, gold), **proxies.of_gold(log_likelihoods[gold], text)})


def _finite(row: Mapping[str, float]) -> Row:
    """As JSON can hold it: a diverged model has no value rather than a wrong one."""
    return {name: value if isinstance(value, int) else finite(value) for name, value in row.items()}


def _gold_rows(
    loaded: Loaded,
    name: str,
    made: Sequence[Row],
    logged: Sequence[Mapping[str, Any]],
    answers: Mapping[Key, Value],
    number: int,
) -> list[Row]:
    """One row an item for the gold answer's bits per byte."""
    from lm_eval.utils import apply_template

    found: dict[int, Row] = {}
    for row, sample in zip(made, logged, strict=True):
        value: Any = answers[number, sample["doc_id"], GOLD, 0]
        text = apply_template(loaded.entry.gold, sample["doc"])
        same = {key: row[key] for key in ("doc_id", "task", "cluster", "hash")}
        gold = _finite(proxies.of_gold(value[0], text))
        found.setdefault(sample["doc_id"], {**same, "filter": GOLD_FILTER, **gold})
    return list(found.values())


def _proxy_scores(found: Sequence[Row]) -> list[dict[str, Any]]:
    """Scores of the proxies over all items that have them."""
    made = []
    for name in dict.fromkeys(row["filter"] for row in found if "gold_nll" in row):
        of_filter = [row for row in found if row["filter"] == name and "gold_nll" in row]
        made.append(ratio_score(proxies.GOLD_BITS, name, of_filter, "gold_nll", "gold_bytes"))
        for metric in proxies.CHOICE_METRICS:
            if metric in of_filter[0]:
                made.append(mean_score(metric, name, of_filter))
    return made


def _say_verdicts(row: Row, sample: Mapping[str, Any], verdicts: Mapping[tuple[str, str], Verdict]) -> None:
    """Why the item's program failed; of several, how many passed and why the first that failed did."""
    programs = sample["filtered_resps"][0]
    judged = [verdicts.get((program, sample["target"])) for program in programs if isinstance(program, str)]
    known = [verdict for verdict in judged if verdict is not None]
    if len(known) > 1:
        row["passed"] = sum(verdict.passed for verdict in known)
    if known:
        row["reason"] = next((verdict.reason for verdict in known if not verdict.passed), "passed")


@contextmanager
def _judging(
    loaded: Loaded,
    execute: Callable[..., list[Verdict]],
    verdicts: dict[tuple[str, str], Verdict],
    count: Count | None,
) -> Iterator[None]:
    """Judge all programs of a task together once they are there, into `verdicts`; `count` is told of each.

    lm-eval asks the metric for one item after the other, which would start a judge for each and use one core.
    """

    def look_up(pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        new = [pair for pair in dict.fromkeys(pairs) if pair not in verdicts]
        told = None if count is None else partial(count, 1)
        verdicts.update(zip(new, execute(new, on_verdict=told) if new else [], strict=True))
        return [verdicts[pair] for pair in pairs]

    def ahead(task: Any) -> None:
        apply_filters = task.apply_filters

        def apply_and_judge() -> None:
            apply_filters()
            look_up(
                [
                    (program, task.doc_to_target(instance.doc))
                    for instance in task.instances
                    for programs in instance.filtered_resps.values()
                    for program in programs
                    if isinstance(program, str)
                ]
            )

        task.apply_filters = apply_and_judge
        if "pass_at_k" in task._metric_fn_list:
            task._metric_fn_list["pass_at_k"] = partial(pass_at_k, run=look_up)

    if loaded.entry.runs_code:
        for task in loaded.leaves.values():
            ahead(task)
    with tasks.executing_with(look_up):
        yield


def _seed() -> None:
    """Every seed as `simple_evaluate` sets it."""
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    torch.manual_seed(DEFAULT_OTHER_SEED)


def write_lm_eval_files(out: Path, raw: Mapping[str, Any], model: str, date: str) -> None:
    """Add one entry's results to results_<date>.json in `out` and write its samples_<task>_<date>.jsonl, in the form
    in which lm-eval's command line writes them with --log_samples.
    """
    from lm_eval.utils import handle_non_serializable, hash_string, sanitize_list

    from joyctl.store.files import write_text

    def dump(value: object, indent: int | None = None) -> str:
        return json.dumps(value, default=handle_non_serializable, ensure_ascii=False, indent=indent)

    hashes = {}
    for task, logged in raw["samples"].items():
        lines = []
        for sample in logged:
            arguments = {
                f"gen_args_{i}": {f"arg_{j}": part for j, part in enumerate(each)}
                for i, each in enumerate(sample["arguments"])
            }
            responses = {key: sanitize_list(sample[key]) for key in ("resps", "filtered_resps")}
            lines.append(dump({**sample, "arguments": arguments, **responses, "target": str(sample["target"])}) + "\n")
        write_text(out / f"samples_{task}_{date}.jsonl", "".join(lines))
        hashes[task] = hash_string("".join(s["doc_hash"] + s["prompt_hash"] + s["target_hash"] for s in logged))
    path = out / f"results_{date}.json"
    kept: dict[str, Any] = (
        json.loads(path.read_bytes()) if path.exists() else {"model_name": model, "model_source": "hf"}
    )
    for section, values in {**raw, "task_hashes": hashes}.items():
        if section != "samples" and isinstance(values, Mapping):
            kept[section] = {**kept.get(section, {}), **json.loads(dump(values))}
    write_text(path, dump(kept, indent=2))
