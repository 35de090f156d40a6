"""The learning rate: warm-up, peak, decay or cooldown, one curve by global step; redecay and rewarm."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training import MODEL

from joyctl.campaign.schedule import lr_at, segment_lr, takes_over
from joyctl.campaign.spec import BaseSpec, OrderPhase, OrderSpec, Redecay, SegmentSpec
from joyctl.recipe.types import Optimizer, Schedule, Training

LINEAR, COSINE = Schedule(), Schedule(kind="cosine", min_lr_factor=0.1)
WSD = Schedule(kind="wsd", cooldown=0.2)
WSD_SQRT = Schedule(kind="wsd", cooldown=0.2, cooldown_shape="one_minus_sqrt")
FLAT = Schedule(kind="wsd")
INVERSE = Schedule(kind="inverse_sqrt")
INVERSE_COOLED = Schedule(kind="inverse_sqrt", cooldown=0.2, min_lr_factor=0.01)

schedules = st.builds(
    Schedule,
    kind=st.sampled_from(["linear", "cosine"]),
    warmup=st.floats(0, 0.9),
    min_lr_factor=st.floats(0, 1),
) | st.builds(
    Schedule,
    kind=st.sampled_from(["wsd", "inverse_sqrt"]),
    warmup=st.floats(0.001, 0.4),
    cooldown=st.floats(0.001, 0.6),
    cooldown_shape=st.sampled_from(["linear", "one_minus_sqrt"]),
    min_lr_factor=st.floats(0, 1),
)


def segment(
    schedule: Schedule,
    total: int,
    *,
    start: int = 0,
    end: int | None = None,
    peak: float = 3.0,
    **more: BaseSpec | Redecay | None,
) -> SegmentSpec:
    return SegmentSpec(
        id="runs/x/s0",
        parent=None,
        start_step=start,
        end_step=total if end is None else end,
        total_steps=total,
        order=OrderSpec(rows={"web": 1}, phases=(OrderPhase(start_row=0, weights={"web": 1}),), seed=0),
        model=MODEL,
        training=Training(tokens=total, seq_len=1, batch_size=1),
        optimizer=Optimizer(lr=peak),
        schedule=schedule,
        init_seed=0,
        source_sha256={},
        tokenizer_sha256="",
        data_folder="",
        **more,
    )


def base(step: int, rewarm: int = 0, kind: str = "hf") -> BaseSpec:
    return BaseSpec(kind=kind, path="/x", step=step, sha256="", rewarm=rewarm)


def curve(schedule: Schedule, total: int, peak: float = 3.0) -> list[float]:
    return [lr_at(schedule, peak, step, total) for step in range(1, total + 1)]


def as_it_was(schedule: Schedule, peak: float, step: int, total: int) -> float:
    """What linear and cosine were before there was anything else; weights of old campaigns rest on these bits."""
    warmup = round(schedule.warmup * total)
    if step < warmup:
        return peak * step / warmup
    start = max(warmup, 1)
    progress = (step - start) / (total + 1 - start)
    shape = 1.0 - progress if schedule.kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return peak * (schedule.min_lr_factor + (1.0 - schedule.min_lr_factor) * shape)


def test_linear_warms_up_to_the_peak_and_its_last_step_still_trains() -> None:
    assert lr_at(LINEAR, 1.0, 1, 100) == pytest.approx(1 / 5)
    assert lr_at(LINEAR, 1.0, 5, 100) == 1.0
    assert lr_at(LINEAR, 1.0, 100, 100) == pytest.approx(1 / 96)
    assert [lr_at(LINEAR, 1.0, s, 100) for s in (6, 7)] == pytest.approx([95 / 96, 94 / 96])


def test_cosine_ends_near_its_floor() -> None:
    assert lr_at(COSINE, 1.0, 100, 100) == pytest.approx(0.1, abs=1e-3)
    assert lr_at(COSINE, 1.0, 53, 101) == pytest.approx(0.55, abs=0.02)


@pytest.mark.parametrize("schedule", [LINEAR, COSINE, Schedule(warmup=0.0), Schedule(warmup=0.3, min_lr_factor=0.2)])
def test_linear_and_cosine_keep_every_bit(schedule: Schedule) -> None:
    assert curve(schedule, 2929, 1e-3) == [as_it_was(schedule, 1e-3, step, 2929) for step in range(1, 2930)]


def test_wsd_stays_at_the_peak_until_the_cooldown() -> None:
    whole = curve(WSD, 100, 1.0)
    assert whole[4:80] == [1.0] * 76
    assert whole[80:] == pytest.approx([1 - i / 21 for i in range(1, 21)])
    assert curve(FLAT, 100, 1.0)[4:] == [1.0] * 96


def test_one_minus_sqrt_falls_faster_at_first() -> None:
    whole = curve(WSD_SQRT, 100, 1.0)
    assert whole[:80] == curve(WSD, 100, 1.0)[:80]
    assert whole[80:] == pytest.approx([1 - math.sqrt(i / 21) for i in range(1, 21)])


def test_inverse_sqrt_halves_where_the_steps_are_four_times_the_warm_up() -> None:
    assert [lr_at(INVERSE, 1.0, s, 1000) for s in (50, 200, 450, 800)] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])


def test_inverse_sqrt_cools_down_from_where_it_is() -> None:
    whole = curve(INVERSE_COOLED, 1000, 1.0)
    there = math.sqrt(50 / 800)
    assert whole[:800] == curve(INVERSE, 1000, 1.0)[:800]
    assert whole[900] == pytest.approx(0.01 + (there - 0.01) * (1 - 101 / 201))


def test_inverse_sqrt_with_a_warm_up_of_no_step_falls_from_the_first() -> None:
    assert curve(Schedule(kind="inverse_sqrt", warmup=0.001), 100, 1.0)[:9:4] == pytest.approx([1, 1 / 5**0.5, 1 / 3])


def test_inverse_sqrt_does_not_fall_below_its_floor_nor_rise_to_it() -> None:
    floored = Schedule(kind="inverse_sqrt", cooldown=0.2, min_lr_factor=0.5)
    assert set(curve(floored, 1000, 1.0)[200:]) == {0.5}


@given(schedules, st.integers(3, 3_000))
def test_it_rises_once_falls_once_and_stays_between_floor_and_peak(schedule: Schedule, total: int) -> None:
    found = curve(schedule, total)
    top = max(round(schedule.warmup * total), 1) - 1
    assert found[top] == pytest.approx(3.0)
    assert all(a < b for a, b in itertools.pairwise(found[: top + 1]))
    assert all(a >= b * (1 - 1e-12) for a, b in itertools.pairwise(found[top:]))
    assert min(found) > 0 and max(found) <= 3.0 * (1 + 1e-12)
    assert min(found[top:]) >= 3.0 * schedule.min_lr_factor * (1 - 1e-12)


@given(schedules, st.integers(50, 3_000))
def test_it_has_no_jumps(schedule: Schedule, total: int) -> None:
    """No step changes it by more than the steepest part of its shape does, which is that over the fewest steps."""
    warmup = max(round(schedule.warmup * total), 1)
    fall = round(schedule.cooldown * total) + 1 if schedule.cooldown else total + 1 - warmup
    steepest = max(1 / warmup, (math.pi / 2) / min(fall, total + 1 - warmup))
    if schedule.cooldown_shape == "one_minus_sqrt":
        steepest = max(steepest, min(fall, total + 1 - warmup) ** -0.5)
    for a, b in itertools.pairwise(curve(schedule, total, 1.0)):
        assert abs(a - b) <= steepest * (1 + 1e-9)


@given(schedules, st.integers(10, 500), st.data())
def test_all_arms_lie_on_one_curve(schedule: Schedule, total: int, data: st.DataObject) -> None:
    branch = data.draw(st.integers(1, total - 1))
    end = data.draw(st.integers(branch + 1, total))  # a drop by `shrink` ends early
    trunk, arm = segment(schedule, total, end=branch), segment(schedule, total, start=branch, end=end)
    seen = [segment_lr(trunk, s) for s in range(1, branch + 1)] + [
        segment_lr(arm, s) for s in range(branch + 1, end + 1)
    ]
    assert seen == curve(schedule, total)[:end]
    assert takes_over(arm, branch, segment_lr(trunk, branch + 1))


@given(schedules, st.integers(10, 500), st.data())
def test_a_redecay_begins_where_the_trunk_is_and_would_be_zero_after_the_phase(
    schedule: Schedule, total: int, data: st.DataObject
) -> None:
    branch = data.draw(st.integers(1, total - 1))
    end = data.draw(st.integers(branch + 1, total))
    arm = segment(schedule, total, start=branch, end=end, redecay=Redecay(start_step=branch, end_step=end))
    found = [segment_lr(arm, step) for step in range(1, end + 1)]
    assert found[: branch + 1] == curve(schedule, total)[: branch + 1]
    assert takes_over(arm, branch, curve(schedule, total)[branch])
    phase = found[branch:]
    assert all(a > b for a, b in itertools.pairwise(phase))
    linear = schedule.cooldown_shape == "linear"
    falls = [1 - (i / len(phase) if linear else math.sqrt(i / len(phase))) for i in range(len(phase))]
    assert phase == pytest.approx([phase[0] * fall for fall in falls], rel=1e-9)
    with pytest.raises(ValueError, match=f"step {end + 1} is (after the phase's end|outside)"):
        segment_lr(arm, end + 1)


@given(st.floats(0, 0.5), st.integers(10, 2_000), st.data())
def test_a_redecay_of_a_linear_schedule_to_zero_is_to_continue(warmup: float, total: int, data: st.DataObject) -> None:
    branch = data.draw(st.integers(max(round(warmup * total), 1), total - 1))
    arm = segment(Schedule(warmup=warmup), total, redecay=Redecay(start_step=branch, end_step=total))
    plain = segment(Schedule(warmup=warmup), total)
    steps = range(1, total + 1)
    assert [segment_lr(arm, s) for s in steps] == pytest.approx([segment_lr(plain, s) for s in steps], rel=1e-12)


def test_a_base_without_optimizer_state_warms_up_again_in_every_arm() -> None:
    control = segment(WSD, 100, start=40, base=base(40, 10))
    phase = Redecay(start_step=42, end_step=100)
    redecayed = segment(WSD, 100, start=42, base=base(40, 10), redecay=phase)
    ramp = [min((step - 40) / 10, 1) for step in range(41, 101)]
    assert [segment_lr(control, s) for s in range(41, 101)] == pytest.approx(
        [lr_at(WSD, 3.0, s, 100) * r for s, r in zip(range(41, 101), ramp, strict=True)]
    )
    assert [segment_lr(redecayed, s) for s in range(43, 101)] == pytest.approx(
        [3.0 * (1 - (s - 43) / 58) * ramp[s - 41] for s in range(43, 101)]
    )
    assert segment_lr(control, 40) == 3.0  # before the base nothing of ours was trained


def test_a_checkpoint_of_the_campaign_must_hold_the_lr_to_the_last_bit() -> None:
    due = segment_lr(segment(LINEAR, 100), 41)
    assert takes_over(segment(LINEAR, 100, start=40), 40, due)
    assert not takes_over(segment(LINEAR, 100, start=40), 40, math.nextafter(due, 1))


def test_a_base_may_hold_what_its_own_run_would_have_gone_on_with() -> None:
    due = lr_at(LINEAR, 3.0, 41, 100)
    trunk = segment(LINEAR, 100, start=40, base=base(40, 10, "dcp"))
    assert takes_over(trunk, 40, due) and takes_over(trunk, 40, due * 1.005)
    assert not takes_over(trunk, 40, due * 1.02)
    assert not takes_over(trunk, 40, segment_lr(trunk, 41))  # the rewarm is ours, not the base's
    assert takes_over(trunk, 41, segment_lr(trunk, 42)) and not takes_over(trunk, 41, due * 1.005)
    assert takes_over(segment(LINEAR, 100, start=40, base=base(40)), 40, 1.0)  # an hf folder holds none


def test_settings_without_effect_are_no_part_of_what_determines_weights() -> None:
    def same(a: Schedule, b: Schedule, redecay: Redecay | None = None) -> bool:
        return segment(a, 100, redecay=redecay).identity() == segment(b, 100, redecay=redecay).identity()

    shaped = {"cooldown_shape": "one_minus_sqrt"}
    assert same(LINEAR, LINEAR.model_copy(update=shaped)) and same(FLAT, FLAT.model_copy(update=shaped))
    assert not same(WSD, WSD_SQRT) and not same(WSD, FLAT)
    phase = Redecay(start_step=80, end_step=100)
    assert not same(LINEAR, LINEAR.model_copy(update=shaped), phase)
    assert "redecay" in segment(LINEAR, 100, redecay=phase).identity()
    assert "cooldown" not in segment(LINEAR, 100, redecay=phase).identity()["schedule"]


@pytest.mark.parametrize("step", [0, 101])
def test_a_step_outside_the_run_is_refused(step: int) -> None:
    for schedule in (LINEAR, WSD, INVERSE):
        with pytest.raises(ValueError, match="outside"):
            lr_at(schedule, 1.0, step, 100)
