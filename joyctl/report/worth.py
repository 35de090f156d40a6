"""The dataset table: what every source is worth on every benchmark, by the arms that leave it out."""

from __future__ import annotations

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
class Ranked:
    """A place in the order of sources for one benchmark."""

    variant: str
    place: int
    """1 for what costs most when it is left out; what is not detectably different from 0 has no better place than
    another such source: they share one."""


@dataclass(frozen=True)
class DatasetTable:
    """All arms that leave sources out of the plain recipe."""

    columns: tuple[Column, ...]
    arms: tuple[LeftOut, ...]
    ranks: Mapping[Key, tuple[Ranked, ...]]
    """By benchmark; arms of one duration and policy are ranked together, the first such group only."""


def dataset_table(columns: Sequence[Column], rows: Sequence[Row]) -> DatasetTable | None:
    """The table over the headline columns; None where no arm leaves anything out."""
    return None
