"""Benchmarks that the control answers no better than by guessing, and what to read of them instead."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from joyctl.report.deltas import variant_estimate
from joyctl.report.items import GOLD_BITS
from joyctl.report.results import CampaignResults, Key

PROXIES = (GOLD_BITS, "norm_correct_prob")
"""Read beside an accuracy at chance, and then part of the headline: continuous, they move long before it does."""


@dataclass(frozen=True)
class AtChance:
    """A score of the control that is not detectably above guessing."""

    key: Key
    control: str
    """The control's variant."""
    value: float
    low: float
    """Lower end of the 95 % interval of `value`."""
    baseline: float
    """Score of guessing, from the suite."""
    proxies: tuple[Key, ...]
    """What was scored of PROXIES for the same benchmark."""


def at_chance(results: CampaignResults, keys: Collection[Key]) -> tuple[AtChance, ...]:
    """Those of `keys` whose 95 % interval, for the control, does not lie above the baseline that the suite gives.

    A control is a run that is compared with nothing, over its seeds; with swept settings there are several, and the
    first that is at chance is named. Benchmarks without a baseline in the suite are not judged.
    """
    controls = dict.fromkeys(run.variant for run in results.runs if run.control is None)
    variants = {run.id: run.variant for run in results.runs}
    scored = {score.key for score in results.scores}
    found: dict[Key, AtChance] = {}
    for key in keys:
        entry = results.suite.get(key[0])
        if entry is None or entry.baseline is None:
            continue
        proxies = tuple(sorted((k for k in scored if k[0] == key[0] and k[1] in PROXIES), key=_place))
        for control in controls:
            here = [s for s in results.scores if s.key == key and variants[s.run] == control]
            estimate = variant_estimate(here, results) if here else None
            if estimate is not None and estimate.interval()[0] <= entry.baseline:
                low = estimate.interval()[0]
                found.setdefault(key, AtChance(key, control, estimate.value, low, entry.baseline, proxies))
    return tuple(found.values())


def _place(key: Key) -> int:
    return PROXIES.index(key[1])
