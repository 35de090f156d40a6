"""attempts.jsonl: one line when a stage starts and one when it ends, however it ends; log/error-*.json: why it broke.

A start: {stage, start, pid, host, threads, cores, gpus, job, restart, nodes, part, price, currency}. `cores` and `gpus`
(on Slurm) are all that it keeps from others, over all its nodes; `price` (where the cluster file has one) is of an hour
of one GPU, or of one core where it has no GPUs. Its end: the same with {end, outcome, error, seconds}; `outcome` is

    done         its marker is there
    failed       its own fault: an exception, a loss that is not finite, the same death on two nodes
    interrupted  asked to stop
    killed       no fault of its own, for all that is known: a signal, a lost connection; also out of memory
    lost         no word of it; closed by the next start

`killed` ends also have {cause, node}: what to compare with other deaths, and the node to blame, if one is.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from joyctl.errors import JoyctlError
from joyctl.store import layout
from joyctl.store.files import append_line, read_lines, write_json

Outcome = Literal["done", "failed", "interrupted", "killed", "lost"]
_FULL_BYTES = 1_000_000  # so little free space is none
PLACE = "JOYCTL_PLACE"
"""Environment variable by which a supervisor tells {job, restart, nodes, part} and what it takes, as JSON. Where it is
set, the end line of a stage that breaks is the supervisor's to write: it knows of the other processes."""


@dataclass(frozen=True)
class Price:
    """What one hour costs of what an attempt takes: of one GPU, or of one core where it has no GPUs."""

    hour: float
    currency: str

    def lines(self) -> dict[str, Any]:
        """As it stands in an attempt's line."""
        return {"price": self.hour, "currency": self.currency}


def place() -> dict[str, Any]:
    """Where this process works: {job, restart, nodes, part}, and what a supervisor knows of what it takes."""
    given: dict[str, Any] = json.loads(os.environ.get(PLACE, "{}"))
    return {"job": None, "restart": 0, "nodes": [socket.gethostname()], "part": 1} | given


def supervised() -> bool:
    """Whether a supervisor writes how a broken stage ended."""
    return PLACE in os.environ


def begin(folder: Path, stage: str, threads: int, price: Price | None = None) -> dict[str, Any]:
    """Write down that this process starts a stage; first close what ended without a word. Gives the line.

    `price` is of an hour of one of its threads; a supervisor tells its own.
    """
    for line in unfinished(folder, stage):
        _close(folder, line)
    started = {"stage": stage, "start": time.time(), "pid": os.getpid(), "host": socket.gethostname()}
    line = {**started, "threads": threads, "cores": threads, **(price.lines() if price else {}), **place()}
    append_line(folder / layout.ATTEMPTS, line)
    return line


def finish(folder: Path, started: dict[str, Any], outcome: Outcome, error: str | None, **facts: object) -> None:
    """Write down how it ended."""
    end = time.time()
    ended = {"end": end, "outcome": outcome, "error": error, "seconds": end - started["start"]}
    append_line(folder / layout.ATTEMPTS, {**started, **ended, **facts})


def read(folder: Path, stage: str) -> list[dict[str, Any]]:
    """All lines of one stage, in order."""
    return [line for line in read_lines(folder / layout.ATTEMPTS) if line.get("stage") == stage]


def unfinished(folder: Path, stage: str) -> list[dict[str, Any]]:
    """Starts of a stage that have no end line."""
    lines = read(folder, stage)
    over = {_identity(line) for line in lines if "end" in line}
    return [line for line in lines if "end" not in line and _identity(line) not in over]


def words(error: BaseException, folder: Path) -> str:
    """An exception as an attempt's `error`: our own as they are, others with their type.

    On a full disk it says so: libraries write of positions and lengths there.
    """
    if isinstance(error, JoyctlError):
        return str(error)
    full = shutil.disk_usage(folder).free < _FULL_BYTES
    return _words(error) + ("; no space is left on the disk" if full else "")


def _words(error: BaseException) -> str:
    # torch's CheckpointException says no more than that there was one; {rank: (exception, traceback)} says what.
    inner = getattr(error, "failures", None)
    if isinstance(inner, dict) and inner:
        first = next(iter(inner.values()))
        cause = first[0] if isinstance(first, tuple) else first
        if isinstance(cause, BaseException):
            return f"{type(error).__name__}: {_words(cause)}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def record_error(folder: Path, stage: str, error: BaseException) -> None:
    """Keep an exception of this process in log/error-<stage>-<rank>.json, for the judge and for `joyctl logs`."""
    rank = int(os.environ.get("RANK", "0"))
    here = place()
    with contextlib.suppress(OSError):  # a full disk may be the very reason
        write_json(
            folder / "log" / f"error-{stage}-{rank}.json",
            {
                "time": time.time(),
                "rank": rank,
                "host": socket.gethostname(),
                "job": here["job"],
                "restart": here["restart"],
                "pid": os.getpid(),
                "exception": words(error, folder),
                "traceback": "".join(traceback.format_exception(error)),
            },
        )


def errors(folder: Path, started: dict[str, Any]) -> list[dict[str, Any]]:
    """What `record_error` kept of one attempt, the earliest first: the first is likeliest the root cause."""
    found = []
    for path in (folder / "log").glob(f"error-{started['stage']}-*.json"):
        try:
            error = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        same = [error.get(key) for key in ("job", "restart")] == [started.get("job"), started.get("restart", 0)]
        if same and error["time"] >= started["start"]:
            found.append(error)
    return sorted(found, key=lambda error: float(error["time"]))


def note_asked(folder: Path, place: dict[str, Any], signal: str) -> None:
    """Keep that the work here was asked to stop: should it be killed before it has saved, no node is to blame."""
    write_json(folder / "log" / "asked.json", {"signal": signal, "time": time.time(), **place})


def _close(folder: Path, line: dict[str, Any]) -> None:
    """Write the end line of an attempt that could not: its node may be gone, or its supervisor killed."""
    outcome: Outcome = "lost"
    error = f"ended without a word on {', '.join(line.get('nodes') or [str(line.get('host'))])}"
    if broke := errors(folder, line):
        outcome, error = "failed", broke[0]["exception"]
    elif asked := _asked(folder, line):
        outcome, error = "interrupted", f"asked to stop ({asked}), and killed before it had saved"
    # The last that was seen of it.
    signs = {"train": [folder / layout.METRICS], "eval": [*folder.glob("eval/*/answers.jsonl")]}
    end = line["start"]
    for sign in signs.get(line["stage"], []):
        with contextlib.suppress(FileNotFoundError):
            end = max(end, sign.stat().st_mtime)
    ended = {"end": end, "outcome": outcome, "error": error, "seconds": end - line["start"]}
    append_line(folder / layout.ATTEMPTS, {**line, **ended})


def _asked(folder: Path, line: dict[str, Any]) -> str | None:
    try:
        asked = json.loads((folder / "log" / "asked.json").read_bytes())
    except (OSError, ValueError):
        return None
    same = [asked.get(key) for key in ("job", "restart")] == [line.get("job"), line.get("restart", 0)]
    return str(asked["signal"]) if same and asked["time"] >= line["start"] else None


def _identity(line: dict[str, Any]) -> tuple[Any, Any, Any]:
    return line.get("start"), line.get("pid"), line.get("host")
