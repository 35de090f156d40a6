"""The state of every job of a local campaign, as the launcher keeps it and the screen shows it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from joyctl.campaign.compare import Job

State = Literal["waiting", "running", "done", "failed", "blocked", "stopped"]


@dataclass
class JobState:
    """One job as it stands now."""

    job: Job
    state: State = "waiting"
    started: float | None = None
    seconds: float = 0.0
    threads: int = 0
    progress: tuple[str, int, int] | None = None
    """(what, done, of) as the worker last told."""
    error: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """(folder, stage)."""
        return self.job.folder, self.job.stage


@dataclass
class Board:
    """All jobs of one call of the launcher."""

    jobs: list[JobState]
    cores: int
    started: float = field(default_factory=time.time)
    stopping: bool = False

    @staticmethod
    def of(jobs: Sequence[Job], cores: int) -> Board:
        """A board on which nothing has started."""
        return Board([JobState(job) for job in jobs], cores)

    def with_state(self, *states: State) -> list[JobState]:
        """Jobs in one of these states."""
        return [job for job in self.jobs if job.state in states]
