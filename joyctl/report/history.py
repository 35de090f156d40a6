"""Loss and learning rate by step of every trunk and run, thinned while they are read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joyctl.report.facts import expected_and_found, names
from joyctl.store import layout
from joyctl.store.campaign import read_campaign_json

POINTS = 12_000
"""Points of all curves of a campaign together: what a page can hold and a reader can see."""
_FEWEST = 24  # points of a curve, however many share the budget
_TRUNKS = 0.25  # share of the budget that trunks get: they are long, and one is enough to compare with
_KEYS = ("loss", "lr", "tokens_per_second", "mfu")
_LINE = 360  # bytes that a line of metrics.jsonl takes at most, usually
_TRUNK_SEGMENT = re.compile(r"^(?P<trunk>trunk/.+)/(?P<start>\d+)-\d+$")


@dataclass(frozen=True)
class Point:
    """One step of training."""

    step: int
    loss: float | None
    """Nats a token of that step's batch; None where it was no finite number."""
    lr: float | None
    tokens_per_second: float | None = None
    """Over all ranks."""
    mfu: float | None = None
    """Share of the GPUs' peak; None where that is not known."""


@dataclass(frozen=True)
class Curve:
    """One trunk, or the phase of one run."""

    id: str
    """A trunk's folder (`trunk/s0`), or a run's id."""
    trunk: bool
    points: tuple[Point, ...]
    """By step, each step once."""


def read_history(folder: Path, points: int = POINTS) -> tuple[Curve, ...]:
    """Curves of the campaign in `folder`, trunks first; about `points` points in all.

    A long file is not read but probed at evenly spaced places, so that the curve of a trunk of 250,000 steps costs
    as little as a short one. Torn lines are left out, and so are curves without any point. Raises as
    `read_campaign_json` does; a folder without campaign.json has no curves.
    """
    campaign = read_campaign_json(folder) or {}
    trunks = _trunks(names(campaign, "segments"))
    runs = [run for run in expected_and_found(folder, names(campaign, "runs")) if _size(_of_run(folder, run))]
    per_trunk = max(_FEWEST, round(points * (_TRUNKS if runs else 1) / max(1, len(trunks))))
    per_run = max(_FEWEST, round(points * (1 - _TRUNKS) / max(1, len(runs))))
    curves = [
        Curve(name, True, _curve([folder / part / layout.METRICS for part in parts], per_trunk))
        for name, parts in trunks.items()
    ]
    curves += [Curve(run, False, _curve([_of_run(folder, run)], per_run)) for run in runs]
    return tuple(curve for curve in curves if curve.points)


def _trunks(segments: Sequence[str]) -> dict[str, list[str]]:
    """Segments of every trunk, in the order of their steps."""
    found: dict[str, list[tuple[int, str]]] = {}
    for segment in segments:
        match = _TRUNK_SEGMENT.match(segment)
        if match:
            found.setdefault(match["trunk"], []).append((int(match["start"]), segment))
    return {trunk: [name for _, name in sorted(parts)] for trunk, parts in found.items()}


def _curve(paths: Sequence[Path], points: int) -> tuple[Point, ...]:
    """The curve that these files, one after the other, hold; every file gets points by its size."""
    total = sum(_size(path) for path in paths)
    by_step: dict[int, Point] = {}
    for path in paths:
        if _size(path):
            wanted = max(2, round(points * _size(path) / total))
            by_step |= {point.step: point for point in filter(None, map(_point, _lines(path, wanted)))}
    return tuple(by_step[step] for step in sorted(by_step))


def _lines(path: Path, wanted: int) -> Iterator[bytes]:
    """About `wanted` evenly spaced lines of a file, the last one among them."""
    size = _size(path)
    with path.open("rb") as f:
        if size <= wanted * _LINE:
            lines = f.read().splitlines()
            stride = max(1, math.ceil(len(lines) / wanted))
            yield from lines[::stride]
            yield from lines[-1:]
            return
        for i in range(wanted):
            f.seek(size * i // wanted)
            if i:
                f.readline()  # the rest of the line that the probe fell into
            yield f.readline()
        f.seek(max(0, size - 4 * _LINE))
        yield from f.read().splitlines()[-1:]


def _point(line: bytes) -> Point | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    step = value.get("step") if isinstance(value, dict) else None
    return Point(step, *(_finite(value, key) for key in _KEYS)) if isinstance(step, int) else None


def _finite(value: Mapping[str, Any], key: str) -> float | None:
    found = value.get(key)
    return float(found) if isinstance(found, int | float) and math.isfinite(found) else None


def _of_run(folder: Path, run: str) -> Path:
    return layout.run_folder(folder, run) / layout.METRICS


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
