"""Generated programs under judgement: right ones pass, wrong and hostile ones do not, the machine stays untouched."""

# ruff: noqa: E501 - programs on one line each

from __future__ import annotations

import itertools
import math
import os
import re
import socket
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joyctl.errors import Missing
from joyctl.evals.sandbox import Verdict, estimate, pass_at_k, probe, run_program, run_programs

WHY_NOT = probe()
needs_sandbox = pytest.mark.skipif(WHY_NOT is not None, reason=f"needs sandbox: {WHY_NOT}")
ADD = "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(-1, 1) == 0\n\ncheck(add)"


def observed(body: str, expected: object, *, timeout: float = 5.0) -> Verdict:
    """Judge whether function `f` with this body gives `expected`: what a program saw inside, told as plain data."""
    program = "def f():\n" + "".join(f"    {line}\n" for line in body.strip().splitlines())
    return run_program(program, f"assert f() == {expected!r}, f()", timeout=timeout)


@needs_sandbox
def test_a_right_program_passes_and_a_wrong_one_does_not() -> None:
    assert run_program("def add(a, b):\n    return a + b", ADD) == Verdict(True, "passed")
    assert run_program("def add(a, b):\n    return a * b", ADD) == Verdict(False, "AssertionError")


@needs_sandbox
@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("def add(a, b:\n", "SyntaxError"),
        ("def sub(a, b):\n    return a - b", "NameError: name 'add' is not defined"),
        ("add = 3", "TypeError: 'int' object is not callable"),
        ("1 / 0", "ZeroDivisionError"),
        ("", "NameError"),
        ("def add(a, b):\n    return add(a, b)", "RecursionError"),
        ("def add(a, b):\n    raise ValueError('no')", "ValueError: no"),
        ("def add(a, b):\n    return object()", "CandidateError: NotPlainDataError: a value of type object"),
        ("def add(a, b):\n    import ctypes\n    return ctypes.string_at(0)", "ended its process"),
    ],
)
def test_a_program_that_fails_says_how(program: str, reason: str) -> None:
    verdict = run_program(program, ADD)
    assert not verdict.passed
    assert reason in verdict.reason


@needs_sandbox
def test_the_usual_ways_of_testing_work_across_the_wall() -> None:
    program = """
import math
LIMIT = 7
def area(r=1.0): return math.pi * r * r
def order(xs): xs.sort()
def bad(x): raise KeyError(x)
def pairs(xs, *, by): return {x: (x, {by}) for x in xs}
"""
    test = """
import math
assert math.isclose(area(), math.pi) and LIMIT == 7
xs = [3, 1, 2]
assert order(xs) is None and xs == [1, 2, 3]
try:
    bad(1)
    assert False
except KeyError:
    pass
assert pairs([1], by="a") == {1: (1, {"a"})}
assert list(map(area, [0])) == [0.0]
"""
    assert run_program(program, test) == Verdict(True, "passed")


@needs_sandbox
def test_verdicts_do_not_depend_on_the_seed_of_string_hashes() -> None:
    program = "def first():\n    return next(iter({'a', 'b', 'c', 'd', 'e', 'f'}))"
    assert len({run_program(program, f"assert first() == {x!r}").passed for x in "abcdef" for _ in range(2)}) == 2
    winners = [x for x in "abcdef" for _ in range(2) if run_program(program, f"assert first() == {x!r}").passed]
    assert len(winners) == 2 and winners[0] == winners[1]


@needs_sandbox
def test_many_programs_keep_their_order_and_share_nothing() -> None:
    program = (
        "import builtins\ncount = getattr(builtins, 'seen', 0)\nbuiltins.seen = 1\ndef f():\n    return count, {i}"
    )
    pairs = [(program.replace("{i}", str(i)), f"assert f() == (0, {i if i % 3 else -1})") for i in range(12)]
    done: list[int] = []
    verdicts = run_programs(pairs, workers=2, on_verdict=lambda: done.append(1))
    assert [v.passed for v in verdicts] == [bool(i % 3) for i in range(12)]
    assert len(done) == 12


@needs_sandbox
def test_a_program_is_read_as_if_it_stood_in_a_file_of_its_own() -> None:
    """joyctl's own modules postpone annotations; the program's are looked up, as anywhere."""
    assert "'List' is not defined" in run_program("def f(x: List[int]):\n    return x", "assert f(1) == 1").reason
    assert run_program("from __future__ import annotations\ndef f(x: No): return x", "assert f(1) == 1").passed


@needs_sandbox
def test_iterators_can_be_returned() -> None:
    program = "def f(xs):\n    return (x + 1 for x in xs)\ndef g(xs):\n    return map(str, xs)"
    test = "assert list(f([1, 2])) == [2, 3] and tuple(g([1])) == ('1',) and f([1]) != [2]"
    assert run_program(program, test) == Verdict(True, "passed")


