"""OpenAI's HumanEval format: problems and samples as lines of JSON, and the results that its own tool writes.

A problem has `task_id`, `prompt`, `test` and `entry_point`; a sample has `task_id` and `completion`, which goes on
where the prompt ends. Files end in .jsonl or .jsonl.gz; blank lines count for nothing. Format and rules: the README
and `data.py`, `evaluation.py` of github.com/openai/human-eval.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joyctl.errors import Missing, Problem, RecipeError
from joyctl.evals.sandbox import Verdict, estimate, run_programs
from joyctl.store.files import atomic_path

DATASET = "openai/openai_humaneval"
_SHOWN = 20
"""Problems of one file that are listed; the others are counted."""


@dataclass(frozen=True)
class Task:
    """One problem: what a completion goes on from, and how the whole is tested."""

    prompt: str
    test: str
    entry_point: str

    def pair(self, completion: str) -> tuple[str, str]:
        """Program and test, as `run_programs` takes them."""
        return self.prompt + completion, f"{self.test}\ncheck({self.entry_point})"


@dataclass(frozen=True)
class Judged:
    """All samples with their verdicts, in the order of the file."""

    samples: Sequence[Mapping[str, Any]]
    verdicts: Sequence[Verdict]

    def pass_at(self, ks: Sequence[int]) -> dict[str, float]:
        """`pass@k` over the problems that have samples; a k that some problem has too few samples for is left out."""
        n = Counter(sample["task_id"] for sample in self.samples)
        c = Counter(s["task_id"] for s, v in zip(self.samples, self.verdicts, strict=True) if v.passed)
        return estimate([(n[task], c[task]) for task in n], ks)

    def write(self, path: Path) -> None:
        """One line a sample: its own fields, `passed` and `result` (why). Atomic."""
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            for sample, verdict in zip(self.samples, self.verdicts, strict=True):
                file.write(json.dumps({**sample, "passed": verdict.passed, "result": verdict.reason}) + "\n")


def judge(
    samples: Sequence[Mapping[str, Any]],
    tasks: Mapping[str, Task],
    *,
    workers: int | None = None,
    timeout: float,
    unsafe: bool = False,
    on_verdict: Callable[[], None] | None = None,
) -> Judged:
    """Run every sample's program against its problem's test. Raises Missing when the sandbox does not start."""
    pairs = [tasks[sample["task_id"]].pair(sample["completion"]) for sample in samples]
    verdicts = run_programs(pairs, workers=workers, timeout=timeout, unsafe=unsafe, on_verdict=on_verdict)
    return Judged(samples, verdicts)


def read_tasks(path: Path) -> dict[str, Task]:
    """The problems of a file by `task_id`. Raises RecipeError with all that is wrong."""
    problems: list[Problem] = []
    tasks: dict[str, Task] = {}
    for line, fields in _objects(path, problems):
        where = f"{path}:{line}"
        if wrong := _wrong(fields, ("task_id", "prompt", "test", "entry_point")):
            problems.append(Problem(where, "", f"{wrong}; is this a file of problems?"))
        elif not fields["entry_point"].isidentifier():
            problems.append(Problem(where, "entry_point", f"'{fields['entry_point']}' is no name of a function"))
        elif fields["task_id"] in tasks:
            problems.append(Problem(where, "task_id", f"{fields['task_id']} stands in this file twice"))
        else:
            tasks[fields["task_id"]] = Task(fields["prompt"], fields["test"], fields["entry_point"])
    _check(path, tasks, problems, "problems")
    return tasks


def default_tasks() -> dict[str, Task]:
    """HumanEval: below the folder that JOYCTL_BENCH_DATA names, else from the Hugging Face hub or its cache.

    Raises Missing when it is in neither place.
    """
    if folder := os.environ.get("JOYCTL_BENCH_DATA"):
        path = Path(folder) / "bench" / DATASET / "test.jsonl"
        if not path.is_file():
            raise Missing(f"JOYCTL_BENCH_DATA is set, but there is no {path}", hint="give --problems FILE")
        return read_tasks(path)
    import datasets

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries
    datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(DATASET, split="test")
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Missing(
            f"no problems: {DATASET} does not load: {reason}",
            hint="give --problems FILE, such as HumanEval.jsonl.gz of github.com/openai/human-eval",
        ) from None
    return {row["task_id"]: Task(row["prompt"], row["test"], row["entry_point"]) for row in rows}


def read_samples(path: Path, tasks: Mapping[str, Task]) -> list[dict[str, Any]]:
    """The samples of a file, all their fields. Raises RecipeError with all that is wrong."""
    problems: list[Problem] = []
    samples: list[dict[str, Any]] = []
    for line, fields in _objects(path, problems):
        if wrong := _wrong(fields, ("task_id", "completion")):
            problems.append(Problem(f"{path}:{line}", "", wrong))
        elif fields["task_id"] not in tasks:
            message = f"no problem has this name; there are {len(tasks)}, such as {next(iter(tasks))}"
            problems.append(Problem(f"{path}:{line}", "task_id", f"{fields['task_id']}: {message}"))
        else:
            samples.append(fields)
    _check(path, samples, problems, "samples")
    return samples


def _objects(path: Path, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every line that is one; what is not goes to `problems`."""
    line = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for line, text in enumerate(file, 1):
                if not text.strip():
                    continue
                try:
                    value = json.loads(text)
                except (ValueError, RecursionError) as error:
                    reason = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
                    torn = "" if text.endswith(b"\n") else "; the file ends here: is it whole?"
                    problems.append(Problem(f"{path}:{line}", "", f"no JSON: {reason}{torn}"))
                    continue
                if isinstance(value, dict):
                    yield line, value
                else:
                    problems.append(Problem(f"{path}:{line}", "", "no JSON object"))
    except (OSError, EOFError, zlib.error) as error:  # EOFError: a compressed file that was cut
        reason = getattr(error, "strerror", None) or str(error)
        problems.append(Problem(f"{path}:{line + 1}" if line else str(path), "", reason))


def _wrong(fields: Mapping[str, Any], wanted: Iterable[str]) -> str | None:
    """What keeps an object from having these fields as text; None when nothing does."""
    for name in wanted:
        if name not in fields:
            return f"no field '{name}'"
        if not isinstance(fields[name], str):
            return f"'{name}' is no text"
    return None


def _check(path: Path, found: object, problems: Sequence[Problem], what: str) -> None:
    if not found and not problems:
        problems = [Problem(str(path), "", f"no {what} in this file")]
    if problems:
        more = len(problems) - _SHOWN
        raise RecipeError(problems[:_SHOWN], hint=f"{more} more are not shown." if more > 0 else None)
