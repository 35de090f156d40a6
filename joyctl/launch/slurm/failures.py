"""Why a stage broke, and who is to blame: the run itself, the node, or nobody. Judged from what is on disk."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from joyctl.campaign.spec import Stage
from joyctl.store import attempts

NODE_STRIKES = 2
"""Deaths of one stage of one folder on a node, for no fault of its own, after which it avoids that node."""

Kind = Literal["own", "memory", "death", "contact"]
"""An exception; out of memory; a signal, or hardware that gave way; contact lost with another process."""

# What a process says whose companion has died. Never the root cause while there is another.
_CONTACT = (
    "connection closed by peer", "connection reset by peer", "connection refused", "broken pipe", "no route to host",
    "gloo", "nccl", "distnetworkerror", "diststoreerror", "distbackenderror",
)  # fmt: skip
# What a process says on a node that is broken.
_HARDWARE = (
    "uncorrectable ecc", "gpu is lost", "fallen off the bus", "unspecified launch failure", "no cuda-capable device",
    "cuda-capable device(s) is/are busy or unavailable", "stale file handle", "input/output error",
)  # fmt: skip


@dataclass(frozen=True)
class Death:
    """A process that ended other than well."""

    rank: int | None
    """None for torchrun itself."""
    code: int
    """Exit code; negative for a signal."""
    time: float


@dataclass(frozen=True)
class Report:
    """What the supervisor of one node saw of an attempt."""

    node: str
    began: float
    """When it started its processes."""
    deaths: tuple[Death, ...]
    memory: bool
    """Whether the kernel killed a process here for want of memory."""


@dataclass(frozen=True)
class Cause:
    """Why an attempt broke."""

    kind: Kind
    text: str
    key: str | None = None
    """What makes two deaths the same: `SIGSEGV`."""
    node: str | None = None
    """Where it happened; None if that says nothing."""

    @property
    def own(self) -> bool:
        """Whether trying again would end the same way."""
        return self.kind in ("own", "memory")


def judge(
    reports: Sequence[Report], errors: Sequence[Mapping[str, Any]], nodes: Sequence[str], processes: int
) -> Cause:
    """The root cause among what all nodes saw and all ranks wrote down: the earliest that follows from no other.

    `processes` is how many ranks each of `nodes` has.
    """
    together = processes * len(nodes) > 1
    found: list[tuple[bool, float, Cause]] = []  # (follows from another, when, what)
    for error in errors:
        cause = _of_error(error, nodes[min(error["rank"] // processes, len(nodes) - 1)], together)
        found.append((cause.kind == "contact", error["time"], cause))
    spoke = {error["rank"] for error in errors}
    for report in reports:
        for death in report.deaths:
            if death.rank not in spoke and death.code != -signal.SIGTERM:  # torchrun's way to end the others
                # NCCL's watchdog aborts a process whose companion is gone.
                follows = together and death.code in (-signal.SIGABRT, 1)
                found.append((follows, death.time, _of_death(death, report)))
    if not found:
        return Cause("contact", "ended without a word")
    return min(found, key=lambda candidate: candidate[:2])[2]


def same_death_elsewhere(cause: Cause, folder: Path, stage: Stage) -> str | None:
    """Another node on which this stage has died in the same way, so that the run itself is to blame."""
    for line in _since_verdict(folder, stage):
        other = line.get("node")
        if cause.key and cause.node and line.get("cause") == cause.key and other and other != cause.node:
            return str(other)
    return None


def bad_nodes(folder: Path, stage: Stage) -> tuple[str, ...]:
    """Nodes that this stage of this folder should avoid: it died or vanished there twice for no fault of its own."""
    strikes: Counter[str] = Counter()
    for line in _since_verdict(folder, stage):
        if line.get("outcome") == "killed" and line.get("node"):
            strikes[line["node"]] += 1
        elif line.get("outcome") == "lost" and line.get("job") and len(line.get("nodes", ())) == 1:
            strikes[line["nodes"][0]] += 1
    return tuple(sorted(node for node, count in strikes.items() if count >= NODE_STRIKES))


def _since_verdict(folder: Path, stage: Stage) -> list[dict[str, Any]]:
    """Lines after the last one that found the run itself at fault; that acquits the nodes before."""
    lines = attempts.read(folder, stage)
    last = max((i for i, line in enumerate(lines) if line.get("outcome") == "failed"), default=-1)
    return lines[last + 1 :]


def _of_error(error: Mapping[str, Any], node: str, together: bool) -> Cause:
    text = str(error["exception"])
    lower = text.lower()
    if any(words in lower for words in _HARDWARE):
        return Cause("death", f"{text} (on {node})", "hardware", node)
    if together and any(words in lower for words in _CONTACT):
        return Cause("contact", f"lost contact with another process: {text}")
    return Cause("own", text)


def _of_death(death: Death, report: Report) -> Cause:
    where = f" on {report.node}" + (f" (rank {death.rank})" if death.rank else "")
    if death.code >= 0:
        if death.rank is None:
            return Cause("death", f"torchrun ended with exit code {death.code}{where}", "torchrun", report.node)
        return Cause("own", f"ended with exit code {death.code}{where}, without a word")
    if report.memory and death.code == -signal.SIGKILL:
        return Cause("memory", f"out of memory{where}")
    name = signal.Signals(-death.code).name
    guess = ", perhaps out of memory" if death.code == -signal.SIGKILL else ""
    return Cause("death", f"killed by {name}{where}{guess}", name, report.node)
