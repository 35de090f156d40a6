"""What is set right after a base was loaded: torchtitan takes more from a checkpoint than the parameters."""

from __future__ import annotations

from typing import Any

from torchtitan.components.optimizer import OptimizersContainer

from joyctl.campaign.schedule import segment_lr
from joyctl.campaign.spec import SegmentSpec
from joyctl.errors import Refused
from joyctl.train.inspect_dcp import lr_agrees
from joyctl.train.optimizers import Settings, refuse_changed_settings, settings_of


def own_settings(optimizers: OptimizersContainer) -> Settings:
    """By parameter group all that the recipe gave, before a checkpoint's settings replace it."""
    return [
        {key: value for key, value in group.items() if key != "params"}
        for optimizer in optimizers
        for group in optimizer.param_groups
    ]


def begin_after(segment: SegmentSpec, step: int, own: Settings, optimizers: OptimizersContainer) -> int:
    """Let the optimizers go on from the base by the recipe's settings and the schedule; gives the base's step.

    `step` is what was loaded, `own` what own_settings gave before. A stock optimizer holds the LR itself, and its peak
    as `initial_lr`; joyctl's has a peak of 1 that the schedule multiplies. It may compute in another way too (`fused`).
    Raises Refused where step, LR or settings of a checkpoint are not those planned.
    """
    base = segment.base
    assert base is not None
    groups: list[dict[str, Any]] = [group for optimizer in optimizers for group in optimizer.param_groups]
    due = segment_lr(segment, base.step + 1)
    if base.kind == "dcp":
        if step != base.step:
            raise Refused(f"{segment.id}: {base.path} holds step {step}, not the {base.step} that were planned")
        for group in groups:
            if not lr_agrees(float(group["lr"]), due):
                raise Refused(
                    f"{segment.id}: the base would go on with LR {float(group['lr']):.9g}, the schedule says {due:.9g}",
                    hint="Set optimizer.lr, schedule and training.tokens as the base run had them.",
                )
        asked = [{key: mine[key] for key in kept} for mine, kept in zip(own, settings_of(optimizers), strict=True)]
        refuse_changed_settings(f"{segment.id}: the base", asked, settings_of(optimizers))
    for group, mine in zip(groups, own, strict=True):
        group.update(mine)
        group["lr"] = due
    return base.step
