"""The audit of a plan: a sound one passes, and whatever is wrong with a branch is found, named and has its remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from recipes_for_tests import facts, point, recipe

from joyctl.campaign.audit import Checked, DataKnown, audit, branches
from joyctl.campaign.grid import DataFacts, Grid
from joyctl.campaign.plan import Plan, plan
from joyctl.campaign.schedule import segment_lr
from joyctl.campaign.spec import OrderPhase, OrderSpec, Protocol, RunSpec, SegmentSpec
from joyctl.campaign.trunks import trunk_fingerprint, usable
from joyctl.data.order import Order

GRID = Grid(durations=(0.1, 0.2), drops=(("math",),), drop_at=(0.2,), trunk_seeds=2, phase_seeds=2)
CHECKS = ("learning rate", "step", "data cursor", "unseen rows", "tokenizer", "control", "optimizer")
BRANCH = "upsample-20/s0"


def known(data: DataFacts, vocab_size: int = 256) -> DataKnown:
    def rows_before(order: OrderSpec, row: int) -> dict[str, int]:
        return Order(order).counts(row)

    return DataKnown(rows_before, data.sha256, data.tokenizer_sha256, vocab_size)


def planned(data: DataFacts | None = None, grid: Grid = GRID, **changes: Any) -> Plan:
    r = recipe(**changes)
    return plan(r, [point(r)], grid, data or facts())


def with_segment(p: Plan, identifier: str, **changes: Any) -> Plan:
    segments = tuple(s.model_copy(update=changes) if s.id == identifier else s for s in p.segments)
    return replace(p, segments=segments)


def with_run(p: Plan, identifier: str, **changes: Any) -> Plan:
    return replace(p, runs=tuple(r.model_copy(update=changes) if r.id == identifier else r for r in p.runs))


def failures(checked: tuple[Checked, ...]) -> dict[str, Checked]:
    return {c.check: c for c in checked if c.level == "failure"}


def test_a_sound_plan_passes_every_check_at_every_branch() -> None:
    p = planned()
    checked = audit(p, known(facts()))
    assert branches(p) == 14 and {c.level for c in checked} == {"ok"}
    for check in CHECKS:
        subjects = [s for c in checked if c.check == check for s in c.subjects]
        assert sorted(subjects) == sorted(r.id for r in p.runs if r.branch_step is not None)


def test_what_is_equal_is_said_once() -> None:
    checked = audit(planned(), known(facts()))
    rates = [c for c in checked if c.check == "learning rate"]
    # Two durations, and the longest one, where the control of the second seed begins.
    assert sorted((len(c.subjects), c.said) for c in rates) == [
        (2, "LR 1.58e-03 as the trunk's, and so at every step"),
        (4, "LR 5.26e-04 as the trunk's, and so at every step"),
        (8, "LR 1.05e-03 as the trunk's, and so at every step"),
    ]


def segment(p: Plan) -> SegmentSpec:
    return p.segment(f"runs/{BRANCH}")


def other_lr(s: SegmentSpec) -> dict[str, Any]:
    return {"optimizer": s.optimizer.model_copy(update={"lr": 0.006})}


def other_end_of_decay(s: SegmentSpec) -> dict[str, Any]:
    return {"total_steps": 900}


def other_schedule(s: SegmentSpec) -> dict[str, Any]:
    return {"schedule": s.schedule.model_copy(update={"kind": "cosine"})}


def later_mix(s: SegmentSpec) -> dict[str, Any]:
    *trunk, phase = s.order.phases
    moved = phase.model_copy(update={"start_row": phase.start_row + 8})
    return {"order": s.order.model_copy(update={"phases": (*trunk, moved)})}


def other_trunk_mix(s: SegmentSpec) -> dict[str, Any]:
    phase = s.order.phases[-1]
    return {"order": s.order.model_copy(update={"phases": (OrderPhase(start_row=0, weights={"web": 1}), phase)})}


def other_order(s: SegmentSpec) -> dict[str, Any]:
    return {"order": s.order.model_copy(update={"seed": 5})}


def fewer_rows(s: SegmentSpec) -> dict[str, Any]:
    return {"order": s.order.model_copy(update={"rows": {**s.order.rows, "math": 7_000}})}


WRONG: list[tuple[Callable[[SegmentSpec], dict[str, Any]], str, str]] = [
    (other_lr, "learning rate", "would begin with LR"),
    (other_end_of_decay, "learning rate", "would begin with LR"),
    (other_schedule, "learning rate", "would begin with LR"),
    (lambda s: {"start_step": 790}, "step", "its parent ends at 800"),
    (lambda s: {"parent": "trunk/s0/0-900"}, "step", "which is not in the plan"),
    (later_mix, "data cursor", "its mix begins at row 6,408"),
    (other_trunk_mix, "data cursor", "are not those of its trunk"),
    (other_order, "data cursor", "are not those of its trunk"),
    (fewer_rows, "data cursor", "math has 7,000 rows, in the trunk 62,499"),
    (lambda s: {"tokenizer_sha256": "another"}, "tokenizer", "the trunk's tokenizer is not that of the data"),
    (lambda s: {"source_sha256": {**s.source_sha256, "web": "other"}}, "tokenizer", "other tokens of web"),
    (lambda s: {"model": s.model.model_copy(update={"vocab_size": 255})}, "tokenizer", "has 256 tokens"),
    (
        lambda s: {"optimizer": s.optimizer.model_copy(update={"betas": (0.9, 0.99), "weight_decay": 0.2})},
        "optimizer",
        "optimizer.betas, optimizer.weight_decay would silently come from the trunk's checkpoint",
    ),
    (lambda s: {"training": s.training.model_copy(update={"batch_size": 4})}, "optimizer", "training.batch_size"),
]


@pytest.mark.parametrize(("change", "check", "said"), WRONG)
def test_a_branch_that_does_not_begin_where_its_trunk_stops_is_found(
    change: Callable[[SegmentSpec], dict[str, Any]], check: str, said: str
) -> None:
    p = planned()
    found = failures(audit(with_segment(p, segment(p).id, **change(segment(p))), known(facts())))
    assert said in found[check].said and found[check].remedy
    assert found[check].subjects == (BRANCH,)


def test_a_branch_that_leaves_the_trunks_curve_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def bent(spec: SegmentSpec, step: int) -> float:
        return segment_lr(spec, step) * (0.5 if spec.id == f"runs/{BRANCH}" and step > 990 else 1.0)

    monkeypatch.setattr("joyctl.campaign.audit.segment_lr", bent)
    found = failures(audit(planned(grid=Grid(durations=(0.2,))), known(facts())))
    assert "leaves the schedule at step 991: LR 2.629e-05, not 5.258e-05" in found["learning rate"].said


def test_a_trunk_with_a_gap_fails_every_branch_behind_it() -> None:
    p = with_segment(planned(), "trunk/s0/800-900", start_step=810)
    found = failures(audit(p, known(facts())))["step"]
    assert "trunk/s0/800-900 starts at step 810" in found.said
    assert found.subjects == ("upsample-10/s0", "upsample-10/s1")


def test_a_trunk_that_begins_from_nothing_in_the_middle_is_found() -> None:
    p = with_segment(planned(), "trunk/s0/0-700", start_step=10)
    assert "starts at step 10 from nothing" in failures(audit(p, known(facts())))["step"].said


CONTROLS: list[tuple[Callable[[Plan], Plan], str]] = [
    (lambda p: with_run(p, "drop-math-20/s0", control="upsample-20/s1"), "another seeds"),
    (lambda p: with_run(p, "drop-math-20/s0", control="upsample-10/s0"), "another beginning of the phase"),
    (lambda p: with_run(p, "drop-math-20/s0", protocol=Protocol(lr="redecay")), "another protocol"),
    (lambda p: with_run(p, "drop-math-20/s0", control="upsample-99/s0"), "which is not planned"),
]


@pytest.mark.parametrize(("change", "said"), CONTROLS)
def test_a_run_without_its_matched_control_is_found(change: Callable[[Plan], Plan], said: str) -> None:
    found = failures(audit(change(planned()), known(facts())))
    assert set(found) == {"control"} and said in found["control"].said
    assert found["control"].subjects == ("drop-math-20/s0",)


def test_ablations_need_no_control_of_their_controls() -> None:
    p = planned(grid=Grid(control=False, drops=(("math",),), drop_at=(0.2,)))
    checked = audit(p, known(facts()))
    assert [r.id for r in p.runs] == ["upsample-20/s0", "drop-math-20/s0"] and not failures(checked)
    assert {s for c in checked if c.check == "control" for s in c.subjects} == {r.id for r in p.runs}


def under_cap(p: Plan, cap: float | None) -> Plan:
    """The same under a recipe with a cap on math, with which no such plan would be made: planning refuses it."""
    sources = {name: source.model_dump() for name, source in p.recipe.sources.items()}
    return replace(p, recipe=recipe(sources={**sources, "math": {**sources["math"], "max_epochs": cap}}))


# 1,600 rows of the phase at 20 % are 592 of math, after 288 in the trunk.
def test_rows_shown_again_are_a_warning_with_their_number_and_a_failure_only_above_the_cap() -> None:
    data = facts(tokens={"web": 1_000_000, "math": 8_001, "code": 1_000_000, "facts": 1_000_000})  # 500 rows
    levels: dict[float | None, Checked] = {}
    for cap in (None, 1.5, 2.0):
        p = under_cap(planned(data, Grid(durations=(0.2,))), cap)
        levels[cap] = next(c for c in audit(p, known(data)) if c.check == "unseen rows")
    assert levels[None].level == levels[2.0].level == "warning"
    assert levels[None].said == "the phase shows again: math 6,080 tokens (1.76 epochs)"  # (288 + 592 - 500) * 16
    assert levels[1.5].level == "failure" and "math is seen 1.8 times, 1.5 are allowed" in levels[1.5].said
    assert levels[1.5].remedy is not None and "max_epochs" in levels[1.5].remedy


def test_a_source_that_the_phase_leaves_out_cannot_be_above_its_cap() -> None:
    data = facts(tokens={"web": 1_000_000, "math": 1_601, "code": 1_000_000, "facts": 1_000_000})  # 100 rows
    grid = Grid(drops=(("math",),), drop_at=(0.2,))
    often = recipe(data={"world": {"seed": 1}, "max_epochs": 100})
    p = under_cap(plan(often, [point(often)], grid, data), 1.0)
    assert failures(audit(p, known(data)))["unseen rows"].subjects == ("upsample-20/s0",)


def test_stretches_of_one_trunk_have_one_fingerprint_and_other_trunks_others() -> None:
    trunks = [s for s in planned().segments if s.id.startswith("trunk/")]
    marks = {s.id: trunk_fingerprint(s) for s in trunks}
    assert len({mark for name, mark in marks.items() if name.startswith("trunk/s0/")}) == 1
    assert len(set(marks.values())) == 2
    assert trunk_fingerprint(trunks[0]) != trunk_fingerprint(planned(optimizer={"lr": 0.004}).segments[0])


def test_own_stretches_come_before_others_and_none_hangs_in_the_air() -> None:
    assert usable([(0, 80)], [(0, 60), (60, 80), (80, 100)]) == [(0, 60), (0, 80), (80, 100)]
    assert usable([(50, 80)], [(0, 60), (60, 80)]) == [(0, 60), (60, 80)]
    assert usable([], [(60, 80)]) == []
    assert usable([], [(60, 80)], begins=60) == [(60, 80)]


def test_a_trunk_elsewhere_that_is_cut_at_other_steps_is_used_as_it_lies() -> None:
    r = recipe()
    mark = trunk_fingerprint(planned().segments[0])
    p = plan(r, [point(r)], Grid(durations=(0.1,)), facts(), elsewhere={mark: [(0, 650), (650, 1_000)]})
    stretches = [s.id for s in p.segments if s.parent is None or s.id.startswith("trunk/")]
    assert stretches == [
        "trunk/s0/0-650",
        "trunk/s0/650-700",
        "trunk/s0/650-1000",
        "trunk/s0/700-800",
        "trunk/s0/800-900",
    ]
    alone = plan(r, [point(r)], Grid(durations=(0.1,)), facts())
    assert runs(p) == runs(alone)


def runs(p: Plan) -> dict[str, str]:
    def mark(run: RunSpec) -> str:
        return run.fingerprint

    return {run.id: mark(run) for run in p.runs}
