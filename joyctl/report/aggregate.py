"""One number of many benchmarks: rescaled from chance to 1, averaged by category, then over the categories (PURE).

The rule is that of the Mosaic Eval Gauntlet (github.com/mosaicml/llm-foundry, its eval_gauntlet_v0.3.yaml under
scripts/eval/yamls: `subtract_random_baseline`, `rescale_accuracy`, `weighting: EQUAL`), whose core average
arXiv 2406.03476 reports.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from joyctl.campaign.spec import EvalSpec, RunSpec
from joyctl.recipe.types import SuiteTask
from joyctl.report.estimate import Estimate, Term, combined
from joyctl.report.pairing import check_pairable, seed_rows
from joyctl.report.results import CampaignResults, CleanScore, Key, MissingScore, Score
from joyctl.store.fingerprint import fingerprint

RESCALED = "rescaled"


def rescaled(score: float, baseline: float) -> float:
    """(score - baseline) / (1 - baseline): 0 for guessing, 1 for all right, below 0 for worse than guessing."""
    return (score - baseline) / (1 - baseline)


@dataclass(frozen=True, eq=False)
class Member:
    """One benchmark's part in a composite."""

    score: Score
    baseline: float
    """Score of guessing, a fraction."""
    weight: float
    """Its share of the composite; the shares sum to one."""

    @property
    def factor(self) -> float:
        """How much the composite moves when the score moves by one."""
        return self.weight / (1 - self.baseline)


@dataclass(frozen=True, eq=False)
class Composite:
    """A category's score, or the average over all categories, of one run."""

    run: str
    task: str
    """Name of the category or of the aggregate."""
    members: tuple[Member, ...]
    protocol: str
    """Digest of `protocol_parts`."""
    protocol_parts: Mapping[str, Any]
    """Aggregate and version; task by task its category, metric, baseline and protocol."""
    overall: bool
    """Whether it is the average over the categories."""
    metric: str = RESCALED
    filter: str = "none"
    higher_is_better: bool = True
    clean: CleanScore | None = None
    """None where no overlap check has looked for all of its benchmarks."""

    @property
    def key(self) -> Key:
        """Which score it is."""
        return self.task, self.metric, self.filter

    @property
    def n(self) -> int:
        """Items behind it."""
        return sum(member.score.n for member in self.members)

    @property
    def value(self) -> float:
        """sum_t weight_t * rescaled(score_t)."""
        return math.fsum(m.weight * rescaled(m.score.value, m.baseline) for m in self.members)


def composites(results: CampaignResults) -> tuple[tuple[Composite, ...], tuple[MissingScore, ...]]:
    """Categories and average of every run whose suite has an aggregate, and those that lack a benchmark.

    A category is the plain mean of its benchmarks' rescaled scores, the average the plain mean of the categories.
    Where a single benchmark is missing neither is given: an average over fewer is another number.
    """
    scores = {(score.run, *score.key): score for score in results.scores}
    scored = {score.run for score in results.scores}
    found: list[Composite] = []
    lacking: list[MissingScore] = []
    for run in results.runs:
        if run.eval.aggregate is None or run.id not in scored:
            continue
        groups = _categories(run.eval)
        reasons: list[str] = []
        for name, entries in groups.items():
            members = [scores.get((run.id, *_key(entry))) for entry in entries]
            absent = [_absence(entry, run.id, results) for entry, m in zip(entries, members, strict=True) if m is None]
            if absent:
                lacking.append(MissingScore(run.id, name, f"needs {', '.join(absent)}"))
                reasons += absent
        if reasons:
            lacking.append(MissingScore(run.id, run.eval.aggregate.name, f"needs {', '.join(reasons)}"))
        whole = {lack.task for lack in lacking if lack.run == run.id}
        for name, entries in groups.items():
            if name not in whole:
                found.append(_composite(run, name, {name: entries}, scores, overall=False))
        if not reasons:
            found.append(_composite(run, run.eval.aggregate.name, groups, scores, overall=True))
    return tuple(found), tuple(lacking)


def difference(pairs: Sequence[tuple[RunSpec, Composite, Composite]]) -> list[Term]:
    """Composite minus its control's, over runs (run, composite, control's composite) of several seeds.

    Items are paired benchmark by benchmark; `estimate.combined` then propagates differences and variances; baselines
    cancel. Raises Refused as `check_pairable` does.
    """
    terms = []
    for i, member in enumerate(pairs[0][1].members):
        rows = []
        for run, mine, other in pairs:
            score, control = mine.members[i].score, other.members[i].score
            check_pairable(score, control)
            check_pairable(score, member.score)
            rows.append((run, score.items.numerator(score.metric) - control.items.numerator(control.metric)))
        terms.append(_term(member, seed_rows(rows)))
    return terms


def estimate(found: Sequence[tuple[RunSpec, Composite]]) -> Estimate:
    """A composite itself, averaged over runs of several seeds; `found` is not empty."""
    terms = []
    offset = 0.0
    for i, member in enumerate(found[0][1].members):
        scores = [(run, composite.members[i].score) for run, composite in found]
        for _, score in scores:
            check_pairable(score, member.score)
        terms.append(_term(member, seed_rows([(run, s.items.numerator(s.metric)) for run, s in scores])))
        offset -= member.factor * member.baseline
    return combined(terms, offset)


def _term(member: Member, rows: Any) -> Term:
    items, metric = member.score.items, member.score.metric
    return Term(member.factor, np.asarray(rows), items.denominator(metric), items.clusters)


def _categories(spec: EvalSpec) -> dict[str, list[SuiteTask]]:
    groups: dict[str, list[SuiteTask]] = {}
    for entry in spec.tasks:
        if entry.category is not None:
            groups.setdefault(entry.category, []).append(entry)
    return groups


def _composite(
    run: RunSpec,
    name: str,
    groups: Mapping[str, Sequence[SuiteTask]],
    scores: Mapping[tuple[str, str, str, str], Score],
    *,
    overall: bool,
) -> Composite:
    shares = {entry: 1 / len(groups) / len(entries) for entries in groups.values() for entry in entries}
    members = {
        entry: Member(scores[run.id, *_key(entry)], entry.baseline or 0.0, shares[entry])
        for entry in sorted(shares, key=lambda entry: entry.task)  # so that members of two runs stand side by side
    }
    of_whom = run.eval.aggregate
    assert of_whom is not None  # composites() asks for no others
    parts = {
        "aggregate": of_whom.name,
        "version": of_whom.version,
        "tasks": {
            entry.task: {
                "category": entry.category,
                "metric": entry.metric,
                "baseline": member.baseline,
                "protocol": member.score.comparable,
            }
            for entry, member in members.items()
        },
    }
    return Composite(run.id, name, tuple(members.values()), fingerprint(parts), parts, overall)


def _key(entry: SuiteTask) -> Key:
    metric, _, filter_ = (entry.metric or "").partition(",")
    return entry.task, metric, filter_


def _absence(entry: SuiteTask, run: str, results: CampaignResults) -> str:
    """A task that has no score, or none by that metric."""
    there = any(score.run == run and score.task == entry.task for score in results.scores)
    return f"{entry.metric} of {entry.task}" if there else entry.task
