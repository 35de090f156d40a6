"""Two-level mixes: from weights by category to shares by source."""

from __future__ import annotations

import decimal
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from joyctl.campaign import caps
from joyctl.campaign.mixture import normalise
from joyctl.errors import Problem, RecipeError
from joyctl.recipe.strict import Within
from joyctl.recipe.types import Recipe


@dataclass(frozen=True)
class Shares:
    """The two mixes of a recipe as shares of tokens by source; each sums to one."""

    base: dict[str, Fraction]
    upsampled: dict[str, Fraction]


def resolve(recipe: Recipe, tokens: Mapping[str, int], first: int = 0) -> Shares:
    """The mixes of `recipe` by source, where source X has `tokens[X]` tokens; exact.

    `first` is the step at which the campaign's own training begins, above 0 only after a base trained elsewhere.

    Weights by source are only normalised. A category's share goes to its sources as `mixes.within` says: in proportion
    to their tokens, in equal parts, by weights, or at a temperature T in proportion to tokens ** (1 / T), the form of
    multilingual BERT (S = 1 / T = 0.7) and of mT5 (arXiv 2010.11934, alpha = 1 / T = 0.3).

    A source's `max_epochs` bounds a derived share; what it cannot take goes to the others of its category, in the same
    proportions (water filling), so the category keeps its share. The bound is that of the recipe's longest duration:
    what a run sees of a source changes linearly with the duration, from the control's to that, so every shorter phase
    keeps within it too, and all durations have one mix. Explicit weights are never changed; `caps.check` refuses what
    goes too far.

    Raises RecipeError where a category cannot place its share, where a cap leaves a source nothing to speak of, and
    where a size is needed and not known.
    """
    if recipe.mixes.by == "source":
        return Shares(normalise(recipe.mixes.base), normalise(recipe.mixes.upsampled))
    sizes = {name: tokens.get(name, source.tokens) for name, source in recipe.sources.items()}
    base = _handed_on(recipe, "base", sizes, caps.base_limits(recipe, tokens, first))
    return Shares(base, _handed_on(recipe, "upsampled", sizes, caps.phase_limits(recipe, tokens, first, base)))


def outline(recipe: Recipe) -> Shares:
    """The mixes before any size is known, as if all sources were of one size and had no cap.

    Which sources have a share is true of them, how large it is not.
    """
    if recipe.mixes.by == "source":
        return Shares(normalise(recipe.mixes.base), normalise(recipe.mixes.upsampled))
    alike: dict[str, int | None] = dict.fromkeys(recipe.sources, 1)
    return Shares(_handed_on(recipe, "base", alike, {}), _handed_on(recipe, "upsampled", alike, {}))


def by_category(recipe: Recipe, mix: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """A mix by category, then by source, both in the recipe's order; without what has no share."""
    found: dict[str, dict[str, float]] = {source.category: {} for source in recipe.sources.values()}
    for name, source in recipe.sources.items():
        if mix.get(name):
            found[source.category][name] = mix[name]
    return {category: shares for category, shares in found.items() if shares}


def fill(share: Fraction, parts: Mapping[str, Fraction], limits: Mapping[str, Fraction]) -> dict[str, Fraction]:
    """Hand `share` on in proportion to `parts`, to nobody more than its limit (water filling).

    Raises ValueError where all have a limit and these together are less than `share`.
    """
    found: dict[str, Fraction] = {}
    wanting, left = dict(parts), share
    while wanting:
        level = left / sum(wanting.values(), Fraction(0))
        full = [name for name, part in wanting.items() if name in limits and level * part > limits[name]]
        if not full:
            return {name: found[name] if name in found else level * parts[name] for name in parts}
        for name in full:  # the level only rises, so they stay full
            found[name] = limits[name]
            left -= limits[name]
            del wanting[name]
    raise ValueError(f"all are full and {float(left):g} is left over")


def _handed_on(
    recipe: Recipe, mix: str, sizes: Mapping[str, int | None], limits: Mapping[str, Fraction]
) -> dict[str, Fraction]:
    weights = recipe.mixes.base if mix == "base" else recipe.mixes.upsampled
    within: dict[str, Within] = {str(category): way for category, way in recipe.mixes.within.items()}
    found: dict[str, Fraction] = {}
    for category, share in normalise(weights).items():
        way = within.get(category, "tokens")
        if isinstance(way, dict):
            found |= {name: share * part for name, part in normalise(way).items()}
            continue
        members = [n for n, source in recipe.sources.items() if source.category == category and source.in_mixes]
        parts = {name: _part(recipe, name, sizes[name], way) for name in members}
        try:
            here = fill(share, parts, limits)
        except ValueError as error:
            raise _all_full(recipe, mix, category, share, sum((limits[n] for n in members), Fraction(0))) from error
        if nothing := [name for name, part in here.items() if not part]:
            raise _left_nothing(recipe, mix, nothing)
        found |= here
    return {name: found[name] for name in recipe.sources if found.get(name)}


def _part(recipe: Recipe, name: str, size: int | None, way: str) -> Fraction:
    """What a source's share is in proportion to."""
    if way == "uniform":
        return Fraction(1)
    if not size:
        message = f"how large is it? mixes.within needs to know: give sources.{name}.tokens, or build its data"
        raise RecipeError([Problem(f"recipe {recipe.name}", f"sources.{name}", message)])
    temperature = Decimal(way.removeprefix("temperature:")) if way != "tokens" else Decimal(1)
    if temperature == 1:
        return Fraction(size)
    with decimal.localcontext(prec=28):  # the same digits on every machine, which floats do not promise
        return Fraction(Decimal(size) ** (1 / temperature))


def _all_full(recipe: Recipe, mix: str, category: str, share: Fraction, most: Fraction) -> RecipeError:
    message = (
        f"{float(share) * 100:.1f} % are more than its sources may be shown: max_epochs leaves room for "
        f"{float(most) * 100:.1f} %"
    )
    return RecipeError([Problem(f"recipe {recipe.name}", f"mixes.{mix}.{category}", message)], hint=caps.REMEDY)


def _left_nothing(recipe: Recipe, mix: str, names: list[str]) -> RecipeError:
    message = f"leaves it less than 1/{caps.STEPS:,} of mixes.{mix}; raise it, or set in_mixes: false"
    where = f"recipe {recipe.name}"
    return RecipeError([Problem(where, f"sources.{name}.max_epochs", message) for name in names])
