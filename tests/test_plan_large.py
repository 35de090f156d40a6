"""A large grid: what its runs share is worked out once, and its table lists the first and last of every variant."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from recipes_for_tests import facts, point, recipe

from joyctl.campaign.grid import Grid, Point
from joyctl.campaign.plan import Plan, plan
from joyctl.campaign.totals import full_runs
from joyctl.cli.shortlist import MOST, Left, shortlist
from joyctl.data import ledger
from joyctl.data.ledger import source_use
from joyctl.data.order import Order
from joyctl.store.fingerprint import canonical, fingerprint


def swept(weights: list[float], grid: Grid) -> Plan:
    def at(web: float) -> Point:
        mixes = recipe().mixes
        up = mixes.model_copy(update={"upsampled": {**mixes.upsampled, "web": web}})
        return point(recipe().model_copy(update={"mixes": up}), {"mixes.upsampled.web": str(web)})

    return plan(recipe(), [at(web) for web in weights], grid, facts())


def test_fingerprints_are_those_of_all_campaigns_before():
    before = recipe().training.model_copy(update={"documents": "joined"})  # there was nothing else
    of = recipe().model_copy(update={"training": before})
    planned = plan(of, [point(of)], Grid(durations=(0.1,), phase_seeds=2), facts())
    assert {run.id: run.fingerprint for run in planned.runs} == {
        "control/s0": "7fbfb379914e23566791e3fd300893bc17ca13e27a2f0f38bd457f5039ffb7fd",
        "control/s1": "eb35009cf897b7c23398574f5d4e3de9afd5058c26a7908dfa5102103c039811",
        "upsample-10/s0": "f6e7abeb775889a0b77b7376dc27c1f3f4c349e9caa1c6742b44253aa6c167c5",
        "upsample-10/s1": "e8d56e830d82b90b85b837dfd3d5d6cde897ba9dead90222560d2931267c9140",
    }
    for segment in planned.segments:
        whole = rfc8785.dumps(segment.identity())  # type: ignore[arg-type]
        assert fingerprint(segment.identity()) == hashlib.sha256(whole).hexdigest()


leaves = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False,
    allow_infinity=False) | st.text(st.characters(exclude_categories=["Cs"]))  # fmt: skip
json_values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
)


@given(st.lists(json_values, min_size=1))
def test_kept_parts_are_the_canonical_text(values: list[Any]):
    for value in [*values, *values, values, {"\ue000": values, "\U00010000": 1.0, "a": 1, "b": True}]:
        assert canonical(value) == rfc8785.dumps(value)


def test_equal_numbers_of_other_types_are_other_parts():
    assert [canonical(v) for v in (1, True, 1.0, [1], [True], [1.0], "1")] == [
        b"1", b"true", b"1", b"[1]", b"[true]", b"[1]", b'"1"',
    ]  # fmt: skip


def test_rows_are_counted_once_for_all_seeds(monkeypatch: pytest.MonkeyPatch):
    made = []
    ledger._use.cache_clear()  # other tests plan the same mixes
    monkeypatch.setattr(ledger, "Order", lambda spec: made.append(spec) or Order(spec))
    planned = swept([0.11, 0.12], Grid(durations=(0.1, 0.2), phase_seeds=5))
    for run in planned.runs:
        segment = planned.segment(run.segment or "")
        use, order = source_use(segment, run.branch_step), Order(segment.order)
        rows = order.counts(segment.end_step * segment.training.batch_size)
        assert {name: u.tokens for name, u in use.items()} == {name: 16 * n for name, n in rows.items()}
    # Two mixes at two durations, and the control: its own trunk, or a phase on the base mix.
    assert len(planned.runs) == 25 and len(made) == 6


def test_what_a_plan_trains_is_told_in_full_runs():
    found = full_runs(swept([0.11, 0.12], Grid(durations=(0.1, 0.2), phase_seeds=1)))
    assert (found.trunk, found.phases, found.phases_if_separate) == pytest.approx((1.0, 0.6, 4.0))


def test_an_arm_that_another_one_trains_already_costs_nothing():
    found = full_runs(swept([0.1, 0.10], Grid(durations=(0.1,))))
    assert (found.trunk, found.phases) == pytest.approx((1.0, 0.1))


def test_shrunk_phases_are_shorter_runs_too():
    planned = plan(recipe(), [point(recipe())], Grid(drops=(("math",),), drop_at=(0.2,), policy="shrink"), facts())
    found = full_runs(planned)
    assert (found.phases, found.phases_if_separate) == pytest.approx((0.2 + 0.126, 1.0 + 0.926))


def test_a_small_plan_lists_every_run():
    runs = swept([0.11, 0.12], Grid(durations=(0.1, 0.2), phase_seeds=5)).runs
    assert shortlist(runs, every=False) == list(runs)


def test_a_large_plan_lists_the_first_and_last_of_every_variant():
    runs = swept([0.01 * i for i in range(1, 21)], Grid(durations=(0.1, 0.2), phase_seeds=3)).runs
    assert len(runs) == 3 + 120 > MOST
    lines = shortlist(runs, every=False)
    assert [line.id if not isinstance(line, Left) else line for line in lines] == [
        "control/s0",
        "control/s1",
        "control/s2",
        "upsample-10,upsampled.web=0.01/s0",
        Left(58, "upsampled.web 0.01 to 0.2, s0 to s2"),
        "upsample-10,upsampled.web=0.2/s2",
        "upsample-20,upsampled.web=0.01/s0",
        Left(58, "upsampled.web 0.01 to 0.2, s0 to s2"),
        "upsample-20,upsampled.web=0.2/s2",
    ]
    assert shortlist(runs, every=True) == list(runs)


def test_of_very_many_variants_those_in_the_middle_are_left_out():
    durations = tuple(round(0.01 * i, 2) for i in range(5, 95))
    runs = plan(recipe(), [point(recipe())], Grid(durations=durations), facts()).runs
    lines = shortlist(runs, every=False)
    assert len(lines) <= MOST
    (left,) = [line for line in lines if isinstance(line, Left)]
    assert left.number + len(lines) - 1 == len(runs) == 91
    assert left.about == "71 variants"
