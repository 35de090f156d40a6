"""Learning rate by global step: one curve for every arm of a campaign."""

from __future__ import annotations

import math

from joyctl.campaign.spec import SegmentSpec
from joyctl.recipe.types import Schedule


def lr_at(schedule: Schedule, peak: float, step: int, total_steps: int) -> float:
    """LR of optimizer step `step` (the first is 1, the last is `total_steps`).

    Linear warm-up over w = round(warmup * total_steps) steps, reaching `peak` at step w, then decay over
    the remaining steps so that one step after the last the LR would be `min_lr_factor * peak`. The last
    step therefore still trains (peak / decay steps for a linear decay to zero).

    Raises ValueError for a step outside 1..total_steps.
    """
    if not 1 <= step <= total_steps:
        raise ValueError(f"step {step} is outside 1..{total_steps}")
    warmup = round(schedule.warmup * total_steps)
    if step < warmup:
        return peak * step / warmup
    start = max(warmup, 1)  # the step that has the full peak
    progress = (step - start) / (total_steps + 1 - start)
    shape = 1.0 - progress if schedule.kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return peak * (schedule.min_lr_factor + (1.0 - schedule.min_lr_factor) * shape)


def segment_lr(segment: SegmentSpec, step: int) -> float:
    """LR of optimizer step `step` in training `segment`: what plan, audit and training all ask.

    Raises ValueError for a step outside 1..total_steps.
    """
    return lr_at(segment.schedule, segment.optimizer.lr, step, segment.total_steps)
