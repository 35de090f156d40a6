"""The processes of a test cluster: known by their environment, ended without hitting a stranger's."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def environment(pid: int) -> list[bytes]:
    """`NAME=value`, as it was when the process started; empty for one that is gone, a zombie or another user's."""
    return _read(pid, "environ").split(b"\0")


def name(pid: int) -> str:
    """The program's name, at most 15 characters."""
    return _read(pid, "comm").decode(errors="replace").strip()


def having(*variables: str) -> list[int]:
    """Processes that have all of these: `NAME=value`, or `NAME=` whatever its value."""
    wanted = [variable.encode() for variable in variables]
    found = []
    for pid in _all():
        given = environment(pid)
        if all(any(v == w or (w.endswith(b"=") and v.startswith(w)) for v in given) for w in wanted):
            found.append(pid)
    return found


def with_children(pids: Iterable[int]) -> list[int]:
    """These processes and all that came of them, whatever environment those have."""
    children: dict[int, list[int]] = {}
    for pid in _all():
        with suppress(IndexError, ValueError):
            children.setdefault(int(_read(pid, "stat").rpartition(b")")[2].split()[1]), []).append(pid)
    found = dict.fromkeys(pids)
    waiting = list(found)
    while waiting:
        for child in children.get(waiting.pop(), []):
            if child not in found:
                found[child] = None
                waiting.append(child)
    return list(found)


def kill(pids: Iterable[int]) -> None:
    """SIGKILL, in this order."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Handle:
    """A process that stays the same one, whoever gets its pid after its end."""

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError when there is none."""
        self._fd = os.pidfd_open(pid)

    def send(self, sign: signal.Signals) -> None:
        """Signal it, if it still runs."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, sign)

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it ended, within so many seconds if given."""
        ended = select.poll()
        ended.register(self._fd, select.POLLIN)
        return bool(ended.poll(None if seconds is None else seconds * 1000))

    def close(self) -> None:
        """Forget it."""
        os.close(self._fd)


def end(handles: list[Handle], sign: signal.Signals, seconds: float) -> None:
    """Signal them all, wait for them all, kill what is left then."""
    for handle in handles:
        handle.send(sign)
    until = time.monotonic() + seconds
    for handle in handles:
        if not handle.wait(max(0, until - time.monotonic())):
            handle.send(signal.SIGKILL)
            handle.wait(5)
        handle.close()


def _all() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""
