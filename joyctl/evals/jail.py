"""Starts a process under bubblewrap that can compute and talk over one pair of pipes, and do nothing else.

Or, where somebody asks for it, the same process without bubblewrap and without the filter: `unsafe`.
"""

from __future__ import annotations

import functools
import marshal
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.abc import InspectLoader
from pathlib import Path
from types import ModuleType

from joyctl.errors import Missing
from joyctl.evals import seccomp

INSTALL = "install it: apt-get install bubblewrap (Debian, Ubuntu), dnf install bubblewrap (Fedora, RHEL)"
MAX_FRAME = 8 << 20
"""Bytes: a longer answer counts as a misbehaving program."""


START = 30.0
"""Seconds that a sandbox may need to start on a busy machine; a program's own time begins after that."""


class JailEndedError(Exception):
    """The jailed process has ended, or sent what is no frame."""


class Jail:
    """One process in a sandbox of its own: no network, nothing writable, no other process visible or possible.

    `send` and `receive` move frames (four bytes of length, little-endian, then the payload) and never wait past a
    deadline given in seconds of `time.monotonic`.

    With `unsafe` it is a plain process with an empty environment, in an empty folder of its own and under limits of
    memory, processor time, files and processes (the last do not bind root): it can read what the user can, delete
    files, reach the network, and leave a process behind that made itself a session of its own.
    """

    def __init__(self, role: ModuleType, *arguments: str, unsafe: bool = False) -> None:
        """Start the main function of a module of `joyctl.evals.inside` and wait until it says that it runs.

        The calling thread must outlive the process: the kernel ends the process with the thread that started it.
        Raises Missing when the sandbox does not start.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="joyctl-unsafe-") if unsafe else None
        child_reads, self._writes = os.pipe()
        self._reads, child_writes = os.pipe()
        theirs = [child_reads, child_writes]
        os.set_blocking(self._writes, False)
        os.set_blocking(self._reads, False)
        try:
            code = _code(role)
            around = []
            if not unsafe:
                theirs.append(_filter_pipe())
                around = command(theirs[-1])
            self._process = subprocess.Popen(
                [*around, *python("-c", BOOT, str(child_reads), str(child_writes), *arguments)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=ENVIRONMENT,
                cwd=None if self._folder is None else self._folder.name,
                pass_fds=theirs,
                start_new_session=True,
            )
        except BaseException:
            self._close()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        try:
            deadline = time.monotonic() + START
            self.send(code, deadline)
            self.receive(deadline)
        except (TimeoutError, JailEndedError) as error:
            self.kill()
            if unsafe:
                raise Missing(f"Python did not start a program: {error}") from None
            raise Missing(f"no sandbox: bubblewrap did not start a program: {start_error() or error}") from None

    def send(self, payload: bytes, deadline: float) -> None:
        """Send one frame.

        Raises TimeoutError at the deadline, JailEndedError when nobody reads any more.
        """
        data = memoryview(len(payload).to_bytes(4, "little") + payload)
        while data:
            self._wait(self._writes, select.POLLOUT, deadline)
            try:
                data = data[os.write(self._writes, data) :]
            except BrokenPipeError:
                raise JailEndedError(self._epitaph()) from None

    def receive(self, deadline: float) -> bytes:
        """The next frame.

        Raises TimeoutError at the deadline, JailEndedError when the process has ended or the frame is too long.
        """
        size = int.from_bytes(self._read(4, deadline), "little")
        if size > MAX_FRAME:
            raise JailEndedError(f"an answer of {size} bytes is too long")
        return self._read(size, deadline)

    def kill(self) -> None:
        """End the process and everything in its namespace (unsafe: its process group), and wait for it."""
        # The group holds bubblewrap outside and inside; the namespace's first process dies with them
        # (--die-with-parent), and the kernel ends whatever else the namespace holds.
        if self._process.returncode is None:  # reaped already: its number may be another's by now
            with suppress(PermissionError):  # macOS's answer when only the dead are left in the group
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._close()

    def _close(self) -> None:
        os.close(self._writes)
        os.close(self._reads)
        if self._folder is not None:
            self._folder.cleanup()

    def _read(self, size: int, deadline: float) -> bytes:
        parts: list[bytes] = []
        while size:
            self._wait(self._reads, select.POLLIN, deadline)
            part = os.read(self._reads, min(size, 1 << 16))
            if not part:
                raise JailEndedError(self._epitaph())
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError

    def _epitaph(self) -> str:
        try:
            status = self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            return "the program closed its pipe"
        return f"the program ended its process (status {status})"


@contextmanager
def jailed(role: ModuleType, *arguments: str, unsafe: bool = False) -> Iterator[Jail]:
    """A `Jail` that is killed at the end, whatever happens."""
    jail = Jail(role, *arguments, unsafe=unsafe)
    try:
        yield jail
    finally:
        jail.kill()


BOOT = """
import marshal, posix, sys
def read(size):
    data = b""
    while len(data) < size:
        data += posix.read(int(sys.argv[1]), size - len(data))
    return data
