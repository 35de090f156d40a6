"""The learning rate: warm-up, peak, decay, one curve by global step."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joyctl.campaign.schedule import lr_at
from joyctl.recipe.types import Schedule

LINEAR, COSINE = Schedule(), Schedule(kind="cosine", min_lr_factor=0.1)


def test_linear_warms_up_to_the_peak_and_its_last_step_still_trains() -> None:
    assert lr_at(LINEAR, 1.0, 1, 100) == pytest.approx(1 / 5)
    assert lr_at(LINEAR, 1.0, 5, 100) == 1.0
    assert lr_at(LINEAR, 1.0, 100, 100) == pytest.approx(1 / 96)
    assert [lr_at(LINEAR, 1.0, s, 100) for s in (6, 7)] == pytest.approx([95 / 96, 94 / 96])


def test_cosine_ends_near_its_floor() -> None:
    assert lr_at(COSINE, 1.0, 100, 100) == pytest.approx(0.1, abs=1e-3)
    assert lr_at(COSINE, 1.0, 53, 101) == pytest.approx(0.55, abs=0.02)


@given(st.sampled_from([LINEAR, COSINE, Schedule(warmup=0.0)]), st.integers(1, 5_000))
def test_it_rises_once_falls_once_and_stays_between_floor_and_peak(schedule: Schedule, total: int) -> None:
    curve = [lr_at(schedule, 3.0, s, total) for s in range(1, total + 1)]
    top = curve.index(max(curve))
    assert all(a <= b for a, b in itertools.pairwise(curve[: top + 1]))
    assert all(a >= b for a, b in itertools.pairwise(curve[top:]))
    assert min(curve) > 0 and max(curve) <= 3.0 * (1 + 1e-12)


@pytest.mark.parametrize("step", [0, 101])
def test_a_step_outside_the_run_is_refused(step: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        lr_at(LINEAR, 1.0, step, 100)
