"""The duration curve: what the targeted benchmarks gain against what general loss pays, and the best trade-off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from joyctl.campaign.spec import RunSpec
from joyctl.report.aggregate import RESCALED, composites
from joyctl.report.estimate import Term
from joyctl.report.items import BITS_PER_BYTE
from joyctl.report.optimum import Arm, Optimum, optimum, pareto
from joyctl.report.pairing import Pair, check_pairable, pairs, seed_rows
from joyctl.report.results import CampaignResults, Key
from joyctl.report.sheet import Column, is_upsampling

Weights = Mapping[Key, float]
Kind = Literal["trade-off", "largest gain", "none"]
"""What decides: gain and cost together, gain alone where no cost is detectable, nothing where no gain is."""
_RULES: Mapping[Kind, str] = {
    "trade-off": "the largest gain less cost, each as a share of its largest change over the durations",
    "largest gain": "the largest gain, since no duration's cost is detectable",
    "none": "no duration's mean gain is detectable",
}


EACH_ITS_OWN = "control"
"""What the curve's first point is called where every duration has a control of its own."""


@dataclass(frozen=True)
class CurvePoint:
    """One duration; its differences are against the control, averaged over seeds."""

    variant: str
    duration: float
    """Share of all steps; 0 for the control, or for all of them where every duration has its own."""
    gain: float
    """Mean over the targeted benchmarks of the difference, a fraction."""
    gain_low: float
    """95 % interval of `gain`."""
    gain_high: float
    cost: float
    """Rise of the general loss, mean over its sources, in bits per byte; below zero where it falls. By `cost_unit`
    `pp`: fall of the aggregate of general capability, a fraction."""
    cost_low: float
    cost_high: float
    value: float
    """What the rule maximises."""
    pareto: bool
    """Whether no other duration has at least its gain at no more cost."""
    chosen: float
    """Share of resampled campaigns in which the rule chooses it."""


