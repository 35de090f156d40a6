"""Judges generated programs: each runs in a sandbox, its tests run in another, and only plain data passes between.

    this process ──test──▶ judge (sandboxed, runs the test)            verdict comes from here only
         │  ▲                │ call f(1, 2)      ▲ answer 3
         │  └────────────────┘                   │
         └──────call───────▶ candidate (sandboxed, runs the generated program)

The generated program never shares a process with the test: it knows neither what is compared nor with what, and all
it can do is answer calls with plain data, which the judge rebuilds from builtin types. So printing, exit codes,
`exit(0)`, patched builtins, objects equal to everything or a walk over frames make no pass. Its sandbox (jail.py) has
no network, no writable file, no environment, no other process, and limits on memory, processor time and files; this
process stops it by the clock.

What remains, on purpose or for want of a better way:
- A test that itself calls a helper function of the program (HumanEval 32, 38 and 50 do) believes that function, as
  HumanEval does: a completion that defines the helper anew can bend such a test.
- Arguments and results must be plain data (numbers, strings, lists, tuples, sets, dicts, ranges, bytes, None, and
  iterators of them as results). A test that hands over a function, or looks at an object of the program's own, does
  not pass: its reason says so.
- A program has the standard library and nothing that was installed beside it.
- A kernel's own faults are as reachable as its allowed calls (seccomp.py) let them be. The filter for aarch64 has been
  compared with the kernel's headers, not run.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock, local

from joyctl.evals import seccomp
from joyctl.evals.inside import candidate, judge
from joyctl.evals.jail import INSTALL, Jail, JailEndedError, jailed, start_error

UNSAFE = "JOYCTL_UNSAFE_CODE"
"""Environment variable that has a campaign's jobs execute generated code without a sandbox, where it is 1."""
TIMEOUT = 5.0
"""Seconds by the clock that a program and its test have together."""
_GRACE = 2.0
"""Further seconds for a judge to close a test whose program was stopped."""


@dataclass(frozen=True)
class Verdict:
    """Whether a program passed its test, and why not."""

    passed: bool
    reason: str


def probe() -> str | None:
    """None when generated code can be judged on this machine, else why not and what to do.

    Runs programs for real: one that must pass, and one that tries to fork once and must be refused.
    """
    if platform.system() != "Linux":
        return f"the sandbox needs Linux; this is {platform.system()}"
    if not seccomp.supported():
        return f"no system-call filter for {platform.machine()}; score code on an x86_64 or aarch64 machine"
    if shutil.which("bwrap") is None:
        return f"bubblewrap is not installed; {INSTALL}"
    if error := start_error():
        return (
            f"bubblewrap does not start a program here: {error}; where user namespaces are off, an administrator can "
            "set kernel.unprivileged_userns_clone=1, user.max_user_namespaces above 0 or (Ubuntu from 24.04 on) "
            "kernel.apparmor_restrict_unprivileged_userns=0; in a container, allow them"
        )
    verdict = run_program(_PROBE, "assert add(1, 2) == 3 and refused()", timeout=10)
    return None if verdict.passed else f"the sandbox does not hold a program as it should: {verdict.reason}"


_PROBE = """
import os
def add(a, b):
    return a + b
def refused():
    try:
        child = os.fork()
    except OSError:
        return True
    if child == 0:
        os._exit(0)
    return False
"""


def run_program(program: str, test: str, *, timeout: float = TIMEOUT, unsafe: bool = False) -> Verdict:
    """Judge one program by one test (Python source that raises unless it is satisfied), within `timeout` seconds.

    `unsafe` as for `run_programs`. Raises Missing when the sandbox does not start.
    """
    own = _Judge(unsafe)
    try:
        return own.verdict(program, test, timeout)
    finally:
        own.close()


def run_programs(
    pairs: Sequence[tuple[str, str]],
    *,
    workers: int | None = None,
    timeout: float = TIMEOUT,
    on_verdict: Callable[[], None] | None = None,
    unsafe: bool = False,
) -> list[Verdict]:
    """Judge (program, test) pairs, `workers` at once (default: the cores this process may use), in the given order.
    `on_verdict` is called after each, by one worker at a time.

    Each worker keeps one judge for all its tests: judges run benchmark code only. Programs never share anything.

    `unsafe` judges by the same two processes without bubblewrap and without the filter of system calls, on any POSIX
    system. What is left are limits of memory, processor time, file size and processes, and the clock. The limit of
    processes does not bind root: there a program may fork without end. A program can read and delete what the user
    can, reach the network, and find the judge and stop or fool it. Only for programs that are known to be harmless, or
    on a machine that may be lost.

    Raises Missing when the sandbox does not start.
    """
    workers = max(1, min(workers or _cores(), len(pairs)))
    own = local()
    judges: list[_Judge] = []
    telling = Lock()

    def start() -> None:
        own.judge = _Judge(unsafe)
        judges.append(own.judge)

    def one(pair: tuple[str, str]) -> Verdict:
        verdict: Verdict = own.judge.verdict(*pair, timeout)
        if on_verdict is not None:
            with telling:
                on_verdict()
        return verdict

    with ThreadPoolExecutor(workers, "judge", initializer=start) as pool:
        try:
            return list(pool.map(one, pairs))
        finally:
            pool.shutdown(cancel_futures=True)
            for each in judges:
                each.close()


