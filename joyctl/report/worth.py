"""What every source is worth on every benchmark: by the arms that leave it out, or by the probes that add it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from joyctl.report.deltas import Delta
from joyctl.report.results import Key
from joyctl.report.sheet import Column, Row


@dataclass(frozen=True)
class LeftOut:
    """One arm that leaves sources out, against the same duration with nothing left out."""

    variant: str
    dropped: tuple[str, ...]
    duration: float
    policy: str
    against: str
    """Variant of the matched control."""
    share: float
    """Share of the phase's tokens that the sources had in the matched control."""
    deltas: Mapping[Key, Delta]
    """With minus without would be the worth; this is without minus with, as everywhere. Missing scores are absent."""


@dataclass(frozen=True)
class Probed:
    """One arm that adds a source, against the same duration without it."""

    variant: str
    added: str
    share: float
    """Its share of the phase's tokens."""
    beside: str | None
    """Source that the rest of the phase is; None where that is the base mix."""
    duration: float
    against: str
    """Variant of the matched control."""
    deltas: Mapping[Key, Delta]
    """With minus without. Missing scores are absent."""


@dataclass(frozen=True)
class Ranked:
    """A place in the order of sources for one benchmark."""

    variant: str
    place: int
    """1 for what matters most: costs most when it is left out, or gains most when it is added. What is not detectably
    different from 0 has no better place than another such source: they share one."""
    apart: bool
    """Whether its difference is told apart from the next one's: by more than the 95 % interval of two independent
    differences' distance. Both have the same control, so this asks for more than needed. False for the last."""


@dataclass(frozen=True)
class DatasetTable:
    """All arms that leave sources out of the plain recipe."""

    columns: tuple[Column, ...]
    arms: tuple[LeftOut, ...]
    ranks: Mapping[Key, tuple[Ranked, ...]]
    """By benchmark, where two or more sources were left out: single sources, all at one duration and by one policy; of
    several such groups the largest, or the first of these."""

    def arm(self, variant: str) -> LeftOut:
        """The arm of this name."""
        return next(arm for arm in self.arms if arm.variant == variant)


@dataclass(frozen=True)
class ProbeTable:
    """All probes of the plain recipe."""

    columns: tuple[Column, ...]
    arms: tuple[Probed, ...]
    ranks: Mapping[Key, tuple[Ranked, ...]]
    """By benchmark, where two or more sources were added: all at one duration, share and rest; of several such groups
    the largest, or the first of these."""

    def arm(self, variant: str) -> Probed:
        """The probe of this name."""
        return next(arm for arm in self.arms if arm.variant == variant)


def probe_table(columns: Sequence[Column], rows: Sequence[Row]) -> ProbeTable | None:
    """The table of probes over the headline columns; None where nothing is added."""
    arms = [
        _probed(row, columns)
        for row in rows
        if row.control is not None and row.runs and row.runs[0].added and not row.runs[0].changed
    ]
    arms = [arm for arm in arms if arm.deltas]
    if not arms:
        return None
    alike: dict[tuple[float, float, str | None], list[Probed]] = {}
    for arm in arms:
        alike.setdefault((arm.duration, arm.share, arm.beside), []).append(arm)
    group = max(alike.values(), key=len)
    ranks = {c.key: _ranked([arm for arm in group if c.key in arm.deltas], c.key, adds=True) for c in columns}
    return ProbeTable(tuple(columns), tuple(arms), {key: ranked for key, ranked in ranks.items() if len(ranked) > 1})


def _probed(row: Row, columns: Sequence[Column]) -> Probed:
    run = row.runs[0]
    found = {column.key: row.cells[column.key].delta for column in columns}
    return Probed(
        variant=row.variant,
        added=run.added or "",
        share=run.share if run.share is not None else run.mix.get(run.added or "", 0.0),
        beside=run.beside,
        duration=run.duration,
        against=row.control or "",
        deltas={key: delta for key, delta in found.items() if delta is not None},
    )


def dataset_table(columns: Sequence[Column], rows: Sequence[Row]) -> DatasetTable | None:
    """The table over the headline columns; None where no arm leaves anything out."""
    by_variant = {row.variant: row for row in rows}
    arms = tuple(
        _left_out(row, by_variant[row.control], columns)
        for row in rows
        if row.control in by_variant and row.runs and row.runs[0].dropped and not row.runs[0].changed
    )
    arms = tuple(arm for arm in arms if arm.deltas)
    if not arms:
        return None
    alike: dict[tuple[float, str], list[LeftOut]] = {}
    for arm in arms:
        if len(arm.dropped) == 1:
            alike.setdefault((arm.duration, arm.policy), []).append(arm)
    group = max(alike.values(), key=len, default=[])
    ranks = {column.key: _ranked([arm for arm in group if column.key in arm.deltas], column.key) for column in columns}
    return DatasetTable(tuple(columns), arms, {key: ranked for key, ranked in ranks.items() if len(ranked) > 1})


def _left_out(row: Row, control: Row, columns: Sequence[Column]) -> LeftOut:
    run = row.runs[0]
    found = {column.key: row.cells[column.key].delta for column in columns}
    return LeftOut(
        variant=row.variant,
        dropped=run.dropped,
        duration=run.duration,
        policy=run.policy or "",
        against=control.variant,
        share=sum(control.runs[0].mix.get(source, 0.0) for source in run.dropped) if control.runs else 0.0,
        deltas={key: delta for key, delta in found.items() if delta is not None},
    )


def _ranked(arms: Sequence[LeftOut | Probed], key: Key, *, adds: bool = False) -> tuple[Ranked, ...]:
    """What loses most first, then what makes no detectable difference, then what gains; with `adds` the gains first."""
    sign = -1 if adds else 1
    order = sorted(arms, key=lambda arm: (sign * _standing(arm.deltas[key]), -sign * _loss(arm.deltas[key])))
    found: list[Ranked] = []
    for i, arm in enumerate(order):
        delta = arm.deltas[key]
        shared = bool(found) and delta.better is None and order[i - 1].deltas[key].better is None
        place = found[-1].place if shared else i + 1
        apart = i + 1 < len(order) and _apart(delta, order[i + 1].deltas[key])
        found.append(Ranked(arm.variant, place, apart))
    return tuple(found)


def _apart(one: Delta, other: Delta) -> bool:
    return abs(one.delta - other.delta) > math.hypot(*((delta.high - delta.low) / 2 for delta in (one, other)))


def _standing(delta: Delta) -> int:
    return {False: -1, None: 0, True: 1}[delta.better]


def _loss(delta: Delta) -> float:
    return -delta.delta if delta.higher_is_better else delta.delta
