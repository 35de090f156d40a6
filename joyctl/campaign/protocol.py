"""The protocol of a campaign's phases: what it is, and how screens and reports say it."""

from __future__ import annotations

from functools import lru_cache

from joyctl.campaign.spec import BaseSpec, Protocol
from joyctl.recipe.types import Phase


@lru_cache
def protocol_of(phase: Phase, base: BaseSpec | None) -> Protocol:
    """The protocol of runs by a recipe's `phase` whose trunk goes on from `base`, or from nothing."""
    if base is None or base.kind == "dcp":
        return Protocol(lr=phase.lr, average=phase.average)
    return Protocol(lr=phase.lr, average=phase.average, optimizer="started anew", rewarm=base.rewarm)


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
