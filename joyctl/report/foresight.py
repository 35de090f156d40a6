"""What a planned campaign will be able to see: the smallest difference it shows with 80 % probability."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from joyctl.campaign.spec import RunSpec
from joyctl.report.estimate import FEW_CLUSTERS, Estimate, Part
from joyctl.report.exact import mcnemar_detectable
from joyctl.report.judge import ALPHA
from joyctl.report.power import detectable
from joyctl.report.results import Key

DISCORDANT = 0.25
"""Before anything is scored: the share of items that a run and its control answer differently. It is what two runs do
that are both right on half of the items with a correlation of one half between them."""


@dataclass(frozen=True)
class Sight:
    """What will be detectable on one benchmark; differences in the score's own unit, with 80 % power."""

    key: Key
    """Metric and filter are empty before anything is scored, where the suite does not name them."""
    n: int
    """Items."""
    percent: bool
    """Whether the score is a fraction, shown in per cent."""
    seeds: int
    """Runs of every variant over which differences are averaged."""
    comparisons: int
    """Of the headline family, for Holm."""
    alone: float
    """Smallest difference detected when it is the only one looked at; items' sampling only."""
    corrected: float
    """The same after Holm, at the level that the first of the comparisons has to reach."""
    alone_with_noise: float | None
    """As `alone`, with run-to-run noise; None where it is not known."""
    corrected_with_noise: float | None
    basis: Literal["measured", "assumed"]
    """From this campaign's last report, or from DISCORDANT."""


def foresee(runs: Sequence[RunSpec], report: Mapping[str, Any] | None) -> tuple[Sight, ...]:
    """Sights of every headline benchmark whose items are known.

    `report` is what report.json of this campaign holds, if there is one. Benchmarks that it has scored are measured:
    the median over its runs of a single pair's standard error, and the noise between seeds. Others are assumed, where
    the suite says how many items they have and none of them stands behind an average.
    """
    compared = {run.variant for run in runs if run.control is not None and run.reference is None}
    if not compared:
        return ()
    trunks, phases = len({run.trunk_seed for run in runs}), len({run.seed for run in runs})
    seeds = trunks if trunks > 1 else phases
    seen = _measured(report) if report else {}
    scored = {key[0] for key in seen}
    tasks = {entry.task: entry for run in runs for entry in run.eval.tasks}
    assumed = {}
    for task, entry in tasks.items():
        if entry.items is not None and task not in scored and entry.category is None:
            metric, _, filter_ = (entry.metric or "").partition(",")
            n = min(entry.items, runs[0].eval.limit or entry.items)
            assumed[task, metric, filter_] = _Basis.assumed(n, entry.clusters)
    together = {**seen, **assumed}
    comparisons = len(compared) * len(together)
    return tuple(_sight(key, basis, seeds, comparisons) for key, basis in together.items())


@dataclass(frozen=True)
class _Basis:
    n: int
    items: Part
    """Variance of one pair's difference over items."""
    discordant: float | None
    """Share of discordant items, where McNemar's test will decide a single pair."""
    noise: Part | None
    """Variance of a difference from seed to seed."""
    percent: bool
    measured: bool

    @staticmethod
    def assumed(n: int, clusters: int | None) -> _Basis:
        df = n - 1.0 if clusters is None or clusters < FEW_CLUSTERS else clusters - 1.0
        alone = DISCORDANT if clusters is None else None
        return _Basis(n, Part(DISCORDANT / n, df), alone, None, percent=True, measured=False)


def _measured(report: Mapping[str, Any]) -> dict[Key, _Basis]:
    noise = {
        (one["task"], one["metric"], one["filter"]): Part(one["delta_sd"] ** 2, float(one["delta_df"]))
        for one in report.get("noise", [])
        if one["delta_sd"] is not None
    }
    by_key: dict[Key, list[Mapping[str, Any]]] = {}
    for delta in report.get("deltas", []):
        if delta["family"] == "headline":
            by_key.setdefault((delta["task"], delta["metric"], delta["filter"]), []).append(delta)
    found = {}
    for key, deltas in by_key.items():
        first, n = deltas[0], int(deltas[0]["n"])
        variance = statistics.median(delta["stderr"] for delta in deltas) ** 2
        df = n - 1.0 if first["few_clusters"] else first["clusters"] - 1.0
        share = None
        if first.get("p_exact") is not None:  # of 0 or 1 items: n * stderr**2 = share - delta**2, but for n - 1
            share = statistics.median((n - 1) * d["stderr"] ** 2 + d["delta"] ** 2 for d in deltas)
        percent = bool(first["higher_is_better"]) and key[1] != "norm_correct_prob"
        found[key] = _Basis(n, Part(variance, df), share, noise.get(key), percent, measured=True)
    return found


def _sight(key: Key, basis: _Basis, seeds: int, comparisons: int) -> Sight:
    level = ALPHA / comparisons
    with_noise: tuple[float | None, float | None] = (None, None)
    if basis.noise is not None:
        df = seeds - 1.0 if seeds > 1 else basis.noise.df
        parts = (basis.items, Part(basis.noise.variance / seeds, df))
        with_noise = (_least(basis, parts, ALPHA), _least(basis, parts, level))
    plain = (basis.items,)
    if seeds == 1 and basis.discordant is not None:
        alone, corrected = (mcnemar_detectable(basis.discordant, basis.n, at) for at in (ALPHA, level))
    else:
        alone, corrected = (_least(basis, plain, at) for at in (ALPHA, level))
    return Sight(
        key=key,
        n=basis.n,
        percent=basis.percent,
        seeds=seeds,
        comparisons=comparisons,
        alone=alone,
        corrected=corrected,
        alone_with_noise=with_noise[0],
        corrected_with_noise=with_noise[1],
        basis="measured" if basis.measured else "assumed",
    )


def _least(basis: _Basis, parts: tuple[Part, ...], level: float) -> float:
    return detectable(Estimate(0.0, parts, basis.n, basis.n, few_clusters=False), level)
