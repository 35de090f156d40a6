"""Which variants a grid asks for, by name, with each one's mix and matched control."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from joyctl.campaign.grid import Grid, Point, percent
from joyctl.campaign.mixture import Dropped, drop, normalise
from joyctl.errors import Problem, RecipeError


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


def variants(point: Point, grid: Grid) -> Iterator[Variant]:
    """Every variant of `grid` for one recipe, controls before what is compared with them.

    A drop brings its matched control, the same duration with nothing dropped. Raises RecipeError when a
    drop is impossible (an unknown source, one without weight in the phase, nothing left).
    """
    suffix = label(point.changed)
    base = normalise(point.recipe.mixes.base)
    upsampled = normalise(point.recipe.mixes.upsampled)
    durations = sorted({*grid.durations, *(grid.drop_at if grid.drops else ())})
    if grid.control:
        yield from controls(point, durations, base)
    for duration in durations:
        yield Variant(f"upsample-{percent(duration)}{suffix}", control_name(point, duration), duration, upsampled)
    for sources in grid.drops:
        left = _left(point, sources, upsampled, grid.policy)
        for duration in grid.drop_at:
            name = f"drop-{'+'.join(sources)}-{percent(duration)}{_policy_label(grid.policy)}{suffix}"
            matched = f"upsample-{percent(duration)}{suffix}"
            yield Variant(name, matched, duration, left.mix, left.length, sources, grid.policy)


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
            close = difflib.get_close_matches(name, known, n=1)
            remedy = f"did you mean '{close[0]}'?" if close else f"the recipe has {', '.join(known)}"
            raise RecipeError([Problem(where, "", f"unknown source '{name}'; {remedy}")])
        if not mix.get(name):
            message = f"'{name}' has no weight in mixes.upsampled: leaving it out changes nothing"
            raise RecipeError([Problem(where, "", message)])
    heir = policy.removeprefix("replace:")
    if heir != policy and heir not in known:
        raise RecipeError([Problem(f"--policy {policy}", "", f"unknown source '{heir}'")])
    try:
        return drop(mix, sources, policy)
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


def _policy_label(policy: str) -> str:
    return "" if policy == "renormalise" else "-" + policy.replace(":", "-")
