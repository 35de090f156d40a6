"""Which variants a grid asks for, by name, with each one's mix and matched control."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
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
    """Share of all steps the phase takes; 0 for the control."""
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
    control = f"control{label(of_control(point.changed))}"
    if grid.control:
        yield Variant(control, None, 0.0, base)
    durations = {*grid.durations, *(grid.drop_at if grid.drops else ())}
    for duration in sorted(durations):
        yield Variant(f"upsample-{percent(duration)}{suffix}", control, duration, upsampled)
    for sources in grid.drops:
        left = _left(point, sources, upsampled, grid.policy)
        for duration in grid.drop_at:
            name = f"drop-{'+'.join(sources)}-{percent(duration)}{_policy_label(grid.policy)}{suffix}"
            matched = f"upsample-{percent(duration)}{suffix}"
            yield Variant(name, matched, duration, left.mix, left.length, sources, grid.policy)


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
