"""Campaigns drawn from a known truth and judged by the report's own statistics: coverage, errors, power.

Used by the tests, in small, and by benchmarks/simulate.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from joyctl.report.estimate import Estimate, Part, Term
from joyctl.report.exact import mcnemar_power
from joyctl.report.judge import ALPHA, Evidence, Judgement, evidence, judge, pass_fail
from joyctl.report.pairing import seed_rows
from joyctl.report.power import power

MMLU_LIKE = tuple(np.round(np.exp(np.linspace(math.log(20), math.log(110), 57)) ** 1.05).astype(int).tolist())
"""57 subjects of unequal size: 38 effective ones. MMLU's own have 30; see MMLU."""
MMLU = (*(100,) * 24, *(115, 130, 145, 160, 175, 190, 205, 220, 235, 238, 240, 245, 250, 265, 270, 280, 282, 295),
        *(300, 305, 306, 310, 311, 324, 340, 346, 378, 390, 545, 612, 783, 895, 1534))  # fmt: skip
"""About the sizes of MMLU's 57 subjects: a few of them hold a third of the questions."""


@dataclass(frozen=True)
class Regime:
    """One kind of campaign: a control and variants on one benchmark."""

    name: str
    binary: bool
    """Items are passed or failed (a probit model), or else bits of texts of unequal length."""
    clusters: Sequence[int]
    """Items by cluster."""
    seeds: int = 1
    """Base runs."""
    phases: int = 1
    """Runs within each."""
    effects: Sequence[float] = (0.0, 0.0, 0.05, 0.1)
    """True differences of the variants from the control."""
    rate: float = 0.45
    """True pass rate of the control."""
    item: float = 1.0
    """Standard deviations on the latent scale (binary) or in bits per byte: what items have in common over runs,"""
    cluster: float = 0.0
    """what clusters do differently under each run,"""
    own: float = 0.5
    """what an item does differently under each variant, in every seed alike,"""
    rest: float = 0.0
    """and in every single run (continuous items; binary ones have the coin's own),"""
    trunk: float = 0.0
    """base runs, each variant on its own,"""
    phase: float = 0.0
    """phases of one base run."""


REGIMES = (
    Regime("pass/fail, 1 run (GSM8K)", True, (1,) * 400),
    Regime("pass/fail, few items, 1 run (HumanEval)", True, (1,) * 164, effects=(0.0, 0.0, 0.08, 0.15)),
    Regime("subjects of MMLU's sizes, 1 run", True, MMLU, cluster=0.15, effects=(0.0, 0.0, 0.02, 0.04)),
    Regime("bits per byte, 1 run", False, (1,) * 240, own=0.05, effects=(0.0, 0.0, 0.008, 0.015)),
    Regime("pass/fail, 3 base runs", True, (1,) * 400, seeds=3, trunk=0.1, effects=(0.0, 0.0, 0.08, 0.16)),
    Regime("pass/fail, 3 base runs without noise", True, (1,) * 400, seeds=3, effects=(0.0, 0.0, 0.04, 0.08)),
    Regime("subjects, 5 base runs", True, MMLU_LIKE, seeds=5, cluster=0.1, trunk=0.1, effects=(0.0, 0.0, 0.04, 0.08)),
    Regime(
        "bits per byte, 3 base runs of 2 phases", False, (1,) * 240, seeds=3, phases=2, own=0.05, rest=0.05,
        trunk=0.01, phase=0.01, effects=(0.0, 0.0, 0.02, 0.05),
    ),
)  # fmt: skip


