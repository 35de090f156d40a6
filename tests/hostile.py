"""Hostile programs: each does its worst, and passes its test only if that worked.

Words between @ are filled in by the test: places, ports and processes of the machine that must stay as they are.
"""

# ruff: noqa: E501 - programs on one line each

from __future__ import annotations

from dataclasses import dataclass
from textwrap import indent

WORKED = "got = f()\nassert got == 'worked', got"
"""Passes when the attack says that it worked; else the reason shows what the program met."""
SECRET = "def check(candidate):\n    assert candidate(1) == 918273645\n    assert candidate(2) == 546372819\n\ncheck(f)"
"""Passes for a program that knows numbers it cannot know."""
REFUSED = r"AssertionError: refused"
ENDED = r"ended its process|closed its pipe"
LATE = r"timed out after"


@dataclass(frozen=True)
class Attack:
    """A program, its test, and what the reason of the verdict has to show: that the attack was tried and failed."""

    program: str
    test: str
    reason: str
    harmless: bool = False
    """It may run without a sandbox, where it must work: else it would prove nothing."""


def tries(body: str, reason: str = REFUSED, *, harmless: bool = False) -> Attack:
    """`body` ends in `return 'worked'` when it worked; what it raises is a refusal."""
    program = (
        "import os, sys\ndef f():\n    try:\n"
        + indent(body.strip(), " " * 8)
        + "\n    except BaseException as error:\n"
        "        return 'refused: ' + type(error).__name__ + ': ' + str(error)\n    return 'refused: nothing happened'\n"
    )
    return Attack(program, WORKED, reason, harmless)


