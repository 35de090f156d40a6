"""The processes that a supervisor has started: who they are, telling them to stop, whether memory ran out."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
# A process that hangs inside the kernel, on a GPU or a filesystem, may not even die when it is killed.
_TRIES, _PAUSE_SECONDS = 50, 0.1


def adopt_orphans() -> None:
    """Become the parent of what a killed child leaves behind, so that it can be found and ended."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def descendants(ancestor: int) -> list[int]:
    """Process ids of all that come from `ancestor`, parents first."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # `pid (name) state parent ...`, and the name may hold anything.
            fields = path.read_text(errors="replace").rpartition(") ")[2].split()
            if fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = list(children.get(ancestor, []))
    for process in found:  # grows as it goes
        found += children.get(process, [])
    return found


def ask_to_stop(child: int, *, workers: str | None = None) -> None:
    """Send SIGTERM to `child`, or to those that it started to run the module `workers`, if there are any yet.

    Told itself, torchrun would tell its workers and then end with an error, however well they stopped.
    """
    started = [process for process in descendants(child) if workers and _runs(process, workers)]
    for process in started or [child]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)


def kill_since(before: Collection[int]) -> None:
    """End everything that this process has started since `before` were all its descendants."""
    for _ in range(_TRIES):
        left = [process for process in descendants(os.getpid()) if process not in before]
        if not left:
            return
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(_PAUSE_SECONDS)


def memory_kills() -> int:
    """How many processes of this one's control group the kernel has killed for want of memory; 0 if it cannot tell."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            counters = Path("/sys/fs/cgroup") / path.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            counters = Path("/sys/fs/cgroup/memory") / path.lstrip("/") / "memory.oom_control"
        else:
            continue
        for counter in _read(counters).splitlines():
            name, _, count = counter.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0


def _runs(process: int, module: str) -> bool:
    words = _read(Path(f"/proc/{process}/cmdline")).split("\0")
    return ("-m", module) in itertools.pairwise(words)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
