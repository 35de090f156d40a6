"""A job looks at itself in Slurm and puts itself back into the queue, away from nodes that it should avoid."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from joyctl.errors import JoyctlError
from joyctl.launch.slurm.client import NoAnswer, Slurm
from joyctl.launch.slurm.place import Place
from joyctl.recipe.rules import minutes

# A controller that is being restarted, or whose standby takes over, answers again after that.
_TRIES, _PAUSE_SECONDS = 6, 5.0
# Slurm may send the signal before the end of time up to a minute early.
_EARLY_SECONDS = 90.0


class CannotRequeue(JoyctlError):
    """The job cannot be put back into the queue."""


@dataclass(frozen=True)
class Job:
    """What Slurm says about a job; times are Unix times."""

    id: str
    """`202_3`: a job id alone could name a whole array."""
    state: str
    restarts: int
    """How often it was started again."""
    end: float | None
    """When its time limit is reached; None without one."""
    partition: str
    excluded: str
    """Nodes it does not use, in Slurm's spelling; empty for none."""


def look(slurm: Slurm, job: str) -> Job:
    """Ask Slurm about a job. Raises NoAnswer, Missing or CannotRequeue."""
    text = _patiently(slurm, "scontrol", "show", "job", "-o", job)
    facts = {name: "" if value in ("(null)", "None") else value for name, value in re.findall(r"(\S+?)=(\S*)", text)}
    try:
        # Not EndTime: for a job that is being preempted that is when its grace is over.
        end = datetime.fromisoformat(facts["StartTime"]).timestamp() + 60 * minutes(facts["TimeLimit"])
    except (KeyError, ValueError):  # Unknown, UNLIMITED
        end = None
    restarts, state = int(facts.get("Restarts") or 0), facts.get("JobState", "")
    return Job(job, state, restarts, end, facts.get("Partition", ""), facts.get("ExcNodeList", ""))


def put_back(slurm: Slurm, place: Place, *, allowed: bool, most: int, avoid: Iterable[str] = ()) -> None:
    """Queue the job that runs at `place` again, at most `most` times; `avoid` as in `requeue`.

    Raises CannotRequeue with the reason where that is not to be, NoAnswer or Missing as `look` does.
    """
    if place.job is None:
        raise CannotRequeue("there is no Slurm here")
    if not allowed:
        raise CannotRequeue("the cluster file has requeue off")
    if place.restart >= most:
        raise CannotRequeue(f"that was done {place.restart} times (max_requeues)")
    job = look(slurm, place.job)
    if job.state != "RUNNING":
        raise CannotRequeue(f"Slurm is ending it ({job.state})")
    if job.restarts != place.restart:
        raise CannotRequeue("Slurm has started it again already")
    requeue(slurm, job, nodes=len(place.nodes), avoid=avoid)


def is_out_of_time(slurm: Slurm, job: str, told: float, grace: float) -> bool:
    """Whether a job that was signalled at the Unix time `told` was so because its time is nearly over.

    `grace` is how many seconds before its end it is to be told. Raises as `look` does.
    """
    end = look(slurm, job).end
    return end is not None and end - told < grace + _EARLY_SECONDS


def requeue(slurm: Slurm, job: Job, *, nodes: int, avoid: Iterable[str] = ()) -> None:
    """Put a running job back into the queue; `avoid` is added to the nodes that it does not use.

    `nodes` is how many it needs. Raises CannotRequeue when Slurm will not, or when no other nodes are left.
    """
    excluded = ",".join([*([job.excluded] if job.excluded else []), *sorted(avoid)])
    if excluded != job.excluded and not _enough(slurm, job.partition, excluded, nodes):
        raise CannotRequeue(f"partition {job.partition} has no other nodes than those to avoid ({excluded})")
    _patiently(slurm, "scontrol", "requeue", job.id)
    if excluded != job.excluded:
        # Only a job that waits can be told so. Slurm starts it again a while after it has left its nodes; should
        # it die before the next line, it finds itself on a node to avoid when it starts, and does this again.
        _patiently(slurm, "scontrol", "update", f"JobId={job.id}", f"ExcNodeList={excluded}")


def _enough(slurm: Slurm, partition: str, excluded: str, nodes: int) -> bool:
    there = set(_patiently(slurm, "sinfo", "-h", "-N", "-o", "%N", "-p", partition).split())
    return len(there - set(_patiently(slurm, "scontrol", "show", "hostnames", excluded).split())) >= nodes


def _patiently(slurm: Slurm, *command: str) -> str:
    for left in reversed(range(_TRIES)):
        try:
            answer = slurm(*command)
        except NoAnswer:
            if not left:
                raise
            time.sleep(_PAUSE_SECONDS)
            continue
        if answer.code:
            raise CannotRequeue(f"{' '.join(command)}: {answer.reason}")
        return answer.out
    raise AssertionError  # the last try returns or raises
