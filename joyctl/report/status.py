"""How far a campaign is, by its files: the state of every stage of every expected segment and run."""

from __future__ import annotations

import math
import os
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from joyctl.report.facts import Facts, read_facts, run_facts

if TYPE_CHECKING:
    from joyctl.campaign.spec import Stage

State = Literal["done", "running", "retrying", "queued", "pending", "blocked", "failed", "lost", "cancelled"]
"""`pending`: not begun, or to be gone on with by the same command. `blocked`: what it needs failed. Those that only a
cluster gives: `queued`, `retrying` (in the queue again after an attempt that did not end well), `lost` (the cluster
knows nothing of it any more) and `cancelled`."""
ENDED_BADLY: frozenset[State] = frozenset({"failed", "blocked", "lost", "cancelled"})
"""Nothing more happens by itself."""
UNDER_WAY: frozenset[State] = frozenset({"running", "retrying", "queued"})


@dataclass(frozen=True)
class StageStatus:
    """One stage of one segment or run."""

    stage: Stage
    state: State
    cause: str | None = None
    """Why it failed, waits or does not go on; None where the state says all."""
    seconds: float | None = None
    """Wall time of all its ended attempts; None before the first."""
    job: str | None = None
    """The cluster's job, `202_3`; None on this machine."""
    since: float | None = None
    """Unix time at which it began to run; None when it does not."""
    parent: str | None = None
    """What it waits for, or is blocked by: id of a segment or run; None when that is nothing, or in its own run."""


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
    seconds_left: float | None = None
    """Seconds that the rest of its training takes at its present speed."""

    @property
    def current(self) -> StageStatus:
        """The first stage that is not done, or the last one."""
        return next((s for s in self.stages if s.state != "done"), self.stages[-1])

    def to_json(self) -> dict[str, object]:
        """The object that `joyctl status --json` prints for it."""
        now = self.current
        stages = [{"stage": s.stage, "state": s.state, "cause": s.cause, "job": s.job} for s in self.stages]
        return {
            "id": self.id,
            "stage": now.stage,
            "state": now.state,
            "cause": now.cause,
            "step": self.step,
            "of_steps": self.of_steps,
            "loss": self.loss if self.loss is not None and math.isfinite(self.loss) else None,
            "job": now.job,
            "since": now.since,
            "parent": now.parent,
            "seconds_left": self.seconds_left,
            "stages": stages,
        }


def read_status(campaign: Path) -> list[RunStatus]:
    """Status of every expected segment that is no run's own, then of every expected or found run.

    Raises Missing when `campaign` is no campaign's folder, and Refused when its campaign.json is torn.
    """
    return [status_of(facts) for facts in read_facts(campaign)]


def run_status(campaign: Path, run: str, *, trains: bool) -> RunStatus:
    """Status of one run; `trains` says whether its folder is also a segment's."""
    return status_of(run_facts(campaign, run, trains=trains))


def status_of(facts: Facts) -> RunStatus:
    """Status by files alone."""
    return with_stages(facts, [stage_status(facts, stage) for stage in facts.stages])


def with_stages(facts: Facts, stages: Sequence[StageStatus]) -> RunStatus:
    """Status of a folder whose stages are in these states."""
    progress = facts.progress
    training = any(s.stage == "train" and s.state == "running" for s in stages)
    left = progress.seconds_left if training else None
    return RunStatus(facts.id, tuple(stages), progress.step, progress.of_steps, progress.loss, left)


def stage_status(facts: Facts, stage: Stage) -> StageStatus:
    """State of one stage by its marker and its last attempt."""
    attempts = facts.of(stage)
    seconds = seconds_spent(attempts)
    if stage in facts.done:
        return StageStatus(stage, "done", None, seconds)
    if not attempts:
        return StageStatus(stage, "pending", None, seconds)
    last = attempts[-1]
    if is_open(attempts):
        if process_lives(last) is not False:  # taken for granted where it cannot be seen
            return StageStatus(stage, "running", None, seconds, since=last.get("start"))
        return StageStatus(stage, "pending", "its process was killed; the same command goes on", seconds)
    if last.get("outcome") == "failed":
        return StageStatus(stage, "failed", first_line(last.get("error")) or "failed without a message", seconds)
    if last.get("outcome") == "interrupted":
        return StageStatus(stage, "pending", "interrupted; the same command goes on", seconds)
    if last.get("outcome") in ("killed", "lost"):
        cause = first_line(last.get("error")) or "its process was killed"
        return StageStatus(stage, "pending", f"{cause}; the same command goes on", seconds)
    return StageStatus(stage, "pending", "its marker is gone", seconds)


def count_states(statuses: Sequence[RunStatus]) -> Counter[State]:
    """Number of stages in each state over all `statuses`, in the order of State; their sum is the number expected."""
    counted = Counter(stage.state for status in statuses for stage in status.stages)
    return Counter({state: counted[state] for state in get_args(State) if state in counted})


def is_open(attempts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last attempt has begun and not ended, as far as its lines tell."""
    if not attempts or "end" in attempts[-1]:
        return False
    over = {_identity(a) for a in attempts if "end" in a}
    return _identity(attempts[-1]) not in over


def seconds_spent(attempts: Sequence[Mapping[str, Any]]) -> float | None:
    """Wall time of all ended attempts; None before the first."""
    times = [float(a["seconds"]) for a in attempts if "end" in a and isinstance(a.get("seconds"), int | float)]
    return sum(times) if times else None


def first_line(text: object) -> str | None:
    """The first line of a message that says anything."""
    return next((line.strip() for line in str(text or "").splitlines() if line.strip()), None)


def about(seconds: float) -> str:
    """A length of time in words: `40 s`, `12 min`, `2 h 05 min`, `3 d 4 h`."""
    if seconds < 60:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def _identity(attempt: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    return attempt.get("start"), attempt.get("pid"), attempt.get("host")


def process_lives(attempt: Mapping[str, Any]) -> bool | None:
    """Whether the attempt's process lives; None on another host, where it cannot be seen."""
    pid = attempt.get("pid")
    if attempt.get("host") != socket.gethostname() or not isinstance(pid, int) or pid <= 0:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