def pass_at_k(
    references: list[str],
    predictions: list[list[str]],
    k: int | list[int],
    *,
    run: Callable[[Sequence[tuple[str, str]]], Sequence[Verdict]] = run_programs,
) -> dict[str, float]:
    """The metric of HumanEval-like tasks: `estimate` over problems, after judging their programs.

    `references[i]` is the test of problem i, `predictions[i]` its programs.
    """
    pairs = [(p, test) for test, programs in zip(references, predictions, strict=True) for p in programs]
    verdicts = iter(run(pairs))
    counts = [(len(programs), sum(next(verdicts).passed for _ in programs)) for programs in predictions]
    return estimate(counts, [k] if isinstance(k, int) else k)


def estimate(counts: Sequence[tuple[int, int]], ks: Sequence[int]) -> dict[str, float]:
    """`pass@k`: the mean over problems of the unbiased estimate of a pass among k samples, as fractions.

    `counts` are (samples n, of which passed c) by problem. A k above the n of any problem is left out.
    Formula: 1 - C(n-c, k) / C(n, k) (arXiv 2107.03374, equation 1), in exact integers.
    """
    return {
        f"pass@{j}": math.fsum(1 - math.comb(n - c, j) / math.comb(n, j) for n, c in counts) / len(counts)
        for j in ks
        if counts and all(n >= j for n, _ in counts)
    }


class _Judge:
    """A judge's process, started when first needed and again after one was lost. Belongs to one thread."""

    def __init__(self, unsafe: bool) -> None:
        self._unsafe = unsafe
        self._flag = ["unsafe"] if unsafe else []
        self._jail: Jail | None = None

    def close(self) -> None:
        """End the process."""
        if self._jail is not None:
            self._jail.kill()
            self._jail = None

    def verdict(self, program: str, test: str, timeout: float) -> Verdict:
        """Judge one program; whatever the program does, this ends soon after `timeout` seconds."""
        jail = self._jail = self._jail or Jail(judge, *self._flag, unsafe=self._unsafe)
        try:
            soon = time.monotonic() + _GRACE
            jail.send(b"T" + test.encode("utf-8", "surrogatepass"), soon)
            message = jail.receive(soon)
            if message[:1] == b"N":
                # The limit on processor time is for a program whose parent died: the clock comes first.
                seconds = str(math.ceil(timeout) + 1)
                with jailed(candidate, seconds, *self._flag, unsafe=self._unsafe) as prisoner:
                    message = _relay(jail, prisoner, program, message[1:], timeout)
            passed, reason = json.loads(message[1:])
            return Verdict(passed, reason)
        except (TimeoutError, JailEndedError) as error:
            # The judge itself is stuck in, or was ended by, what the program answered.
            self.close()
            return Verdict(False, _timed_out(timeout) if isinstance(error, TimeoutError) else f"judge: {error}")


def _relay(judged_by: Jail, prisoner: Jail, program: str, names: bytes, timeout: float) -> bytes:
    """Pass calls and answers on until the judge gives its verdict.

    Raises TimeoutError or JailEndedError when the judge fails; the program's failing becomes a message to the judge.
    """
    deadline = time.monotonic() + timeout
    parts = [program.encode("utf-8", "surrogatepass"), names]
    while True:
        try:
            for part in parts:
                prisoner.send(part, deadline)
            answer = b"A" + prisoner.receive(deadline)
        except TimeoutError:
            answer = b"D" + _timed_out(timeout).encode()
        except JailEndedError as error:
            answer = b"D" + str(error).encode()
        judged_by.send(answer, deadline + _GRACE)
        message = judged_by.receive(deadline + _GRACE)
        if message[:1] == b"V":
            return message
        parts = [message[1:]]


def _cores() -> int:
    """Cores this process may use, where the system tells; else all there are."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _timed_out(seconds: float) -> str:
    return f"timed out after {seconds:.3g} s"
