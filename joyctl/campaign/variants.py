"""Which variants a grid asks for, by name, with each one's mix and matched control."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from joyctl.campaign.categories import Shares, outline
from joyctl.campaign.grid import Grid, Point, percent
from joyctl.campaign.mixture import Dropped, drop, integer_weights
from joyctl.campaign.probes import mix_of, name_of
from joyctl.errors import Problem, RecipeError
from joyctl.recipe.mixrules import CATEGORIES
from joyctl.recipe.rules import did_you_mean
from joyctl.recipe.types import Recipe


@dataclass(frozen=True)
class Variant:
    """One change to the base run."""

    name: str
    control: str | None
    """Name of the matched control; None for the control itself."""
    duration: float
    """Share of all steps the phase takes; 0 for a control that is the trunk's own end."""
    mix: dict[str, Fraction]
    length: Fraction = Fraction(1)
    """Steps trained in the phase as a share of its duration (below 1 under `shrink`)."""
    dropped: tuple[str, ...] = ()
    policy: str | None = None
    added: str | None = None
    """Source that a probe adds."""
    share: float | None = None
    """Its share of the phase, before what the base mix has of it."""
    beside: str | None = None
    """Source that has the rest of a probe's phase, or all of its control's."""

    # Worked out once for all the seeds of a variant.
    @cached_property
    def weights(self) -> dict[str, int]:
        """The mix in integers, as rows are dealt."""
        return integer_weights(self.mix)

    @cached_property
    def shares(self) -> dict[str, float]:
        """The mix as it is written down."""
        return {name: float(share) for name, share in self.mix.items()}


def variants(point: Point, grid: Grid, shares: Shares) -> Iterator[Variant]:
    """Every variant of `grid` for one recipe with these mixes, controls before what is compared with them.

    A drop brings its matched control, the same duration with nothing dropped; so does a probe beside a source, the
    same duration on that source alone. Raises RecipeError when a drop is impossible (an unknown source, one without
    weight in the phase, nothing left), or a probe.
    """
    suffix = label(point.changed)
    base, upsampled = shares.base, shares.upsampled
    durations = sorted({*grid.durations, *(grid.drop_at if grid.drops else ())})
    if grid.control:
        yield from controls(point, sorted({*durations, *(grid.probe_at if grid.probes else ())}), base)
    for duration in durations:
        yield Variant(f"upsample-{percent(duration)}{suffix}", control_name(point, duration), duration, upsampled)
    for sources in grid.drops:
        left = _left(point, sources, upsampled, grid.policy)
        for duration in grid.drop_at:
            name = f"drop-{'+'.join(sources)}-{percent(duration)}{policy_label(grid.policy)}{suffix}"
            matched = f"upsample-{percent(duration)}{suffix}"
            yield Variant(name, matched, duration, left.mix, left.length, sources, grid.policy)
    yield from _probes(point, grid, base)


def _probes(point: Point, grid: Grid, base: dict[str, Fraction]) -> Iterator[Variant]:
    suffix = label(point.changed)
    alone = dict.fromkeys((p.beside, d) for p in grid.probes if p.beside is not None for d in grid.probe_at)
    mixes = [(probe, mix_of(probe, base, tuple(point.recipe.sources))) for probe in grid.probes]
    for beside, duration in alone:
        assert beside is not None
        name = f"only-{beside}-{percent(duration)}{suffix}"
        yield Variant(name, control_name(point, duration), duration, {beside: Fraction(1)}, beside=beside)
    for probe, mix in mixes:
        for duration in grid.probe_at:
            only = f"only-{probe.beside}-{percent(duration)}{suffix}"
            matched = control_name(point, duration) if probe.beside is None else only
            yield Variant(
                name=f"{name_of(probe, duration)}{suffix}",
                control=matched,
                duration=duration,
                mix=mix,
                added=probe.source,
                share=probe.share,
                beside=probe.beside,
            )


def each_source(recipe: Recipe, categories: Sequence[str]) -> list[str]:
    """Sources of the upsampled mix, in its order; of `categories` only, where there are any.

    Raises RecipeError for a category that there is not, or without any such source.
    """
    sources = list(outline(recipe).upsampled)
    for category in categories:
        where = f"--category {category}"
        if category not in CATEGORIES:
            hint = did_you_mean(category, CATEGORIES) or f"; the categories are {', '.join(CATEGORIES)}"
            raise RecipeError([Problem(where, "", f"unknown category{hint}")])
        if not any(recipe.sources[name].category == category for name in sources):
            raise RecipeError([Problem(where, "", "none of its sources has weight in mixes.upsampled")])
    return [name for name in sources if not categories or recipe.sources[name].category in categories]


def controls(point: Point, durations: Sequence[float], base: dict[str, Fraction]) -> Iterator[Variant]:
    """What phases of these durations are compared with, on the base mix.

    Where the LR goes on, that is the trunk's own end. Under `redecay` the trunk stays on the schedule and no phase
    does, so every duration has a control of its own, a phase that decays as the others do; the trunk's end is nobody's
    control and is not trained.
    """
    if point.recipe.phase.lr == "continue":
        yield Variant(control_name(point, 0.0), None, 0.0, base)
    else:
        yield from (Variant(control_name(point, duration), None, duration, base) for duration in durations)


def control_name(point: Point, duration: float) -> str:
    """Name of the control of phases of that duration: `control`, under `redecay` `control-20`."""
    of_duration = f"-{percent(duration)}" if point.recipe.phase.lr == "redecay" else ""
    return f"control{of_duration}{label(of_control(point.changed))}"


def _left(point: Point, sources: tuple[str, ...], mix: dict[str, Fraction], policy: str) -> Dropped:
    where, known = f"--drop {'+'.join(sources)}", tuple(point.recipe.sources)
    for name in sources:
        if name not in known:
            remedy = did_you_mean(name, known) or f"; the recipe has {', '.join(known)}"
            raise RecipeError([Problem(where, "", f"unknown source '{name}'{remedy}")])
        if not mix.get(name):
            message = f"'{name}' has no weight in mixes.upsampled: leaving it out changes nothing"
            raise RecipeError([Problem(where, "", message)])
    heir = policy.removeprefix("replace:")
    if heir != policy and heir not in known:
        raise RecipeError([Problem(f"--policy {policy}", "", f"unknown source '{heir}'")])
    try:
        return drop(mix, sources, policy, {name: source.category for name, source in point.recipe.sources.items()})
    except ValueError as error:
        raise RecipeError([Problem(where, "", str(error))]) from error


def of_control(changed: dict[str, str]) -> dict[str, str]:
    """The swept keys that reach a control: not those of the phase, which it does not have."""
    return {key: value for key, value in changed.items() if not key.startswith(("mixes.upsampled", "phase."))}


def of_trunk(changed: dict[str, str]) -> dict[str, str]:
    """The swept keys that can change what a trunk is."""
    return {key: value for key, value in of_control(changed).items() if not key.startswith("eval.")}


def label(changed: dict[str, str]) -> str:
    """What differs, as it stands in names: `,upsampled.web=0.1`; empty for the recipe as it stands."""
    parts = (
        f",{'.'.join(key.split('.')[-2:])}={re.sub(r'[^A-Za-z0-9._+-]+', '_', value)}"
        for key, value in sorted(changed.items())
    )
    return "".join(parts)


def policy_label(policy: str) -> str:
    """What of a policy stands in names, `-replace-web`; nothing of the usual one."""
    return "" if policy == "renormalise" else "-" + policy.replace(":", "-")
