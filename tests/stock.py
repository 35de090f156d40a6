"""The stock `lm_eval` command line on benchmark data in a folder: what joyctl's scores are held against.

The command line takes its tasks by name, and a task's dataset by a file of ours that says nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ITS_TASKS = "stock"
"""The group that holds all tasks."""
HUMANEVAL_FUNCTIONS = """# As in stock humaneval but for the verdict, which fetches a module from the hub when imported.


def pass_at_k(references, predictions, k=None):
    return {"pass@1": 0.0}


def build_predictions(resps, docs):
    return [[doc["prompt"] + r for r in resp] for resp, doc in zip(resps, docs)]
"""

Key = tuple[str, str, int]
"""Leaf task, filter, document."""


@dataclass
class Item:
    """One item as stock logged it."""

    metrics: dict[str, float]
    arguments: list[tuple[str, Any]]
    """Of each request: the prompt, and the continuation or the generation's settings."""
    target: str
    """The answer, or the right choice's number."""
    loglikelihoods: list[float] = field(default_factory=list)
    greedy: list[bool] = field(default_factory=list)
    responses: list[str] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)
    """After the filter."""

    @property
    def choice(self) -> int:
        """The likeliest one, the first of equals."""
        return self.loglikelihoods.index(max(self.loglikelihoods))


@dataclass(frozen=True)
class Stock:
    """Results of one call of the command line."""

    scores: dict[str, dict[str, Any]]
    """Task or group -> `metric,filter` -> value."""
    items: dict[Key, Item]
    seconds: float
    """Of the whole process."""
    log: str


@dataclass(frozen=True)
class Entry:
    """A task or group of lm-eval's and where its dataset lies below the data folder."""

    task: str
    dataset: str
    is_group: bool = False
    n_shot: int | None = None
    max_gen_toks: int | None = None


MMLU = Entry("mmlu", "cais/mmlu", is_group=True, n_shot=5)
MMLU_CONTINUATION = Entry("mmlu_continuation", "cais/mmlu", is_group=True, n_shot=5)
GSM8K = Entry("gsm8k_cot", "openai/gsm8k", n_shot=8)
HUMANEVAL = Entry("humaneval", "openai/openai_humaneval")


def write_tasks(folder: Path, data: Path, entries: tuple[Entry, ...]) -> Path:
    """Task files for `--include_path`: a group `stock` of the entries, each with its dataset from `data`."""
    import yaml

    folder.mkdir(parents=True)
    members = []
    for entry in entries:
        member: dict[str, Any] = {"group" if entry.is_group else "task": entry.task}
        member["dataset_path"] = str(data / entry.dataset)
        if entry.n_shot is not None:
            member["num_fewshot"] = entry.n_shot
        if entry.max_gen_toks is not None:
            generation = yaml.safe_load(_without_functions(stock_yaml(entry.task)))["generation_kwargs"]
            member["generation_kwargs"] = {**generation, "max_gen_toks": entry.max_gen_toks}
        members.append(member)
        if entry.task == "humaneval":
            text = stock_yaml("humaneval").replace("dataset_path: openai/", f"dataset_path: {data}/openai/")
            (folder / "humaneval.yaml").write_text(text)
            (folder / "utils.py").write_text(HUMANEVAL_FUNCTIONS)
    (folder / "stock.yaml").write_text(yaml.safe_dump({"group": ITS_TASKS, "task": members}))
    return folder


def stock_yaml(task: str) -> str:
    """The text of an installed task file."""
    import importlib.util

    found = importlib.util.find_spec("lm_eval")
    assert found is not None and found.origin is not None
    place = {"humaneval": "humaneval/humaneval.yaml", "gsm8k_cot": "gsm8k/gsm8k-cot.yaml"}[task]
    return (Path(found.origin).parent / "tasks" / place).read_text()


def command(model: Path, tasks: Path, out: Path, *, batch_size: int, limit: int | None = None) -> list[str]:
    """The command that a person would give."""
    found = [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu"),
        *("--model_args", f"pretrained={model},dtype=float32", "--batch_size", str(batch_size)),
        *("--tasks", ITS_TASKS, "--include_path", str(tasks), "--confirm_run_unsafe_code"),
        *("--log_samples", "--output_path", str(out)),
    ]
    return found if limit is None else [*found, "--limit", str(limit)]


def environment(home: Path, threads: int) -> dict[str, str]:
    """Offline, with the caches of the libraries below `home`."""
    return {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(home),
        "OMP_NUM_THREADS": str(threads),
    }


def run(
    model: Path,
    tasks: Path,
    out: Path,
    *,
    batch_size: int,
    limit: int | None = None,
    threads: int = 1,
    home: Path | None = None,
) -> Stock:
    """Run it in a process of its own and read what it wrote."""
    start = time.perf_counter()
    done = subprocess.run(
        command(model, tasks, out, batch_size=batch_size, limit=limit),
        env=environment(home or out / "home", threads),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    seconds = time.perf_counter() - start
    # The command line swallows exceptions when it saves, and so may end with 0 and nothing written.
    assert done.returncode == 0, done.stderr[-3000:]
    return read(out, seconds, done.stderr)


def read(out: Path, seconds: float = 0.0, log: str = "") -> Stock:
    """Results and samples as values: in stock's samples log-likelihoods and flags are strings."""
    (results,) = out.rglob("results_*.json")
    found: dict[Key, Item] = {}
    for path in out.rglob("samples_*.jsonl"):
        leaf = path.name.removeprefix("samples_").rpartition("_")[0]
        with path.open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                found[leaf, row["filter"], row["doc_id"]] = _item(row)
    return Stock(json.loads(results.read_text())["results"], found, seconds, log)


def _item(row: dict[str, Any]) -> Item:
    arguments = [(a["arg_0"], a["arg_1"]) for a in row["arguments"].values()]
    item = Item({name: float(row[name]) for name in row["metrics"]}, arguments, row["target"])
    if isinstance(arguments[0][1], str):
        for ((value, flag),) in row["resps"]:
            item.loglikelihoods.append(float(value))
            item.greedy.append({"True": True, "False": False}[flag])
    else:
        item.responses = [text for repeats in row["resps"] for text in repeats]
        item.predictions = row["filtered_resps"]
    return item


def _without_functions(text: str) -> str:
    return text.replace("!function ", "")
