"""The whole HumanEval: its own solutions pass, empty ones do not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from joyctl.evals.openai_format import DATASET, Task, default_tasks
from joyctl.evals.sandbox import probe, run_programs

WHY_NOT = probe()
pytestmark = [
    pytest.mark.skipif(WHY_NOT is not None, reason=f"needs sandbox: {WHY_NOT}"),
    pytest.mark.skipif(
        not os.environ.get("JOYCTL_BENCH_DATA"),
        reason="needs bench data: set JOYCTL_BENCH_DATA to the folder above bench/",
    ),
]


@pytest.fixture(scope="module")
def tasks() -> dict[str, Task]:
    return default_tasks()


def solutions() -> dict[str, str]:
    path = Path(os.environ["JOYCTL_BENCH_DATA"]) / "bench" / DATASET / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["task_id"]: row["canonical_solution"] for row in rows}


@pytest.mark.parametrize("unsafe", [False, True])
def test_all_canonical_solutions_pass(tasks: dict[str, Task], unsafe: bool) -> None:
    written = solutions()
    verdicts = run_programs([task.pair(written[name]) for name, task in tasks.items()], timeout=30, unsafe=unsafe)
    assert len(verdicts) == 164
    assert {name: v.reason for name, v in zip(tasks, verdicts, strict=True) if not v.passed} == {}


@pytest.mark.parametrize(
    "body", ["    pass\n", "    return 0\n", "    return ''\n", "    return []\n", "    return True\n"]
)
def test_no_constant_passes(tasks: dict[str, Task], body: str) -> None:
    verdicts = run_programs([task.pair(body) for task in tasks.values()], timeout=30)
    assert [name for name, v in zip(tasks, verdicts, strict=True) if v.passed] == []
