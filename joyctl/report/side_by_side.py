"""Two outputs of lm-eval compared: every score they share, the difference paired by item, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from joyctl.errors import Refused
from joyctl.report.deltas import Delta, Family
from joyctl.report.estimate import Estimate, Term
from joyctl.report.items import RATIOS
from joyctl.report.judge import ALPHA, Evidence, Judgement, evidence, judge, pass_fail
from joyctl.report.lmeval_files import Side, read_side
from joyctl.report.lmeval_pairs import LeafPair, pair_leaves
from joyctl.report.lmeval_protocol import harmless_changes, require_one_protocol, unsaid
from joyctl.report.lmeval_scores import Rebuilt, rebuild
from joyctl.report.lmeval_units import Unit, common_units
from joyctl.report.sheet import LENIENT

_OF_CAMPAIGNS = ("run", "control", "seeds", "trunks")
"""Fields of a Delta that say nothing of two outputs."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """One score on both sides, before it is judged."""

    unit: Unit
    metric: str
    filter: str
    higher_is_better: bool
    family: Family
    items: Rebuilt


@dataclass(frozen=True)
class Line:
    """One score of A and of B, over the items compared, and the difference between them."""

    delta: Delta
    """B minus A."""
    a: float
    b: float
    part_of: str | None
    """The group that the task is a part of."""


@dataclass(frozen=True)
class SideBySide:
    """Two outputs compared."""

    a: Side
    b: Side
    lines: tuple[Line, ...]
    """Task by task, the score that stands for it first; a group's parts after it."""
    groups: Mapping[str, int]
    """How many tasks each group has that is among the lines: its clusters."""
    notes: tuple[str, ...]
    """What a reader must be told: what was left out, what could not be compared."""

    def to_json(self) -> dict[str, Any]:
        """The object of `compare --json`; values are fractions (or bits per byte), `delta` is B minus A."""
        return {
            "a": self.a.summary(),
            "b": self.b.summary(),
            "deltas": [_to_json(line) for line in self.lines],
            "notes": list(self.notes),
            "alpha": ALPHA,
        }


def side_by_side(
    a: Path, b: Path, *, tasks: Sequence[str] | None = None, common: bool = False, parts: bool = False
) -> SideBySide:
    """Read two outputs of lm-eval, each a folder or a results file, and compare B with A.

    Every task and group that both scored is compared on every metric that is a mean over its items, or bits per byte.
    `tasks` are those wanted (default: all), `parts` adds the tasks within groups, `common` leaves out items that only
    one side has. Clusters are a group's tasks; in a task what its documents name as their `cluster`, else the items.

    Holm corrects three families apart: the score that stands for each task or group (its first under no lenient
    filter), all their other scores, and the parts of groups.

    Raises Missing and Refused as `read_side`, `common_units`, `require_one_protocol` and `pair_leaves` do, and Refused
    where no score can be compared.
    """
    left, right = read_side(a), read_side(b)
    units, notes = common_units(left, right, tasks)
    require_one_protocol(left, right, {unit.task: unit.leaves for unit in units if unit.part_of is None})
    leaves = list(dict.fromkeys(leaf for unit in units for leaf in unit.leaves))
    pairs, lacking = pair_leaves(left, right, leaves, common=common)
    shown = [unit for unit in units if parts or unit.part_of is None]
    found: list[Comparison] = []
    left_out: dict[str, list[str]] = {}
    for unit in shown:
        absent = next((leaf for leaf in unit.leaves if leaf in lacking), None)
        if absent is None:
            found += _comparisons(left, right, unit, pairs, left_out)
        else:
            why = f"no samples of {absent} in {lacking[absent]} (lm_eval --log_samples writes them)"
            left_out.setdefault(why, []).append(unit.task)
    notes += [f"left out: {', '.join(names)}: {why}" for why, names in left_out.items()]
    if not found:
        raise Refused("A and B have no score that can be compared", hint="\n".join(notes))
    notes += _common_notes(shown, pairs) if common else []
    notes += ["A and B are the same file"] if left.path.resolve() == right.path.resolve() else []
    notes += [*unsaid(left, right), *harmless_changes(left, right)]
    whole = [one for one in found if one.unit.part_of is None]
    within = [one for one in found if one.unit.part_of is not None]
    lines = [*_judged(whole, left, right), *_judged(within, left, right)]
    outermost = [unit.task for unit in shown if unit.part_of is None]
    lines.sort(key=lambda line: outermost.index(line.part_of or line.delta.task))  # stable: parts after their group
    groups = {unit.task: len(unit.leaves) for unit in shown if unit.is_group}
    return SideBySide(left, right, tuple(lines), groups, tuple(notes))


