"""Slurm's words in a person's: why a job waits, and why one ended. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from typing import Any

from joyctl.launch.slurm.rows import Record
from joyctl.report.status import first_line

_WAITS = {
    "None": "about to be scheduled",
    "Priority": "other jobs go first",
    "Resources": "waiting for free nodes",
    "JobArrayTaskLimit": "as many of its array run as may at once",
    "JobHeldUser": "held by its user; scontrol release lets it go",
    "JobHeldAdmin": "held by an administrator",
    "JobHoldMaxRequeue": "held: put back into the queue too often; scontrol release lets it go",
    "BeginTime": "put back into the queue, starts again soon",
    "launch failed requeued held": "its node failed to start it, so Slurm holds it; joyctl sweep releases it",
    "ReqNodeNotAvail": "nodes that it needs are down, drained or reserved",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition is not active",
    "Licenses": "waiting for licences",
    "Reservation": "waiting for its reservation to begin",
    "NodeDown": "a node that it needs is down",
    "Prolog": "its nodes are being made ready",
    "Cleaning": "its last attempt is being cleared away",
}
_NEVER = {
    "PartitionTimeLimit": "it asks for more time than its partition gives",
    "PartitionNodeLimit": "it asks for more nodes than its partition gives",
    "BadConstraints": "no node has what it asks for",
    "AccountNotAllowed": "its account may not use this partition",
    "QOSNotAllowed": "its quality of service may not be used there",
    "AssociationTimeLimit": "it asks for more time than its account gives",
    "QOSTimeLimit": "it asks for more time than its quality of service gives",
    "ReservationDeleted": "its reservation is gone",
    "InvalidAccount": "its account is not valid",
    "InvalidQOS": "its quality of service is not valid",
}
_OURS = "joyctl: "
"""With what the program on the node begins its lines."""
_OUT_OF_MEMORY = re.compile(r"exceeded memory limit|[Oo]ut [Oo]f [Mm]emory|oom[-_ ]kill", re.IGNORECASE)


def why_it_waits(reason: str) -> str:
    """Slurm's reason for a waiting job, with its own word where that says more."""
    word = reason.strip("()").partition(",")[0]
    word = word.replace("_", " ") if word.startswith("launch") else word
    if word in _NEVER:
        return f"can never start: {_NEVER[word]} ({word})"
    if word in _WAITS:
        known = word in ("Priority", "Resources")
        return f"{word}: {_WAITS[word]}" if known else _WAITS[word]
    if word.startswith("QOS"):
        return f"a limit of its quality of service is reached ({word})"
    if word.startswith("Assoc"):
        return f"a limit of its account is reached ({word})"
    return word


def why_it_ended(record: Record, error: str | None, last_words: str, *, final: bool = True) -> str:
    """One line on why a job without a result ended.

    `error` is what the job itself wrote down of this attempt; unless that is `final`, it may say in `last_words`, the
    end of Slurm's output, why it was not tried again.
    """
    on = f" on {record.nodes}" if record.nodes not in ("", "None assigned") else ""
    if _ran_out_of_memory(record, last_words):
        return f"out of memory{on}"
    if record.state == "TIMEOUT":
        return f"time limit of {record.limit} reached"
    if record.state == "NODE_FAIL":
        return f"node {record.nodes} failed" if on else "its node failed"
    own = [line.removeprefix(_OURS) for line in last_words.splitlines() if line.startswith(_OURS)]
    if not final and own and "not queued again" in own[-1]:
        return own[-1]
    if error:
        return error
    if record.state in _ENDS:
        return _ENDS[record.state] + on
    if own:
        return own[-1]
    number = _signal(record)
    if number is not None:
        return f"killed by {_name(number)}{on}"
    words = [line.strip() for line in last_words.splitlines() if line.strip() and not line.startswith("srun:")]
    return words[-1] if words else f"ended with exit code {record.code.partition(':')[0]}{on}"


_ENDS = {
    "PREEMPTED": "preempted, and not put back into the queue",
    "BOOT_FAIL": "its node did not start",
    "DEADLINE": "its deadline passed",
    "REVOKED": "taken over by another cluster",
}


def _ran_out_of_memory(record: Record, last_words: str) -> bool:
    # Where Slurm confines memory the job is called FAILED, and only a step OUT_OF_MEMORY, with the code 0:125.
    if record.state == "OUT_OF_MEMORY" or record.derived == "0:125":
        return True
    return _OUT_OF_MEMORY.search(last_words) is not None


def _signal(record: Record) -> int | None:
    """The signal that ended it: of a step, of the script, or what a shell makes of one (128 + n)."""
    for code in (record.derived, record.code):
        status, _, number = code.partition(":")
        if number.isdigit() and 0 < int(number) < 65:
            return int(number)
        if status.isdigit() and 128 < int(status) < 193:
            return int(status) - 128
    return None


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def why_it_stopped(attempt: Mapping[str, Any], *, open_: bool) -> str:
    """One line on why an attempt came to nothing, by its own lines."""
    nodes = attempt.get("nodes") or [attempt.get("host") or ""]
    where = f" on {', '.join(nodes)}" if any(nodes) else ""
    if open_:
        return f"ended without a word{where}"
    said = first_line(attempt.get("error"))
    if attempt.get("outcome") == "interrupted":
        return said or "interrupted"
    return said or f"failed without a message{where}"
