"""The optimizers of a recipe inside torchtitan, and what a checkpoint may not silently change in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from lion_pytorch import Lion
from torchtitan.components.optimizer import OptimizersContainer, ParamGroupConfig, default_adamw

from joyctl.errors import Refused
from joyctl.recipe.types import Optimizer

Settings = list[dict[str, Any]]
"""By parameter group, what determines a step beside the LR."""

_NOT_SETTINGS = {
    *("params", "param_names"),
    *("lr", "initial_lr"),  # the schedule's
    *("fused", "foreach", "capturable", "differentiable"),  # how it is computed, not what
}


class LionOptimizers(OptimizersContainer):  # type: ignore[misc]
    """torchtitan's container, which knows LionW as well."""

    @dataclass(kw_only=True, slots=True)
    class Config(OptimizersContainer.Config):  # type: ignore[misc]
        """Nothing more to set; torchtitan builds the class that a Config stands in."""

    @staticmethod
    def _resolve_optimizer_factory(name: str) -> Callable[..., torch.optim.Optimizer]:
        factory: Callable[..., torch.optim.Optimizer]
        factory = Lion if name == "LionW" else OptimizersContainer._resolve_optimizer_factory(name)
        return factory


def optimizer_config(optimizer: Optimizer) -> OptimizersContainer.Config:
    """torchtitan's settings of `optimizer`, with LR 1: GlobalStepLR multiplies it by the LR.

    Both take lr * weight_decay of every parameter off before each step.
    """
    if optimizer.name == "lionw":
        settings = {"lr": 1.0, "betas": optimizer.betas, "weight_decay": optimizer.weight_decay}
        group = ParamGroupConfig(pattern=r".*", optimizer_name="LionW", optimizer_kwargs=settings)
        return LionOptimizers.Config(param_groups=[group], implementation="for-loop")
    config = default_adamw(lr=1.0, betas=optimizer.betas, eps=optimizer.eps, weight_decay=optimizer.weight_decay)
    config.implementation = "fused"
    return config


def settings_of(optimizers: Iterable[torch.optim.Optimizer]) -> Settings:
    """What determines a step beside the LR: weight decay, betas, eps and whatever else the optimizer has."""
    return [
        {key: value for key, value in group.items() if key not in _NOT_SETTINGS}
        for optimizer in optimizers
        for group in optimizer.param_groups
    ]


def refuse_changed_settings(what: str, asked: Settings, restored: Settings) -> None:
    """Raise Refused where the settings that a checkpoint restored are not those asked for.

    torchtitan takes weight_decay, betas and eps from the checkpoint and passes silently over those of its own
    settings. `what` names the checkpoint.
    """
    differ = {
        f"{key} {_shown(got.get(key))} (asked for: {_shown(value)})": None
        for group, got in zip(asked, restored, strict=True)
        for key, value in group.items()
        if _plain(got.get(key)) != _plain(value)
    }
    if differ:
        raise Refused(
            f"{what} would go on with {', '.join(differ)}",
            hint="Give the recipe's optimizer these settings, or branch from a run trained with its own.",
        )


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple | list) else value


def _shown(value: object) -> str:
    return f"[{', '.join(f'{each:g}' for each in value)}]" if isinstance(value, tuple | list) else str(value)
