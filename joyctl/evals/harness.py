"""Scores a Hugging Face folder on a suite and writes each task's results as soon as it has them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from joyctl.campaign.spec import EvalSpec
from joyctl.errors import Missing
from joyctl.evals.protocol import model_digest, protocol_hash, tokenizer_digest
from joyctl.evals.sandbox import probe
from joyctl.evals.suites import tasks_of
from joyctl.store.files import sha256_file, write_json, write_text

RESULTS, SAMPLES = "results.json", "samples.jsonl"


def evaluate(
    model_folder: Path,
    spec: EvalSpec,
    out: Path,
    *,
    threads: int = 1,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Score the model on every task of the suite into `out`/<task>/{results.json, samples.jsonl}.

    Scores are lm-eval's own for these task files, model and batch size. A task that `out` already holds, complete, of
    the same weights and the same protocol, is left alone. Where generated programs cannot be confined, tasks that run
    them are written as `not run` with the reason. `on_progress` gets (task, items done, items).

    Raises Missing when the model, its tokenizer or the task files are not there, RecipeError for an unknown suite;
    nothing is written then.
    """
    tasks = tasks_of(spec.suite, Path(spec.data_folder) / "tasks")
    _check_model(model_folder)
    model = model_digest(model_folder)
    # The libraries behind this take seconds to import: not before the inputs are known to be there.
    from joyctl.evals.scoring import runs_code, scorer

    with scorer(model_folder, spec, threads) as scores:
        for task in tasks:
            start = time.monotonic()
            loaded = scores.load(task)
            parts = scores.protocol(task, loaded)
            header: dict[str, Any] = {"protocol": protocol_hash(parts), "protocol_parts": parts, "model": model}
            if is_complete(out / task, header["protocol"], model):
                continue
            reason = f"no sandbox: {why}" if runs_code(loaded) and (why := probe()) else None
            if reason is not None:
                _write(out / task, task, header, reason=reason)
                continue

            def progress(done: int, total: int, task: str = task) -> None:
                if on_progress is not None:
                    on_progress(task, done, total)

            outcome = scores.score(task, loaded, progress)
            _write(
                out / task,
                task,
                header,
                scores=outcome.scores,
                rows=outcome.rows,
                truncated=outcome.truncated,
                seconds=time.monotonic() - start,
            )


def is_complete(folder: Path, protocol: str, model: str) -> bool:
    """Whether a task's folder holds whole results of this protocol for these weights."""
    try:
        results = json.loads((folder / RESULTS).read_bytes())
        found = (results["status"], results["protocol"], results["model"], results["samples_sha256"])
        return bool(found == ("ok", protocol, model, sha256_file(folder / SAMPLES)))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write(
    folder: Path,
    task: str,
    header: dict[str, Any],
    *,
    scores: list[dict[str, Any]] | None = None,
    rows: list[dict[str, Any]] | None = None,
    truncated: int = 0,
    seconds: float = 0.0,
    reason: str | None = None,
) -> None:
    """Write samples first and results last: results name the digest of their samples, and so vouch for them."""
    write_text(folder / SAMPLES, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows or []))
    write_json(
        folder / RESULTS,
        {
            "task": task,
            "status": "ok" if reason is None else "not run",
            "reason": reason,
            **header,
            "scores": scores or [],
            "truncated_prompts": truncated,
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
