"""Caps on epochs: how large a share they leave a source, and which runs would show it too often."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from joyctl.campaign.mixture import MAX_PERIOD, integer_weights
from joyctl.errors import Problem, RecipeError
from joyctl.recipe.types import Recipe

STEPS = MAX_PERIOD
"""A bounded share is rounded down to whole parts of this, so that the rounding of a long deal never lifts it."""
REMEDY = "Lower its weight, raise max_epochs, or ask for shorter durations."
# The deal keeps every source within one row of its share, in the trunk and again in the phase.
_SLACK = 2


@dataclass(frozen=True)
class Asked:
    """One run as far as caps are concerned."""

    name: str
    mix: Mapping[str, Fraction]
    """Shares by source in the phase."""
    duration: float
    """Share of all steps; 0 for the control, which is shown the base mix to the end."""
    length: Fraction = Fraction(1)
    """What is trained of the phase, as a share of it."""


def base_limits(recipe: Recipe, tokens: Mapping[str, int], first: int) -> dict[str, Fraction]:
    """Largest share in the base mix of every source with a cap: a whole run on that mix keeps within it.

    `first` is the step at which the campaign's own training begins, above 0 only after a base trained elsewhere.
    """
    before, phase = _rows(recipe, first, 0.0)
    return {name: _down(room / (before + phase)) for name, room in _room(recipe, tokens).items()}


def phase_limits(
    recipe: Recipe, tokens: Mapping[str, int], first: int, base: Mapping[str, Fraction]
) -> dict[str, Fraction]:
    """Largest share in the upsampled mix of every source with a cap, at the longest duration that the recipe names.

    `base` are the shares in the base mix, which the trunk takes before.
    """
    before, phase = _rows(recipe, first, max((*recipe.phase.durations, *recipe.phase.drop_at)))
    return {
        name: _down(max(Fraction(0), room - base.get(name, Fraction(0)) * before) / phase)
        for name, room in _room(recipe, tokens).items()
    }


def check(
    recipe: Recipe, tokens: Mapping[str, int], first: int, base: Mapping[str, Fraction], runs: Iterable[Asked]
) -> None:
    """Raise RecipeError for every source that any of `runs` would show more often than its own cap or the recipe's.

    Counted in rows, by the weights that are dealt; the last row or two of the deal are not.
    """
    rows, seen = _source_rows(recipe, tokens), _seen(recipe)
    # Most sources are larger than what a whole run reads: no mix shows them too often.
    whole = sum(_rows(recipe, first, 0.0))
    caps = {name: most_epochs(recipe, name) for name in recipe.sources if rows.get(name)}
    capped = {name: cap for name, cap in caps.items() if seen.get(name, 0) + whole > cap * rows[name]}
    if not capped:
        return
    trunk = _dealt(base)
    over: dict[str, list[str]] = {}
    for run in runs:
        before, phase = _rows(recipe, first, run.duration, run.length)
        mix = _dealt(run.mix)
        for name, cap in capped.items():
            shown = seen.get(name, 0) + trunk.get(name, Fraction(0)) * before + mix.get(name, Fraction(0)) * phase
            if shown > cap * rows[name]:
                over.setdefault(name, []).append(f"{run.name} {float(shown / rows[name]):.2f}")
    if over:
        own = _caps(recipe)
        problems = [
            Problem(
                f"recipe {recipe.name}",
                f"sources.{name}.max_epochs" if name in own else "data.max_epochs",
                f"{float(capped[name]):g}, but {'the source' if name in own else name} would be seen more often, in "
                f"{_some(found)} times",
            )
            for name, found in over.items()
        ]
        raise RecipeError(problems, hint=REMEDY)


def most_epochs(recipe: Recipe, name: str) -> Fraction:
    """How often a run may see a source at most: its own `max_epochs`, else the recipe's.

    The recipe's only refuses; it bends no share as a source's own does.
    """
    own = recipe.sources[name].max_epochs
    return Fraction(str(recipe.data.max_epochs if own is None else own))


def _some(found: list[str]) -> str:
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more runs up to so many" if len(found) > 3 else "")


def _caps(recipe: Recipe) -> dict[str, Fraction]:
    return {
        name: Fraction(str(source.max_epochs))
        for name, source in recipe.sources.items()
        if source.max_epochs is not None
    }


def _room(recipe: Recipe, tokens: Mapping[str, int]) -> dict[str, Fraction]:
    """Rows that one run may show of every source with a cap and a known size."""
    rows, seen = _source_rows(recipe, tokens), _seen(recipe)
    return {
        name: max(Fraction(0), cap * rows[name] - seen.get(name, 0) - _SLACK)
        for name, cap in _caps(recipe).items()
        if name in rows
    }


def _source_rows(recipe: Recipe, tokens: Mapping[str, int]) -> dict[str, int]:
    sizes = {name: tokens.get(name, source.tokens) for name, source in recipe.sources.items()}
    return {name: max(n - 1, 0) // recipe.training.seq_len for name, n in sizes.items() if n is not None}


def _seen(recipe: Recipe) -> dict[str, int]:
    """Rows of every source that a base trained elsewhere has seen."""
    seen = recipe.base.seen if recipe.base else {}
    return {name: n // recipe.training.seq_len for name, n in seen.items()}


def _rows(recipe: Recipe, first: int, duration: float, length: Fraction = Fraction(1)) -> tuple[int, int]:
    """(before, phase): rows that a run trains here on the base mix, and after it on its own."""
    total, batch = recipe.training.steps, recipe.training.batch_size
    phase = round(duration * total)
    return max(0, total - phase - first) * batch, round(length * phase) * batch


def _dealt(mix: Mapping[str, Fraction]) -> dict[str, Fraction]:
    weights = integer_weights(mix)
    period = sum(weights.values())
    return {name: Fraction(weight, period) for name, weight in weights.items()}


def _down(share: Fraction) -> Fraction:
    return Fraction(min(STEPS, math.floor(share * STEPS)), STEPS)