# ---- faking a pass


@needs_sandbox
@pytest.mark.parametrize(
    "program",
    [
        "raise SystemExit(0)",
        "exit(0)",
        "import os\nos._exit(0)",
        "import os\ndef add(a, b):\n    os._exit(0)",
        "def add(a, b):\n    raise SystemExit(0)",
        # objects that say yes to everything
        "class Yes:\n    def __eq__(self, other): return True\ndef add(a, b): return Yes()",
        "class Yes(int):\n    def __eq__(self, other): return True\ndef add(a, b): return Yes(77)",
        "class Yes(type):\n    def __eq__(self, other): return True\nclass add(metaclass=Yes):\n    def __init__(self, a, b): pass",
        # other builtins, other assertions
        "import builtins\nbuiltins.AssertionError = ValueError\nbuiltins.isinstance = lambda *a: True\ndef add(a, b): return 0",
        "import sys\nsys.settrace(lambda *a: None)\nsys.excepthook = lambda *a: None\ndef add(a, b): return 0",
        # a verdict of its own on every descriptor
        "import os\nfor i in range(4096):\n    for text in (b'passed', b'\\x10\\0\\0\\0V[true, \"passed\"]'):\n        try: os.write(i, text)\n        except OSError: pass\ndef add(a, b): return 0",
        # walking up the frames, replacing what is found there
        "import sys\nframe = sys._getframe()\nwhile frame:\n    for name, value in list(frame.f_globals.items()):\n        if callable(value) and name in ('encode', '_answer'):\n            frame.f_globals[name] = lambda *a: '{\"value\": true}'\n    frame = frame.f_back\ndef add(a, b): return 0",
        # answers before anybody asked
        "import os\nfor i in range(3, 4096):\n    try: os.write(i, b'\\x0c\\0\\0\\0{\"value\": 3}' * 9)\n    except OSError: pass\ndef add(a, b): return 0",
        "import atexit\natexit.register(print, 'passed')",
        "check = lambda f: None\nadd = None",
    ],
)  # fmt: skip
def test_a_pass_cannot_be_faked(program: str) -> None:
    assert not run_program(program, ADD).passed


@needs_sandbox
def test_neither_silence_nor_a_wide_except_is_a_pass() -> None:
    gone = "import os\ndef f(x):\n    os._exit(0)"
    assert not run_program(gone, "try:\n    f(1)\nexcept:\n    pass").passed
    # raised inside the loop of `all`, a StopIteration would end it early and leave it true
    stops = "def f(x):\n    raise StopIteration"
    assert not run_program(stops, "assert all(map(lambda x: f(x) == 1, [1, 2]))").passed
    # the builtin of that name may not stand in for the program's function
    assert not run_program("", "def check(c):\n    assert c([1, 2]) == 3\ncheck(sum)").passed
    assert "never called" in run_program("def f(): pass", "assert True").reason


@needs_sandbox
def test_the_test_is_nowhere_in_reach_of_the_program() -> None:
    program = """
import gc, os, sys
def f():
    found = []
    for thing in gc.get_objects():
        try:
            if "hsifdrows" in repr(thing)[::-1]: found.append("object")
        except Exception: pass
    frame = sys._getframe()
    while frame:
        if "hsifdrows" in repr(frame.f_locals)[::-1]: found.append("frame")
        frame = frame.f_back
    for root in ("/proc", "/home", "/tmp"):
        for folder, _, files in os.walk(root):
            for name in files:
                try:
                    with open(os.path.join(folder, name), "rb") as handle:
                        if b"hsifdrows" in handle.read(1 << 20)[::-1]: found.append(name)
                except OSError: pass
    return found
"""
    assert run_program(program, "secret = 'swordfish'\nassert f() == [], f()") == Verdict(True, "passed")


# ---- reaching out


@needs_sandbox
def test_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        body = (
            f"import socket\ntry: socket.create_connection(('127.0.0.1', {port}), 2)\nexcept OSError: return 'refused'"
        )
        assert observed(body, "refused").passed
        with pytest.raises(TimeoutError):
            server.accept()


