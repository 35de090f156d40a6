"""The duration curve: what the targeted benchmarks gain against what general loss pays, and the best trade-off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from joyctl.report.results import CampaignResults, Key
from joyctl.report.sheet import Column


@dataclass(frozen=True)
class CurvePoint:
    """One duration; its differences are against the control, averaged over seeds."""

    variant: str
    duration: float
    """Share of all steps; 0 for the control."""
    gain: float
    """Mean over the targeted benchmarks of the difference, a fraction."""
    gain_low: float
    """95 % interval of `gain`."""
    gain_high: float
    cost: float
    """Rise of the general loss, mean over its sources, in bits per byte; below zero where it falls."""
    cost_low: float
    cost_high: float
    value: float
    """What the rule maximises."""
    pareto: bool
    """Whether no other duration has at least its gain at no more cost."""


@dataclass(frozen=True)
class DurationCurve:
    """Durations of the plain recipe (no swept keys, nothing dropped), the control first."""

    targeted: tuple[Key, ...]
    """Benchmarks behind `gain`."""
    general: tuple[Key, ...]
    """Losses behind `cost`."""
    points: tuple[CurvePoint, ...]
    rule: str
    """The rule in words."""
    best: float
    """The duration that the rule chooses."""
    best_low: float
    """Of resampled campaigns 95 % choose a duration from `best_low` to `best_high`."""
    best_high: float


def duration_curve(results: CampaignResults, columns: Sequence[Column]) -> DurationCurve | None:
    """The curve over the headline `columns`; None below two scored durations, or without a control or a benchmark."""
    return None
