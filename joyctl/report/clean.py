"""Scores and differences on the items that do not stand in the training data, beside those on all items.

Verdicts stay on all items: that is what a benchmark's number means. The same items are left out for every run, and the
estimator is the same, so a clean difference is what the table would show had the benchmark not had these items.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from joyctl.report.aggregate import Composite, composites
from joyctl.report.aggregate import estimate as composite_estimate
from joyctl.report.deltas import CleanDelta, Delta, run_deltas, variant_deltas
from joyctl.report.items import Items
from joyctl.report.leaks import Leaks
from joyctl.report.results import CampaignResults, CleanScore, Key, Score

Bools = npt.NDArray[np.bool_]
_FEWEST = 2
"""Items below which there is no standard error, and so no clean score."""


def with_clean_scores(results: CampaignResults) -> CampaignResults:
    """The results, every score whose tasks were all looked for with its value on clean items."""
    if results.leaks is None or not results.leaks.tasks:
        return results
    subsets = _Subsets(results.leaks)
    return replace(results, scores=tuple(_with_clean(score, subsets) for score in results.scores))


def clean_composites(results: CampaignResults, made: Sequence[Composite]) -> tuple[Composite, ...]:
    """`made` with their values on clean items, where all of their benchmarks have one."""
    if not any(score.clean for score in results.scores):
        return tuple(made)
    specs = {run.id: run for run in results.runs}
    known = {(score.run, *score.key): score.clean for score in results.scores}
    again = {(one.run, *one.key): one for one in composites(_clean_results(results))[0]}
    found = []
    for one in made:
        parts = [known[(one.run, *member.score.key)] for member in one.members]
        other = again.get((one.run, *one.key))
        if other is not None and all(parts):
            stderr = composite_estimate([(specs[one.run], other)]).stderr
            count = sum(part.found for part in parts if part)
            one = replace(one, clean=CleanScore(other.value, stderr, other.n, count))
        found.append(one)
    return tuple(found)


def with_clean(
    results: CampaignResults,
    made: Sequence[Composite],
    headline: Collection[Key],
    deltas: Sequence[Delta],
    averages: Sequence[Delta],
) -> tuple[tuple[Delta, ...], tuple[Delta, ...]]:
    """Differences of runs and of variants with what they are on clean items.

    Those are corrected as the table is, over as many comparisons, so that their own verdicts can be laid beside it.
    """
    found = {score.key: score.clean for score in results.scores if score.clean}
    found |= {one.key: one.clean for one in made if one.clean}
    if not any(clean.found for clean in found.values()):  # then all items are clean
        return tuple(_same(d, found) for d in deltas), tuple(_same(d, found) for d in averages)
    clean = _clean_results(results)
    again = composites(clean)[0]
    by_run = {(d.run, *d.key): d for d in run_deltas(clean, again, headline)}
    by_variant = {(d.run, *d.key): d for d in variant_deltas(clean, again, headline)}
    return (
        tuple(_beside(d, by_run.get((d.run, *d.key)), found) for d in deltas),
        tuple(_beside(d, by_variant.get((d.run, *d.key)), found) for d in averages),
    )


class _Subsets:
    """Clean items; runs share the names of their items, and so what is left out of them."""

    def __init__(self, leaks: Leaks) -> None:
        self.leaks = leaks
        self._known: dict[int, tuple[Items, Bools | None, Items | None]] = {}

    def clean(self, items: Items) -> Items | None:
        """The clean ones; None where that is not known of all of them, and where fewer than two are left."""
        whole, kept, subset = self._known.get(id(items.keys)) or self._look(items)
        if kept is None or subset is None or len(subset) < _FEWEST:
            return None
        if len(subset) == len(items):
            return items
        shares = items.hashes is whole.hashes and items.clusters is whole.clusters
        return replace(subset, columns=items.columns_of(kept)) if shares else items.only(kept)

    def _look(self, items: Items) -> tuple[Items, Bools | None, Items | None]:
        kept = self._kept(items)
        found = (items, kept, None if kept is None else items.only(kept))
        self._known[id(items.keys)] = found
        return found

    def _kept(self, items: Items) -> Bools | None:
        if self.leaks.unseen(items.keys):
            return None
        return np.array([doc not in self.leaks.tasks[task].found for task, doc in items.keys])


def _with_clean(score: Score, subsets: _Subsets) -> Score:
    items = subsets.clean(score.items)
    if items is None or not items.has(score.metric):
        return score
    estimate = items.estimate(score.metric)
    found = len(score.items) - len(items)
    value = estimate.value if found else score.value
    return replace(score, clean=CleanScore(value, estimate.stderr, len(items), found, items))


def _clean_results(results: CampaignResults) -> CampaignResults:
    """The results on clean items alone; scores of which that is not known as they are, so that a family is as large."""
    return replace(results, scores=tuple(map(_clean_score, results.scores)))


def _clean_score(score: Score) -> Score:
    if score.clean is None or score.clean.items is None or not score.clean.found:
        return score
    return replace(score, items=score.clean.items, value=score.clean.value, n=score.clean.n)


def _same(delta: Delta, found: Mapping[Key, CleanScore]) -> Delta:
    return _beside(delta, delta, found)


def _beside(delta: Delta, clean: Delta | None, found: Mapping[Key, CleanScore]) -> Delta:
    known = found.get(delta.key)
    if clean is None or known is None:
        return delta
    same = ("n", "delta", "stderr", "low", "high", "verdict")
    values = {name: getattr(clean, name) for name in same}
    return replace(delta, clean=CleanDelta(**values, found=known.found))
