"""The world's random stream: golden values, so that no machine or Python version can move a world."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joyctl.data.world.grammar import Grammar
from joyctl.data.world.stream import Stream, rank_key


def test_golden_values() -> None:
    stream = Stream(7, "web", 3)
    assert [stream.bits() for _ in range(3)] == [5503848706519967704, 11075653756982574885, 2959245746784237556]
    assert [stream.below(100) for _ in range(8)] == [52, 92, 33, 69, 49, 25, 44, 37]
    assert stream.shuffle("abcdefgh") == list("bfcgeahd")
    assert stream.sample(range(50), 5) == [24, 30, 28, 36, 35]
    assert [stream.zipf("abcdef") for _ in range(12)] == list("bdadfaabaabd")
    assert rank_key(7, "a").hex()[:16] == "504e77b95101c331"


def test_the_first_output_is_splitmix64() -> None:
    """The reference values of SplitMix64 from state 1234567 (S. Vigna's public-domain splitmix64.c)."""
    stream = Stream(0)
    stream._state = 1234567
    assert [stream.bits() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_streams_of_other_keys_or_seeds_differ() -> None:
    firsts = {Stream(*args).bits() for args in [(1, "a"), (2, "a"), (1, "b"), (1, "a", 0), (1,), (1, "a", "0x")]}
    assert len(firsts) == 6


@given(st.integers(0, 2**63), st.integers(1, 1000))
def test_below_stays_below(seed: int, n: int) -> None:
    stream = Stream(seed, "below")
    assert all(0 <= stream.below(n) < n for _ in range(20))


@given(st.integers(0, 2**63), st.lists(st.integers(), max_size=30), st.data())
def test_sample_draws_different_places_and_leaves_its_input(seed: int, items: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(items)))
    before = list(items)
    drawn = Stream(seed).sample(items, k)
    assert len(drawn) == k and not Counter(drawn) - Counter(items) and items == before


def test_below_is_even() -> None:
    stream = Stream(3, "even")
    counts = Counter(stream.below(7) for _ in range(70_000))
    chi_square = sum((counts[i] - 10_000) ** 2 / 10_000 for i in range(7))
    assert chi_square < 22.5  # 6 degrees of freedom, p = 0.001


def test_every_order_of_a_shuffle_comes_equally_often() -> None:
    stream = Stream(4, "orders")
    counts = Counter(tuple(stream.shuffle("abc")) for _ in range(6_000))
    assert len(counts) == 6 and sum((n - 1000) ** 2 / 1000 for n in counts.values()) < 20.5


def test_zipf_prefers_what_stands_first() -> None:
    stream = Stream(5, "zipf")
    counts = Counter(stream.zipf("abcd", flatten=1) for _ in range(25_000))
    assert [counts[c] / 12_000 for c in "abcd"] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4], abs=0.03)


@pytest.mark.parametrize("wrong", [0, -1])
def test_nothing_is_below_zero(wrong: int) -> None:
    with pytest.raises(ValueError, match="below"):
        Stream(1).below(wrong)


def test_recurring_slots_mostly_name_what_was_named() -> None:
    names = tuple(f"n{i}" for i in range(1000))
    template = " ".join(["{name}"] * 10)
    fresh = Grammar({"name": names}).say(Stream(2), template).split()
    again = Grammar({"name": names}, frozenset({"name"})).say(Stream(2), template).split()
    assert len(set(again)) < 7 < len(set(fresh))


def test_a_grammar_keeps_names_sets_articles_and_capitals() -> None:
    grammar = Grammar({"animal": ("owl",), "adj": ("big",), "it": ("the {adj} {animal}",)})
    assert grammar.say(Stream(1), "{A:animal} saw {a:adj} {bird=animal}; {bird}. {It}.") == (
        "An owl saw a big owl; owl. The big owl."
    )
