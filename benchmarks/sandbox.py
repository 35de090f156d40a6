"""How long judging HumanEval's 164 own solutions takes, beside running them as plain Python processes.

In turn, medians: joyctl's sandbox (two processes, bubblewrap, filter; the judge outside the program's process), and
one bare `python -I -S` a program with its test in the same process and no protection at all; both as many at once as
this process has cores. JOYCTL_BENCH_DATA is the folder that holds bench/openai/openai_humaneval/test.jsonl.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from joyctl.evals.openai_format import DATASET, default_tasks
from joyctl.evals.sandbox import probe, run_programs

ROUNDS = 5
AT_MOST = 10.0
"""Seconds for all, on two cores."""


def main() -> None:
    if not os.environ.get("JOYCTL_BENCH_DATA"):
        sys.exit("sandbox: needs bench data: set JOYCTL_BENCH_DATA to the folder that holds bench/")
    if why := probe():
        sys.exit(f"sandbox: {why}")
    path = Path(os.environ["JOYCTL_BENCH_DATA"]) / "bench" / DATASET / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    tasks = default_tasks()
    pairs = [tasks[row["task_id"]].pair(row["canonical_solution"]) for row in rows]
    workers = len(os.sched_getaffinity(0))
    ours, plain = [], []
    for _ in range(ROUNDS):
        ours.append(_seconds(lambda: sum(v.passed for v in run_programs(pairs, workers=workers)), len(pairs)))
        plain.append(_seconds(lambda: _plain(pairs, workers), len(pairs)))
    mine, other = statistics.median(ours), statistics.median(plain)
    ratio = statistics.median(a / b for a, b in zip(ours, plain, strict=True))
    each = 1000 / len(pairs)
    print(f"sandbox  {mine:.2f} s for {len(pairs)} programs, {workers} at once (at most {AT_MOST:.0f}); all pass")
    print(f"         {mine * each:.1f} ms a program; plain python -I -S {other * each:.1f} ms, ratio {ratio:.2f}")


def _seconds(work: Callable[[], int], expected: int) -> float:
    start = time.perf_counter()
    passed = work()
    if passed != expected:
        sys.exit(f"sandbox: only {passed} of {expected} solutions passed")
    return time.perf_counter() - start


def _plain(pairs: Sequence[tuple[str, str]], workers: int) -> int:
    def one(pair: tuple[str, str]) -> bool:
        program = "\n".join(pair)
        return subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True).returncode == 0

    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(one, pairs))


if __name__ == "__main__":
    main()
