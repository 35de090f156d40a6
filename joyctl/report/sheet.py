"""The comparison table as values: which columns and rows it has, and what stands in every cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from joyctl.campaign.spec import RunSpec
from joyctl.report.aggregate import RESCALED, Composite
from joyctl.report.aggregate import estimate as composite_estimate
from joyctl.report.deltas import Delta, variant_estimate
from joyctl.report.estimate import Estimate
from joyctl.report.items import BITS_PER_BYTE, GOLD_BITS
from joyctl.report.references import is_reference, remark
from joyctl.report.results import CampaignResults, Key, Score

_HELDOUT = "heldout_"
_UPSAMPLE = "upsample-"
LENIENT = "flexible-extract"
"""Filter that takes any number for an answer: never the score that stands for a task where there is another."""
PROXY_UNITS = {
    GOLD_BITS: "bits/byte",
    "norm_correct_prob": "probability",
    "correct_prob": "probability",
    "margin": "probability",
}
"""Continuous companions of an accuracy, with their units, in the order in which tables show them."""


@dataclass(frozen=True)
class Column:
    """One score that the headline table shows."""

    key: Key
    label: str
    unit: str
    """`pp` where values are fractions shown in per cent; otherwise the unit values stand in."""
    n: int
    higher_is_better: bool
    of: str = "%"
    """What values shown in per cent are per cent of."""

    @property
    def percent(self) -> bool:
        """Whether values are shown times 100."""
        return self.unit == "pp"

    @property
    def under(self) -> str:
        """What stands under its label: per cent of what and how many items, the proxy, or the unit."""
        if self.percent:
            return f"{self.of}, n {self.n:,}"
        metric = self.key[1]
        return f"gold {self.unit}" if metric == GOLD_BITS else metric if metric in PROXY_UNITS else self.unit

    def size(self, value: float) -> str:
        """A detectable difference as this column shows it; a fraction above 1 is out of any score's reach."""
        return ">100" if self.percent and value > 1 else self.amount(value, "-")

    def amount(self, value: float, sign: str = "+") -> str:
        """`value` as this column shows it, without its unit; sign "+" always, "-" only when negative."""
        return f"{value * 100:{sign}.1f}" if self.percent else f"{value:{sign}.3f}"


@dataclass(frozen=True)
class Cell:
    """What is known of one variant in one column; neither is given where a score is missing."""

    delta: Delta | None = None
    absolute: Estimate | None = None
    """The score itself: for controls, and for variants whose control has no score yet."""


@dataclass(frozen=True)
class Row:
    """One variant."""

    variant: str
    runs: tuple[RunSpec, ...]
    """Its runs whose run.json could be read, one a seed."""
    expected: int
    """Number of its runs that the campaign should hold."""
    scored: int
    """Number of its runs with any score."""
    control: str | None
    """Variant it is compared with; None for a control, and where no run.json tells."""
    cells: Mapping[Key, Cell]
    remark: str | None = None
    """What is to be known of a reference."""

    @property
    def is_control(self) -> bool:
        """Whether others are compared with it and it with nothing."""
        return bool(self.runs) and self.control is None

    @property
    def is_reference(self) -> bool:
        """Whether it is another model, scored beside the campaign's runs."""
        return is_reference(self.variant)


def columns(results: CampaignResults, every: Mapping[Key, Column]) -> tuple[Column, ...]:
    """Headline columns: each benchmark's primary score, the average over categories, the loss of large crawls.

    The primary score is the one whose `metric` the suite gives, else the first that is neither lenient nor a proxy.
    Benchmarks that the average is made of are represented by it. Held-out losses of other sources stand in the full
    tables only: they are what upsampling is to lower.
    """
    large = {_HELDOUT + name for name in large_sources(results.recipe)}
    averaged = _averaged(results, every)
    found: dict[str, Column] = {}
    for key in primary_keys(results, every).values():
        if key[0] not in averaged and (key[1] != BITS_PER_BYTE or key[0] in large):
            found[key[0]] = every[key]
    ordered = sorted(found.values(), key=lambda column: (not column.higher_is_better, _rank(results, column)))
    labels = _short([column.key[0] for column in ordered if column.key[1] != BITS_PER_BYTE])
    named = [replace(column, label=labels.get(column.key[0], column.label)) for column in ordered]
    benchmarks = [column for column in named if column.higher_is_better]
    overall = [every[key] for key in _composite_keys(results, every, overall=True)]
    return (*benchmarks, *overall, *(column for column in named if not column.higher_is_better))


def category_columns(results: CampaignResults, every: Mapping[Key, Column]) -> tuple[Column, ...]:
    """The categories behind the average, where there are several."""
    found = _composite_keys(results, every, overall=False)
    return tuple(every[key] for key in found) if len(found) > 1 else ()


def proxy_columns(every: Mapping[Key, Column], labels: Mapping[str, str], metrics: Sequence[str]) -> tuple[Column, ...]:
    """Scores by these metrics of the benchmarks in `labels`, benchmark by benchmark."""
    order = list(labels)
    found = [replace(c, label=labels[key[0]]) for key, c in every.items() if key[0] in labels and key[1] in metrics]
    return tuple(sorted(found, key=lambda c: (order.index(c.key[0]), metrics.index(c.key[1]))))


