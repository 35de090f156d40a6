"""The noise floor: how much a score of the control moves from run to run though nothing was changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from joyctl.campaign.spec import RunSpec
from joyctl.report.aggregate import Composite
from joyctl.report.estimate import components
from joyctl.report.pairing import Pair, pairs, seed_rows
from joyctl.report.results import CampaignResults, Key, Score


@dataclass(frozen=True)
class Floor:
    """Run-to-run noise of one score of one control, the same items every time, in the score's own unit."""

    key: Key
    variant: str
    """The control's."""
    phase_sd: float | None
    """Standard deviation between orders of data in the phase, within one base run; None below two runs of one trunk."""
    phase_df: int
    """Degrees of freedom behind it."""
    trunk_sd: float | None
    """Standard deviation between base runs, each the mean of its phases; None below two base runs."""
    trunk_df: int
    delta_sd: float | None
    """Standard deviation from seed to seed of a difference to this control, beyond what its items explain: trunks
    where there are several, else phases; over all variants. None where no difference has two seeds."""
    delta_df: int


def noise_floors(results: CampaignResults, made: Sequence[Composite] = ()) -> tuple[Floor, ...]:
    """Floors of every control that was run more than once, in the order of `results.scores`, composites last.

    Standard deviations have the divisor n - 1 and are pooled, weighted by degrees of freedom, over base runs (phase_sd)
    and variants (delta_sd). Sampling of items is not in them: every run answered the same.
    """
    specs = {run.id: run for run in results.runs if run.control is None}
    found: dict[tuple[str, Key], list[tuple[RunSpec, float]]] = {}
    for score in _of(specs, [*results.scores, *made]):
        spec = specs[score.run]
        found.setdefault((spec.variant, score.key), []).append((spec, score.value))
    repeated = {place: runs for place, runs in found.items() if len(runs) > 1}
    differences = _between_seeds(results) if repeated else {}
    return tuple(_floor(*place, runs, differences.get(place, [])) for place, runs in repeated.items())


def _of(specs: dict[str, RunSpec], scores: Iterable[Score | Composite]) -> list[Score | Composite]:
    return [score for score in scores if score.run in specs]


def _floor(variant: str, key: Key, runs: Sequence[tuple[RunSpec, float]], deltas: Sequence[tuple[float, int]]) -> Floor:
    trunks: dict[int, list[float]] = {}
    for spec, value in runs:
        trunks.setdefault(spec.trunk_seed, []).append(value)
    within = [(float(np.var(values, ddof=1)), len(values) - 1) for values in trunks.values() if len(values) > 1]
    phase_sd, phase_df = _pooled(within)
    means = [float(np.mean(values)) for values in trunks.values()]
    trunk_sd, trunk_df = _pooled([(float(np.var(means, ddof=1)), len(means) - 1)] if len(means) > 1 else [])
    return Floor(key, variant, phase_sd, phase_df, trunk_sd, trunk_df, *_pooled(deltas))


def _pooled(variances: Sequence[tuple[float, int]]) -> tuple[float | None, int]:
    """Root of the mean of (variance, degrees of freedom), and their sum."""
    df = sum(count for _, count in variances)
    return (math.sqrt(max(0.0, sum(v * count for v, count in variances) / df)), df) if df else (None, 0)


def _between_seeds(results: CampaignResults) -> dict[tuple[str, Key], list[tuple[float, int]]]:
    """(variance between seeds beyond the items', degrees of freedom) of every variant, by its control and score."""
    groups: dict[tuple[str, str, Key], list[Pair]] = {}
    for pair in pairs(results):
        groups.setdefault((pair.control.variant, pair.run.variant, pair.score.key), []).append(pair)
    found: dict[tuple[str, Key], list[tuple[float, int]]] = {}
    for (control, _, key), group in groups.items():
        rows = seed_rows([(pair.run, pair.differences) for pair in group])
        if len(rows) > 1:
            parts = components(rows, group[0].denominator, group[0].clusters)
            variance = (parts.seeds - parts.interaction) * len(rows)
            found.setdefault((control, key), []).append((variance, len(rows) - 1))
    return found
