"""Plans of trunks that go on from a base: where they begin, what fits, and what a reader is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipes_for_tests import facts, point, recipe

from joyctl.campaign.baserun import said_of_base
from joyctl.campaign.grid import Grid
from joyctl.campaign.plan import Plan, chain, plan
from joyctl.campaign.spec import BaseSpec
from joyctl.data.ledger import source_use
from joyctl.data.order import Order
from joyctl.errors import RecipeError, Refused
from joyctl.launch.bases import require_one_base
from joyctl.recipe.types import Base
from joyctl.store.fingerprint import fingerprint

STEP, BATCH = 720, 8
SEEN = {"web": 80_000, "math": 4_000}
DCP = BaseSpec(kind="dcp", path="/runs/llama/checkpoint/step-720", step=STEP, sha256="d" * 64)
HF = BaseSpec(kind="hf", path="/models/llama", step=STEP, sha256="e" * 64)
GRID = Grid(durations=(0.1, 0.2))


def planned(base: BaseSpec = DCP, grid: Grid = GRID, section: dict[str, Any] | None = None, **changes: Any) -> Plan:
    of = {"dcp": base.path} if base.kind == "dcp" else {"hf": base.path, "step": base.step}
    r = recipe(base=Base(**of, **{"seen": SEEN, **(section or {})}), **changes)
    return plan(r, [point(r)], grid, facts(), None, None, base)


def test_the_trunk_begins_where_the_base_stands_and_all_after_it_knows_of_it() -> None:
    p = planned()
    assert [s.id for s in p.segments if s.id.startswith("trunk")] == [
        "trunk/s0/720-800", "trunk/s0/800-900", "trunk/s0/900-1000",
    ]  # fmt: skip
    assert [s.id for s in p.segments if s.parent is None] == ["trunk/s0/720-800"]
    for segment in p.segments:
        assert segment.base == DCP and segment.order.start_row == STEP * BATCH
        assert segment.order.phases[0].start_row == STEP * BATCH
        assert segment.order.seen == {"web": 5_000, "math": 250}, "whole rows of 16 tokens"


def test_the_recipes_longer_durations_are_not_cut_where_nobody_asked_for_them() -> None:
    assert 700 not in {s.end_step for s in planned().segments}


def test_a_phase_can_begin_at_the_base_itself() -> None:
    at = DCP.model_copy(update={"step": 800})
    p = planned(at)
    arm = p.segment("runs/upsample-20/s0")
    assert arm.parent is None and arm.start_step == 800 and arm.base == at
    assert p.segment("trunk/s0/800-900").parent is None
    assert Order(arm.order).counts(800 * BATCH)["web"] == 5_000


def test_what_lies_before_the_base_is_refused_with_what_fits() -> None:
    with pytest.raises(Refused) as refused:
        planned(grid=Grid(durations=(0.1, 0.3, 0.4)))
    assert "stands at step 720 of 1,000, after the branch point of 40 % at step 600, 30 % at step 700" in str(
        refused.value
    )
    assert "durations up to 28 %: --durations 10, or give an earlier checkpoint" in str(refused.value)
    with pytest.raises(Refused, match="none is left"):
        planned(DCP.model_copy(update={"step": 1_000}))


def test_a_phase_seed_of_the_control_begins_no_earlier_than_the_base() -> None:
    p = planned(grid=Grid(durations=(0.1,), phase_seeds=2))
    assert next(r for r in p.runs if r.id == "control/s1").branch_step == STEP


def test_identity_holds_which_base_it_is_and_not_where_it_lies() -> None:
    def mark(base: BaseSpec) -> str:
        return fingerprint(planned(base).segments[0].identity())

    elsewhere = DCP.model_copy(update={"path": "/other/step-720", "tokenizer": "/other/tokenizer"})
    assert mark(elsewhere) == mark(DCP)
    assert mark(DCP.model_copy(update={"sha256": "f" * 64})) != mark(DCP)
    everywhere = {fingerprint(s.identity()) for s in planned().segments}
    other = {fingerprint(s.identity()) for s in planned(DCP.model_copy(update={"sha256": "f" * 64})).segments}
    assert not everywhere & other


def test_a_model_of_the_hub_is_its_commit_downloaded_or_not() -> None:
    known = BaseSpec(kind="hf", path="org/llama", step=STEP, sha256="c" * 40, hub="org/llama")
    here = known.model_copy(update={"path": "/cache/snapshots/c"})
    marks = [[fingerprint(s.identity()) for s in planned(base).segments] for base in (known, here)]
    assert marks[0] == marks[1]


def test_trunk_seeds_on_a_base_are_other_orders_of_the_rows_it_left_over() -> None:
    p = planned(grid=Grid(durations=(0.1,), trunk_seeds=2))
    first, second = p.segment("trunk/s0/720-800"), p.segment("trunk/s1/720-800")
    assert first.init_seed == second.init_seed == 0, "the base's parameters replace initial ones"
    assert first.identity() == {**second.identity(), "order": first.identity()["order"]}
    assert "trunks   2, all on this one base" in " ".join(said_of_base([first, second]))


def test_a_hugging_face_folder_gets_an_explicit_rise_of_the_lr() -> None:
    optimizer = {"lr": 0.005, "betas": [0.9, 0.99]}
    for section, wanted in (({}, 200), ({"rewarm": 30}, 30), ({"rewarm": 0}, 0)):
        assert planned(HF, section=section, optimizer=optimizer).segments[0].base == HF.model_copy(
            update={"rewarm": wanted}
        )
    longest = planned(HF, optimizer={"lr": 0.005, "betas": [0.9, 0.999]}).segments[0]
    assert longest.base is not None and longest.base.rewarm == 280, "no more than is left"
    assert planned(HF).segments[0].base.rewarm == 40  # type: ignore[union-attr]
    said = " ".join(said_of_base(planned(HF).segments[:1]))
    assert "started anew" in said and "rises over 40 steps, 721 to 760" in said and "in the control" in said


def test_a_checkpoint_carries_its_optimizer_on_and_has_no_rise() -> None:
    assert "carried on with its state" in " ".join(said_of_base(planned().segments[:1]))
    with pytest.raises(ValueError, match="nothing rises anew"):
        Base(dcp="/x/step-1", rewarm=5)


def test_without_a_base_nothing_is_said_or_planned_of_one() -> None:
    r = recipe()
    p = plan(r, [point(r)], GRID, facts())
    assert said_of_base(p.segments) == []
    for segment in p.segments:
        assert "base" not in segment.identity() and segment.order.start_row is segment.order.seen is None


def test_the_ledger_counts_what_the_base_has_seen() -> None:
    p = planned()
    run = next(r for r in p.runs if r.variant == "upsample-20")
    assert run.segment is not None
    segment = p.segment(run.segment)
    use = source_use(segment, run.branch_step)
    trunk = Order(p.segment("trunk/s0/720-800").order).counts(800 * BATCH)
    assert {name: u.seen_before for name, u in use.items()} == {name: rows * 16 for name, rows in trunk.items()}
    assert use["web"].seen_before > SEEN["web"] and use["web"].epochs > SEEN["web"] / 1_000_000
    again = planned(section={"seen": {"web": 1_000_000}}).segment(run.segment)
    assert source_use(again, run.branch_step)["web"].repeated > 0, "its epoch was over"


def test_which_base_it_is_cannot_be_swept() -> None:
    def at(**section: Any) -> Any:
        return point(recipe(base=Base(**section)))

    with pytest.raises(RecipeError, match="cannot be swept: one campaign, one base run"):
        require_one_base([at(dcp="/a/step-1"), at(dcp="/b/step-1")])


def test_seen_of_an_unknown_source_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="unknown source 'maht'"):
        planned(section={"seen": {"maht": 16}})


steps = st.integers(1, 60)


@given(st.sets(steps, min_size=1), st.sets(st.tuples(st.integers(0, 60), steps)), st.integers(0, 59), steps)
def test_a_chain_begins_at_the_base_whatever_else_lies_there(
    cut: set[int], old: set[tuple[int, int]], first: int, length: int
) -> None:
    existing = [(a, b) for a, b in old if a < b]
    last = first + length
    got = chain(cut, existing, last, first)
    ends = {first}
    for start, end in got:
        assert start in ends and start < end
        ends.add(end)
    assert {p for p in cut if first < p <= last} <= ends
