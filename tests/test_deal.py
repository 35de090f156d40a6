"""Which source gets a row: the rule of the deal, however it is worked out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from joyctl.data.deal import Deal, deal
from joyctl.data.dealt import counts_early

weights = st.lists(st.integers(0, 400), min_size=1, max_size=12).filter(lambda w: sum(w) > 0)


def one_by_one(weights: list[int]) -> list[int]:
    """The rule as the paper has it, a turn at a time: of the sources that may take it, the one due first."""
    period, sources = sum(weights), [i for i, w in enumerate(weights) if w]
    slack = 2 * len(sources) - 2
    count, turns = [0] * len(weights), []
    for turn in range(1, period + 1):
        # All sides times slack * period: turn * share >= count + 1 / slack.
        ready = [i for i in sources if not slack or slack * turn * weights[i] >= period * (1 + slack * count[i])]
        pick = min(ready, key=lambda i: ((slack - 1 + slack * count[i]) / weights[i], i))
        turns.append(pick)
        count[pick] += 1
    return turns


@given(weights)
@example([180, 9, 3, 8])
@example([1, 1, 1, 1])
@example([0, 7, 0])
@settings(max_examples=150, deadline=None)
def test_every_turn_is_the_rules(w: list[int]) -> None:
    assert deal(tuple(w)).source.tolist() == one_by_one(w)


@pytest.mark.parametrize("w", [(16_000, 16_384, 16_500, 16_652), (1, 65_535), (1, 2, 65_533), (21_846, 21_845, 21_845)])
def test_so_it_is_in_the_longest_periods(w: tuple[int, ...]) -> None:
    assert sum(w) == 65_536 and deal(w).source.tolist() == one_by_one(list(w))


@given(weights)
@settings(max_examples=100, deadline=None)
def test_no_count_strays_a_whole_row_from_its_share(w: list[int]) -> None:
    dealt = deal(tuple(w)).source
    counts = np.cumsum(dealt[:, None] == np.arange(len(w)), axis=0, dtype=np.int64)
    turn = np.arange(1, len(dealt) + 1)[:, None]
    # |count - turn * share| <= 1 - 1 / (2n - 2), exactly: all sides times the period.
    live = np.count_nonzero(w)
    bound = len(dealt) * (1 - 1 / (2 * live - 2)) if live > 1 else 0
    assert np.abs(counts * len(dealt) - turn * np.array(w)).max() <= bound + 1e-6


@given(weights, st.integers(0, 10_000), st.integers(0, 3_000))
@settings(max_examples=100, deadline=None)
def test_it_begins_anew_after_each_period_and_counts_are_those_of_its_turns(w: list[int], start: int, n: int) -> None:
    dealt, period = deal(tuple(w)), sum(w)
    expected = np.resize(dealt.source, start + n)
    assert dealt.sources(start, start + n).tolist() == expected[start:].tolist()
    assert dealt.counts(start + n).tolist() == np.bincount(expected, minlength=len(w)).tolist()
    assert dealt.counts(period).tolist() == w


long = st.lists(st.integers(0, 5_000) | st.sampled_from([1, 2, 30_000]), min_size=1, max_size=9).filter(
    lambda w: 2_048 < sum(w) <= 65_536
)


@given(long, st.data())
@settings(max_examples=40, deadline=None)
def test_counts_need_no_dealing(w: list[int], data: st.DataObject) -> None:
    """Those of a mix of which nothing has been dealt are those of its turns."""
    asked = data.draw(st.lists(st.integers(0, 3 * sum(w)), min_size=8, max_size=8))
    undealt, dealt = Deal(tuple(w)), Deal(tuple(w))
    before = [undealt.counts(n).tolist() for n in asked]
    turns = np.resize(dealt.source, 3 * sum(w))
    assert before == [np.bincount(turns[:n], minlength=len(w)).tolist() for n in asked]
    assert [dealt.counts(n).tolist() for n in asked] == before


def test_nor_is_there_any_for_a_mix_in_a_plan() -> None:
    """The way round dealing is taken, not only allowed."""
    w = np.array([10_000, 25_000, 15_000, 15_536])
    assert all(counts_early(w, n) is not None for n in range(1, 65_536, 4_001))
    few = Deal(tuple(w.tolist()))
    few.counts(40_000)
    assert "source" not in vars(few)


def test_its_size_is_that_of_its_period_and_no_more() -> None:
    w = tuple(range(1, 362))
    found = deal(w)
    assert sum(w) == 65_341 and math.gcd(*w) == 1
    assert found.source.nbytes + found.turns.nbytes == 6 * sum(w)


@pytest.mark.parametrize("w", [(0, 0), (3, -1)])
def test_a_mix_of_nothing_and_one_of_less_are_refused(w: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="sum to something"):
        deal(w)
