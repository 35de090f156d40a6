"""What every attempt took, and how much of that was lost: from attempts.jsonl, the metrics and the checkpoints.

An attempt's hours are those between its lines in attempts.jsonl; what a job does before and after (starting Python,
waiting for a lock) is not in them. Lost is an attempt that did not end well, less what could be gone on from:

- training: up to its last step that still stands in metrics.jsonl, since going on drops the lines after the checkpoint;
  where nothing has gone on yet, up to the newest checkpoint. What was spent on starting counts as used then.
- other stages: nothing. `eval` does go on from the answers that are kept, but when they came is not: its lost time is
  an upper bound.

All that was set aside below replaced/ is lost. An attempt of which no end is known ends now where its process lives on
this machine; otherwise with its last step in metrics.jsonl, or at once, but never after the next start.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joyctl.report.status import process_lives
from joyctl.store import layout
from joyctl.store.files import read_lines

_PLACES = ("trunk/*/*", "runs/*/*")


@dataclass(frozen=True)
class Attempt:
    """One attempt at one stage."""

    stage: str
    start: float
    end: float
    """Unix times; `end` is not before `start`."""
    lost: float
    """Seconds of it that nothing came of."""
    cores: int
    """Processor cores it kept from others."""
    gpus: int
    price: float | None
    """Of one hour of one GPU, or of one core where it has no GPUs."""
    currency: str
    aside: bool
    """Whether its folder was set aside."""

    @property
    def seconds(self) -> float:
        """Wall time."""
        return self.end - self.start

    @property
    def units(self) -> int:
        """GPUs, or cores where it has none."""
        return self.gpus or self.cores


def read_attempts(campaign: Path, now: float | None = None) -> list[Attempt]:
    """Every attempt at anything in a campaign's folder, those of folders set aside too, by their start.

    `now` is a Unix time, the present unless given. Lines that are torn or without a start are left out.
    """
    moment = time.time() if now is None else now
    found = []
    for pattern, aside in ((p, a) for p in _PLACES for a in (False, True)):
        for path in campaign.glob(f"{'replaced/*/' if aside else ''}{pattern}/{layout.ATTEMPTS}"):
            found += _of_folder(path.parent, aside, moment)
    return sorted(found, key=lambda attempt: (attempt.start, attempt.stage))


def _of_folder(folder: Path, aside: bool, now: float) -> list[Attempt]:
    lines: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for found_line in read_lines(folder / layout.ATTEMPTS):
        key = tuple(found_line.get(name) for name in ("stage", "start", "pid", "host"))
        if _number(found_line.get("start")) is not None:
            lines[key] = {**lines.get(key, {}), **found_line}
    found = []
    for stage in dict.fromkeys(str(line.get("stage")) for line in lines.values()):
        ours = sorted((line for line in lines.values() if str(line.get("stage")) == stage), key=lambda a: a["start"])
        whole = all(line.get("outcome") == "done" for line in ours)
        steps = _Steps.read(folder) if stage == "train" and not whole else _Steps([], 0, aside)
        nexts: list[float | None] = [*(float(line["start"]) for line in ours[1:]), None]
        for line, after in zip(ours, nexts, strict=True):
            found.append(_attempt(line, after, steps, aside, now))
    return found


@dataclass(frozen=True)
class _Steps:
    """Of one training: when each step that counts was done, and which of them are saved."""

    lines: Sequence[tuple[float, int]]
    """(Unix time, step), in order."""
    saved: int
    """Step of the newest checkpoint."""
    done: bool

    @staticmethod
    def read(folder: Path) -> _Steps:
        lines = []
        for line in read_lines(folder / layout.METRICS):
            at, step = _number(line.get("time")), line.get("step")
            if at is not None and isinstance(step, int):
                lines.append((at, step))
        checkpoints = (folder / layout.CHECKPOINTS).glob("step-*/.metadata")
        names = (path.parent.name.removeprefix("step-") for path in checkpoints)
        saved = max((int(name) for name in names if name.isdigit()), default=0)
        return _Steps(sorted(lines), saved, layout.marker(folder, "train").exists())

    def last(self, start: float, end: float) -> float | None:
        """When the last step between two times was done."""
        return max((at for at, _ in self.lines if start <= at <= end), default=None)

    def kept(self, start: float, end: float) -> float | None:
        """When the last step between two times was done that is gone on from, or may be."""
        went_on = self.done or any(at > end for at, _ in self.lines)
        times = (at for at, step in self.lines if start <= at <= end and (went_on or step <= self.saved))
        return max(times, default=None)


def _attempt(line: Mapping[str, Any], after: float | None, steps: _Steps, aside: bool, now: float) -> Attempt:
    start = float(line["start"])
    end = _number(line.get("end"))
    runs = end is None and after is None and process_lives(line) is True
    if end is None:
        seen = now if runs else steps.last(start, now if after is None else after)
        end = start if seen is None else seen
    end = max(start, end)
    lost = 0.0
    if aside:
        lost = end - start
    elif not runs and line.get("outcome") != "done":
        kept = steps.kept(start, end)
        lost = end - (start if kept is None else kept)
    price = _number(line.get("price"))
    return Attempt(
        stage=str(line.get("stage")),
        start=start,
        end=end,
        lost=lost,
        # Before cores were written down, attempts were of one process with as many threads.
        cores=max(1, int(_number(line.get("cores")) or _number(line.get("threads")) or 1)),
        gpus=max(0, int(_number(line.get("gpus")) or 0)),
        price=price,
        currency=str(line.get("currency") or "") if price is not None else "",
        aside=aside,
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
