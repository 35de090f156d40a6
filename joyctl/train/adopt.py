"""What is set right after a base was loaded: torchtitan takes more from a checkpoint than the parameters."""

from __future__ import annotations

from typing import Any

from torchtitan.components.optimizer import LRSchedulersContainer, OptimizersContainer

from joyctl.campaign.schedule import segment_lr
from joyctl.campaign.spec import SegmentSpec
from joyctl.errors import Refused
from joyctl.train.inspect_dcp import lr_agrees

Settings = list[list[dict[str, Any]]]
"""Of every optimizer of every group: all but the parameters."""
_LEARNT = ("weight_decay", "betas", "eps", "amsgrad", "maximize")
"""Settings that change what a step does; the others say how it is computed."""


def own_settings(optimizers: OptimizersContainer) -> Settings:
    """The settings that the recipe gave, before a checkpoint's replace them."""
    return [
        [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
        for optimizer in optimizers
    ]


def begin_after(
    segment: SegmentSpec,
    step: int,
    settings: Settings,
    optimizers: OptimizersContainer,
    lr_schedulers: LRSchedulersContainer,
) -> int:
    """Let training go on at the base's step, by the recipe's settings and the schedule; gives that step.

    `step` is what was loaded. A stock optimizer holds the LR itself, and its peak as `initial_lr`; joyctl's has a peak
    of 1 that the schedule multiplies. Raises Refused where step, LR or settings of a checkpoint are not those planned.
    """
    base = segment.base
    assert base is not None
    if base.kind == "dcp" and step != base.step:
        raise Refused(f"{segment.id}: {base.path} holds step {step}, not the {base.step} that were planned")
    due = segment_lr(segment, base.step + 1)
    for optimizer, ours in zip(optimizers, settings, strict=True):
        for group, own in zip(optimizer.param_groups, ours, strict=True):
            if base.kind == "dcp":
                _require_equal(segment, group, own, due)
            group.update(own)
            group["lr"] = due
    lr_schedulers.load_state_dict({"last_epoch": base.step})
    return base.step


def _require_equal(segment: SegmentSpec, group: dict[str, Any], own: dict[str, Any], due: float) -> None:
    if not lr_agrees(float(group["lr"]), due):
        raise Refused(
            f"{segment.id}: the base would go on with LR {float(group['lr']):.9g}, the schedule says {due:.9g}",
            hint="Set optimizer.lr, schedule and training.tokens as the base run had them.",
        )
    for key in _LEARNT:
        if key in own and _plain(group.get(key)) != _plain(own[key]):
            raise Refused(
                f"{segment.id}: the base was trained with {key} {group.get(key)}, the recipe has {own[key]}",
                hint=f"Set optimizer.{key} as the base run had it.",
            )


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
