"""Learning rate by global step: one curve for every arm of a campaign."""

from __future__ import annotations

import math

from joyctl.campaign.spec import SegmentSpec
from joyctl.recipe.types import Schedule

FOREIGN_LR = 0.01
"""How far, as a share, the LR of a base trained elsewhere may lie from the schedule's."""


def lr_at(schedule: Schedule, peak: float, step: int, total_steps: int) -> float:
    """LR of optimizer step `step` (the first is 1, the last is `total_steps`).

    Linear warm-up over w = round(warmup * total_steps) steps, reaching `peak` at step w. From there

    - `linear`, `cosine`: decay over the remaining steps;
    - `wsd`: `peak`, then the cooldown (arXiv 2404.06395, 2405.18392);
    - `inverse_sqrt`: peak * sqrt(w / step), then the cooldown from whatever it has there (Zhai et al., Scaling Vision
      Transformers, 2022, with the timescale w). Without warm-up w counts as 1. It never falls below the floor.

    Decay and cooldown, which has the last round(cooldown * total_steps) steps, are such that one step after the last
    the LR would be the floor, `min_lr_factor * peak`. The last step therefore still trains (peak / decay steps for a
    linear decay to zero). Warm-up has precedence where rounding lets the two overlap.

    Raises ValueError for a step outside 1..total_steps.
    """
    if not 1 <= step <= total_steps:
        raise ValueError(f"step {step} is outside 1..{total_steps}")
    warmup = round(schedule.warmup * total_steps)
    if step < warmup:
        return peak * step / warmup
    start = max(warmup, 1)  # the step that has the full peak
    floor = schedule.min_lr_factor
    if schedule.kind in ("linear", "cosine"):
        progress = (step - start) / (total_steps + 1 - start)
        shape = 1.0 - progress if schedule.kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
        return peak * (floor + (1.0 - floor) * shape)
    turn = max(total_steps - round(schedule.cooldown * total_steps), start)  # the last step before the cooldown
    hot = min(step, turn)
    factor = 1.0 if schedule.kind == "wsd" else max(math.sqrt(start / hot), floor)
    if step <= turn:
        return peak * factor
    fall = _fall(schedule, (step - turn) / (total_steps + 1 - turn))
    return peak * (floor + (factor - floor) * fall)


def segment_lr(segment: SegmentSpec, step: int) -> float:
    """LR of optimizer step `step` in training `segment`: what plan, audit and training all ask.

    It is the schedule's, but for two things. A phase of protocol `redecay` falls from what is due at the first step
    after the branch, by the schedule's cooldown shape, to what would be zero one step after the phase's end. And in the
    `rewarm` steps after a base it is (step - base.step) / rewarm of that, in every arm.

    Raises ValueError for a step outside 1..total_steps, and for one after the end of a redecay.
    """
    due = lr_at(segment.schedule, segment.optimizer.lr, step, segment.total_steps)
    redecay = segment.redecay
    if redecay is not None and step > redecay.start_step:
        if step > redecay.end_step:
            raise ValueError(f"step {step} is after the phase's end, step {redecay.end_step}")
        first = redecay.start_step + 1
        top = lr_at(segment.schedule, segment.optimizer.lr, first, segment.total_steps)
        due = top * _fall(segment.schedule, (step - first) / (redecay.end_step + 1 - first))
    base = segment.base
    if base is not None and base.step < step < base.step + base.rewarm:
        due *= (step - base.step) / base.rewarm
    return due


def takes_over(segment: SegmentSpec, step: int, lr: float) -> bool:
    """Whether `lr`, which a checkpoint of `step` holds for its next step, is one that `segment` goes on from.

    It must be the segment's own to the last bit. Of a base trained elsewhere it is what that run would have gone on
    with, so the rewarm does not count; within `FOREIGN_LR`, because torchtitan's schedules count steps a little
    differently. A Hugging Face folder has none.
    """
    base = segment.base
    if base is None or step != base.step:
        return lr == segment_lr(segment, step + 1)
    due = lr_at(segment.schedule, segment.optimizer.lr, step + 1, segment.total_steps)
    return base.kind == "hf" or math.isclose(lr, due, rel_tol=FOREIGN_LR)


def _fall(schedule: Schedule, progress: float) -> float:
    """From 1 at progress 0 to 0 at progress 1, by the schedule's cooldown shape."""
    return 1.0 - (progress if schedule.cooldown_shape == "linear" else math.sqrt(progress))
