"""How far a work on data is that a cluster does: its parts by their files, its jobs by Slurm."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from joyctl.data.work import Work
from joyctl.launch.slurm.client import Slurm, call
from joyctl.launch.slurm.dataset import FINISH, STAGE, Asked, done_in, opened, share_of
from joyctl.launch.slurm.ledger import Element, Ledger, newest
from joyctl.launch.slurm.watch import Look, look_at
from joyctl.report.facts import Facts
from joyctl.report.status import UNDER_WAY, RunStatus, StageStatus

_SWEEP = "joyctl sweep"
"""What the causes of a campaign's jobs name as the command that goes on."""


@dataclass(frozen=True)
class Reach:
    """A work on data as it was seen at one moment."""

    finished: bool
    parts: int
    parts_done: int
    bytes: int
    """That all parts read, as far as they know."""
    bytes_done: int
    jobs: tuple[RunStatus, ...]
    """`share/<index>/<number>` by index, then `finish`; those that were ever submitted."""
    look: Look
    """What it was read from."""

    @property
    def under_way(self) -> bool:
        """Whether anything will still happen by itself."""
        return not self.finished and any(job.current.state in UNDER_WAY for job in self.jobs)

    @property
    def failed(self) -> list[RunStatus]:
        """Jobs that ended without their result, except those that only waited for them."""
        return [job for job in self.jobs if job.current.state in ("failed", "lost", "cancelled")]


def look(asked: Asked, slurm: Slurm = call, before: Reach | None = None) -> Reach:
    """Look at a work's files, and ask Slurm about what is not done; `before` saves asking again.

    Raises Missing where it was neither begun nor finished. That Slurm does not answer is only noted.
    """
    work = opened(asked)
    done = _done(asked, work)
    keys = newest(Ledger(asked.jobs).read()) if Ledger(asked.jobs).exists else {}
    # Shares of another number than the newest's count no more.
    shares = [(places[0][0].manifest.wave, _cut(folder)) for (folder, _), places in keys.items() if folder != FINISH]
    _, number = max(shares, default=(0, 0))
    folders = sorted((folder for folder, _ in keys if folder == FINISH or _cut(folder) == number), key=_order)
    facts = [_facts(folder, done) for folder in folders]
    later = cache(lambda: _done(asked, opened(asked)))
    seen = look_at(
        asked.jobs, facts, lambda f: _facts(f.folder, later()), slurm, before.look if before is not None else None
    )
    work = opened(asked)  # jobs may have ended while Slurm was asked
    parts = work.parts() if work is not None else []
    missing = asked.missing(work) if work is not None else set()
    known = before if work is None else None  # what is over cannot be counted any more
    return Reach(
        finished=asked.finished(),
        parts=known.parts if known is not None else len(parts),
        parts_done=known.parts if known is not None else len(parts) - len(missing),
        bytes=known.bytes if known is not None else sum(part.bytes for part in parts),
        bytes_done=known.bytes if known is not None else sum(p.bytes for p in parts if p.name not in missing),
        jobs=tuple(map(_in_our_words, seen.statuses)),
        look=seen,
    )


def _done(asked: Asked, work: Work | None) -> Callable[[str], bool]:
    if work is None:
        return lambda folder: folder != FINISH or asked.finished()
    done = done_in(asked, work)
    return lambda folder: done(folder, STAGE)


def _facts(folder: str, done: Callable[[str], bool]) -> Facts:
    return Facts(folder, folder, (STAGE,), frozenset({STAGE}) if done(folder) else frozenset())


def _cut(folder: str) -> int:
    """How many shares there are of which this is one."""
    share = share_of(Element(folder, (STAGE,)))
    return share.number if share is not None else 0


def _order(folder: str) -> float:
    share = share_of(Element(folder, (STAGE,)))
    return share.index if share is not None else math.inf


def _in_our_words(status: RunStatus) -> RunStatus:
    return replace(status, stages=tuple(map(_stage_in_our_words, status.stages)))


def _stage_in_our_words(stage: StageStatus) -> StageStatus:
    return replace(stage, cause=stage.cause and stage.cause.replace(_SWEEP, "the same command"))
