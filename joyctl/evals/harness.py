"""Scores a Hugging Face folder on a suite and writes each task's results as soon as it has them.

Two steps, so that a GPU generates code and a processor executes it: `evaluate`, then `execute`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from joyctl.campaign.spec import EvalSpec
from joyctl.errors import Missing, Refused
from joyctl.evals.protocol import model_digest, protocol_hash, tokenizer_digest
from joyctl.evals.responses import Responses, read_responses
from joyctl.evals.sandbox import probe
from joyctl.evals.suites import RUN_CODE, tasks_of
from joyctl.store.files import sha256_file, write_json, write_text
from joyctl.store.fingerprint import changed_keys

if TYPE_CHECKING:
    from joyctl.evals.scoring import Outcome

RESULTS, SAMPLES = "results.json", "samples.jsonl"
Progress = Callable[[str, int, int], None]
"""Called with (task, items done, items)."""


def evaluate(
    model_folder: Path,
    spec: EvalSpec,
    out: Path,
    *,
    threads: int = 1,
    on_progress: Progress | None = None,
) -> None:
    """Score the model on every task of the suite into `out`/<task>/{results.json, samples.jsonl}.

    Scores are lm-eval's own for these task files, model and batch size. Of a task that runs code only the responses
    are made, into `out`/<task>/responses.json; `execute` makes its results of them, and any there of before are
    removed unless they are complete. What `out` already holds, complete, of the same weights and the same protocol, is
    left alone. `on_progress` gets (task, items done, items).

    Raises Missing when the model, its tokenizer or the task files are not there, RecipeError for an unknown suite;
    nothing is written then.
    """
    tasks = tasks_of(spec.suite, Path(spec.data_folder) / "tasks")
    _check_model(model_folder)
    model = model_digest(model_folder)
    # The libraries behind this take seconds to import: not before the inputs are known to be there.
    from joyctl.evals.scoring import scorer

    with scorer(model_folder, spec, threads) as scores:
        for task in tasks:
            start = time.monotonic()
            folder, progress = out / task, _of_task(on_progress, task)
            loaded = scores.load(task)
            parts = scores.protocol(task, loaded)
            protocol = protocol_hash(parts)
            if is_complete(folder, protocol, model):
                continue
            if task not in RUN_CODE:
                outcome = scores.score(task, loaded, progress)
                seconds = time.monotonic() - start
                _write(folder, task, _header(protocol, parts, model), outcome=outcome, seconds=seconds)
                continue
            # What is not of these responses may not stand beside them, nor change under the stage's marker later.
            for name in (RESULTS, SAMPLES):
                (folder / name).unlink(missing_ok=True)
            stored = read_responses(folder)
            if stored is None or (stored.protocol, stored.model) != (protocol, model):
                answers, truncated = scores.generate(loaded, progress)
                seconds = time.monotonic() - start
                Responses(task, protocol, parts, model, truncated, seconds, answers).write(folder)


def execute(spec: EvalSpec, out: Path, *, threads: int = 1, on_progress: Progress | None = None) -> None:
    """Execute the generated programs that `evaluate` left in `out`, and write the results of their tasks.

    Needs the responses and the task files, not the model. lm-eval scores the responses as if they came from it. Where
    programs cannot be confined, the task is written as `not run` with the reason. Complete results of the same
    responses are left alone, as are complete ones without responses. `threads` programs run at once. `on_progress`
    gets (task, items done, items).

    Raises Missing when responses or task files are not there, Refused for responses to other prompts or of another
    protocol, RecipeError for an unknown suite; nothing is written then.
    """
    for task in tasks_of(spec.suite, Path(spec.data_folder) / "tasks"):
        if task not in RUN_CODE:
            continue
        start = time.monotonic()
        folder = out / task
        stored, done = read_responses(folder), _complete(folder)
        if stored is None and done is None:
            raise Missing(
                f"nothing to execute: {folder} holds no responses of a model", hint="Run the stage eval first."
            )
        if stored is None or done == (stored.protocol, stored.model):
            continue
        header = _header(stored.protocol, stored.protocol_parts, stored.model)
        if why := probe():
            _write(folder, task, header, reason=f"no sandbox: {why}")
            continue
        from joyctl.evals.scoring import replayer

        with replayer(stored, spec, threads) as scores:
            loaded = scores.load(task)
            changes = changed_keys(stored.protocol_parts, scores.protocol(task, loaded))
            if changes:
                raise Refused(
                    f"the responses in {folder} are of another protocol; changed: {', '.join(c[0] for c in changes)}",
                    hint="Have them generated again: remove DONE.eval.json of the run and repeat the command.",
                )
            outcome = scores.score(task, loaded, _of_task(on_progress, task))
        _write(folder, task, header, outcome=outcome, seconds=stored.seconds + time.monotonic() - start)


def is_complete(folder: Path, protocol: str, model: str) -> bool:
    """Whether a task's folder holds whole results of this protocol for these weights."""
    return _complete(folder) == (protocol, model)


def _complete(folder: Path) -> tuple[str, str] | None:
    """Protocol and model of the whole results in a task's folder; None when there are none."""
    try:
        results = json.loads((folder / RESULTS).read_bytes())
        if (results["status"], results["samples_sha256"]) != ("ok", sha256_file(folder / SAMPLES)):
            return None
        return results["protocol"], results["model"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _of_task(on_progress: Progress | None, task: str) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(task, done, total)

    return progress


def _header(protocol: str, parts: Mapping[str, object], model: str) -> dict[str, object]:
    return {"protocol": protocol, "protocol_parts": parts, "model": model}


def _write(
    folder: Path,
    task: str,
    header: dict[str, object],
    *,
    outcome: Outcome | None = None,
    seconds: float = 0.0,
    reason: str | None = None,
) -> None:
    """Write samples first and results last: results name the digest of their samples, and so vouch for them."""
    rows = outcome.rows if outcome else []
    write_text(folder / SAMPLES, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    write_json(
        folder / RESULTS,
        {
            "task": task,
            "status": "ok" if reason is None else "not run",
            "reason": reason,
            **header,
            "scores": outcome.scores if outcome else [],
            "truncated_prompts": outcome.truncated if outcome else 0,
            "samples_sha256": sha256_file(folder / SAMPLES),
            "seconds": round(seconds, 3),
        },
    )


def _check_model(folder: Path) -> None:
    if not folder.is_dir():
        raise Missing(f"no model: {folder} is no folder", hint="give a Hugging Face folder, as `runs/<id>/hf`")
    if not (folder / "config.json").is_file():
        raise Missing(f"{folder} is no Hugging Face folder: it has no config.json")
    tokenizer_digest(folder)
