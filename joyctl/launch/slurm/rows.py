"""What squeue and sacct say, parsed; one row for every element of an array.

Both know an element as `<array job>_<index>`; its own job number is left alone, as for one element of each array
that is the array's.
"""

from __future__ import annotations

import pwd
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

SQUEUE = ("squeue", "-h", "-r", "-O", "JobArrayID:|,Name:|,State:|,RestartCnt:|,StartTime:|,NodeList:|,Reason:|")
"""With the bare suffix no column is cut off."""
# Without the steps, which take four times as long to ask for: the worst of their codes is the job's DerivedExitCode.
# Unless a step was heard of after its job had ended: then that stays 0:0 for good, and only the step has the code. So
# it was with 15 of 100 jobs whose step died of a signal on an idle Slurm 22.05, and with half of them on a busy one.
SACCT = ("sacct", "-n", "-P", "-X", "-o", "JobID,State,ExitCode,DerivedExitCode,Reason,Start,End,Timelimit,NodeList")

SACCT_STEPS = ("sacct", "-n", "-P", "-o", "JobID,ExitCode,End")
"""For the few jobs of which `Record.lacks_steps`."""


@dataclass(frozen=True)
class Row:
    """A job in the queue."""

    job: str
    """`202_3`."""
    name: str
    state: str
    """Slurm's own word, such as `PENDING`."""
    reason: str
    restarts: int = 0
    """How often it was put back into the queue."""
    start: float | None = None
    """When it started, or when Slurm expects it to."""
    nodes: str = ""


@dataclass(frozen=True)
class Record:
    """A job as Slurm's accounting remembers it."""

    job: str
    state: str
    by: str | None
    """The user who cancelled it."""
    code: str
    """`<exit code>:<signal>` of its script."""
    derived: str
    """The worst of its steps'."""
    reason: str
    start: float | None
    end: float | None
    limit: str
    """Wall time that it was given."""
    nodes: str
    settled: bool = True
    """Whether accounting will say the same for ever."""

    @property
    def lacks_steps(self) -> bool:
        """Whether it ended badly and the codes of its steps may be missing in `derived`."""
        return self.state == "FAILED" and self.derived in ("", "0:0")


def queue_rows(text: str) -> Iterator[Row]:
    """Rows of SQUEUE's output."""
    for line in text.splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) >= 7:
            job, name, state, restarts, start, nodes, reason = parts[:7]
            yield Row(job, name, state, reason, int(restarts) if restarts.isdigit() else 0, _time(start), nodes)


def records(text: str) -> dict[str, Record]:
    """Rows of SACCT's output, by job."""
    found: dict[str, Record] = {}
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) < 9:
            continue
        job, state, code, derived, reason, start, end, limit, nodes = parts[:9]
        word, _, by = state.partition(" by ")
        who = _user(by) if by else None
        row = Record(job, word, who, code, derived, reason, _time(start), _time(end), limit, nodes)
        for element in expanded(job):
            found[element] = replace(row, job=element)
    return found


def with_steps(found: Mapping[str, Record], text: str) -> dict[str, Record]:
    """The same records, `derived` as the steps in SACCT_STEPS's output say where the record lacks them."""
    steps: dict[str, list[tuple[str, bool]]] = {}
    for line in text.splitlines():
        parts = line.split("|")
        job, dot, step = parts[0].partition(".")
        if len(parts) == 3 and dot and step not in ("batch", "extern"):
            steps.setdefault(job, []).append((parts[1], _time(parts[2]) is not None))
    return {job: _with_steps(record, steps.get(job, [])) for job, record in found.items()}


def _with_steps(record: Record, steps: Sequence[tuple[str, bool]]) -> Record:
    if not record.lacks_steps or not steps:
        return record
    worst = max((code for code, _ in steps), key=_severity)
    return replace(record, derived=worst, settled=all(ended for _, ended in steps))


def _severity(code: str) -> tuple[int, int]:
    """What orders `<exit code>:<signal>`: any signal is worse than an exit code."""
    status, _, number = code.partition(":")
    return int(number or 0), int(status or 0)


def expanded(job: str) -> list[str]:
    """`21_[0-2,5%1]` -> `21_0`, `21_1`, `21_2`, `21_5`: elements that wait together are one row of accounting."""
    match = re.fullmatch(r"(\d+)_\[([\d,-]+)(?:%\d+)?\]", job)
    if match is None:
        return [job]
    elements: list[str] = []
    for part in match[2].split(","):
        first, _, last = part.partition("-")
        elements += [f"{match[1]}_{index}" for index in range(int(first), int(last or first) + 1)]
    return elements


def _time(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:  # N/A, Unknown, None
        return None


def _user(uid: str) -> str:
    try:
        return pwd.getpwuid(int(uid)).pw_name
    except (KeyError, ValueError):
        return f"user {uid}"
