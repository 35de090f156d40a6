"""Runs beside their matched controls, item by item, after checking that both were asked the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from joyctl.campaign.protocol import protocol_words
from joyctl.campaign.spec import RunSpec
from joyctl.errors import Refused
from joyctl.report.estimate import Floats, Ints
from joyctl.report.results import CampaignResults, Score
from joyctl.store.fingerprint import changed_keys


@dataclass(frozen=True, eq=False)
class Pair:
    """One score of a run and of its control; arrays have shape (items,)."""

    run: RunSpec
    control: RunSpec
    score: Score
    """The run's."""
    differences: Floats
    """Run minus control, item by item: metric values, or bits."""
    denominator: Floats
    """Ones, or bytes."""
    clusters: Ints


def pairs(results: CampaignResults) -> list[Pair]:
    """Every score of a run whose control has that score too, in the order of `results.scores`.

    Raises Refused where the two cannot be compared (`check_one_phase_protocol`, `check_pairable`).
    """
    specs = {spec.id: spec for spec in results.runs}
    scores = {(s.run, *s.key): s for s in results.scores}
    found = []
    for score in results.scores:
        run = specs[score.run]
        control = scores.get((run.control or "", *score.key))
        if control is None:
            continue
        against = specs[control.run]
        check_one_phase_protocol([against, run])
        check_pairable(score, control)
        differences = score.items.numerator(score.metric) - control.items.numerator(score.metric)
        denominator = score.items.denominator(score.metric)
        found.append(Pair(run, against, score, differences, denominator, score.items.clusters))
    return found


def check_one_phase_protocol(runs: Iterable[RunSpec]) -> None:
    """Raise Refused, naming two runs, unless all of the campaign's own runs are of one protocol of the phase."""
    first: RunSpec | None = None
    for run in runs:
        if run.reference is not None:
            continue
        first = first or run
        if run.protocol != first.protocol:
            raise Refused(
                f"{first.id} and {run.id} are of different protocols\n"
                f"  {first.id}: {protocol_words(first.protocol)}\n  {run.id}: {protocol_words(run.protocol)}",
                hint="A table never mixes protocols: give each a campaign and a report of its own (campaign=NAME).",
            )


def check_pairable(score: Score, control: Score) -> None:
    """Raise Refused, naming the first item, unless both scores have the same items under one protocol."""
    names = f"{score.run} and {control.run} on {score.task}"
    if score.comparable != control.comparable:
        digests = f"{score.protocol[:12]} and {control.protocol[:12]}"
        raise Refused(
            f"{names} were scored under different protocols: {digests}",
            hint="A table never mixes protocols: score one of them again.",
        )
    mine, other = score.items, control.items
    if mine.keys is not other.keys and mine.keys != other.keys:
        alone = sorted(set(mine.keys) ^ set(other.keys))
        where = f"item {'/'.join(alone[0])} stands in only one of them" if alone else "their order differs"
        raise Refused(f"{names} do not hold the same items: {where}", hint="Score one of them again.")
    if mine.hashes is not other.hashes and mine.hashes != other.hashes:
        item = next(i for i, hash_ in enumerate(mine.hashes) if hash_ != other.hashes[i])
        raise Refused(
            f"{names} were not asked the same: item {'/'.join(mine.keys[item])} has another hash",
            hint="The document, the prompt or the target changed in between: score one of them again.",
        )
    unequal = np.flatnonzero(mine.denominator(score.metric) != other.denominator(score.metric))
    if len(unequal):
        item = int(unequal[0])
        raise Refused(
            f"{names} do not agree on the bytes of item {'/'.join(mine.keys[item])}",
            hint="Score one of them again.",
        )


def seed_rows(rows: Sequence[tuple[RunSpec, Floats]]) -> Floats:
    """Rows of shape (items,) stacked to (seeds, items): one row a trunk, or one a run within a single trunk.

    Runs of one trunk share its noise, so where there are several trunks only these count as independent
    and the phase seeds within each are averaged first.
    """
    trunks = sorted({run.trunk_seed for run, _ in rows})
    if len(trunks) == 1:
        return np.stack([row for _, row in rows])
    return np.stack([np.mean([row for run, row in rows if run.trunk_seed == t], axis=0) for t in trunks])


class Asked(Protocol):
    """What was asked of a run, and how: a score, or a composite of several."""

    @property
    def run(self) -> str:
        """The run's id."""

    @property
    def task(self) -> str:
        """The benchmark, or the composite's name."""

    @property
    def protocol(self) -> str:
        """Digest of all that makes two scores comparable."""


def check_one_protocol(
    scores: Iterable[Asked],
    protocols: Mapping[str, Mapping[str, Any]],
    hint: str = "A table never mixes protocols: score one of them again.",
) -> None:
    """Raise Refused, naming two runs and the parts that differ, when a task was scored under more than one protocol."""
    seen: dict[str, Asked] = {}
    for score in scores:
        first = seen.setdefault(score.task, score)
        if score.protocol == first.protocol:
            continue
        changes = changed_keys(dict(protocols[first.protocol]), dict(protocols[score.protocol]))
        what = "".join(f"\n  {key}  {old} → {new}" for key, old, new in changes)
        raise Refused(
            f"{first.run} and {score.run} were scored on {score.task} under different protocols{what}", hint=hint
        )
