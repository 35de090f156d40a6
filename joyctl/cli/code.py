"""`joyctl eval-code`: judge generated programs in OpenAI's HumanEval format."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from joyctl.cli.words import Json, interruptible, note
from joyctl.errors import Missing, Problem, RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from joyctl.evals.openai_format import Judged, Task

_KS = "1,10,100"
_REASONS = 8
"""Kinds of failure that the table lists."""


def eval_code(
    samples: Annotated[
        Path, typer.Argument(help="Lines with task_id and completion; .jsonl or .jsonl.gz.", metavar="SAMPLES.jsonl")
    ],
    problems: Annotated[
        Path | None,
        typer.Option("--problems", help="Lines with task_id, prompt, test, entry_point (HumanEval).", metavar="FILE"),
    ] = None,
    k: Annotated[
        str | None, typer.Option("-k", help=f"Which pass@k, where there are samples enough ({_KS}).", metavar="K,...")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Programs at once (the cores of this process).")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.1, help="Time for a program and its test (5).", metavar="SECONDS")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Score the problems that have samples, when some have none.")
    ] = False,
    unsafe: Annotated[
        bool, typer.Option("--unsafe-code", help="Run without a sandbox: the programs can do what you can.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run generated programs in a sandbox and give pass@k; OpenAI's HumanEval format.

    Writes SAMPLES.jsonl_results.jsonl beside the samples: their fields, passed and result.
    """
    from joyctl.evals.openai_format import default_tasks, judge, read_samples, read_tasks
    from joyctl.evals.sandbox import TIMEOUT, probe

    ks = _ks(_KS if k is None else k)
    tasks = read_tasks(problems) if problems else default_tasks()
    found = read_samples(samples, tasks)
    _check_attempted(samples, found, tasks, partial)
    left_out = [] if k is None else _check_ks(samples, found, ks)
    results = samples.with_name(f"{samples.name}_results.jsonl")
    if not os.access(results.parent, os.W_OK):
        raise Missing(f"no permission to write {results}", hint="copy the samples to a folder of yours")
    if unsafe:
        note("no sandbox: the programs run with your permissions")
    elif why := probe():
        raise Missing(f"no sandbox: {why}", hint="or, if the programs are harmless: --unsafe-code")
    with interruptible("Nothing was written."), _progress(len(found)) as tell:
        judged = judge(found, tasks, workers=workers, timeout=timeout or TIMEOUT, unsafe=unsafe, on_verdict=tell)
    judged.write(results)
    for message in left_out:
        note(message)
    if as_json:
        typer.echo(json.dumps(_answer(judged, ks, tasks, results, unsafe), indent=1))
    else:
        _print(judged, ks, tasks, results, samples.name)


def _ks(text: str) -> list[int]:
    """'1,10' -> [1, 10]. Raises RecipeError for what is no list of whole numbers from 1 on."""
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not (word.isascii() and word.isdigit() and int(word)):
            raise RecipeError([Problem(f"-k {text}", "", f"'{word}' is no number of samples; give such as -k 1,10")])
    return list(dict.fromkeys(int(word) for word in words))


def _check_ks(path: Path, found: Sequence[Mapping[str, Any]], ks: Sequence[int]) -> list[str]:
    """Which of the k asked for are left out, and why. Raises RecipeError when that leaves none."""
    task, n = min(Counter(sample["task_id"] for sample in found).items(), key=lambda item: item[1])
    has = f"{task} has {n} sample{'s' if n != 1 else ''}"
    if n < min(ks):
        raise RecipeError([Problem(str(path), "", f"too few samples for pass@{min(ks)}: {has}")])
    return [f"pass@{k} left out: {has}" for k in ks if k > n]


def _check_attempted(path: Path, found: Sequence[Mapping[str, Any]], tasks: Mapping[str, Task], partial: bool) -> None:
    """Raises RecipeError when problems have no samples: a model may not choose its questions."""
    attempted = {sample["task_id"] for sample in found}
    if left := [task for task in tasks if task not in attempted]:
        told = f"{len(attempted)} of {len(tasks)} problems have samples"
        if partial:
            note(f"{told}; pass@k is over these")
            return
        problem = Problem(str(path), "", f"{told}; the first without: {left[0]}")
        raise RecipeError([problem], hint="--partial scores those that have.")


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None] | None]:
    """What counts a verdict on the terminal; None where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("programs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def _answer(
    judged: Judged, ks: Sequence[int], tasks: Mapping[str, Task], results: Path, unsafe: bool
) -> dict[str, Any]:
    return {
        **judged.pass_at(ks),
        "n": len(judged.samples),
        "passed": sum(verdict.passed for verdict in judged.verdicts),
        "problems": len({sample["task_id"] for sample in judged.samples}),
        "of_problems": len(tasks),
        "sandbox": "none" if unsafe else "bubblewrap",
        "results": str(results),
        "items": [
            {"task_id": sample["task_id"], "passed": verdict.passed, "reason": verdict.reason}
            for sample, verdict in zip(judged.samples, judged.verdicts, strict=True)
        ],
    }


def _print(judged: Judged, ks: Sequence[int], tasks: Mapping[str, Task], results: Path, name: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True, file=sys.stdout)
    n = len(judged.samples)
    passed = sum(verdict.passed for verdict in judged.verdicts)
    problems = len({sample["task_id"] for sample in judged.samples})
    of = f" of {len(tasks)}" if problems < len(tasks) else ""
    console.print(Text(f"{name} · {problems}{of} problems, {n} samples, {passed} passed\n"))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 1))
    table.add_column()
    table.add_column(justify="right")
    for metric, value in judged.pass_at(ks).items():
        table.add_row(Text(metric, style="bold"), f"{100 * value:.1f} %")
    # Kinds: a message of its own for every program would list as many lines as programs.
    kinds = Counter(verdict.reason.partition(":")[0] for verdict in judged.verdicts if not verdict.passed)
    if kinds:
        table.add_row()
        table.add_row(Text("not passed", style="bold"), str(n - passed))
    for kind, count in kinds.most_common(_REASONS):
        table.add_row(Text(kind), str(count))
    if rest := sum(kinds.values()) - sum(count for _, count in kinds.most_common(_REASONS)):
        table.add_row("other reasons", str(rest))
    console.print(table)
    console.print(Text(f"\nwhy, sample by sample: {results}"))
