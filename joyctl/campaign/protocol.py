"""The protocol of a campaign's phases: what it is, and how screens and reports say it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from joyctl.campaign.baserun import base_of
from joyctl.campaign.grid import Point
from joyctl.campaign.spec import BaseSpec, Protocol
from joyctl.errors import Problem, RecipeError
from joyctl.recipe.types import Phase


@lru_cache
def protocol_of(phase: Phase, base: BaseSpec | None) -> Protocol:
    """The protocol of runs by a recipe's `phase` whose trunk goes on from `base`, or from nothing."""
    if base is None or base.kind == "dcp":
        return Protocol(lr=phase.lr, average=phase.average)
    return Protocol(lr=phase.lr, average=phase.average, optimizer="started anew", rewarm=base.rewarm)


def check_one_protocol(points: Sequence[Point], base: BaseSpec | None) -> None:
    """Raise RecipeError, naming the swept keys, unless all points of a sweep are of one protocol."""
    if len({protocol_of(point.recipe.phase, base_of(point.recipe, base)) for point in points}) == 1:
        return
    keys = [key for key in points[0].changed if key.startswith(("phase", "base"))]
    message = "cannot be swept: a table never mixes protocols; give each a campaign of its own (campaign=NAME)"
    if not keys:  # the steps over which the LR rises follow from beta2 where the recipe does not say, and end with it
        keys = [key for key in points[0].changed if key.startswith(("optimizer", "training"))]
        message = "changes over how many steps the LR rises after the base, and a table never mixes protocols; "
        message += "set base.rewarm, which is then the same for all"
    raise RecipeError([Problem(f"override '{key}=...'", key, message) for key in sorted(keys)])


def protocol_words(protocol: Protocol) -> str:
    """A protocol in words: `LR goes on · mean of the last 5 checkpoints, 20 steps apart`."""
    average = protocol.average
    said = ["LR goes on" if protocol.lr == "continue" else "LR decays anew in each phase"]
    if average is None:
        said.append("last checkpoint")
    else:
        steps = f"{average.every:,} step{'s' if average.every > 1 else ''} apart"
        said.append(f"mean of the last {average.last} checkpoints, {steps}")
    if protocol.optimizer == "started anew":
        rising = f", LR rising over {protocol.rewarm:,} step{'s' if protocol.rewarm > 1 else ''}"
        said.append(f"optimizer started anew{rising if protocol.rewarm else ''}")
    return " · ".join(said)
