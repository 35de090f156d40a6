"""What crosses between a program and its judge: plain data, unchanged in value and type, and nothing else."""

from __future__ import annotations

import itertools
import json
import math
import re
import struct
from collections import Counter, OrderedDict, namedtuple
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joyctl.evals import seccomp
from joyctl.evals.inside.candidate import encode
from joyctl.evals.inside.judge import decode, exception, wanted

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**400, max_value=10**401)
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
)
keys = st.none() | st.booleans() | st.integers() | st.text() | st.tuples(st.integers(), st.text())
plain = st.recursive(
    leaves | st.frozensets(keys),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(keys, inner)
        | st.sets(keys)
        | st.builds(range, st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 5))
    ),
    max_leaves=12,
)


def cross(value: object) -> object:
    return decode(json.loads(encode(value)))


def types(value: object) -> object:
    if isinstance(value, list | tuple):
        return type(value), [types(v) for v in value]
    if isinstance(value, dict):
        return dict, [(types(k), types(v)) for k, v in value.items()]
    return type(value)


@given(plain)
def test_plain_data_arrive_equal_and_of_the_same_types(value: object) -> None:
    arrived = cross(value)
    assert arrived == value
    assert types(arrived) == types(value)


def test_what_equality_does_not_show_arrives_too() -> None:
    assert math.isnan(cross(float("nan")))  # type: ignore[arg-type]
    assert math.copysign(1, cross(-0.0)) == -1  # type: ignore[arg-type]
    assert list(cross({"b": 1, "a": 2})) == ["b", "a"]  # type: ignore[call-overload]
    assert cross("\ud800 lone surrogate") == "\ud800 lone surrogate"


def test_subclasses_arrive_as_the_plain_kind_they_are() -> None:
    class Always(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    pair = namedtuple("pair", "x y")
    number = IntEnum("number", "one two")
    for value, kind in (
        (Always(3), int),
        (Counter("aab"), dict),
        (OrderedDict(a=1), dict),
        (pair(1, 2), tuple),
        (number.two, int),
    ):
        assert type(cross(value)) is kind
    assert not cross(Always(3)) == 4  # noqa: SIM201 - the point is which side's __eq__ is asked


@pytest.mark.parametrize("value", [object(), len, [lambda: 0], {"a": object()}, itertools.count(), int])
def test_what_is_not_plain_data_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="not plain data"):
        encode(value)


def test_iterators_arrive_as_iterators_of_builtin_types() -> None:
    class Always:
        def __iter__(self) -> Iterator[int]:
            return iter([1])

        def __eq__(self, other: object) -> bool:
            return True

    for value in (iter([1]), (i for i in [1]), map(int, "1"), {1: 2}.keys(), Always()):
        arrived = cross(value)
        assert type(arrived) is type(iter([])) and arrived != [1] and list(arrived) == [1]


@pytest.mark.parametrize(
    "forged",
    [
        '{"set": [[1]]}',
        '{"eval": "1"}',
        '{"int": "x"}',
        '{"a": 1, "b": 2}',
        "{}",
        "[" * 100_000,
        '{"range": [1, 2, 0]}',
    ],
)
def test_forged_answers_raise_and_nothing_else(forged: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, RecursionError)):
        decode(json.loads(forged))


def test_exceptions_come_back_as_the_builtin_class_of_their_name() -> None:
    assert type(exception({"error": ["KeyError", "'x'"]})) is KeyError
    for name in ("Mine", "StopIteration", "SystemExit", "GeneratorExit", "UnicodeDecodeError", "print"):
        assert type(exception({"error": [name, ""]})).__name__ == "CandidateError"


@pytest.mark.parametrize(
    ("test", "names"),
    [
        ("def check(candidate):\n    assert candidate(1) == 2\ncheck(add)", ["add"]),
        (
            "import math\nMETADATA = {}\ndef check(c):\n    assert math.fabs(poly(c(1))) < 1\ncheck(root)",
            ["poly", "root"],
        ),
        ("def check(c):\n    assert c(1) == sum([1])\ncheck(sum)", ["sum"]),
        ("for x in range(3):\n    assert twice(x) == 2 * x", ["twice"]),
        ("assert all(f(x) for x in [1])", ["f"]),
    ],
)
def test_names_a_test_takes_from_the_program(test: str, names: list[str]) -> None:
    assert wanted(test) == names


# ---- the system-call filter


def outcome(program: bytes, arch: int, number: int) -> int:
    """Run the filter as the kernel would: the value it returns for one call."""
    code = [struct.unpack_from("=HBBI", program, i) for i in range(0, len(program), 8)]
    data = {0: number, 4: arch}
    at = accumulator = 0
    while True:
        operation, if_true, if_false, k = code[at]
        at += 1
        if operation == 0x20:
            accumulator = data[k]
        elif operation == 0x06:
            return k
        else:
            holds = accumulator == k if operation == 0x15 else accumulator >= k
            at += if_true if holds else if_false


ALLOW, NO_SUCH_CALL, KILL = 0x7FFF0000, 0x00050000 | 38, 0x80000000


@pytest.mark.parametrize(
    ("machine", "arch", "table", "denied"),
    [
        (
            "x86_64",
            0xC000003E,
            seccomp.X86_64,
            {"clone": 56, "fork": 57, "vfork": 58, "kill": 62, "socket": 41, "clone3": 435},
        ),
        ("aarch64", 0xC00000B7, seccomp.AARCH64, {"clone": 220, "kill": 129, "socket": 198, "clone3": 435}),
    ],
)
def test_filter_allows_its_table_and_nothing_else(
    machine: str, arch: int, table: dict[str, int], denied: dict[str, int]
) -> None:
    program = seccomp.program(machine)
    allowed = set(table.values())
    for number in range(600):
        assert outcome(program, arch, number) == (ALLOW if number in allowed else NO_SUCH_CALL)
    assert not allowed & set(denied.values())
    assert outcome(program, arch, 0x40000000 + 1) == NO_SUCH_CALL
    assert outcome(program, 0x40000003, 1) == KILL


@pytest.mark.parametrize(
    ("header", "table"),
    [
        ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", seccomp.X86_64),
        ("/usr/include/asm-generic/unistd.h", seccomp.AARCH64),
    ],
)
def test_numbers_are_the_kernels(header: str, table: dict[str, int]) -> None:
    if not Path(header).exists():
        pytest.skip(f"{header} is not installed (linux-libc-dev)")
    text = Path(header).read_text()
    kernel = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
    kernel.setdefault("newfstatat", kernel.get("fstatat", -1))
    assert {name: kernel.get(name) for name in table} == table
