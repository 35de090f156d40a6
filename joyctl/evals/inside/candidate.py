"""Runs inside the sandbox: executes one generated program, then answers calls of its functions with plain data.

Nothing here is trusted: the program shares this process and may say whatever it likes on the outgoing pipe. All it
can say is "the call returned this plain value", which is what a function may say anyway; whether the value is right
is decided in the judge's process, where no generated code ever runs.

Starts once for every program, hence the modules without import cost (`posix` for `os`, `marshal` for what comes from
the trusted side, a hand-written JSON writer for what goes back).
"""

from __future__ import annotations

import marshal
import posix
import resource
import sys

MEMORY = 1 << 30
"""Bytes of address space."""
OPEN_FILES = 32
ITEMS = 100_000
"""An iterator that gives more than this is taken for one without an end."""


class NotPlainDataError(TypeError):
    """A value cannot travel to the judge."""


def limit(cpu_seconds: int, unsafe: bool) -> None:
    """Lower the hard limits of this process: what follows cannot raise them again.

    `unsafe`, where nothing else refuses new processes, so does a limit, and one that cannot be set (macOS knows none
    of address space) is left out. Else that raises OSError or ValueError.
    """
    limits = [
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ]
    # Not in the sandbox: there the filter refuses, and this would hide from the probe that a filter does not.
    if unsafe:
        limits.append((resource.RLIMIT_NPROC, 0))
    for name, value in limits:
        try:
            resource.setrlimit(name, (value, value))
        except (OSError, ValueError):
            if not unsafe:
                raise


def serve(incoming: int, outgoing: int) -> None:
    """Frames in: program, names wanted by the test, then calls. Frames out: what the names are, then results."""
    source = read_frame(incoming).decode("utf-8", "surrogatepass")
    names: list[str] = marshal.loads(read_frame(incoming))  # from the judge: marshal trusts its input
    module = type(sys)("candidate")
    sys.modules["candidate"] = module
    try:
        # dont_inherit: else this file's `annotations` would spare the program the names in its own annotations.
        code = compile(source, "<candidate>", "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - the purpose of this sandbox
        write_frame(outgoing, '{"names": ' + _describe(names, module.__dict__) + "}")
    except BaseException as error:  # noqa: BLE001 - whatever the program raises is an answer
        write_frame(outgoing, _error(error))
    while True:
        frame = read_frame(incoming)
        write_frame(outgoing, _answer(module.__dict__, frame))


def _answer(namespace: dict[str, object], frame: bytes) -> str:
    name, args, kwargs = marshal.loads(frame)
    try:
        value = namespace[name](*args, **kwargs)  # type: ignore[operator]
        text = '{"value": ' + encode(value)
        # Arguments travel as copies; a program that changes them in place sends them back.
        if marshal.dumps((name, args, kwargs), 2) != frame:
            text += ', "args": ' + encode([*args]) + ', "kwargs": ' + encode(kwargs)
        return text + "}"
    except BaseException as error:  # noqa: BLE001 - whatever the program raises is an answer
        return _error(error)


def _describe(names: list[str], namespace: dict[str, object]) -> str:
    parts = []
    for name in names:
        what = '["missing"]'
        if callable(namespace.get(name)):
            what = '["function"]'
        elif name in namespace:
            try:  # noqa: SIM105 - contextlib would take longer to import than the program to run
                what = '["value", ' + encode(namespace[name]) + "]"
            except NotPlainDataError:
                pass  # a value that cannot travel is as good as none
        parts.append(encode(name) + ": " + what)
    return "{" + ", ".join(parts) + "}"


def _error(error: BaseException) -> str:
    try:
        message = str(error)[:500]
    except BaseException:  # noqa: BLE001 - the program's own exception class may misbehave
        message = ""
    return '{"error": [' + encode(type(error).__name__) + ", " + encode(message) + "]}"


def encode(value: object) -> str:
    """Plain data as JSON text; kinds that JSON lacks as a one-key object. Subclasses go as their plain kind.

    What else can be iterated over (a generator, `map`, `dict.keys()`) goes as an iterator over its items.
    Raises NotPlainDataError for anything else.
    """
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        value = int(value)
        return str(value) if -(1 << 53) < value < 1 << 53 else '{"int": "' + hex(value) + '"}'
    if isinstance(value, float):
        text = float.__repr__(value)
        return text if text[-1].isdigit() else '{"float": "' + text + '"}'
    if isinstance(value, str):
        return _string(str.__str__(value))
    if isinstance(value, list):
        return _sequence(value)
    if isinstance(value, dict):
        pairs = ["[" + encode(k) + ", " + encode(v) + "]" for k, v in dict.items(value)]
        return '{"dict": [' + ", ".join(pairs) + "]}"
    if isinstance(value, complex):
        return '{"complex": ' + _sequence([value.real, value.imag]) + "}"
    if isinstance(value, range):
        return '{"range": ' + _sequence([value.start, value.stop, value.step]) + "}"
    if isinstance(value, bytes | bytearray):
        return '{"' + ("bytes" if isinstance(value, bytes) else "bytearray") + '": "' + value.hex() + '"}'
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return '{"' + kind.__name__ + '": ' + _sequence(value) + "}"
    return '{"iterator": ' + _sequence(_items(value)) + "}"


def _items(value: object) -> list[object]:
    try:
        iterator = iter(value)  # type: ignore[call-overload]
    except TypeError:
        raise NotPlainDataError(f"a value of type {type(value).__name__} is not plain data") from None
    items: list[object] = []
    for item in iterator:
        if len(items) == ITEMS:
            raise NotPlainDataError(f"a {type(value).__name__} of more than {ITEMS:,} items is not plain data")
        items.append(item)
    return items


def _sequence(values: object) -> str:
    return "[" + ", ".join([encode(v) for v in values]) + "]"  # type: ignore[attr-defined]


def _string(text: str) -> str:
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return '"' + text + '"'
    units = text.encode("utf-16-be", "surrogatepass").hex()
    return '"' + "".join(["\\u" + units[i : i + 4] for i in range(0, len(units), 4)]) + '"'


def read_frame(descriptor: int) -> bytes:
    """One frame: four bytes of length, little-endian, then the payload. The other side gone: the process ends."""
    size = int.from_bytes(_read(descriptor, 4), "little")
    return _read(descriptor, size)


def write_frame(descriptor: int, text: str) -> None:
    """Write `text` (ASCII) as one frame."""
    data = text.encode("ascii")
    data = len(data).to_bytes(4, "little") + data
    while data:
        data = data[posix.write(descriptor, data) :]


def _read(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = posix.read(descriptor, size - len(data))
        if not part:
            posix._exit(0)
        data += part
    return data


def main() -> None:
    """`candidate <incoming descriptor> <outgoing descriptor> <CPU seconds> [unsafe]`."""
    incoming, outgoing, cpu_seconds = map(int, sys.argv[1:4])
    limit(cpu_seconds, unsafe=sys.argv[4:] == ["unsafe"])
    write_frame(outgoing, "started")
    serve(incoming, outgoing)
