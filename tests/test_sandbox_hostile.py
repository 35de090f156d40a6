"""Hostile programs score nothing and leave the machine as it was (the programs: hostile.py)."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from hostile import ATTACKS, LATE

from joyctl.evals import inside
from joyctl.evals.sandbox import Verdict, probe, run_program, run_programs

WHY_NOT = probe()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=f"needs sandbox: {WHY_NOT}")
CLOCK, PLENTY = 1.0, 20.0
"""Seconds for a program that has to be stopped by the clock, and for one that ends by itself."""
PLACES = ("/", "/tmp", "/var/tmp", "/dev/shm", "/run", "/usr", "/usr/lib", "/etc")
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of linux/prctl.h."""


@dataclass(frozen=True)
class Ground:
    """What an attack may find on this machine."""

    words: dict[str, str]
    canary: Path
    listeners: tuple[socket.socket, ...]
    bystander: subprocess.Popen[bytes]
    mark: str

    def state(self) -> dict[str, object]:
        """What no program may have changed."""
        homes = (self.canary, self.canary.parent, Path.cwd(), Path(self.words["SCRATCH"]), *map(Path, PLACES))
        return {
            "files": {str(p): (p.stat().st_mode, p.stat().st_mtime_ns, digest(p)) for p in self.canary.rglob("*")},
            "library": (Path(os.__file__).stat().st_mode, Path(os.__file__).stat().st_mtime_ns, digest(os.__file__)),
            "left": [str(p) for place in homes if place.is_dir() for p in place.iterdir() if self.mark in p.name],
            "heard": [listener.fileno() for listener in self.listeners if heard(listener)],
            "bystander": self.bystander.poll(),
            "children": children(),
            "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        }


def digest(path: Path | str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else "folder"


def heard(listener: socket.socket) -> bool:
    try:
        if listener.type == socket.SOCK_DGRAM:
            listener.recv(1)
        else:
            listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def children() -> set[str]:
    """Living processes whose parent is this one, which inherits every orphan while it is their reaper."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.add(stat.parent.name)
    return found


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    mark = f"joyctl-hostile-{uuid.uuid4().hex[:12]}"
    with ExitStack() as stack:
        canary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".joyctl-canary-", dir=Path.home())))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (canary / "secret").write_text("swordfish")
        (canary / "folder").mkdir()
        (canary / "folder" / "other").write_bytes(os.urandom(64))
        listeners = tuple(
            stack.enter_context(socket.socket(family, kind))
            for family, kind in (
                (socket.AF_INET, socket.SOCK_STREAM),
                (socket.AF_INET, socket.SOCK_DGRAM),
                (socket.AF_UNIX, socket.SOCK_STREAM),
            )
        )
        for listener, address in zip(listeners, (("127.0.0.1", 0), ("127.0.0.1", 0), str(scratch / "u")), strict=True):
            listener.bind(address)
            listener.setblocking(False)
            if listener.type == socket.SOCK_STREAM:
                listener.listen()
        bystander = stack.enter_context(subprocess.Popen(["sleep", "600"]))
        stack.callback(bystander.kill)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("API_TOKEN", "swordfish")
        words = {
            "MARK": mark,
            "HOME": str(canary.parent),
            "CANARY": str(canary),
            "CANARYNAME": canary.name,
            "SCRATCH": str(scratch),
            "TCP": str(listeners[0].getsockname()[1]),
            "UDP": str(listeners[1].getsockname()[1]),
            "UNIX": str(scratch / "u"),
            "PID": str(os.getpid()),
            "CHILD": str(bystander.pid),
            "PACKAGE": str(Path(inside.__path__[0])),
            "PREFIXROOT": Path(sys.base_prefix).parts[1],
        }
        yield Ground(words, canary, listeners, bystander, mark)


def program(name: str, ground: Ground) -> str:
    return re.sub("@([A-Z]+)@", lambda word: ground.words[word[1]], ATTACKS[name].program)


@pytest.fixture(scope="module")
def ran(ground: Ground) -> tuple[dict[str, Verdict], dict[str, object], dict[str, object]]:
    """Every attack's verdict, two at a time, and the state of the machine before and after."""
    # No bomb before a single fork and a single thread are seen to be refused.
    for one in ("processes: fork", "processes: thread"):
        verdict = run_program(program(one, ground), ATTACKS[one].test)
        assert not verdict.passed and re.search(ATTACKS[one].reason, verdict.reason), verdict
    libc = ctypes.CDLL(None)
    before = ground.state()
    libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    try:
        verdicts: dict[str, Verdict] = {}
        for timeout in (CLOCK, PLENTY):
            names = [name for name, attack in ATTACKS.items() if (LATE in attack.reason) == (timeout == CLOCK)]
            pairs = [(program(name, ground), ATTACKS[name].test) for name in names]
            verdicts.update(zip(names, run_programs(pairs, workers=2, timeout=timeout), strict=True))
        # What was killed may need a moment to give its memory back.
        deadline = time.monotonic() + 10
        while children() != before["children"] and time.monotonic() < deadline:
            time.sleep(0.05)
        after = ground.state()
    finally:
        libc.prctl(_SUBREAPER, 0, 0, 0, 0)
    return verdicts, before, after


def test_there_are_attacks_of_every_kind() -> None:
    assert len(ATTACKS) >= 40


@pytest.mark.parametrize("name", ATTACKS)
def test_it_scores_nothing(name: str, ran: tuple[dict[str, Verdict], object, object]) -> None:
    verdict = ran[0][name]
    assert not verdict.passed
    assert re.search(ATTACKS[name].reason, verdict.reason), verdict.reason


@pytest.mark.parametrize("what", ["files", "library", "left", "heard", "bystander", "children", "descriptors"])
def test_nothing_changed_on_this_machine(what: str, ran: tuple[object, dict[str, object], dict[str, object]]) -> None:
    _, before, after = ran
    assert after[what] == before[what]


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.harmless])
def test_without_the_sandbox_it_would_have_worked(name: str, ground: Ground) -> None:
    """Else the test above would prove nothing. Only attacks that harm nobody."""
    if name.startswith("processes") and os.geteuid() != 0:
        pytest.skip("the limit of processes binds everybody but root")
    verdict = run_program(program(name, ground), ATTACKS[name].test, unsafe=True)
    assert verdict.passed, verdict.reason