@needs_sandbox
def test_no_host_files_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("swordfish")
    monkeypatch.setenv("API_TOKEN", "swordfish")
    # An interpreter that lives in the home is bound at its place: of the home only the way there can be seen.
    prefix, home = Path(sys.base_prefix), Path.home()
    interpreter = [prefix.relative_to(home).parts[0]] if prefix.is_relative_to(home) else None
    paths = [str(secret), "/etc/passwd", "/etc/hostname", "/proc/1/environ", "/proc/self/environ", str(Path.home())]
    body = f"""
import os
seen = []
for path in {paths}:
    try: seen.append(os.listdir(path) if os.path.isdir(path) else open(path).read())
    except OSError: pass
return [x for x in seen if x and x != {interpreter}], 'swordfish' in str(os.environ)
"""
    verdict = observed(body, ([], False))
    assert verdict.passed, verdict.reason


@needs_sandbox
def test_nothing_is_writable(tmp_path: Path) -> None:
    places = [str(tmp_path), "/", "/tmp", "/var/tmp", "/dev/shm", "/usr", "/var", ".", str(Path.home())]
    body = f"""
import os
wrote = []
for place in {places}:
    try:
        with open(os.path.join(place, "left-behind"), "wb") as handle: handle.write(bytes(32 << 20))
        wrote.append(place)
    except OSError: pass
return wrote
"""
    verdict = observed(body, [])
    assert verdict.passed, verdict.reason
    assert list(tmp_path.iterdir()) == []


@needs_sandbox
@pytest.mark.parametrize(
    "attempt",
    [
        "os.fork()",  # once: the refusal is the point
        "os.posix_spawn('/usr/bin/true', ['true'], {})",
        "__import__('subprocess').run(['/usr/bin/true'])",
        "os.system('true') == 0 or (_ for _ in ()).throw(OSError)",
        "__import__('multiprocessing').Process(target=print).start()",
        "os.kill(os.getppid(), 9)",
        "os.kill(1, 9)",
        "os.kill(-1, 9)",
        "os.memfd_create('x')",
        "__import__('socket').socket()",
        "__import__('resource').setrlimit(__import__('resource').RLIMIT_AS, (1 << 40, 1 << 40))",
    ],
)
def test_no_processes_signals_or_sockets(attempt: str) -> None:
    body = f"import os\ntry: {attempt}\nexcept (OSError, ValueError): return 'refused'"
    verdict = observed(body, "refused")
    assert verdict.passed, verdict.reason


@needs_sandbox
def test_no_threads() -> None:
    body = """
import threading
started = 0
for _ in range(50):
    try:
        threading.Thread(target=threading.Event().wait, args=(1,)).start()
        started += 1
    except RuntimeError: pass
return started
"""
    assert observed(body, 0).passed


@needs_sandbox
def test_memory_is_limited() -> None:
    assert observed("try: return len(bytearray(4 << 30))\nexcept MemoryError: return 'refused'", "refused").passed


# ---- going on for ever


@needs_sandbox
@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "def add(a, b):\n    while True: print('x' * 4096)",
        "import signal\nfor s in (signal.SIGTERM, signal.SIGINT, signal.SIGXCPU): signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
        "import time\ntime.sleep(60)",
        "def add(a, b):\n    while True:\n        try: add(a, b)\n        except BaseException: pass",
    ],
)  # fmt: skip
def test_the_clock_ends_every_program(program: str) -> None:
    start = time.monotonic()
    verdict = run_program(program, ADD, timeout=1.0)
    assert verdict == Verdict(False, "timed out after 1 s")
    assert time.monotonic() - start < 10


@needs_sandbox
def test_floods_on_the_answer_pipe_end_at_once() -> None:
    # The pipe keeps the number it had in this process, which may hold many files open.
    flood = "import os\ndef add(a, b):\n    while True:\n        for i in range(3, 4096):\n            try: os.write(i, b'\\xff' * 65536)\n            except OSError: pass"
    assert "too long" in run_program(flood, ADD, timeout=60.0).reason
    huge = "def add(a, b):\n    return 'x' * (64 << 20)"
    assert "too long" in run_program(huge, ADD, timeout=60.0).reason


@needs_sandbox
def test_a_test_that_never_ends_is_stopped_and_the_next_one_is_judged() -> None:
    never = "def add(a, b):\n    return 4", "while add(1, 2) != 3:\n    pass"
    stuck = "def add(a, b):\n    return 4", "add(1, 2)\nwhile True:\n    pass"
    right = "def add(a, b):\n    return 3", "assert add(1, 2) == 3"
    verdicts = run_programs([never, stuck, right], workers=1, timeout=1.0)
    assert [v.passed for v in verdicts] == [False, False, True]
    assert all("timed out" in v.reason for v in verdicts[:2])


@needs_sandbox
def test_nothing_is_left_running() -> None:
    def children() -> list[str]:
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            except OSError:
                continue
            if int(rest.split()[1]) == os.getpid():
                found.append(name)
        return sorted(found)

    before, descriptors = children(), len(list(Path("/proc/self/fd").iterdir()))
    run_programs([("while True: pass", ADD), ("import os\nos._exit(0)", ADD)] * 2, workers=2, timeout=0.5)
    assert children() == before
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


