"""Published numbers beside the measured ones: the differences that others report for the same variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from joyctl.errors import Refused
from joyctl.recipe.types import PublishedNumbers
from joyctl.report.aggregate import RESCALED
from joyctl.report.deltas import Delta
from joyctl.report.results import CampaignResults, Key
from joyctl.report.sheet import Column, Row, primary_keys

Direction = Literal["same", "opposite", "not detectable"]


@dataclass(frozen=True)
class Beside:
    """One variant's measured difference on one score, and the published one."""

    delta: Delta
    """Measured, averaged over the variant's seeds."""
    benchmark: str
    """What stands beside the task, as its authors call it."""
    value: float
    """Their score of the variant, a fraction."""
    control_value: float
    """Their score of the variant that this one is compared with here, a fraction."""

    @property
    def difference(self) -> float:
        """Theirs, a fraction; scores are printed with a few digits, so what is beyond those is rounding noise."""
        return round(self.value - self.control_value, 9)

    @property
    def inside(self) -> bool:
        """Whether their difference lies in the 95 % interval of the measured one: of scale, for equal models only."""
        return self.delta.low <= self.difference <= self.delta.high

    @property
    def direction(self) -> Direction:
        """Whether both move the same way; `not detectable` where the measured verdict names no direction."""
        if self.delta.verdict == "no detectable difference":
            return "not detectable"
        return "same" if self.difference * self.delta.delta > 0 else "opposite"


@dataclass(frozen=True)
class Published:
    """What one source has published of a campaign's variants; its numbers are of other models."""

    name: str
    """What `--against` calls it."""
    source: str
    """Where the numbers stand."""
    model: str
    """Whose they are."""
    second_hand: bool
    """Whether they were read in someone's excerpt; to be said wherever they are shown."""
    columns: tuple[Column, ...]
    """Scores of this campaign that a published benchmark stands beside."""
    benchmarks: Mapping[Key, str]
    """That benchmark, by score."""
    beside: tuple[Beside, ...]
    """Score by score in the order of `columns`, variants in the order of the table."""
    not_run: tuple[str, ...]
    """Variants with published numbers that no comparison here has."""

    @property
    def cited(self) -> str:
        """How a table cites it: always with `second-hand` where the numbers are."""
        return f"{self.source}{' (second-hand)' if self.second_hand else ''}"


def published(
    results: CampaignResults, every: Mapping[Key, Column], averages: Sequence[Delta], rows: Sequence[Row]
) -> tuple[Published, ...]:
    """Every set of published numbers that the campaign's recipe has, beside what is measured so far.

    `every` may hold better labels for headline scores. A published difference is taken from the same variant as the
    measured one: of `drop-math-10` from `upsample-10`, the matched control. Raises Refused where campaign.json holds
    no valid numbers.
    """
    return tuple(
        _beside(name, _numbers(name, value, results.campaign), results, every, averages, rows)
        for name, value in _section(results.recipe).items()
    )


def chosen(found: Sequence[Published], name: str, campaign: str) -> Published:
    """The set called `name`. Raises Refused, naming those that `campaign` has, where there is none."""
    for one in found:
        if one.name == name:
            return one
    has = f"it has {', '.join(repr(one.name) for one in found)}" if found else "it has none"
    raise Refused(
        f"the recipe of campaign {campaign} has no published numbers called '{name}': {has}",
        hint="Give the recipe a section 'published', as `joyctl show tiny` prints one, and give it to the same "
        "`joyctl sweep` again: what is trained and scored stays as it is.",
    )


def _beside(
    name: str,
    numbers: PublishedNumbers,
    results: CampaignResults,
    every: Mapping[Key, Column],
    averages: Sequence[Delta],
    rows: Sequence[Row],
) -> Published:
    keys = {**primary_keys(results, every), **{key[0]: key for key in every if key[1] == RESCALED}}
    # Per cent stand beside per cent: a loss has no place here.
    known = {task: key for task, key in keys.items() if every[key].percent}
    benchmarks = {known[task]: benchmark for task, benchmark in numbers.tasks.items() if task in known}
    deltas = {(delta.run, *delta.key): delta for delta in averages}
    found = []
    for key, benchmark in benchmarks.items():
        for row in rows:
            delta = deltas.get((row.variant, *key))
            value = numbers.values.get(row.variant, {}).get(benchmark)
            before = numbers.values.get(delta.control, {}).get(benchmark) if delta else None
            if delta is not None and value is not None and before is not None:
                found.append(Beside(delta, benchmark, value / 100, before / 100))
    shown = {one.delta.run for one in found} | {row.variant for row in rows if row.is_control}
    return Published(
        name=name,
        source=numbers.source,
        model=numbers.model,
        second_hand=numbers.second_hand,
        columns=tuple(every[key] for key in benchmarks),
        benchmarks=benchmarks,
        beside=tuple(found),
        not_run=tuple(variant for variant in numbers.values if variant not in shown),
    )


def _section(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    section = recipe.get("published")
    return section if isinstance(section, dict) else {}


def _numbers(name: str, value: object, campaign: str) -> PublishedNumbers:
    try:
        return PublishedNumbers.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, ("recipe", "published", name, *problem["loc"])))
        raise Refused(
            f"campaign.json of {campaign} holds no valid published numbers: {where}: {problem['msg']}",
            hint="Give the recipe to the same `joyctl sweep` again: it writes campaign.json anew.",
        ) from error