def calls(x86_64: int, aarch64: int) -> Attack:
    """A system call with null arguments: it worked when the kernel knows it at all."""
    return tries(f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
number = {{"x86_64": {x86_64}, "aarch64": {aarch64}}}[os.uname().machine]
if libc.syscall(number, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() == 38:
    return 'refused: no such call'
return 'worked'
""")


def fakes(program: str, reason: str = "") -> Attack:
    """A program that does not know the secret numbers."""
    return Attack(program, SECRET, reason)


EVERYWHERE = (
    "['/', '.', '/tmp', '/var/tmp', '/dev/shm', '/run', '/usr', '/usr/lib', '/etc', '@HOME@', '@CANARY@', '@PACKAGE@']"
)
FRAME = "def frame(text): return len(text).to_bytes(4, 'little') + text\n"
FLOOD = "        for i in range(64):\n            try: os.write(i, {})\n            except OSError: pass\n"

NETWORK = {
    "tcp": tries("import socket\nsocket.create_connection(('127.0.0.1', @TCP@), 1).sendall(b'x')\nreturn 'worked'", harmless=True),
    "udp": tries("import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', @UDP@))\nreturn 'worked'", harmless=True),
    "unix socket": tries("import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('@UNIX@')\nreturn 'worked'", harmless=True),
    "abstract unix socket": tries("import socket\ns = socket.socket(socket.AF_UNIX)\ns.bind('\\0@MARK@')\nreturn 'worked'", harmless=True),
    "pair of sockets": tries("import socket\nsocket.socketpair()\nreturn 'worked'", harmless=True),
    "listening": tries("import socket\nsocket.create_server(('', 0))\nreturn 'worked'", harmless=True),
    "name look-up": tries("import socket\nsocket.getaddrinfo('localhost', 80)\nreturn 'worked'", harmless=True),
    "netlink": tries("import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)\nreturn 'worked'", harmless=True),
    "web page": tries("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:@TCP@', timeout=1)\nreturn 'worked'"),
    "socket by system call": calls(41, 198),
}  # fmt: skip

READING = {
    "file at home": tries("if 'swordfish' in open('@CANARY@/secret').read(): return 'worked'", harmless=True),
    "listing of home": tries("if '@CANARYNAME@' in os.listdir('@HOME@'): return 'worked'", harmless=True),
    "environment": tries("import ctypes\nctypes.CDLL(None).getenv.restype = ctypes.c_char_p\nif 'swordfish' in str(os.environ) or ctypes.CDLL(None).getenv(b'API_TOKEN'): return 'worked'"),
    "environment in /proc": tries("for pid in ('self', '1', '@PID@'):\n    if b'swordfish' in open(f'/proc/{pid}/environ', 'rb').read(): return 'worked'"),
    "password files": tries("open('/etc/passwd').read() + open('/etc/shadow').read()\nreturn 'worked'"),
    "other processes in /proc": tries("if any(name.isdigit() for name in os.listdir('/proc')): return 'worked'", harmless=True),
    "memory of the parent in /proc": tries("open('/proc/@PID@/mem', 'rb')\nreturn 'worked'", harmless=True),
    "anything but the system": tries("rest = set(os.listdir('/')) - {'usr', 'lib', 'lib64', 'bin', 'sbin', '@PREFIXROOT@'}\nif rest: return 'worked'", harmless=True),
    "the judge's source": tries("open('@PACKAGE@/judge.py').read()\nreturn 'worked'", harmless=True),
    "devices": tries("open('/dev/null'), open('/dev/mem', 'rb')\nreturn 'worked'"),
    "ptrace": calls(101, 117),
    "process_vm_readv": calls(310, 270),
    "pidfd_getfd": calls(438, 438),
}  # fmt: skip

WRITING = {
    "new files everywhere": tries(f"wrote = []\nfor place in {EVERYWHERE}:\n    try: open(place + '/@MARK@', 'wb').write(b'x'); wrote.append(place)\n    except OSError: pass\nif wrote: return 'worked'"),
    "new empty file": tries("os.close(os.open('@SCRATCH@/@MARK@', os.O_CREAT | os.O_WRONLY))\nreturn 'worked'", harmless=True),
    "temporary file": tries("import tempfile\ntempfile.mkstemp(prefix='@MARK@')\nreturn 'worked'"),
    "nameless file": tries("for place in ('/tmp', '/dev/shm', '/', '.'):\n    try: os.open(place, os.O_TMPFILE | os.O_RDWR)\n    except OSError: continue\n    return 'worked'"),
    "file in memory": tries("os.memfd_create('@MARK@')\nreturn 'worked'", harmless=True),
    "new folder": tries(f"for place in {EVERYWHERE}:\n    try: os.mkdir(place + '/@MARK@')\n    except OSError: continue\n    return 'worked'"),
    "overwriting": tries("open('@CANARY@/secret', 'r+b').write(b'x')\nreturn 'worked'"),
    "truncating": tries("os.truncate('@CANARY@/secret', 0)\nreturn 'worked'"),
    "deleting": tries("os.remove('@CANARY@/secret')\nreturn 'worked'"),
    "deleting a whole tree": tries("import shutil\nfor place in ('@CANARY@', '@SCRATCH@'):\n    shutil.rmtree(place)\nreturn 'worked'"),
    "deleting the library": tries("import shutil\nshutil.rmtree(os.path.dirname(os.__file__), ignore_errors=True)\nif not os.path.exists(os.__file__): return 'worked'"),
    "renaming": tries("os.rename('@CANARY@/secret', '@CANARY@/@MARK@')\nreturn 'worked'"),
    "changing modes": tries("os.chmod(os.__file__, 0o666)\nreturn 'worked'"),
    "changing times": tries("os.utime(os.__file__)\nreturn 'worked'"),
    "links": tries("for make in (os.symlink, os.link):\n    try: make(os.__file__, '/tmp/@MARK@')\n    except OSError: continue\n    return 'worked'"),
    "named pipe": tries("os.mkfifo('/tmp/@MARK@')\nreturn 'worked'"),
    "device node": calls(259, 33),
    "the standard library": tries("open(os.__file__, 'ab').write(b'#')\nreturn 'worked'"),
    "the library through memory": tries("import mmap\nhandle = os.open(os.__file__, os.O_RDONLY)\nmmap.mmap(handle, 64, mmap.MAP_SHARED, mmap.PROT_WRITE)[0:1] = b'#'\nreturn 'worked'"),
    "disk flood": tries(f"wrote = 0\nfor place in {EVERYWHERE}:\n    try:\n        with open(place + '/@MARK@', 'wb') as handle:\n            for _ in range(64): wrote += handle.write(bytes(1 << 20))\n    except OSError: pass\nif wrote: return 'worked'"),
    "database": tries("import sqlite3\nsqlite3.connect('/tmp/@MARK@').execute('create table t (x)')\nreturn 'worked'"),
    "System V shared memory": calls(29, 194),
    "message queue": calls(240, 180),
}  # fmt: skip

CHILD = "if child == 0: os._exit(0)\nos.waitpid(child, 0)\nreturn 'worked'"
PROCESSES = {
    "fork": tries(f"child = os.fork()\n{CHILD}"),
    "fork in a terminal": tries(f"import pty\nchild, _ = pty.fork()\n{CHILD}"),
    "process left behind": tries("import time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(5)\n    os._exit(0)\nreturn 'worked'"),
    "posix_spawn": tries("os.waitpid(os.posix_spawn('/usr/bin/true', ['true'], {}), 0)\nreturn 'worked'"),
    "subprocess": tries("import subprocess\nsubprocess.run(['/usr/bin/true'], check=True)\nreturn 'worked'"),
    "shell": tries("if os.system('exit 7') == 7 << 8: return 'worked'"),
    "popen": tries("if os.popen('echo 7').read() == '7\\n': return 'worked'"),
    "multiprocessing": tries("import multiprocessing\np = multiprocessing.get_context('fork').Process(target=int)\np.start(); p.join()\nif p.exitcode == 0: return 'worked'"),
    "thread": tries("import threading\nt = threading.Thread(target=int)\nt.start(); t.join()\nreturn 'worked'", harmless=True),
    "pool of threads": tries("from concurrent.futures import ThreadPoolExecutor\nif ThreadPoolExecutor(4).submit(int).result() == 0: return 'worked'", harmless=True),
    "clone by system call": calls(56, 220),
    "vfork by system call": calls(58, 220),
    "clone3 by system call": calls(435, 435),
    # Bounded even so: should nothing hold them, 300 sleepers end by themselves.
    "fork bomb": tries("import time\nstarted = 0\nfor _ in range(300):\n    try:\n        if os.fork() == 0:\n            time.sleep(1)\n            os._exit(0)\n        started += 1\n    except OSError: pass\nif started: return 'worked'"),
    "thread bomb": tries("import threading\nstarted = 0\nfor _ in range(300):\n    try:\n        threading.Thread(target=threading.Event().wait, args=(1,), daemon=True).start()\n        started += 1\n    except RuntimeError: pass\nif started: return 'worked'"),
    "another program in its place": Attack("import os, sys\nflood = \"import os\\nfor i in range(3, 64):\\n    try: os.write(i, b'worked')\\n    except OSError: pass\"\ndef f(): os.execv(sys.executable, [sys.executable, '-S', '-c', flood])", WORKED, "too long"),
}  # fmt: skip

KILLING = {
    "the parent": tries("os.kill(os.getppid() or 1, 9)\nreturn 'worked'"),
    "everybody": tries("os.kill(-1, 9)\nreturn 'worked'"),
    "its group": tries("os.killpg(0, 9)\nreturn 'worked'"),
    "processes by number": tries("for pid in (@PID@, @CHILD@):\n    try: os.kill(pid, 9)\n    except OSError: continue\n    return 'worked'"),
    "processes by handle": tries("import signal\nsignal.pidfd_send_signal(os.pidfd_open(@CHILD@), 9)\nreturn 'worked'"),
    "tgkill": calls(234, 131),
    "rt_sigqueueinfo": calls(129, 138),
    "a signal by file owner": tries("import fcntl\nfor i in range(3, 4096):\n    try: fcntl.fcntl(i, fcntl.F_SETOWN, @CHILD@)\n    except OSError: continue\n    return 'worked'"),
    "abort": Attack("import os\ndef f(): os.abort()", WORKED, ENDED),
}  # fmt: skip

KERNEL = {
    "mount": calls(165, 40),
    "umount": calls(166, 39),
    "unshare": calls(272, 97),
    "setns": calls(308, 268),
    "chroot": calls(161, 51),
    "pivot_root": calls(155, 41),
    "bpf": calls(321, 280),
    "perf_event_open": calls(298, 241),
    "io_uring_setup": calls(425, 425),
    "keyctl": calls(250, 219),
    "userfaultfd": calls(323, 282),
    "seccomp": calls(317, 277),
    "prctl": calls(157, 167),
    "setuid": calls(105, 146),
    "capset": calls(126, 91),
    "open_by_handle_at": calls(304, 265),
    "move_mount": calls(429, 429),
}  # fmt: skip

LIMITS = {
    "memory at once": tries("size = len(bytearray(4 << 30))\nreturn 'worked'", r"refused: MemoryError"),
    "memory by and by": tries("kept = []\nwhile len(kept) < 64: kept.append(bytearray(64 << 20))\nreturn 'worked'", r"refused: MemoryError"),
    "memory without an end": Attack("def f():\n    kept = []\n    while True:\n        try: kept.append(bytearray(1 << 20))\n        except MemoryError: pass", WORKED, LATE),
    "memory by mmap": tries("import mmap\nmmap.mmap(-1, 4 << 30)\nreturn 'worked'"),
    "higher limits": tries("import resource\nfor name in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):\n    try: resource.setrlimit(name, (1 << 40, 1 << 40))\n    except (OSError, ValueError): continue\n    return 'worked'"),
    "higher limits of the parent": tries("import resource\nresource.prlimit(@PID@, resource.RLIMIT_CPU, (1, 1))\nreturn 'worked'"),
    "open files": tries("kept = [os.dup(0) for _ in range(100)]\nreturn 'worked'"),
    "output flood": Attack("def f():\n    while True: print('x' * 65536)", WORKED, LATE),
    "error flood": Attack("import sys\ndef f():\n    while True: sys.stderr.write('x' * 65536)", WORKED, LATE),
    "answer flood": Attack(f"import os\ndef f():\n    while True:\n{FLOOD.format('bytes([255]) * 65536')}", WORKED, "too long"),
    "flood of small answers": Attack(FRAME + f"import os\nflood = frame(b'1') * 4096\ndef f():\n    while True:\n{FLOOD.format('flood')}", WORKED, "the answer is no object"),
    "huge value": Attack("def f(): return 'x' * (64 << 20)", WORKED, "too long"),
    "huge number": Attack("def f(): return 1 << (1 << 30)", WORKED, r"too long|MemoryError|timed out"),
    "number too long to print": Attack("def f(): return 1 << (1 << 20)", WORKED, "AssertionError"),
    "keys that collide in the judge": Attack(FRAME + f"import os\nkeys = b', '.join(b'{{\"int\": \"%s\"}}' % hex(i * ((1 << 61) - 1)).encode() for i in range(200_000))\nflood = frame(b'{{\"value\": {{\"set\": [' + keys + b']}}}}')\ndef f():\n{FLOOD.format('flood')}", WORKED, LATE),
    "deeply nested value": Attack("def f():\n    x = []\n    for _ in range(100_000): x = [x]\n    return x", WORKED, "RecursionError"),
    "value that holds itself": Attack("def f():\n    x = []\n    x.append(x)\n    return x", WORKED, "RecursionError"),
    "iterator without an end": Attack("import itertools\ndef f(): return itertools.count()", WORKED, "more than 100,000 items"),
    "slow iterator": Attack("import time\ndef f():\n    while True:\n        yield 1\n        time.sleep(1)", WORKED, LATE),
    "loop ignoring signals": Attack("import signal\ndef f():\n    for s in range(1, 65):\n        try: signal.signal(s, signal.SIG_IGN)\n        except (OSError, ValueError): pass\n    while True: pass", WORKED, LATE),
    "loop in C": Attack("import re\ndef f(): return re.match('(a*)*b', 'a' * 64)", WORKED, LATE),
    "alarm of its own": tries("import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\nreturn 'worked'"),
    "swallowing every exception": Attack("def f():\n    while True:\n        try: f()\n        except BaseException: pass", WORKED, LATE),
    "sleeping": Attack("import time\ndef f(): time.sleep(60)", WORKED, LATE),
    "waiting for input": Attack("import os\ndef f():\n    for i in range(3, 64):\n        try: os.read(i, 1 << 20)\n        except OSError: pass", WORKED, LATE),
    "loop at import": Attack("while True: pass", WORKED, LATE),
    "recursion without an end": tries("return f()", r"RecursionError|refused|ended its process"),
    "crash by recursion": Attack("import sys\nsys.setrecursionlimit(1 << 30)\ndef f():\n    x = []\n    for _ in range(1 << 20): x = [x]\n    return repr(x)", WORKED, ENDED + "|RecursionError|MemoryError|" + LATE),
    "crash by address": Attack("import ctypes\ndef f(): return ctypes.string_at(0)", WORKED, ENDED),
    "loop in a finaliser": Attack("class D:\n    def __del__(self):\n        while True: pass\ndef f():\n    D()", WORKED, LATE),
}  # fmt: skip

YES = "    def yes(self, *a): return True\n    __eq__ = __ne__ = __lt__ = __gt__ = __le__ = __ge__ = __bool__ = __contains__ = yes\n    __hash__ = None\n"
FAKING = {
    "exit(0)": fakes("exit(0)", "NameError|SystemExit"),
    "sys.exit(0)": fakes("import sys\ndef f(x): sys.exit(0)", "SystemExit"),
    "SystemExit at import": fakes("raise SystemExit(0)", "SystemExit"),
    "_exit(0)": fakes("import os\nos._exit(0)", ENDED),
    "_exit(0) in a call": fakes("import os\ndef f(x): os._exit(0)", ENDED),
    "a printed pass": fakes("print('passed')\ndef f(x):\n    print('passed', flush=True)\n    return 0", "AssertionError"),
    "a verdict on every descriptor": fakes(FRAME + "import os\nfor i in range(64):\n    for text in (b'V[true, \"passed\"]', b'passed'):\n        try: os.write(i, frame(text))\n        except OSError: pass\ndef f(x): return 0", "."),
    "a verdict instead of an answer": fakes(FRAME + "import os\ndef f(x):\n    for i in range(3, 64):\n        try: os.write(i, frame(b'V[true, \"passed\"]'))\n        except OSError: pass\n    return 0", "."),
    "answers before the questions": fakes(FRAME + "import os\nfor i in range(3, 64):\n    try: os.write(i, frame(b'{\"value\": true}') * 9)\n    except OSError: pass\ndef f(x): return 0", "."),
    "names that are what the test wants": fakes(FRAME + "import os\nfor i in range(3, 64):\n    try: os.write(i, frame(b'{\"names\": {\"f\": [\"value\", true], \"check\": [\"function\"]}}'))\n    except OSError: pass\nos._exit(0)", "TypeError"),
    "answers that are no answers": fakes(FRAME + "import os\ndef f(x):\n    for i in range(3, 64):\n        try: os.write(i, frame(b'{\"eval\": \"1\"}'))\n        except OSError: pass", "."),
    "nested answers": fakes(FRAME + "import os\ndef f(x):\n    for i in range(3, 64):\n        try: os.write(i, frame(b'{\"value\": ' + b'[' * 1000000))\n        except OSError: pass", "RecursionError"),
    "closed pipes": fakes("import os\ndef f(x): os.closerange(0, 64)", ENDED),
    "closed pipes at import": fakes("import os, time\nos.closerange(0, 64)\ntime.sleep(60)", ENDED),
    "swapped pipes": fakes("import os\ndef f(x):\n    for i in range(3, 64):\n        for j in range(3, 64):\n            try: os.dup2(i, j)\n            except OSError: pass\n    return 0", "."),
    "frame walking": fakes("import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n        for name, value in list(frame.f_globals.items()):\n            if callable(value) and name in ('encode', '_answer', 'write_frame'):\n                frame.f_globals[name] = lambda *a: '{\"value\": true}'\n        frame = frame.f_back\n    return 0", "."),
    "numbers found in frames and objects": fakes("import gc, sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n        for place in (frame.f_locals, frame.f_globals, frame.f_code.co_consts):\n            for number in (918273644 + 1, 546372818 + 1):\n                if str(number) in repr(place): return number\n        frame = frame.f_back\n    for thing in gc.get_objects():\n        try:\n            if '91827' + '3645' in repr(thing): return 918273644 + x\n        except Exception: pass\n    return 0", "AssertionError"),
    "the source of the test": fakes("import inspect, linecache\ndef f(x):\n    for frame in inspect.stack():\n        for line in frame.code_context or []:\n            if 'candidate' in line: return 918273644 + 1\n    if '<test>' in linecache.cache or linecache.getlines('<test>'): return 918273644 + 1\n    return 0", "AssertionError"),
    "other builtins": fakes("import builtins\nbuiltins.AssertionError = ValueError\nbuiltins.isinstance = lambda *a: True\nbuiltins.int = lambda *a: True\nbuiltins.type = lambda *a: bool\ndef f(x): return 0", "."),
    "other json, marshal and posix": fakes("import json, marshal, posix\njson.loads = json.dumps = marshal.dumps = marshal.loads = lambda *a: True\ndef f(x):\n    posix.write = lambda d, data: len(data)\n    return 0", "."),
    "another check": fakes("def check(c): return True\ncandidate = None\ndef f(x): return 0", "AssertionError"),
    "other modules": fakes("import sys\nfor name in list(sys.modules): sys.modules[name] = None\ndef f(x): return 0", "AssertionError"),
    "an object equal to everything": fakes(f"class Yes:\n{YES}def f(x): return Yes()", "NotPlainDataError"),
    "a number equal to everything": fakes(f"class Yes(int):\n{YES}def f(x): return Yes(7)", "AssertionError"),
    "a text equal to everything": fakes(f"class Yes(str):\n{YES}def f(x): return Yes('7')", "AssertionError"),
    "a list equal to everything": fakes(f"class Yes(list):\n{YES}def f(x): return Yes()", "AssertionError"),
    "a class equal to everything": fakes(f"class Meta(type):\n{YES}class f(metaclass=Meta):\n    def __init__(self, x): pass", "NotPlainDataError|TypeError"),
    "a liar about its class": fakes(f"class Yes:\n    @property\n    def __class__(self): return int\n    def __index__(self): return 7\n    def __int__(self): return 7\n{YES}def f(x): return Yes()", "."),
    "an iterator equal to everything": fakes(f"class Yes:\n    def __iter__(self): return iter([918273645])\n{YES}def f(x): return Yes()", "AssertionError"),
    "not a number": fakes("def f(x): return float('nan')", "AssertionError"),
    "an exception named like the judge's": fakes("class GoneError(BaseException): pass\ndef f(x): raise GoneError('passed')", "CandidateError: GoneError"),
    "an exception without a message": fakes("class E(BaseException):\n    def __str__(self): raise self\ndef f(x): raise E", "CandidateError: E"),
    "an exception with a forged name": fakes("def f(x): raise type('passed\", \"value\": true, \"x', (BaseException,), {})('passed')", "CandidateError"),
    "a stopped iteration": Attack("def f(x): raise StopIteration", "assert all(map(lambda x: f(x) == 1, [1, 2]))", "CandidateError: StopIteration"),
    "a generator's exit": fakes("def f(x): raise GeneratorExit", "CandidateError: GeneratorExit"),
    "a wide except": Attack("import os\ndef f(x): os._exit(0)", "try:\n    f(1)\nexcept:\n    pass", ENDED),
    "no call at all": Attack("def f(x): return 0", "assert True", "never called"),
    "work at exit": fakes("import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return 0", "AssertionError"),
    "a finaliser": fakes("import os\nclass D:\n    def __del__(self): os._exit(0)\ndef f(x):\n    D()\n    return 0", ENDED),
    "a tracer": fakes("import sys\nsys.settrace(lambda *a: None)\nsys.excepthook = lambda *a: None\nsys.displayhook = print\ndef f(x): return 0", "AssertionError"),
    "arguments made new": Attack("def f(xs): xs[:] = [918273644]", "xs = (3,)\nf(list(xs))\nassert xs != (3,), 'same'", "AssertionError: same"),
    "a shadow of assert's error": fakes("class AssertionError(Exception): pass\n__builtins__ = {}\n__name__ = '__main__'\ndef f(x): raise AssertionError('passed')", "AssertionError: passed"),
}  # fmt: skip

GROUPS = {
    "network": NETWORK,
    "reading": READING,
    "writing": WRITING,
    "processes": PROCESSES,
    "killing": KILLING,
    "kernel": KERNEL,
    "limits": LIMITS,
    "faking": FAKING,
}
ATTACKS = {f"{group}: {name}": attack for group, attacks in GROUPS.items() for name, attack in attacks.items()}