def primary_keys(results: CampaignResults, every: Mapping[Key, Column]) -> dict[str, Key]:
    """The score that stands for each task: what the suite names, else the first that is neither lenient nor a proxy."""
    found: dict[str, Key] = {}
    for key in every:
        task, metric, filter_ = key
        entry = results.suite.get(task)
        if entry is not None and entry.metric == f"{metric},{filter_}":
            found[task] = key
        elif filter_ != LENIENT and metric not in PROXY_UNITS and metric != RESCALED:
            found.setdefault(task, key)
    return found


def every_column(results: CampaignResults, made: Sequence[Composite] = ()) -> dict[Key, Column]:
    """Every score and composite that any run has, with how to show its numbers."""
    found: dict[Key, Column] = {}
    alike: dict[Key, list[float]] = {}
    first: dict[Key, Score] = {}
    for score in results.scores:
        alike.setdefault(score.key, []).append(score.value)
        first.setdefault(score.key, score)
    for key, score in first.items():
        fractions = score.higher_is_better and all(0 <= value <= 1 for value in alike[key])
        bits = score.metric == BITS_PER_BYTE
        unit = "bits/byte" if bits else PROXY_UNITS.get(score.metric) or ("pp" if fractions else score.metric)
        label = f"{score.task.removeprefix(_HELDOUT)} loss" if bits else score.task
        found[key] = Column(key, label, unit, score.n, score.higher_is_better)
    for one in made:
        found.setdefault(one.key, Column(one.key, one.task, "pp", one.n, higher_is_better=True, of="% rescaled"))
    return found


def rows(
    results: CampaignResults, made: Sequence[Composite], averages: Sequence[Delta], shown: Sequence[Column]
) -> tuple[Row, ...]:
    """Every expected variant: controls, durations, what is left out at each duration, then the references."""
    specs: dict[str, list[RunSpec]] = {}
    for run in results.runs:
        specs.setdefault(run.variant, []).append(run)
    ids = {run.id: run for run in results.runs}
    variants: dict[str, int] = {}
    for name in results.expected:
        variant = ids[name].variant if name in ids else name.rpartition("/")[0]
        variants[variant] = variants.get(variant, 0) + 1
    deltas = {(d.run, *d.key): d for d in averages}
    found = []
    for variant, expected in variants.items():
        runs = specs.get(variant, [])
        members = {run.id for run in runs}
        scores = [s for s in results.scores if s.run in members]
        cells = {}
        for column in shown:
            here = [s for s in scores if s.key == column.key]
            absolute = variant_estimate(here, results) if here else None
            composed = [(ids[one.run], one) for one in made if one.run in members and one.key == column.key]
            absolute = composite_estimate(composed) if composed else absolute
            cells[column.key] = Cell(deltas.get((variant, *column.key)), absolute)
        control = _control_variant(runs, ids)
        scored = len({s.run for s in scores})
        said = remark(results, runs[0]) if runs else None
        found.append(Row(variant, tuple(runs), expected, scored, control, cells, said))
    return tuple(sorted(found, key=_place))


def is_upsampling(run: RunSpec) -> bool:
    """Whether it is a phase on the upsampled mix: no control, nothing left out, nothing added, no reference."""
    own = run.control is not None and run.reference is None
    return own and not run.dropped and run.added is None and run.variant.startswith(_UPSAMPLE)


def duration_label(duration: float) -> str:
    """A share of training in per cent, as variants' names give it: `20 %`, `7.5 %`."""
    return f"{duration * 100:.4g} %"


def large_sources(recipe: Mapping[str, object]) -> tuple[str, ...]:
    """Sources of category large_cc: what stands for general language modelling."""
    sources = recipe.get("sources")
    if not isinstance(sources, dict):
        return ()
    return tuple(n for n, s in sources.items() if isinstance(s, dict) and s.get("category") == "large_cc")


def _control_variant(runs: Sequence[RunSpec], ids: Mapping[str, RunSpec]) -> str | None:
    control = next((run.control for run in runs if run.control is not None), None)
    if control is None:
        return None
    return ids[control].variant if control in ids else control.rpartition("/")[0]


def _place(row: Row) -> tuple[int, str, int, float]:
    if row.is_reference:
        return (3, "", 0, 0.0)
    if not row.runs:
        return (2, "", 0, 0.0)
    first = row.runs[0]
    changed = " ".join(f"{key}={value}" for key, value in sorted(first.changed.items()))
    kind = 2 if first.added or first.beside else int(bool(first.dropped))
    return (0 if not changed else 1, changed, kind, first.duration)


def _composite_keys(results: CampaignResults, every: Mapping[Key, Column], *, overall: bool) -> list[Key]:
    names = {run.eval.aggregate.name for run in results.runs if run.eval.aggregate is not None}
    return [key for key in every if key[1] == RESCALED and (key[0] in names) == overall]


def _averaged(results: CampaignResults, every: Mapping[Key, Column]) -> set[str]:
    """Tasks that the average over categories represents, if any run has one."""
    if not _composite_keys(results, every, overall=True):
        return set()
    return {task for task, entry in results.suite.items() if entry.category is not None}


def _rank(results: CampaignResults, column: Column) -> int:
    return results.tasks.index(column.key[0])


def _short(tasks: Sequence[str]) -> dict[str, str]:
    """Tasks without the first word they all share: micro_mc and micro_math become mc and math."""
    first = {task.partition("_")[0] + "_" for task in tasks}
    prefix = first.pop() if len(first) == 1 and len(tasks) > 1 else ""
    return {task: task.removeprefix(prefix) for task in tasks}