# ---- scores, and machines without a sandbox


def test_pass_at_k_is_the_share_of_draws_that_hold_a_pass() -> None:
    def run(pairs: object) -> list[Verdict]:
        return [Verdict(passed, "") for passed in (True, False, False, False, True, True, True, True)]

    found = pass_at_k(["t", "t"], [["a"] * 4, ["b"] * 4], [1, 2, 5], run=run)
    assert found == {"pass@1": (1 / 4 + 1) / 2, "pass@2": (1 - math.comb(3, 2) / math.comb(4, 2) + 1) / 2}


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=4), st.integers(1, 6))
def test_estimates_are_means_over_all_ways_to_draw_k(problems: list[list[bool]], k: int) -> None:
    found = estimate([(len(passed), sum(passed)) for passed in problems], [k])
    if k > min(map(len, problems)):
        assert found == {}
        return
    draws = [[any(draw) for draw in itertools.combinations(passed, k)] for passed in problems]
    assert math.isclose(found[f"pass@{k}"], sum(sum(d) / len(d) for d in draws) / len(problems), abs_tol=1e-12)


def test_no_problems_have_no_estimate() -> None:
    assert estimate([], [1]) == {}


@needs_sandbox
def test_pass_at_k_runs_the_programs() -> None:
    right, wrong = "def add(a, b):\n    return a + b", "def add(a, b):\n    return 0"
    assert pass_at_k([ADD, ADD], [[right], [wrong]], [1]) == {"pass@1": 0.5}


def test_without_bubblewrap_nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = probe()
    assert reason is not None and "bubblewrap is not installed" in reason and "apt-get install" in reason
    with pytest.raises(Missing, match="no sandbox"):
        run_program("def add(a, b):\n    return a + b", ADD)


def test_where_bubblewrap_cannot_work_nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bwrap = tmp_path / "bwrap"
    bwrap.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    bwrap.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    reason = probe()
    assert reason is not None and "No permissions to create new namespace" in reason
    with pytest.raises(Missing, match="No permissions"):
        run_programs([("def add(a, b):\n    return a + b", ADD)])


def test_a_sandbox_that_lets_a_program_fork_is_no_sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A bubblewrap that ignores the filter and runs the program unconfined is found out."""
    bwrap = tmp_path / "bwrap"
    bwrap.write_text('#!/bin/sh\nwhile [ "$1" != --seccomp ]; do shift; done\nshift 2\nexec "$@"\n')
    bwrap.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    reason = probe()
    assert reason is not None and "does not hold" in reason


# ---- without a sandbox, on request


@pytest.fixture
def no_bubblewrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("no_bubblewrap")
def test_unsafe_needs_no_bubblewrap_and_judges_alike() -> None:
    programs = {
        "def add(a, b):\n    return a + b": (True, "passed"),
        "def add(a, b):\n    return a * b": (False, "AssertionError"),
        "raise SystemExit(0)": (False, "CandidateError: SystemExit: 0"),
        "import os\nos._exit(0)": (False, "the program ended its process (status 0)"),
        "while True: pass": (False, "timed out after 1 s"),
    }
    verdicts = run_programs([(program, ADD) for program in programs], workers=2, timeout=1.0, unsafe=True)
    assert [(v.passed, v.reason) for v in verdicts] == list(programs.values())


@pytest.mark.usefixtures("no_bubblewrap")
def test_unsafe_keeps_the_limits_and_the_empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "swordfish")
    program = """
import os, resource
def memory():
    try: return len(bytearray(4 << 30))
    except MemoryError: return "refused"
def file():
    try:
        with open("x", "wb") as handle: handle.write(b"x")
    except OSError: return "refused"
def processes(): return resource.getrlimit(resource.RLIMIT_NPROC)
def seen(): return "API_TOKEN" in os.environ, os.listdir()
"""
    test = """
assert seen() == (False, []), seen()
assert memory() == file() == "refused"
assert processes() == (0, 0)
"""
    verdict = run_program(program, test, unsafe=True)
    assert verdict.passed, verdict.reason


@pytest.mark.usefixtures("no_bubblewrap")
def test_unsafe_leaves_no_folder_and_no_process_of_its_group() -> None:
    verdict = run_program("import os\ndef f(): return os.getcwd(), os.getpgid(0)", "assert not f(), f()", unsafe=True)
    folder, group = re.findall(r"'(.*)', (\d+)", verdict.reason)[0]
    assert Path(folder).name.startswith("joyctl-unsafe-") and not Path(folder).exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(int(group), 0)
