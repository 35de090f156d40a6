"""Runs inside a sandbox of its own: executes the benchmark's tests, calling the program's functions in another process.

The test never meets generated code. A name that the test uses and does not define (`candidate` handed to `check`) is
a stand-in that sends the arguments to the program's process and makes the answer a fresh value of a builtin type, so
an `__eq__` that is always true, a patched builtin or a walk over frames on the other side reaches nothing here.
"""

from __future__ import annotations

import ast
import builtins
import json
import marshal
import os
import resource
import symtable
import sys
from collections.abc import Iterator
from typing import Any

MEMORY = 1 << 30
"""Bytes of address space."""


class CandidateError(Exception):
    """The program raised an exception of a class that is not a builtin one, or returned no plain data."""


class GoneError(BaseException):
    """The program's process has ended or was stopped: no `except Exception` of a test may swallow this."""


class NotSupportedError(BaseException):
    """The test does what cannot be judged over calls with plain data."""


class Link:
    """The pipe to the process outside, which passes calls on to the program."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self.incoming, self.outgoing = incoming, outgoing
        self.calls = 0
        self.gone: str | None = None

    def read(self) -> tuple[str, bytes]:
        """Kind (one letter) and payload of the next frame; ends the process when there is no more."""
        size = int.from_bytes(self._read(4), "little")
        frame = self._read(size)
        return chr(frame[0]), frame[1:]

    def write(self, kind: str, payload: bytes) -> None:
        """Send one frame."""
        data = (len(payload) + 1).to_bytes(4, "little") + kind.encode() + payload
        while data:
            data = data[os.write(self.outgoing, data) :]

    def answer(self) -> dict[str, Any]:
        """The program's next answer, parsed but not decoded.

        Raises GoneError when the program's process is no more.
        """
        kind, payload = self.read()
        if kind == "D":
            self.gone = payload.decode()
            raise GoneError(self.gone)
        found = json.loads(payload)
        if not isinstance(found, dict):
            raise ValueError("the answer is no object")
        return found

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = os.read(self.incoming, size - len(data))
            if not part:
                os._exit(0)
            data += part
        return data


class Function:
    """Stands for a function of the program."""

    def __init__(self, link: Link, name: str) -> None:
        self._link = link
        self.__name__ = name

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Call it in the program's process."""
        try:
            # Version 2 shares no references between equal parts, so equal data are equal bytes.
            call = marshal.dumps((self.__name__, args, kwargs), 2)  # type: ignore[arg-type]
        except ValueError:
            raise NotSupportedError(f"{self.__name__} is called with a value that is not plain data") from None
        self._link.calls += 1
        self._link.write("C", call)
        answer = self._link.answer()
        if "error" in answer:
            raise exception(answer)
        for mine, theirs in zip(args, answer.get("args", ()), strict=False):
            overwrite(mine, decode(theirs))
        if "kwargs" in answer:
            for key, theirs in decode(answer["kwargs"]).items():
                overwrite(kwargs.get(key), theirs)
        return decode(answer["value"])


def missing(name: str) -> Any:
    """A stand-in for a name that the program does not define."""

    def call(*_args: object, **_kwargs: object) -> object:
        raise NameError(f"name '{name}' is not defined")

    return call