@dataclass(frozen=True)
class DurationCurve:
    """Durations of the plain recipe (no swept keys, nothing dropped), the control first."""

    targeted: tuple[Key, ...]
    """Benchmarks behind `gain`."""
    general: tuple[Key, ...]
    """Losses behind `cost`, or the aggregate."""
    cost_unit: str
    """`bits/byte`, or `pp` where costs are fractions."""
    points: tuple[CurvePoint, ...]
    kind: Kind
    rule: str
    """The rule in words."""
    best: float
    """The duration that the rule chooses; 0 where no gain is detectable."""
    best_low: float
    """Of resampled campaigns 95 % choose a duration from `best_low` to `best_high`."""
    best_high: float
    seeds: int
    """Base runs (or, with a single one, orders of the phase) behind every duration, at least; with one, the intervals
    hold no run-to-run noise."""
    left_out: tuple[str, ...]
    """Variants of durations that lack one of these scores, or whose control does."""

    @property
    def best_point(self) -> CurvePoint:
        """The point at `best`."""
        return next(point for point in self.points if point.duration == self.best)

    @property
    def open_choice(self) -> bool:
        """Whether there are durations to choose from: two at least, beside the control."""
        return len(self.points) > 2

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves out any duration."""
        return any(not self.best_low <= point.duration <= self.best_high for point in self.points[1:])


def duration_curve(results: CampaignResults, columns: Sequence[Column]) -> DurationCurve | None:
    """The curve over the headline `columns`.

    Targeted are the benchmarks that are no aggregate; general are the losses (of large crawls), or where none was
    scored the aggregate, whose fall is the cost. None without either side, without a control, or where no duration
    has all of these scores.

    Raises Refused where the items or protocols of a run and its control disagree.
    """
    targeted = [c.key for c in columns if c.higher_is_better and c.percent and c.key[1] != RESCALED]
    losses = [c.key for c in columns if c.key[1] == BITS_PER_BYTE]
    aggregate = [c.key for c in columns if c.key[1] == RESCALED]
    general = losses or aggregate
    if not targeted or not general:
        return None
    gain = dict.fromkeys(targeted, 1 / len(targeted))
    cost = dict.fromkeys(losses, 1 / len(losses)) if losses else _falling(results, aggregate[0])
    plain = [run for run in results.runs if is_upsampling(run) and not run.changed]
    found = _complete(results, plain, {*gain, *cost})
    durations = {run.variant: run.duration for run in sorted(plain, key=lambda run: run.duration)}
    scored = [variant for variant in durations if any(run.variant == variant for run, _ in found)]
    if not scored:
        return None
    arms = [_arm([one for one in found if one[0].variant == variant], gain, cost) for variant in scored]
    best = optimum(arms)
    controls = dict.fromkeys(pairs[targeted[0]].control.variant for _, pairs in found)
    points = _points(
        [next(iter(controls)) if len(controls) == 1 else EACH_ITS_OWN, *scored],
        [0.0, *(durations[variant] for variant in scored)],
        best,
    )
    low, high = best.interval
    kind: Kind = "none" if not best.pays else "trade-off" if best.trades else "largest gain"
    return DurationCurve(
        targeted=tuple(targeted),
        general=tuple(general),
        cost_unit="bits/byte" if losses else "pp",
        points=points,
        kind=kind,
        rule=_RULES[kind],
        best=points[best.best].duration,
        best_low=points[low].duration,
        best_high=points[high].duration,
        seeds=min(len(arm.seeds) for arm in arms),
        left_out=tuple(variant for variant in durations if variant not in scored),
    )


def _falling(results: CampaignResults, aggregate: Key) -> Weights:
    """By how much the aggregate falls when a score of its members rises by one."""
    one = next(composite for composite in composites(results)[0] if composite.key == aggregate)
    return {member.score.key: -member.factor for member in one.members}


def _complete(
    results: CampaignResults, runs: Sequence[RunSpec], keys: set[Key]
) -> list[tuple[RunSpec, Mapping[Key, Pair]]]:
    """The runs that have all of these scores, and their controls too, with the pairs of both."""
    mine = {run.id for run in runs} | {run.control for run in runs}
    scores = tuple(score for score in results.scores if score.key in keys and score.run in mine)
    by_run: dict[str, dict[Key, Pair]] = {run.id: {} for run in runs}
    for pair in pairs(replace(results, scores=scores)):
        if pair.run.id in by_run:
            by_run[pair.run.id][pair.score.key] = pair
    return [(run, by_run[run.id]) for run in runs if by_run[run.id].keys() == keys]


def _arm(runs: Sequence[tuple[RunSpec, Mapping[Key, Pair]]], gain: Weights, cost: Weights) -> Arm:
    trunks = sorted({run.trunk_seed for run, _ in runs})
    seeds = [(trunk, -1) for trunk in trunks] if len(trunks) > 1 else [(run.trunk_seed, run.seed) for run, _ in runs]
    sides = [tuple(_term(weight, [found[key] for _, found in runs]) for key, weight in w.items()) for w in (gain, cost)]
    return Arm(sides[0], sides[1], tuple(seeds))


def _term(weight: float, of_runs: Sequence[Pair]) -> Term:
    first = of_runs[0]
    for other in of_runs[1:]:
        check_pairable(other.score, first.score)
    rows = seed_rows([(pair.run, pair.differences) for pair in of_runs])
    return Term(weight, np.asarray(rows), first.denominator, first.clusters)


def _points(variants: Sequence[str], durations: Sequence[float], best: Optimum) -> tuple[CurvePoint, ...]:
    gains = [(0.0, 0.0, 0.0), *((one.value, *one.interval()) for one in best.gains)]
    costs = [(0.0, 0.0, 0.0), *((one.value, *one.interval()) for one in best.costs)]
    efficient = pareto([gain for gain, _, _ in gains], [cost for cost, _, _ in costs])
    return tuple(
        CurvePoint(
            variant=variant,
            duration=durations[i],
            gain=gains[i][0],
            gain_low=gains[i][1],
            gain_high=gains[i][2],
            cost=costs[i][0],
            cost_low=costs[i][1],
            cost_high=costs[i][2],
            value=(0.0, *best.values)[i],
            pareto=efficient[i],
            chosen=float(best.chosen[i]),
        )
        for i, variant in enumerate(variants)
    )
