"""The order of rows: exact proportions, nothing shown twice, the same however it is read."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_shuffle import permute

from joyctl.campaign.spec import OrderPhase, OrderSpec
from joyctl.data.deal import deal
from joyctl.data.order import Order
from joyctl.data.shuffle import keys_of

BASE = {"web": 180, "math": 9, "code": 3, "facts": 8}
UP = {"web": 10, "math": 37, "code": 15, "facts": 38}
ROWS = {"web": 3_000, "math": 700, "code": 500, "facts": 900}


def order(
    *phases: tuple[int, dict[str, int]], rows: dict[str, int] = ROWS, seed: int = 0, phase_seed: int = 0
) -> Order:
    made = tuple(
        OrderPhase(start_row=start, weights=weights, seed=phase_seed if i else 0)
        for i, (start, weights) in enumerate(phases)
    )
    return Order(OrderSpec(rows=rows, phases=made, seed=seed))


def pairs(o: Order, a: int, b: int) -> list[tuple[str, int, int]]:
    rows = o.rows(a, b)
    return [(o.names[s], int(r), int(e)) for s, r, e in zip(rows.source, rows.row, rows.epoch, strict=True)]


weights = st.dictionaries(st.sampled_from("abcdefghij"), st.integers(0, 400), min_size=1).filter(
    lambda w: sum(w.values()) > 0
)


@given(weights)
@settings(max_examples=60, deadline=None)
def test_every_source_stays_within_one_row_of_its_share_at_every_prefix(w: dict[str, int]) -> None:
    o = order((0, w), rows=dict.fromkeys(w, 10000))
    n = min(3 * sum(w.values()), 6_000)
    dealt = o.rows(0, n)
    counts = np.cumsum(dealt.source[:, None] == np.arange(len(o.names)), axis=0)
    share = np.array([w[name] for name in o.names]) / sum(w.values())
    assert np.abs(counts - np.arange(1, n + 1)[:, None] * share).max() < 1


@given(st.integers(0, 2_000), st.integers(1, 1_500), st.integers(1, 97))
@settings(max_examples=40, deadline=None)
def test_any_stretch_read_in_any_pieces_is_the_same(start: int, length: int, piece: int) -> None:
    o = order((0, BASE), (1_000, UP))
    whole = pairs(o, start, start + length)
    pieces = [pairs(o, a, min(a + piece, start + length)) for a in range(start, start + length, piece)]
    assert [row for part in pieces for row in part] == whole


def test_counts_are_those_of_the_rows() -> None:
    o = order((0, BASE), (1_000, UP))
    for g in (0, 1, 999, 1_000, 1_001, 2_345):
        seen = [name for name, _, _ in pairs(o, 0, g)]
        assert o.counts(g) == {name: seen.count(name) for name in o.names}


@pytest.mark.parametrize("phase_seed", [0, 1, 2])
def test_no_row_comes_again_before_its_source_is_used_up(phase_seed: int) -> None:
    o = order((0, BASE), (1_000, UP), (3_000, {"web": 1, "facts": 1}), phase_seed=phase_seed)
    rows = pairs(o, 0, 6_000)
    for name, size in ROWS.items():
        shown = [(row, epoch) for source, row, epoch in rows if source == name]
        for epoch in range(shown[-1][1] + 1):
            mine = [row for row, e in shown if e == epoch]
            assert len(mine) == len(set(mine)) <= size
            assert epoch == shown[-1][1] or len(mine) == size


def test_dropping_a_source_moves_no_other() -> None:
    with_math, without = order((0, BASE), (1_000, UP)), order((0, BASE), (1_000, {**UP, "math": 0}))
    for name in ("web", "code", "facts"):
        a = [row for source, row, _ in pairs(with_math, 1_000, 3_000) if source == name]
        b = [row for source, row, _ in pairs(without, 1_000, 3_000) if source == name]
        assert a == b[: len(a)]


def test_a_source_more_in_the_recipe_moves_no_other() -> None:
    more = order((0, {**BASE, "books": 50}), rows={**ROWS, "books": 400})
    for name in BASE:
        a = [row for source, row, _ in pairs(order((0, BASE)), 0, 500) if source == name]
        b = [row for source, row, _ in pairs(more, 0, 900) if source == name]
        assert a[: len(b)] == b[: len(a)]


def test_a_phase_seed_changes_the_phase_only_and_zero_is_the_trunks_own_order() -> None:
    plain, trunk = order((0, BASE), (1_000, BASE)), order((0, BASE))
    other = order((0, BASE), (1_000, BASE), phase_seed=7)
    assert [p[1] for p in pairs(plain, 0, 1_000)] == [p[1] for p in pairs(trunk, 0, 1_000)]
    assert pairs(other, 0, 1_000) == pairs(plain, 0, 1_000)
    assert pairs(other, 1_000, 1_500) != pairs(plain, 1_000, 1_500)
    assert pairs(plain, 1_000, 2_000) == pairs(trunk, 1_000, 2_000)


def test_a_branch_on_the_trunks_own_mix_is_the_trunk_row_for_row() -> None:
    assert pairs(order((0, BASE), (1_037, BASE)), 900, 2_000) == pairs(order((0, BASE)), 900, 2_000)


def test_another_trunk_seed_is_another_order() -> None:
    assert pairs(order((0, BASE), seed=1), 0, 200) != pairs(order((0, BASE), seed=0), 0, 200)


def test_the_order_is_the_same_on_every_machine() -> None:
    """Golden: a change here would silently change every result."""
    assert pairs(order((0, UP), seed=5), 0, 6) == GOLDEN


def after_base(
    start: int, seen: dict[str, int], *phases: tuple[int, dict[str, int]], seed: int = 0, phase_seed: int = 0
) -> Order:
    made = tuple(
        OrderPhase(start_row=first, weights=weights, seed=phase_seed if i else 0)
        for i, (first, weights) in enumerate(((start, BASE), *phases))
    )
    return Order(OrderSpec(rows=ROWS, phases=made, seed=seed, start_row=start, seen=seen))


@given(st.integers(1, 3_000), st.integers(0, 500))
@settings(max_examples=30, deadline=None)
def test_a_base_of_this_very_order_is_gone_on_from_row_for_row(start: int, more: int) -> None:
    plain = order((0, BASE), (start + more, UP))
    on = after_base(start, plain.counts(start), (start + more, UP))
    assert pairs(on, start, start + more + 400) == pairs(plain, start, start + more + 400)
    assert on.counts(start + more + 400) == plain.counts(start + more + 400)


seen_rows = st.fixed_dictionaries({name: st.integers(0, 2 * size) for name, size in ROWS.items()})


@given(st.integers(1, 5_000), seen_rows, st.integers(0, 3), st.integers(0, 2))
@settings(max_examples=30, deadline=None)
def test_after_a_base_no_row_comes_again_before_its_epoch_is_over_and_seen_ones_come_last(
    start: int, seen: dict[str, int], seed: int, phase_seed: int
) -> None:
    branch, end = start + 300, start + 1_500
    o = after_base(start, seen, (branch, UP), seed=seed, phase_seed=phase_seed)
    rows = pairs(o, start, end)
    for name, size in ROWS.items():
        # The rows that its own order would have shown as the first `seen` ones.
        epoch, rest = divmod(seen[name], size)
        keys = keys_of(0, "trunk", name, epoch)
        before = set(permute(np.arange(rest), size, keys).tolist())
        shown = [(row, e) for source, row, e in rows if source == name]
        assert all(e >= epoch for _, e in shown)
        for e in {e for _, e in shown}:
            mine = [row for row, of in shown if of == e]
            assert len(mine) == len(set(mine)) <= size
            if e == epoch:
                assert not before & set(mine), "seen rows come again only in the next epoch"
                assert all(of <= e for _, of in shown) or len(mine) == size - rest
        assert o.counts(end)[name] == seen[name] + len(shown)
    dealt = [name for name, _, _ in pairs(o, start, branch)]
    for name, weight in BASE.items():
        assert abs(dealt.count(name) - 300 * weight / sum(BASE.values())) < 2


def test_other_trunks_on_a_base_shuffle_what_it_left_over() -> None:
    seen = {"web": 2_000, "math": 650}
    first, second = (pairs(after_base(40, seen, seed=seed), 40, 140) for seed in (0, 1))
    assert [name for name, _, _ in first] == [name for name, _, _ in second] and first != second
    again = after_base(40, seen, seed=1)
    for name in ("web", "math"):
        assert {r for s, r, e in pairs(again, 40, 3_000) if (s, e) == (name, 0)}.isdisjoint(
            permute(np.arange(seen[name]), ROWS[name], keys_of(0, "trunk", name, 0)).tolist()
        )


def test_rows_before_a_base_are_none_of_this_order() -> None:
    o = after_base(40, {})
    with pytest.raises(ValueError, match="begins at row 40"):
        o.rows(39, 50)
    with pytest.raises(ValueError, match="begins at row 40"):
        o.counts(39)
    assert o.counts(40) == dict.fromkeys(ROWS, 0)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="start at row 0"):
        order((5, BASE))
    with pytest.raises(ValueError, match="no rows"):
        order((0, {"books": 1}))
    with pytest.raises(ValueError, match="sum to something"):
        order((0, {"web": 0}))


def test_far_rows_cost_what_near_ones_do() -> None:
    o = order((0, UP), rows=dict.fromkeys(UP, 2**31))
    rows = o.rows(10**9, 10**9 + 8)
    assert len(rows.row) == 8 and (rows.row < 2**31).all() and (rows.row >= 0).all()


def test_a_source_of_more_rows_than_32_bits_count_is_shown_once_before_any_comes_again() -> None:
    n = 7_800_000_000  # 1e12 tokens in rows of 128
    o = order((0, {"web": 3, "code": 1}), rows={"web": n, "code": 2**32 + 1})
    rows = o.rows(4 * n // 3 - 30_000, 4 * n // 3 + 30_000)
    web = rows.source == o.names.index("web")
    assert (rows.epoch[web] == np.sort(rows.epoch[web])).all() and set(rows.epoch[web].tolist()) == {0, 1}
    assert rows.row[web].max() > 2**32 and (rows.row[web] < n).all()
    for epoch in (0, 1):
        mine = rows.row[web & (rows.epoch == epoch)]
        assert len(np.unique(mine)) == len(mine) > 20_000
        assert abs(mine.mean() / n - 0.5) < 5 / (12 * len(mine)) ** 0.5, "spread over the whole source"
    first = o.rows(0, 60_000)
    fresh = first.row[first.source == o.names.index("web")]
    assert not np.intersect1d(fresh, rows.row[web & (rows.epoch == 0)]).size


def test_its_memory_does_not_grow_with_the_tokens() -> None:
    """A trillion tokens in rows of 4,096, twenty sources, two mixes of the longest period."""
    names = [f"source{i}" for i in range(20)]
    trunk, phase = ({name: w + i for i, name in enumerate(names)} for w in (3_267, 3_266))
    trunk[names[0]] += 65_536 - sum(trunk.values())
    phase[names[0]] += 65_535 - sum(phase.values())
    far = 250_000_000
    rows = dict.fromkeys(names, far // 20)
    o = order((0, trunk), (far - 1_000_000, phase), rows=rows)
    o.rows(far - 1_000_100, far - 995_900)  # what is imported and kept for good
    deal.cache_clear()
    tracemalloc.start()
    o = order((0, trunk), (far - 1_000_000, phase), rows=rows)
    o.rows(far, far + 4_096)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1_500_000 and peak < 25_000_000


GOLDEN: list[tuple[str, int, int]] = [
    ("facts", 94, 0),
    ("math", 690, 0),
    ("code", 308, 0),
    ("facts", 29, 0),
    ("math", 206, 0),
    ("facts", 717, 0),
]
