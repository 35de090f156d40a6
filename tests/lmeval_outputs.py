"""Outputs of lm-eval's command line: real ones, copies with changes, and made-up ones in the same form."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

DATE = "2026-01-02T03-04-05.678901"
Row = dict[str, Any]


def start_lm_eval(model: Path, tasks: Sequence[str], include: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    """The command that a person would give, offline."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_HOME": str(out / "home")}
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    words = [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu", "--batch_size", "8"),
        *("--model_args", f"pretrained={model},dtype=float32", "--tasks", ",".join(tasks)),
        *("--include_path", str(include), "--output_path", str(out), "--log_samples", *more),
    ]  # fmt: skip
    env = {**os.environ, **offline, "PYTHONPATH": path}
    return subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate()
    assert process.returncode == 0, said[-3000:]


def results_file(folder: Path) -> Path:
    return max(folder.rglob("results_*.json"))


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(results_file(folder).read_text())
    return found


def samples_file(folder: Path, task: str) -> Path:
    (path,) = folder.rglob(f"samples_{task}_2*.jsonl")
    return path


def rows(folder: Path, task: str) -> list[Row]:
    return [json.loads(line) for line in samples_file(folder, task).read_text().splitlines()]


def values(folder: Path, task: str, metric: str, filter_: str = "none") -> dict[int, float]:
    """By document."""
    return {row["doc_id"]: float(row[metric]) for row in rows(folder, task) if row["filter"] == filter_}


def changed(folder: Path, to: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy with another results file."""
    shutil.copytree(folder, to)
    found = results(to)
    change(found)
    results_file(to).write_text(json.dumps(found))
    return to


def with_rows(folder: Path, to: Path, task: str, change: Callable[[list[Row]], list[Row]]) -> Path:
    """A copy with other items of one task."""
    shutil.copytree(folder, to)
    path = samples_file(to, task)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in change(rows(to, task))))
    return to


def digest(*words: object) -> str:
    return hashlib.sha256("/".join(map(str, words)).encode()).hexdigest()


def item(task: str, doc: int, filter_: str = "none", **metrics: Any) -> Row:
    """A line as the command line writes it."""
    prompt = f'The "question" {doc} of {task}, "filter": "none"?\nAnswer:'
    return {
        "doc_id": doc,
        "doc": {"question": prompt},
        "target": "0",
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": " yes"}},
        "resps": [[["-1.5", "False"]]],
        "filtered_resps": [["-1.5", "False"]],
        "filter": filter_,
        "metrics": list(metrics),
        "doc_hash": digest(task, doc),
        "prompt_hash": digest(prompt),
        "target_hash": digest(0),
        **metrics,
    }


def write_output(
    folder: Path,
    tasks: Mapping[str, Sequence[Row]],
    scores: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Sequence[str]] | None = None,
    date: str = DATE,
    **whole: Any,
) -> Path:
    """Results with these scores (`metric,filter` -> value) and items, in a model's subfolder."""
    here = folder / f"__models__{folder.name}"
    here.mkdir(parents=True, exist_ok=True)
    for task, lines in tasks.items():
        (here / f"samples_{task}_{date}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    value = {
        "results": {task: {"alias": task, "sample_len": 2, **here} for task, here in scores.items()},
        "group_subtasks": {group: list(members) for group, members in (groups or {}).items()},
        "configs": {task: {"task": task, "output_type": "multiple_choice", "num_fewshot": 0} for task in tasks},
        "versions": dict.fromkeys(scores, 1.0),
        "n-shot": dict.fromkeys(scores, 0),
        "higher_is_better": {task: {key.partition(",")[0]: True for key in scores[task]} for task in tasks},
        "config": {"model": "hf", "model_args": f"pretrained={folder.name}", "limit": None, "gen_kwargs": {}},
        "lm_eval_version": "0.4.13",
        "model_name": f"models/{folder.name}",
        "system_instruction": None,
        "fewshot_as_multiturn": None,
        "chat_template": None,
        **whole,
    }
    (here / f"results_{date}.json").write_text(json.dumps(value, indent=2))
    return folder
