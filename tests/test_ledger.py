"""The ledger: what a run sees of every source, and when the first row comes again, as counted row by row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipes_for_tests import facts, point, recipe

from joyctl.campaign.grid import Grid
from joyctl.campaign.plan import plan
from joyctl.campaign.spec import OrderPhase, OrderSpec, SegmentSpec
from joyctl.data.ledger import source_use, use_until
from joyctl.data.order import Order

LENGTH = 16
sizes = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 60), min_size=1)


def segment(
    rows: dict[str, int], phases: list[dict[str, int]], branch: int, end: int, batch: int, **more: Any
) -> SegmentSpec:
    """A made-up phase (or, of one mix, a trunk) that ends after step `end`."""
    of = recipe()
    training = of.training.model_copy(update={"seq_len": LENGTH, "batch_size": batch})
    whole = plan(of, [point(of)], Grid(durations=(0.1,)), facts()).segments[0]
    first = more.get("start_row") or 0
    starts = (first, branch * batch)
    made = tuple(OrderPhase(start_row=start, weights=mix) for start, mix in zip(starts, phases, strict=False))
    order = OrderSpec(rows=rows, phases=made, seed=3, **more)
    return whole.model_copy(update={"order": order, "end_step": end, "training": training})


def counted(order: OrderSpec, batch: int, end: int) -> dict[str, tuple[int, int | None]]:
    """By source: rows shown again, and the step of the first, from the rows themselves."""
    walked = Order(order)
    first = walked.first
    dealt = walked.rows(first, end * batch)
    found: dict[str, tuple[int, int | None]] = dict.fromkeys(walked.names, (0, None))
    before = {name: (order.seen or {}).get(name, 0) for name in walked.names}
    shown: set[tuple[str, int]] = set()
    for g, (source, row, epoch) in enumerate(zip(dealt.source, dealt.row, dealt.epoch, strict=True), start=first):
        name = walked.names[source]
        again = (name, int(row)) in shown or epoch > 0
        assert again == (epoch > 0) or before[name], "a row comes again only in a later epoch"
        shown.add((name, int(row)))
        if again:
            count, step = found[name]
            found[name] = (count + 1, g // batch + 1 if step is None else step)
    return {name: (count + max(0, before[name] - order.rows[name]), step) for name, (count, step) in found.items()}


@given(st.data(), sizes, st.integers(1, 4), st.integers(0, 40), st.integers(1, 40))
@settings(max_examples=120, deadline=None)
def test_every_number_is_that_of_the_rows_walked_one_by_one(
    data: st.DataObject, rows: dict[str, int], batch: int, branch: int, phase: int
) -> None:
    mix = st.fixed_dictionaries({name: st.integers(0, 9) for name in rows}).filter(lambda w: sum(w.values()) > 0)
    mixes = [data.draw(mix), data.draw(mix)]
    more: dict[str, Any] = {}
    if data.draw(st.booleans()):  # after a base that was trained elsewhere
        start = data.draw(st.integers(0, branch))
        more = {"start_row": start * batch, "seen": {name: data.draw(st.integers(0, 150)) for name in rows}}
    end = branch + phase
    of = segment(rows, mixes, branch, end, batch, **more)
    order, base = Order(of.order), more.get("seen", {})
    use, again = source_use(of, branch), counted(of.order, batch, end)
    for name in rows:
        one, at_branch, at_end = use[name], order.counts(branch * batch)[name], order.counts(end * batch)[name]
        assert (one.trunk, one.phase) == ((at_branch - base.get(name, 0)) * LENGTH, (at_end - at_branch) * LENGTH)
        assert one.tokens == one.seen_before + one.phase == (base.get(name, 0)) * LENGTH + one.trunk + one.phase
        assert one.epochs == at_end / rows[name]
        assert (one.rows_repeated, one.first_repeat_step) == again[name]
        assert one.repeated == one.rows_repeated * LENGTH


def test_the_first_repeat_of_a_source_is_told_by_hand() -> None:
    # One row in two is a's: 3 rows of it are shown by row 5, so its fourth comes at row 6, the first of step 4.
    of = segment({"a": 3, "b": 100}, [{"a": 1, "b": 1}], 10, 10, 2)
    first = [name for name in ("a", "b") if Order(of.order).counts(1)[name]]
    assert source_use(of, None)["b"].first_repeat_step is None
    row = 6 if first == ["a"] else 7
    assert source_use(of, None)["a"].first_repeat_step == row // 2 + 1 == 4
    assert source_use(of, None)["a"].rows_repeated == 10 - 3


def test_a_run_in_the_middle_has_seen_what_its_steps_so_far_show() -> None:
    of = segment({"a": 50, "b": 50}, [{"a": 1, "b": 1}, {"a": 1}], 20, 60, 2)
    early, late = use_until(of, 20, 10), use_until(of, 20, 30)
    assert (early["a"].trunk, early["a"].phase) == (10 * LENGTH, 0)
    assert (late["a"].trunk, late["a"].phase, late["b"].phase) == (20 * LENGTH, 20 * LENGTH, 0)
    assert source_use(of, 20) == use_until(of, 20, 60)
    assert (late["a"].first_repeat_step, source_use(of, 20)["a"].first_repeat_step) == (None, 36)


@pytest.mark.parametrize("duration", [0.1, 0.3])
def test_the_first_repeat_is_exact_among_a_trillion_tokens(duration: float) -> None:
    rows = {"web": 250_000_000, "math": 2_000_000}
    steps, batch = 200_000, 1024
    branch = round(steps * (1 - duration))
    of = segment(rows, [{"web": 99, "math": 1}, {"web": 1, "math": 1}], branch, steps, batch)
    step = source_use(of, branch)["math"].first_repeat_step
    assert step is not None and step > branch
    order = Order(of.order)
    assert order.counts((step - 1) * batch)["math"] <= rows["math"] < order.counts(step * batch)["math"]
