"""The keyed permutation: one to one, for every size, and the same on every machine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from joyctl.data.shuffle import Int64, UInt32, keys_of, permute_parts

keys = st.lists(st.integers(0, 2**32 - 1), min_size=6, max_size=6).map(lambda k: np.array(k, np.uint32))
KEYS = np.array([11, 22, 33, 44, 55, 66], np.uint32)


def permute(x: Int64, n: int, with_keys: UInt32) -> Int64:
    """Where the elements x of 0..n-1 go in one permutation."""
    return permute_parts(x, [len(x)], [n], [with_keys])


def scramble(x: int, key: int) -> int:
    x ^= key
    x = (x ^ (x >> 16)) * 0x7FEB352D % 2**32
    x = (x ^ (x >> 15)) * 0x846CA68B % 2**32
    return x ^ (x >> 16)


def undo(y: int, n: int, with_keys: list[int]) -> int:
    """The element that the permutation sends to y: the network backwards, in plain numbers."""
    bits = max(2, (n - 1).bit_length())
    low = bits // 2
    while True:
        left, right = y >> low, y % 2**low
        for i, key in reversed([*enumerate(with_keys)]):
            if i % 2:
                right ^= scramble(left, key) % 2**low
            else:
                left ^= scramble(right, key) % 2 ** (bits - low)
        y = (left << low) | right
        if y < n:
            return y


@given(st.integers(1, 5_000), keys)
@settings(max_examples=40, deadline=None)
def test_it_is_one_to_one(n: int, with_keys: np.ndarray) -> None:
    assert sorted(permute(np.arange(n), n, with_keys)) == list(range(n))


@given(st.integers(2, 2**63 - 1), st.integers(0, 2**64), keys)
@example(2**32, 5, KEYS)
@example(2**32 + 1, 2**32, KEYS)
@example(2**63 - 1, 2**63 - 3, KEYS)
@settings(max_examples=150, deadline=None)
def test_it_can_be_undone_whatever_the_size(n: int, near: int, with_keys: np.ndarray) -> None:
    """So no two elements of a source with more than 2**32 rows share a place."""
    x = np.unique([near % n, (near + 1) % n, 0, n - 1])
    y = permute(x, n, with_keys)
    assert ((y >= 0) & (y < n)).all()
    assert [undo(int(place), n, with_keys.tolist()) for place in y] == x.tolist()


sizes = st.lists(st.tuples(st.integers(1, 2**40), st.integers(0, 4_000)), min_size=1, max_size=6)


@given(sizes, st.integers(0, 2**30))
@settings(max_examples=60, deadline=None)
def test_many_at_once_are_each_by_itself(parts: list[tuple[int, int]], first: int) -> None:
    stretches = [(first + np.arange(min(count, n))) % n for n, count in parts]
    with_keys = [keys_of(i, "trunk", "web", 0) for i in range(len(parts))]
    each = [permute(x, n, k) for x, (n, _), k in zip(stretches, parts, with_keys, strict=True)]
    counts, ns = [len(x) for x in stretches], [n for n, _ in parts]
    assert permute_parts(np.concatenate(stretches), counts, ns, with_keys).tolist() == np.concatenate(each).tolist()
    alone = [int(permute(x[i : i + 1], n, k)[0]) for x, n, k in zip(stretches, ns, with_keys, strict=True)
             for i in range(0, len(x), 1_000)]  # fmt: skip
    assert alone == [int(v) for y in each for v in y[::1_000]], "no element depends on which go through with it"


@pytest.mark.parametrize("n", [100_003, 2**33 + 7])
def test_it_keeps_no_trace_of_the_order(n: int) -> None:
    x = np.arange(0, n, n // 100_000)[:100_000]
    y = permute(x, n, KEYS).astype(float)
    sigma = len(x) ** -0.5
    assert abs(np.corrcoef(x, y)[0, 1]) < 5 * sigma
    assert abs(np.corrcoef(y[:-1], y[1:])[0, 1]) < 5 * sigma
    cells = np.histogram2d(x, y, bins=64)[0]
    expected = len(x) / 64**2
    assert 0.9 < ((cells - expected) ** 2 / expected).sum() / 63**2 < 1.1


def test_it_is_the_same_on_every_machine() -> None:
    """Golden: a change here would silently change every result."""
    assert permute(np.arange(5), 1_000, keys_of(7, "trunk", "web", 0)).tolist() == GOLDEN
    assert permute(np.arange(5), 10**10, keys_of(7, "trunk", "web", 0)).tolist() == GOLDEN_WIDE


GOLDEN: list[int] = [79, 654, 81, 705, 684]
GOLDEN_WIDE: list[int] = [784291766, 7675234356, 200928808, 6053757674, 414821196]
