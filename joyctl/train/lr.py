"""The learning rate inside torchtitan: the very function that plans and audits use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torchtitan.components.optimizer import LRSchedulersContainer

from joyctl.campaign.schedule import segment_lr
from joyctl.campaign.spec import SegmentSpec


class GlobalStepLR(LRSchedulersContainer):  # type: ignore[misc]
    """LR by global step; its checkpointed state is one integer, the steps done."""

    @dataclass(kw_only=True, slots=True)
    class Config(LRSchedulersContainer.Config):  # type: ignore[misc]
        """Replaces torchtitan's schedule by `joyctl.campaign.schedule.segment_lr`."""

        segment: SegmentSpec

        def build(self, *, optimizers: Any, training_steps: int) -> LRSchedulersContainer:
            """Build schedulers for optimizers whose own lr is 1, so that LR = 1 * segment_lr(...) to the last bit."""
            segment = self.segment
            last = segment.total_steps if segment.redecay is None else segment.redecay.end_step

            def rate(steps_done: int) -> float:
                # Asked once more after the last step; that LR is never used.
                return segment_lr(segment, min(steps_done + 1, last))

            return GlobalStepLR(optimizers, rate)

    def stand_at(self, steps_done: int) -> None:
        """Go on as if so many steps were done, the optimizers too.

        Loading a checkpoint moves the schedule but leaves in the optimizers the LR of whoever wrote it, and torch
        asks the schedule only after a step: the first one would use the checkpoint's LR while the log shows ours.
        """
        self.load_state_dict({"last_epoch": steps_done})
        for scheduler in self.schedulers:
            for group, lr in zip(scheduler.optimizer.param_groups, scheduler.get_last_lr(), strict=True):
                group["lr"] = lr


def lr_in_use(optimizers: Iterable[Optimizer]) -> float:
    """LR that the next step will use: what the optimizers hold, not what a schedule says of it."""
    (lr,) = {float(group["lr"]) for optimizer in optimizers for group in optimizer.param_groups}
    return lr
