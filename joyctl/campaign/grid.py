"""What a command asks for on top of a recipe: durations, drops, seeds, swept keys."""

from __future__ import annotations

from dataclasses import dataclass, field

from joyctl.recipe.types import Recipe, Suite


@dataclass(frozen=True)
class Probe:
    """What a dataset is worth: a phase on some of it and something well known."""

    source: str
    share: float
    """Of the phase's tokens, a fraction: 0.3."""
    beside: str | None = None
    """Source that has the rest of the phase; None for the base mix."""


@dataclass(frozen=True)
class Grid:
    """The variants of one campaign; shares, not percent."""

    control: bool = True
    """Score the trunk's end as well."""
    durations: tuple[float, ...] = ()
    """Durations of plain upsampling."""
    drops: tuple[tuple[str, ...], ...] = ()
    """Each a set of sources to leave out together."""
    drop_at: tuple[float, ...] = ()
    """Durations at which sources are left out."""
    policy: str = "renormalise"
    probes: tuple[Probe, ...] = ()
    probe_at: tuple[float, ...] = ()
    """Durations of probes."""
    trunk_seeds: int = 1
    phase_seeds: int = 1


@dataclass(frozen=True)
class Point:
    """One recipe of a sweep over recipe keys."""

    recipe: Recipe
    changed: dict[str, str] = field(default_factory=dict)
    """Swept keys with their values; empty for the recipe as it stands."""
    suite: Suite | None = None
    """What the recipe's `eval.suite` stands for; None where nothing is to be scored, as in sums of disk space."""
    benchmarks: str = "hub"
    """The recipe's `eval.data`, a folder's path made absolute."""


@dataclass(frozen=True)
class DataFacts:
    """What planning needs to know of the tokenised data."""

    folder: str
    """Absolute path."""
    tokens: dict[str, int]
    sha256: dict[str, str]
    """Digest of every source's training tokens."""
    tokenizer_sha256: str
    tasks_sha256: str
    heldout: bool = True
    """Whether any source has held-out texts."""


def percent(share: float) -> str:
    """0.2 -> '20', 0.125 -> '12.5': how a duration stands in names."""
    return f"{round(share * 100, 6):g}"
