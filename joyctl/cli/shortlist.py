"""Which runs of a large plan its table lists: the first and the last of every variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from joyctl.campaign.spec import RunSpec
from joyctl.campaign.variants import label

MOST = 60
"""Up to so many runs a table lists them all."""


@dataclass(frozen=True)
class Left:
    """Runs that are not listed, in one line."""

    number: int
    about: str
    """In what they differ: `upsampled.web 0.01 to 0.98, s0 to s16`; empty where they are of several variants."""


def shortlist(runs: Sequence[RunSpec], *, every: bool) -> list[RunSpec | Left]:
    """The lines of a table of `runs`, in their order.

    Runs that differ in swept keys and seeds alone are one variant: its first and its last run stand for it. Of more
    variants than a table has room for, those in the middle are left out as well.
    """
    if every or len(runs) <= MOST:
        return list(runs)
    variants: dict[str, list[RunSpec]] = {}
    for run in runs:
        variants.setdefault(run.variant.removesuffix(label(run.changed)), []).append(run)
    groups = list(variants.values())
    room = MOST // 3
    if len(groups) <= room:
        return [line for group in groups for line in _ends(group)]
    middle = groups[room // 2 : len(groups) - room // 2]
    return [
        *(line for group in groups[: room // 2] for line in _ends(group)),
        Left(sum(map(len, middle)), f"{len(middle):,} variants"),
        *(line for group in groups[len(groups) - room // 2 :] for line in _ends(group)),
    ]


def _ends(group: list[RunSpec]) -> list[RunSpec | Left]:
    if len(group) <= 3:
        return list(group)
    first, last = group[0], group[-1]
    swept = [f"{_short(key)} {first.changed[key]} to {last.changed.get(key, '-')}" for key in first.changed]
    seeds = [run.id.rpartition("/")[2] for run in (first, last)]
    if seeds[0] != seeds[1]:
        swept.append(f"{seeds[0]} to {seeds[1]}")
    return [first, Left(len(group) - 2, ", ".join(swept)), last]


def _short(key: str) -> str:
    return ".".join(key.split(".")[-2:])
