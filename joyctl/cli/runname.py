"""What a run's name asks for: `drop-math-20-shrink/t1s0` is a drop, its duration, its policy and two seeds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from joyctl.campaign.grid import Probe
from joyctl.cli.words import shares
from joyctl.errors import Problem, RecipeError

_SOURCE = r"[a-z][a-z0-9_]*"
_DROP = re.compile(
    rf"drop-({_SOURCE}(?:\+{_SOURCE})*)-([0-9.]+)(?:-(shrink|renormalise-category|replace-{_SOURCE}))?(?:,.*)?"
)
_ADD = re.compile(rf"add-({_SOURCE})-([0-9.]+)-([0-9.]+)(?:-({_SOURCE}))?(?:,.*)?")
_ONLY = re.compile(rf"only-({_SOURCE})-([0-9.]+)(?:,.*)?")
_SEEDS = re.compile(r"(?:t(\d+))?s(\d+)")
_MOST_SEEDS = 1_000
"""A plan has all seeds up to the one that is asked for."""


@dataclass(frozen=True)
class Named:
    """The options of a command that plans a run of that name; None where it needs none."""

    drop: list[str] | None = None
    policy: str | None = None
    probes: tuple[Probe, ...] = ()
    at: str | None = None
    """Duration of a drop or probe, in percent."""
    seeds: int | None = None
    trunk_seeds: int | None = None


def named(run: str, sources: Iterable[str]) -> Named:
    """What `VARIANT/SEEDS` asks for beyond a recipe of these sources.

    Raises RecipeError for a share that is none, and for seeds that are too many to plan.
    """
    variant, _, last = run.rpartition("/")
    seeds, trunk_seeds = _seeds(run, last)
    if match := _DROP.fullmatch(variant):
        policy = (match[3] or "renormalise").replace("replace-", "replace:")
        return Named([match[1]], policy, at=match[2], seeds=seeds, trunk_seeds=trunk_seeds)
    if match := _ADD.fullmatch(variant):
        probes = tuple(Probe(match[1], share, match[4]) for share in shares(match[2], "--share", "share") or ())
        return Named(probes=probes, at=match[3], seeds=seeds, trunk_seeds=trunk_seeds)
    if match := _ONLY.fullmatch(variant):  # what any probe beside that source is compared with
        probes = tuple(Probe(name, 0.5, match[1]) for name in sources if name != match[1])[:1]
        return Named(probes=probes, at=match[2], seeds=seeds, trunk_seeds=trunk_seeds)
    return Named(seeds=seeds, trunk_seeds=trunk_seeds)


def _seeds(run: str, text: str) -> tuple[int | None, int | None]:
    """How many seeds of the phase and of the trunk a plan with this run has."""
    match = _SEEDS.fullmatch(text)
    if match is None:
        return None, None
    trunk, phase = int(match[1] or 0), int(match[2])
    if max(trunk, phase) >= _MOST_SEEDS:
        message = f"seeds count from 0, and every one before it would be planned; give one below {_MOST_SEEDS:,}"
        raise RecipeError([Problem(f"--run {run}", "", message)])
    return phase + 1, trunk + 1
