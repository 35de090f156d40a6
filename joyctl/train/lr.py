"""The learning rate inside torchtitan: the very function that plans and audits use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torchtitan.components.optimizer import LRSchedulersContainer

from joyctl.campaign.schedule import lr_at
from joyctl.recipe.types import Schedule


class GlobalStepLR(LRSchedulersContainer):  # type: ignore[misc]
    """LR by global step; its checkpointed state is one integer, the steps done."""

    @dataclass(kw_only=True, slots=True)
    class Config(LRSchedulersContainer.Config):  # type: ignore[misc]
        """Replaces torchtitan's schedule by `joyctl.campaign.schedule.lr_at`."""

        schedule: Schedule = field(default_factory=Schedule)
        peak: float = 1.0
        """LR at the end of warm-up."""
        horizon: int = 1
        """Steps of a full run."""

        def build(self, *, optimizers: Any, training_steps: int) -> LRSchedulersContainer:
            """Build schedulers for optimizers whose own lr is 1, so that LR = 1 * lr_at(...) to the last bit."""

            def rate(steps_done: int) -> float:
                # Asked once more after the last step; that LR is never used.
                return lr_at(self.schedule, self.peak, min(steps_done + 1, self.horizon), self.horizon)

            return GlobalStepLR(optimizers, rate)
