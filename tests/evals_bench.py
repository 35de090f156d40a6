"""Scoring small models on the real benchmarks, and reading back what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stock import Entry

from joyctl.campaign.spec import EvalSpec
from joyctl.recipe.types import SuiteTask

Spec = EvalSpec
GOLD = {"gsm8k_cot": " {{answer}}", "humaneval": "{{canonical_solution}}"}


def suite(entries: tuple[Entry, ...], data: Path, **changes: Any) -> EvalSpec:
    """A suite of these tasks on benchmark data in a folder, with the proxies that suite `core` asks for."""
    tasks = tuple(
        SuiteTask(
            task=each.task,
            n_shot=each.n_shot,
            max_gen_toks=each.max_gen_toks,
            gold=GOLD.get(each.task),
            runs_code=each.task == "humaneval",
        )
        for each in entries
    )
    values = {
        "suite": "bench",
        "tasks": tasks,
        "heldout": False,
        "batch_size": 8,
        "data": str(data),
        "data_folder": "",
        "data_sha256": "",
        "runs_code": any(task.runs_code for task in tasks),
    }
    return EvalSpec.model_validate({**values, **changes})


def score(model: Path, spec: EvalSpec, out: Path, *, prompts: Path, execute: bool = True, **how: Any) -> Path:
    """Both steps, one after the other, with the files that lm-eval writes; the second step where asked and needed."""
    from joyctl.evals import harness

    harness.evaluate(model, spec, out, prompts=prompts, lm_eval_files=True, **how)
    if execute and spec.runs_code:
        harness.execute(spec, out, lm_eval_files=True)
    return out


def results(out: Path, task: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / task / "results.json").read_text())
    return found


def samples(out: Path, task: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / task / "samples.jsonl").read_text().splitlines()]


SUBJECTS = ("anatomy", "astronomy")
WORDS = ["red", "blue", "green", "amber", "iron", "zinc", "bone", "moon", "star", "lung", "heart", "orbit", "comet"]


def make_bench(folder: Path) -> Path:
    """Made-up items in the layout of the real benchmarks: two subjects of MMLU, GSM8K and HumanEval."""
    for subject in SUBJECTS:
        for split, items in (("dev", 5), ("test", 13)):
            rows = [_question(subject, split, i) for i in range(items)]
            _write_lines(folder / "cais/mmlu" / subject / f"{split}.jsonl", rows)
    configs = "".join(
        f"- config_name: {s}\n  data_files:\n"
        + "".join(f"  - {{split: {split}, path: {s}/{split}.jsonl}}\n" for split in ("test", "dev"))
        for s in SUBJECTS
    )
    (folder / "cais/mmlu/README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    sums = [{"question": f"What is {i} and {i + 1}?", "answer": f"{i} + {i + 1}\n#### {2 * i + 1}"} for i in range(9)]
    for split in ("train", "test"):
        _write_lines(folder / "openai/gsm8k/main" / f"{split}.jsonl", sums)
    files = "".join(f"  - {{split: {split}, path: main/{split}.jsonl}}\n" for split in ("train", "test"))
    (folder / "openai/gsm8k/README.md").write_text(f"---\nconfigs:\n- config_name: main\n  data_files:\n{files}---\n")
    programs = [
        {
            "task_id": f"HumanEval/{k}",
            "prompt": f'def plus_{k}(x):\n    """Add {k} to x."""\n',
            "canonical_solution": f"    return x + {k}\n",
            "entry_point": f"plus_{k}",
            "test": f"def check(candidate):\n    assert candidate(1) == {1 + k}\n",
        }
        for k in range(5)
    ]
    _write_lines(folder / "openai/openai_humaneval/test.jsonl", programs)
    head = "---\nconfigs:\n- config_name: openai_humaneval\n  data_files:\n  - {split: test, path: test.jsonl}\n---\n"
    (folder / "openai/openai_humaneval/README.md").write_text(head)
    return folder


def _question(subject: str, split: str, i: int) -> dict[str, Any]:
    topic = " ".join(WORDS[(i * 7 + k * (3 + i)) % len(WORDS)] for k in range(3 + i % 9))
    choices = [WORDS[(i * 5 + k * 3 + len(split)) % len(WORDS)] for k in range(4)]
    return {"question": f"In {subject}, what of {topic}?", "subject": subject, "choices": choices, "answer": i * 3 % 4}


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def bench_texts(folder: Path) -> list[str]:
    """All text of such a folder, for a tokenizer."""
    return [path.read_text() for path in sorted(folder.rglob("*.jsonl"))]


def tear(path: Path) -> None:
    """As a full disk or a lost node leaves a file."""
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    """One bit, two thirds in."""
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    path.write_bytes(bytes(content))
