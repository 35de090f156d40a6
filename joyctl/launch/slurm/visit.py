"""Small jobs that look at nodes: submitted, waited for within bounds, and cancelled if they take too long."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from joyctl.launch.slurm.client import Slurm
from joyctl.launch.slurm.ledger import JobKind
from joyctl.launch.slurm.probe import Facts, read_facts
from joyctl.launch.slurm.reasons import why_it_waits

JOB_MINUTES = 5
"""Wall time of such a job."""
_POLL_SECONDS = 2.0
_SILENT_SECONDS = 30.0
"""How long after a job's end its file may take to be seen here: network file systems keep folders in mind."""
_UNDER_WAY = ("RUNNING", "COMPLETING", "CONFIGURING", "STAGE_OUT", "SUSPENDED")


@dataclass(frozen=True)
class Visit:
    """What came of a job."""

    kind: JobKind
    outcome: Literal["seen", "queued", "slow", "silent", "refused"]
    """`seen`: it reported; `queued`: it did not start in time; `slow`: it did not end in time; `silent`: it ended and
    no report is seen here; `refused`: sbatch said no."""
    job: str = ""
    node: str = ""
    why: str = ""
    """Slurm's reason, or the job's last words."""
    facts: Facts | None = None


@dataclass
class _Job:
    id: str
    state: str = "PENDING"
    reason: str = ""
    node: str = ""
    ended: float | None = None
    """When it was first seen to be over."""


def visit(
    slurm: Slurm,
    scripts: Mapping[JobKind, str],
    folder: Path,
    wait_s: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Visit]:
    """Submit every script and give what came of each as it becomes known, within `wait_s` plus the jobs' own time.

    Jobs report to `folder`. None of them is left in the queue, whatever happens here. Raises NoAnswer when the
    controller is down.
    """
    jobs: dict[JobKind, _Job] = {}
    try:
        for kind, script in scripts.items():
            answer = slurm("sbatch", "--parsable", text=script)
            if answer.code:
                yield Visit(kind, "refused", why=answer.reason)
            else:
                jobs[kind] = _Job(answer.out.strip().partition(";")[0])
        start = clock()
        while jobs:
            _ask(slurm, jobs, clock())
            late = clock() - start - wait_s
            for kind, job in list(jobs.items()):
                found = _outcome(kind, job, folder, late, clock())
                if found is not None:
                    if found.outcome in ("queued", "slow"):
                        slurm("scancel", job.id)
                    del jobs[kind]
                    yield found
            if jobs:
                sleep(_POLL_SECONDS)
    finally:
        if jobs:
            slurm("scancel", *(job.id for job in jobs.values()))


def _ask(slurm: Slurm, jobs: Mapping[JobKind, _Job], now: float) -> None:
    """Bring the jobs' states up to date; what squeue does not know any more is over."""
    ids = ",".join(job.id for job in jobs.values())
    answer = slurm("squeue", "-h", "-t", "all", "-j", ids, "-o", "%i|%T|%r|%N")
    rows = dict(line.partition("|")[::2] for line in answer.out.splitlines())
    for job in jobs.values():
        state, reason, node = (rows.get(job.id) or f"GONE||{job.node}").split("|")
        job.state, job.reason, job.node = state, reason, node or job.node
        if state != "PENDING" and state not in _UNDER_WAY and job.ended is None:
            job.ended = now


def _outcome(kind: JobKind, job: _Job, folder: Path, late: float, now: float) -> Visit | None:
    """What came of a job, if that is known by now."""
    if (facts := read_facts(folder, kind)) is not None:
        return Visit(kind, "seen", job.id, job.node, facts=facts)
    if job.ended is not None:
        words = _last_words(folder, job.id)
        # Its log is seen here, so a report would be as well, soon.
        if now - job.ended >= (2 * _POLL_SECONDS if words else _SILENT_SECONDS):
            return Visit(kind, "silent", job.id, job.node, words)
    if job.state == "PENDING" and late >= 0:
        return Visit(kind, "queued", job.id, why=why_it_waits(job.reason))
    if late >= JOB_MINUTES * 60:
        return Visit(kind, "slow", job.id, job.node, _last_words(folder, job.id))
    return None


def _last_words(folder: Path, job: str) -> str:
    """The last line of a job's log that says more than that it failed."""
    for log in folder.glob(f"{job}_*.out"):
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
        lines = [line for line in lines if line]
        telling = [
            line for line in lines if not re.search(r"Exited with exit code|STEP .* CANCELLED|Terminating", line)
        ]
        return (telling or lines or [""])[-1]
    return ""