def decode(node: Any) -> Any:
    """A value of builtin types from what `candidate.encode` wrote, or anything else the program sent.

    Raises ValueError, TypeError, KeyError or RecursionError for what is no encoding.
    """
    if isinstance(node, list):
        return [decode(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    ((kind, inner),) = node.items()
    match kind:
        case "dict":
            return {decode(key): decode(value) for key, value in inner}
        case "int":
            return int(inner, 16)
        case "float":
            return float(inner)
        case "complex":
            return complex(*decode(inner))
        case "range":
            return range(*decode(inner))
        case "bytes":
            return bytes.fromhex(inner)
        case "bytearray":
            return bytearray.fromhex(inner)
        case "tuple":
            return tuple(decode(inner))
        case "iterator":
            return iter(decode(inner))
        case "set":
            return set(decode(inner))
        case "frozenset":
            return frozenset(decode(inner))
    raise ValueError(f"unknown kind {kind!r}")


def overwrite(mine: object, theirs: object) -> None:
    """Make a mutable argument what the call made of its copy."""
    if isinstance(mine, list) and isinstance(theirs, list):
        mine[:] = theirs
    elif (isinstance(mine, dict) and isinstance(theirs, dict)) or (isinstance(mine, set) and isinstance(theirs, set)):
        mine.clear()
        mine.update(theirs)


def exception(answer: dict[str, Any]) -> Exception:
    """The exception that an error answer speaks of: of the builtin class of that name where it can be made."""
    name, message = (str(part) for part in answer["error"])
    kind = getattr(builtins, name, None)
    # StopIteration is left out: raised by a function that `all` or `map` calls, it would end their loop in silence.
    if isinstance(kind, type) and issubclass(kind, Exception) and kind not in (StopIteration, StopAsyncIteration):
        try:
            return kind(message)
        except TypeError:
            pass
    return CandidateError(f"{name}: {message}")


def wanted(test: str) -> list[str]:
    """Names that the test takes from the program: used, not defined by the test, and not builtin.

    A bare name handed to a call at top level (`check(sum)`) is the program's even when a builtin has that name:
    else the builtin itself would be tested. Raises SyntaxError.
    """
    top = symtable.symtable(test, "<test>", "exec")
    defined, used = set(), set()
    for table in _tables(top):
        for symbol in table.get_symbols():
            at_module_level = table is top or symbol.is_global()
            if at_module_level and (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()):
                defined.add(symbol.get_name())
            elif at_module_level and symbol.is_referenced():
                used.add(symbol.get_name())
    handed = {
        argument.id
        for statement in ast.parse(test).body
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
        for argument in statement.value.args
        if isinstance(argument, ast.Name)
    }
    return sorted((used - set(dir(builtins)) | handed) - defined)


def _tables(top: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield top
    for child in top.get_children():
        yield from _tables(child)


def judge(link: Link, test: str) -> tuple[bool, str]:
    """Run one test against the program at the other end: (passed, reason)."""
    link.calls, link.gone = 0, None
    try:
        names = wanted(test)
        link.write("N", marshal.dumps(names, 2))
        described = link.answer()
        if "error" in described:
            raise exception(described)
        namespace: dict[str, Any] = {"__name__": "test"}
        for name in names:
            what = described["names"][name]
            match what[0]:
                case "function":
                    namespace[name] = Function(link, name)
                case "value":
                    namespace[name] = decode(what[1])
                case _:
                    namespace[name] = missing(name)
        code = compile(test, "<test>", "exec", dont_inherit=True)
        exec(code, namespace)  # noqa: S102 - the benchmark's own test
    except BaseException as error:  # noqa: BLE001 - a test may raise anything, and all of it means "not passed"
        return False, _reason(error)[:500]
    if link.gone is not None:  # a test with a bare `except:` swallowed it
        return False, link.gone
    if test and not link.calls:
        return False, "NotSupportedError: the test never called the program"
    return True, "passed"


def _reason(error: BaseException) -> str:
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - it may hold a value of the program's that has no text, such as a huge number
        message = ""
    return message if isinstance(error, GoneError) else f"{type(error).__name__}: {message}".rstrip(": ")


def main() -> None:
    """`judge <incoming descriptor> <outgoing descriptor> [unsafe]`: judges tests until the pipe closes."""
    link = Link(int(sys.argv[1]), int(sys.argv[2]))
    for name, value in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(name, (value, value))
        except (OSError, ValueError):  # macOS knows no limit of address space
            if sys.argv[3:] != ["unsafe"]:
                raise
    link.write("S", b"tarted")
    while True:
        kind, payload = link.read()
        if kind == "T":  # an answer that came after its test had ended is of no use to anyone
            passed, reason = judge(link, payload.decode("utf-8", "surrogatepass"))
            link.write("V", json.dumps([passed, reason]).encode())