exec(marshal.loads(read(int.from_bytes(read(4), "little"))))
main()
"""
"""What the interpreter in the sandbox is told to run: the code that comes as the first frame, then its `main`."""

ENVIRONMENT = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
"""All that a jailed process finds in its environment. Fixed string hashes: a verdict may not depend on luck."""


def command(filter_descriptor: int) -> list[str]:
    """bubblewrap with its arguments, up to the program to run; the seccomp filter is read from the descriptor.

    Raises Missing when bubblewrap is not installed.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise Missing("no sandbox: bubblewrap is not installed", hint=INSTALL)
    bind = ["--ro-bind", "/usr", "/usr"]
    for name in ("lib", "lib64"):
        path = Path("/") / name
        if path.is_symlink():
            bind += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            bind += ["--ro-bind", str(path), str(path)]
    if not Path(sys.base_prefix).is_relative_to("/usr"):
        bind += ["--ro-bind", sys.base_prefix, sys.base_prefix]
    return [
        bwrap,
        *("--unshare-all", "--die-with-parent", "--as-pid-1", "--cap-drop", "ALL"),
        *("--uid", "65534", "--gid", "65534"),
        *bind,
        # No /proc, /dev, /tmp, /etc or home at all; the root itself is an empty file system, read-only from here on.
        *("--remount-ro", "/", "--chdir", "/"),
        *("--seccomp", str(filter_descriptor)),
    ]


@functools.cache
def _code(role: ModuleType) -> bytes:
    """A module's compiled code, for the same interpreter: sparing every program the time to find and compile it."""
    loader = role.__loader__
    if not isinstance(loader, InspectLoader):
        raise Missing(f"no sandbox: {role.__name__} has no code to send", hint="reinstall joyctl")
    return marshal.dumps(loader.get_code(role.__name__))


def python(*arguments: str) -> list[str]:
    """This interpreter without its environment: no site, no user site, no script folder on the path."""
    executable = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    return [str(executable), "-s", "-S", "-P", "-B", *arguments]


def start_error() -> str | None:
    """bubblewrap's or Python's own words when an empty program does not run in the sandbox; None when it does."""
    filter_end = _filter_pipe()
    try:
        done = subprocess.run(
            [*command(filter_end), *python("-c", "")],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            pass_fds=(filter_end,),
            start_new_session=True,
            timeout=10,
        )
    except subprocess.TimeoutExpired:
        return "an empty program did not end within 10 s"
    finally:
        os.close(filter_end)
    if done.returncode == 0:
        return None
    return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}"


def _filter_pipe() -> int:
    """The reading end of a pipe that holds the seccomp filter (it fits into the pipe's buffer)."""
    reading, writing = os.pipe()
    os.write(writing, seccomp.program())
    os.close(writing)
    return reading