def _comparisons(
    a: Side, b: Side, unit: Unit, pairs: Mapping[str, LeafPair], left_out: dict[str, list[str]]
) -> Iterator[Comparison]:
    """Every score of `unit` on both sides that follows from its items; the others go into `left_out`, by the reason."""
    stands = False
    for metric, filter_ in sorted(a.scores[unit.task], key=lambda key: key[1] == LENIENT):
        if (metric, filter_) not in b.scores[unit.task]:
            continue
        made = rebuild(a, b, unit, metric, filter_, pairs)
        if isinstance(made, str):
            left_out.setdefault(made, []).append(f"{unit.task} {score_name(metric, filter_)}")
            continue
        family: Family = "other" if stands or unit.part_of is not None else "headline"
        stands = True
        yield Comparison(unit, metric, filter_, a.higher_is_better(unit.task, metric), family, made)


def score_name(metric: str, filter_: str) -> str:
    """A metric and its filter, where there is one, as lm-eval joins them."""
    return metric if filter_ == "none" else f"{metric},{filter_}"


def _judged(comparisons: Sequence[Comparison], a: Side, b: Side) -> list[Line]:
    """Differences with verdicts, corrected within each family of these comparisons."""
    lines: dict[int, Line] = {}
    for family in get_args(Family):
        members = [i for i, c in enumerate(comparisons) if c.family == family]
        found = [_evidence(comparisons[i]) for i in members]
        for i, one, judged in zip(members, found, judge(found), strict=True):
            lines[i] = _line(comparisons[i], one.estimate, judged, a, b)
    return [lines[i] for i in range(len(comparisons))]


def _evidence(c: Comparison) -> Evidence:
    items = c.items
    counts = None if c.metric in RATIOS else pass_fail(items.b, items.a, len(np.unique(items.clusters)))
    return evidence([Term(1.0, (items.b - items.a)[None, :], items.denominator, items.clusters)], counts)


def _line(c: Comparison, estimate: Estimate, judged: Judgement, a: Side, b: Side) -> Line:
    delta = Delta(
        run=b.model,
        control=a.model,
        task=c.unit.task,
        metric=c.metric,
        filter=c.filter,
        n=estimate.items,
        clusters=estimate.clusters,
        few_clusters=estimate.few_clusters,
        delta=estimate.value,
        stderr=estimate.stderr,
        family=c.family,
        higher_is_better=c.higher_is_better,
        seeds=1,
        trunks=1,
        **asdict(judged),
    )
    total = float(c.items.denominator.sum())
    return Line(delta, float(c.items.a.sum()) / total, float(c.items.b.sum()) / total, c.unit.part_of)


def _common_notes(shown: Sequence[Unit], pairs: Mapping[str, LeafPair]) -> list[str]:
    """How many items `--common` left out, unit by unit."""
    notes = []
    for unit in shown:
        counts = [0, 0, 0]
        for leaf in unit.leaves:
            if leaf in pairs and pairs[leaf].both:
                name, (mine, _) = next(iter(pairs[leaf].both.items()))
                for i, docs in enumerate((mine.docs, pairs[leaf].a[name].docs, pairs[leaf].b[name].docs)):
                    counts[i] += len(docs)
        both, first, second = counts
        if both < max(first, second):
            notes.append(f"{unit.task}: the {both:,} items that both have, of {first:,} in A and {second:,} in B")
    return notes


def _to_json(line: Line) -> dict[str, Any]:
    values = asdict(line.delta)
    return {
        **{name: value for name, value in values.items() if name not in _OF_CAMPAIGNS},
        "better": line.delta.better,
        "a": line.a,
        "b": line.b,
        "part_of": line.part_of,
    }
