"""How far a campaign is, read from its files: expected segments and runs against what is there."""

from __future__ import annotations

import os
import re
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError

from joyctl.campaign.spec import RunSpec, SegmentSpec, Stage
from joyctl.errors import Missing
from joyctl.store import layout
from joyctl.store.campaign import read_campaign_json
from joyctl.store.files import last_object, read_lines

State = Literal["done", "running", "failed", "pending"]


@dataclass(frozen=True)
class StageStatus:
    """One stage of one segment or run."""

    stage: Stage
    state: State
    cause: str | None = None
    """Why it failed or does not go on; None where the state says all."""
    seconds: float | None = None
    """Wall time of all its ended attempts; None before the first."""


@dataclass(frozen=True)
class RunStatus:
    """One expected segment or run with its stages in the order in which they are done."""

    id: str
    """A segment's id (`trunk/s0/0-2050`) or a run's (`upsample-20/s0`)."""
    stages: tuple[StageStatus, ...]
    step: int | None = None
    """Optimizer steps of its own training done so far; None where it trains nothing or has not begun."""
    of_steps: int | None = None
    loss: float | None = None
    """Training loss of the last step written."""

    @property
    def current(self) -> StageStatus:
        """The first stage that is not done, or the last one."""
        return next((s for s in self.stages if s.state != "done"), self.stages[-1])

    def to_json(self) -> dict[str, object]:
        """The object that `joyctl status --json` prints for it."""
        now = self.current
        stages = [{"stage": s.stage, "state": s.state, "cause": s.cause} for s in self.stages]
        return {
            "id": self.id,
            "stage": now.stage,
            "state": now.state,
            "cause": now.cause,
            "step": self.step,
            "of_steps": self.of_steps,
            "loss": self.loss,
            "job": None,
            "stages": stages,
        }


def read_status(folder: Path) -> list[RunStatus]:
    """Status of every expected segment that is no run's own, then of every expected or found run.

    Raises Missing when `folder` is no campaign's folder, and Refused when its campaign.json is torn.
    """
    campaign = read_campaign_json(folder)
    if campaign is None:
        raise Missing(f"{folder} is not a campaign's folder: it holds no {layout.CAMPAIGN}", hint="joyctl sweep")
    segments = names(campaign, "segments")
    runs = expected_and_found(folder, names(campaign, "runs"))
    own = {f"runs/{run}" for run in runs}
    found = [_segment(folder, name) for name in segments if name not in own]
    return found + [run_status(folder, run, trains=f"runs/{run}" in segments) for run in runs]


def count_states(statuses: Sequence[RunStatus]) -> dict[State, int]:
    """Number of stages in each state over all `statuses`; their sum is the number expected."""
    counted = Counter(stage.state for status in statuses for stage in status.stages)
    return {state: counted[state] for state in get_args(State)}


def run_status(folder: Path, run: str, *, trains: bool) -> RunStatus:
    """Status of one run; `trains` says whether its folder is also a segment's."""
    here = layout.run_folder(folder, run)
    stages: tuple[Stage, ...] = ("train", "export", "eval") if trains else ("export", "eval")
    step, of_steps, loss = _steps(here, run) if trains else (None, None, None)
    return RunStatus(run, _stages(here, stages), step, of_steps, loss)


def expected_and_found(folder: Path, expected: Sequence[str]) -> list[str]:
    """Ids of all runs: those expected, then any others whose run.json lies below runs/."""
    found = sorted(path.parent for path in (folder / "runs").glob(f"*/*/{layout.RUN}"))
    ids = [f"{path.parent.name}/{path.name}" for path in found]
    return list(dict.fromkeys([*expected, *ids]))


def names(campaign: Mapping[str, Any], key: str) -> list[str]:
    """The list of ids under `key` of campaign.json; entries may also be objects with an `id`."""
    found = campaign.get(key)
    entries = found if isinstance(found, list) else []
    return [str(entry["id"]) if isinstance(entry, dict) else str(entry) for entry in entries]


def _segment(folder: Path, name: str) -> RunStatus:
    here = folder / name
    return RunStatus(name, _stages(here, ("train",)), *_steps(here, name))


def _stages(here: Path, stages: Sequence[Stage]) -> tuple[StageStatus, ...]:
    attempts = read_lines(here / layout.ATTEMPTS)
    return tuple(_stage(here, stage, [a for a in attempts if a.get("stage") == stage]) for stage in stages)


def _stage(here: Path, stage: Stage, attempts: list[dict[str, Any]]) -> StageStatus:
    ended = [a for a in attempts if "end" in a]
    times = [float(a["seconds"]) for a in ended if isinstance(a.get("seconds"), int | float)]
    seconds = sum(times) if times else None
    if layout.marker(here, stage).exists():
        return StageStatus(stage, "done", None, seconds)
    if not attempts:
        return StageStatus(stage, "pending", None, seconds)
    over = {(a.get("start"), a.get("pid"), a.get("host")) for a in ended}
    last = attempts[-1]
    if "end" not in last and (last.get("start"), last.get("pid"), last.get("host")) not in over:
        if _alive(last):
            return StageStatus(stage, "running", None, seconds)
        return StageStatus(stage, "pending", "its process was killed; the same command goes on", seconds)
    if last.get("outcome") == "failed":
        return StageStatus(stage, "failed", str(last.get("error") or "failed without a message"), seconds)
    if last.get("outcome") == "interrupted":
        return StageStatus(stage, "pending", "interrupted; the same command goes on", seconds)
    return StageStatus(stage, "pending", "its marker is gone", seconds)


def _alive(attempt: Mapping[str, Any]) -> bool:
    """Whether the attempt's process lives; taken for granted on another host, where it cannot be seen."""
    pid = attempt.get("pid")
    if attempt.get("host") != socket.gethostname() or not isinstance(pid, int) or pid <= 0:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _steps(here: Path, name: str) -> tuple[int | None, int | None, float | None]:
    """(steps done, steps to do, last loss) of the training in folder `here`."""
    span = _span(here, name)
    last = last_object(here / layout.METRICS)
    step, loss = (last.get("step"), last.get("loss")) if last else (None, None)
    done = max(0, step - span[0]) if span and isinstance(step, int) else None
    return done, span[1] - span[0] if span else None, loss if isinstance(loss, float) else None


def _span(here: Path, name: str) -> tuple[int, int] | None:
    """(first, last step) of a segment: from segment.json, or a run.json, or a trunk segment's name."""
    for file, read in ((layout.SEGMENT, _segment_span), (layout.RUN, _run_span)):
        try:
            return read((here / file).read_bytes())
        except (OSError, ValidationError):
            continue
    match = re.search(r"/(\d+)-(\d+)$", name)
    return (int(match[1]), int(match[2])) if match else None


def _segment_span(text: bytes) -> tuple[int, int]:
    segment = SegmentSpec.model_validate_json(text)
    return segment.start_step, segment.end_step


def _run_span(text: bytes) -> tuple[int, int]:
    run = RunSpec.model_validate_json(text)
    return run.branch_step or 0, run.end_step