@dataclass
class Tally:
    """What became of the simulated campaigns of one regime."""

    regime: Regime
    campaigns: int = 0
    covered: list[bool] = field(default_factory=list)
    bootstrap_covered: list[bool] = field(default_factory=list)
    family_errors: int = 0
    """Campaigns with a verdict on a true zero, or with the wrong sign."""
    false_rates: list[float] = field(default_factory=list)
    """Share of false ones among the calls at q < 0.05, by campaign."""
    called: dict[float, list[bool]] = field(default_factory=dict)
    """By effect: p at or below ALPHA, uncorrected."""
    variances: dict[float, list[tuple[tuple[float, float], ...]]] = field(default_factory=dict)
    discordant: dict[float, list[float]] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Take in campaigns of the same regime."""
        self.campaigns += other.campaigns
        self.family_errors += other.family_errors
        self.covered += other.covered
        self.bootstrap_covered += other.bootstrap_covered
        self.false_rates += other.false_rates
        for mine, others in (
            (self.called, other.called),
            (self.variances, other.variances),
            (self.discordant, other.discordant),
        ):
            for effect, values in others.items():  # type: ignore[attr-defined]
                mine.setdefault(effect, []).extend(values)  # type: ignore[attr-defined]

    @property
    def coverage(self) -> float:
        """Share of 95 % intervals that hold the truth."""
        return float(np.mean(self.covered))

    @property
    def bootstrap_coverage(self) -> float:
        """The same of bootstrap intervals."""
        return float(np.mean(self.bootstrap_covered))

    @property
    def family_wise_error(self) -> float:
        """Share of campaigns with any false verdict."""
        return self.family_errors / self.campaigns

    @property
    def false_discoveries(self) -> float:
        """False discovery rate."""
        return float(np.mean(self.false_rates))

    def powers(self) -> list[tuple[float, float, float]]:
        """(effect, stated power, realised) for every effect but 0.

        Stated from the mean of the estimated variances, or the mean share of discordant items: what a pilot of the same
        size tells on average.
        """
        found = []
        for effect, calls in self.called.items():
            if effect == 0:
                continue
            n = sum(self.regime.clusters)
            if effect in self.discordant:
                stated = mcnemar_power(effect, float(np.mean(self.discordant[effect])), n, ALPHA)
            else:
                mean = np.mean(self.variances[effect], axis=0)
                parts = tuple(Part(float(v), float(df)) for v, df in mean)
                stated = power(effect, Estimate(0.0, parts, n, n, False), ALPHA)
            found.append((effect, stated, float(np.mean(calls))))
        return found


def simulate(regime: Regime, campaigns: int, seed: int = 0) -> Tally:
    """Draw and judge campaigns."""
    rng = np.random.default_rng([seed, len(regime.name), sum(map(ord, regime.name))])
    tally = Tally(regime)
    for _ in range(campaigns):
        family = _family(regime, rng)
        _count(tally, family, judge(family))
    return tally


def all_null(regime: Regime) -> Regime:
    """The regime with more variants, none of which differs from the control."""
    return replace(regime, effects=(0.0,) * 8)


def _family(regime: Regime, rng: np.random.Generator) -> list[Evidence]:
    sizes = np.asarray(regime.clusters)
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    n = len(clusters)
    length = np.ones(n) if regime.binary else rng.lognormal(5, 0.5, n)
    common = regime.item * rng.normal(size=n)
    runs: list[list[tuple[Any, np.ndarray]]] = []
    for effect in (None, *regime.effects):
        shared = common + regime.own * rng.normal(size=n)
        shared = shared + regime.cluster * rng.normal(size=len(sizes))[clusters]
        runs.append([])
        for trunk in range(regime.seeds):
            of_trunk = regime.trunk * rng.normal()
            for _ in range(regime.phases):
                latent = shared + of_trunk + regime.phase * rng.normal()
                runs[-1].append(
                    (SimpleNamespace(trunk_seed=trunk), _answers(regime, effect or 0.0, latent, length, rng))
                )
    control = runs[0]
    found = []
    for variant in runs[1:]:
        rows = seed_rows([(spec, mine - other) for (spec, mine), (_, other) in zip(variant, control, strict=True)])
        counts = pass_fail(variant[0][1], control[0][1], len(sizes)) if len(variant) == 1 else None
        found.append(evidence([Term(1.0, rows, length, clusters)], counts))
    return found


def _answers(regime: Regime, effect: float, latent: np.ndarray, length: np.ndarray, rng: np.random.Generator) -> Any:
    if not regime.binary:
        return length * (effect + latent + regime.rest * rng.normal(size=len(latent)))
    # A probit model averages to a probit of the whole variance, so that the true rate is known exactly.
    parts = (regime.item, regime.own, regime.cluster, regime.trunk, regime.phase)
    spread = math.sqrt(1 + sum(part**2 for part in parts))
    middle = spread * float(ndtri(regime.rate + effect))
    return (rng.uniform(size=len(latent)) < ndtr(middle + latent)).astype(float)


def _count(tally: Tally, family: Sequence[Evidence], judged: Sequence[Judgement]) -> None:
    tally.campaigns += 1
    wrong, discoveries, false = False, 0, 0
    for effect, one, said in zip(tally.regime.effects, family, judged, strict=True):
        tally.covered.append(said.low <= effect <= said.high)
        tally.bootstrap_covered.append(said.bootstrap_low <= effect <= said.bootstrap_high)
        tally.called.setdefault(effect, []).append(said.p <= ALPHA)
        sign = {"higher": 1, "lower": -1, "no detectable difference": 0}[said.verdict]
        wrong |= sign != 0 and sign != np.sign(effect)
        discoveries += said.q < ALPHA
        false += said.q < ALPHA and effect == 0
        if one.pass_fail is not None:
            share = (one.pass_fail.lost + one.pass_fail.won) / one.pass_fail.items
            tally.discordant.setdefault(effect, []).append(share)
        parts = tuple((part.variance, part.df) for part in one.estimate.parts)
        tally.variances.setdefault(effect, []).append(parts)
    tally.family_errors += wrong
    tally.false_rates.append(false / discoveries if discoveries else 0.0)
