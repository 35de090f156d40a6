"""The variants that a recipe can serve, and how many steps each trains in its phase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from joyctl.campaign.categories import Shares
from joyctl.campaign.grid import Grid, Point, percent
from joyctl.campaign.variants import Variant, variants
from joyctl.errors import Problem, RecipeError
from joyctl.recipe.types import Training

_LONGEST = 255
"""Bytes of a folder's name on all usual file systems; names of variants are ASCII."""


def branch_step(training: Training, duration: float) -> int:
    """The step after which a phase of that share of all steps begins."""
    total = training.steps
    return total - round(duration * total)


def phase_steps(variant: Variant, whole: int) -> int:
    """Steps that a variant trains of a phase that has `whole`: all but under `shrink`."""
    return round(variant.length * whole)


def wanted_variants(point: Point, grid: Grid, shares: Shares, *, outlined: bool = False) -> list[Variant]:
    """The variants of one recipe with these mixes. Raises RecipeError for a grid that the recipe cannot serve.

    With `outlined` the shares are those of `categories.outline`: they do not tell by how much a phase shrinks.
    """
    wanted = list(variants(point, grid, shares))
    training, average = point.recipe.training, point.recipe.phase.average
    if problems := [*_durations(training, wanted)]:
        raise RecipeError(problems)
    names = Counter(variant.name for variant in wanted)
    for variant in wanted:
        if names[variant.name] > 1:
            message = "two of what is asked for would have this name; give per cent with fewer digits"
            raise RecipeError([Problem(f"run {variant.name}:", "", message)])
        if len(variant.name) > _LONGEST:
            message = f"its name would have {len(variant.name)} characters, a folder's has at most {_LONGEST}; "
            message += "sweep fewer keys at once, or single weights in place of whole mixes"
            raise RecipeError([Problem(f"run {variant.name}:", "", message)])
        if not variant.duration:
            continue
        steps = training.steps - branch_step(training, variant.duration)
        steps = steps if outlined else phase_steps(variant, steps)
        if not steps:
            message = f"{variant.name} would be left without a step; give a longer duration, or another policy"
            raise RecipeError([Problem(f"--policy {variant.policy}", "", message)])
        if average is not None and average.reach >= steps:
            message = f"{variant.name} has {steps:,} steps; {average.last} checkpoints, {average.every:,} steps apart, "
            raise RecipeError([Problem("phase.average", "", f"{message}reach back {average.reach:,}")])
    return wanted


def _durations(training: Training, wanted: Sequence[Variant]) -> Iterator[Problem]:
    """Every duration is some steps, not all, and no other duration's."""
    total, first_with = training.steps, dict[int, float]()
    for duration in dict.fromkeys(v.duration for v in wanted if v.duration):
        steps = total - branch_step(training, duration)
        said = f"{percent(duration)} % of {total:,} steps rounds to"
        if steps in (0, total):
            yield Problem("--durations or --at:", "", f"{said} {'all of them' if steps else 'no step at all'}")
        elif (first := first_with.setdefault(steps, duration)) != duration:
            yield Problem("--durations or --at:", "", f"{said} {steps:,}, as {percent(first)} % does")
