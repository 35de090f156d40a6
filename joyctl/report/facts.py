"""What lies in each folder of a campaign, read cheaply: markers, attempts, the end of the metrics.

A status may be asked of a thousand runs on a busy login node, so files are read as plain JSON and only where needed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joyctl.errors import Missing
from joyctl.store import layout
from joyctl.store.campaign import read_campaign_json
from joyctl.store.files import read_lines

if TYPE_CHECKING:
    from joyctl.campaign.spec import Stage

_TAIL = 16_384  # bytes of metrics.jsonl: some fifty steps


@dataclass(frozen=True)
class Progress:
    """How far a folder's own training is."""

    step: int | None = None
    """Optimizer steps done so far; None where it trains nothing or has not begun."""
    of_steps: int | None = None
    loss: float | None = None
    """Training loss of the last step written."""
    seconds_left: float | None = None
    """Seconds that the rest takes at the speed of the last steps; None where there are too few to tell."""


@dataclass(frozen=True)
class Facts:
    """What the folder of one segment or run holds."""

    id: str
    """A segment's id (`trunk/s0/0-2050`) or a run's (`upsample-20/s0`)."""
    folder: str
    """Below the campaign's: the segment's id, or `runs/<run id>`."""
    stages: tuple[Stage, ...]
    """In the order in which they are done."""
    done: frozenset[str] = frozenset()
    """Stages whose marker is there."""
    attempts: tuple[Mapping[str, Any], ...] = ()
    """Lines of attempts.jsonl (joyctl.store.attempts); each has a `start`."""
    progress: Progress = Progress()

    def of(self, stage: Stage) -> list[Mapping[str, Any]]:
        """The attempts at one stage."""
        return [attempt for attempt in self.attempts if attempt.get("stage") == stage]


def read_facts(campaign: Path) -> list[Facts]:
    """Facts of every expected segment that is no run's own, then of every expected or found run.

    Raises Missing when `campaign` is no campaign's folder, and Refused when its campaign.json is torn.
    """
    kept = read_campaign_json(campaign)
    if kept is None:
        raise Missing(f"{campaign} is not a campaign's folder: it holds no {layout.CAMPAIGN}", hint="joyctl sweep")
    segments = names(kept, "segments")
    runs = expected_and_found(campaign, names(kept, "runs"))
    own = {f"runs/{run}" for run in runs}
    found = [segment_facts(campaign, name) for name in segments if name not in own]
    trained = set(segments)
    return found + [run_facts(campaign, run, trains=f"runs/{run}" in trained) for run in runs]


def segment_facts(campaign: Path, segment: str) -> Facts:
    """Facts of a segment that is no run's own."""
    here = campaign / segment
    match = re.search(r"/(\d+)-(\d+)$", segment)
    span = (int(match[1]), int(match[2])) if match else _span(_read(here / layout.SEGMENT), "start_step")
    return _facts(here, segment, segment, ("train",), span)


def run_facts(campaign: Path, run: str, *, trains: bool) -> Facts:
    """Facts of one run; `trains` says whether its folder is also a segment's."""
    here = layout.run_folder(campaign, run)
    spec = _read(here / layout.RUN)
    suite = spec.get("eval")
    runs_code = suite.get("runs_code", True) if isinstance(suite, dict) else True
    scoring: tuple[Stage, ...] = ("eval", "score") if runs_code else ("eval",)
    stages: tuple[Stage, ...] = scoring if run.startswith(layout.REFERENCE) else ("export", *scoring)
    if not trains:
        return _facts(here, run, f"runs/{run}", stages, None)
    span = _span(spec, "branch_step") or _span(_read(here / layout.SEGMENT), "start_step")
    return _facts(here, run, f"runs/{run}", ("train", *stages), span)


def expected_and_found(campaign: Path, expected: Sequence[str]) -> list[str]:
    """Ids of all runs: those expected, then any others whose run.json lies below runs/."""
    known = set(expected)
    found = []
    for variant in _folders(campaign / "runs"):
        ids = (f"{variant.name}/{seeds.name}" for seeds in _folders(variant))
        found += [i for i in ids if i not in known and (campaign / "runs" / i / layout.RUN).exists()]
    return [*dict.fromkeys(expected), *sorted(found)]


def names(campaign: Mapping[str, Any], key: str) -> list[str]:
    """The list of ids under `key` of campaign.json; entries may also be objects with an `id`."""
    found = campaign.get(key)
    entries = found if isinstance(found, list) else []
    return [str(entry["id"]) if isinstance(entry, dict) else str(entry) for entry in entries]


def _facts(here: Path, name: str, folder: str, stages: tuple[Stage, ...], span: tuple[int, int] | None) -> Facts:
    attempts = tuple(a for a in read_lines(here / layout.ATTEMPTS) if isinstance(a.get("start"), int | float))
    # After the attempts: a stage that ends just now writes its marker first, then its attempt's end.
    try:
        with os.scandir(here) as entries:
            there = {entry.name for entry in entries}
    except OSError:
        there = set()
    done = frozenset(stage for stage in stages if f"DONE.{stage}.json" in there)
    progress = Progress()
    if "train" in stages:
        starts = [float(a["start"]) for a in attempts if a.get("stage") == "train"]  # type: ignore[arg-type]
        since = max(starts) if starts and "train" not in done else None
        progress = _progress(_tail(here / layout.METRICS), span, since)
    return Facts(name, folder, stages, done, attempts, progress)


def _progress(lines: Sequence[bytes], span: tuple[int, int] | None, since: float | None) -> Progress:
    """Progress by the last lines of metrics.jsonl; its speed by those that the attempt begun at `since` wrote."""
    last = next(filter(None, map(_object, reversed(lines))), {})
    step, loss = last.get("step"), last.get("loss")
    left = None
    if span is not None and since is not None:
        first = next((o for o in map(_object, lines) if o and o.get("time", 0.0) >= since), {})
        left = _seconds_left(first, last, span[1])
    return Progress(
        step=max(0, step - span[0]) if span and isinstance(step, int) else None,
        of_steps=span[1] - span[0] if span else None,
        loss=loss if isinstance(loss, float) else None,
        seconds_left=left,
    )


def _seconds_left(first: Mapping[str, Any], last: Mapping[str, Any], end: int) -> float | None:
    try:
        steps, seconds = last["step"] - first["step"], last["time"] - first["time"]
    except (KeyError, TypeError):
        return None
    return (end - last["step"]) * seconds / steps if steps > 0 and seconds > 0 else None


def _tail(path: Path) -> list[bytes]:
    """The last lines of a file; none when it is not there."""
    try:
        with path.open("rb") as f:
            start = max(0, f.seek(0, os.SEEK_END) - _TAIL)
            f.seek(start)
            return f.read().splitlines()[1 if start else 0 :]
    except OSError:
        return []


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _span(spec: Mapping[str, Any], start: str) -> tuple[int, int] | None:
    """(first, last step) of a training by its run.json or segment.json."""
    first, last = spec.get(start), spec.get("end_step")
    return (first, last) if isinstance(first, int) and isinstance(last, int) else None


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty when there is none or it is torn."""
    try:
        return _object(path.read_bytes()) or {}
    except OSError:
        return {}


def _folders(path: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.is_dir()]
    except OSError:
        return []
