"""What must hold of the mixes of a recipe: names that there are, shares that have somewhere to go."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from joyctl.recipe.rules import Finding, did_you_mean, unknown_source

CATEGORIES = ("large_cc", "small_cc", "domain", "code")
WITHIN = "give tokens, uniform, temperature:T or weights by source"
WAY = r"^(tokens|uniform|temperature:[0-9]+(\.[0-9]+)?)$"
"""How a category's share goes to its sources, where not by weights."""

Sources = Mapping[str, str | None]
"""Category by source; None where it is not said."""


def check_within(value: object) -> object:
    """How a category's share goes to its sources. Raises ValueError for what is no way to do that."""
    if isinstance(value, str):
        _check_way(value)
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"{'empty' if value is None else value}; {WITHIN}")
    for name, weight in value.items():
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight) or weight < 0:
            raise ValueError(f"{weight} is no weight of '{name}'; give a number of 0 or more")
    if not sum(value.values()):
        raise ValueError("weights sum to nothing; give at least one source a weight above 0")
    return dict(value)


def _check_way(way: str) -> None:
    if not re.fullmatch(WAY, way):
        raise ValueError(f"'{way}' does not do; {WITHIN}{did_you_mean(way, ('tokens', 'uniform', 'temperature:3'))}")
    if way.startswith("temperature:") and not float(way.removeprefix("temperature:")):
        raise ValueError("a temperature of 0 gives all to the largest source; give a number above 0, 1 is by tokens")


def check_mixed(sources: Sources, mixes: Mapping[str, Any], outside: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """What holds between `mixes` and the sources; values that are not valid in themselves are passed over.

    `outside` are the sources that are in no mix by category.
    """
    weights = {mix: _mapping(mixes.get(mix)) for mix in ("base", "upsampled")}
    within = _mapping(mixes.get("within"))
    if mixes.get("by") != "category":
        yield from _by_source(sources, weights, outside)
        if within:
            yield Finding(("mixes", "within"), "shares within categories are for mixes 'by: category'", at_key=True)
        return
    for mix, named in weights.items():
        for name, weight in named.items():
            members = [s for s, category in sources.items() if category == name and s not in outside]
            if name not in CATEGORIES and (name not in sources or weight != 0):  # 0 takes out what was inherited
                yield Finding(("mixes", mix, name), _unknown_category(name, sources), at_key=True)
            elif _positive(weight) and not members:
                message = f"no source is of category {name}; give one under sources, or take the weight out"
                yield Finding(("mixes", mix, name), message, at_key=True)
    for category, way in within.items():
        loc = ("mixes", "within", category)
        if category in CATEGORIES and not any(_positive(named.get(category)) for named in weights.values()):
            yield Finding(loc, f"category {category} has no weight in either mix", at_key=True)
        for name in _mapping(way):
            if name not in sources:
                yield Finding((*loc, name), unknown_source(name, sources), at_key=True)
            elif sources[name] not in (None, category):
                message = f"'{name}' is of category {sources[name]}, not {category}"
                yield Finding((*loc, name), message, (("sources", name, "category"),), at_key=True)
            elif name in outside and _positive(way[name]):
                yield Finding((*loc, name), f"'{name}' is in no mix: sources.{name}.in_mixes is false", at_key=True)


def _by_source(
    sources: Sources, weights: Mapping[str, Mapping[str, Any]], outside: frozenset[str]
) -> Iterator[Finding]:
    for mix, named in weights.items():
        for name, weight in named.items():
            if name not in sources and (name not in CATEGORIES or weight != 0):
                category = name in CATEGORIES and not did_you_mean(name, sources.keys())
                hint = f"unknown source '{name}'; it is a category: write 'by: category' under mixes"
                message = hint if category else unknown_source(name, sources)
                yield Finding(("mixes", mix, name), message, at_key=True)
            elif name in outside and _positive(weight):
                yield Finding(("mixes", mix, name), f"has weight, but sources.{name}.in_mixes is false", at_key=True)


def _unknown_category(name: str, sources: Sources) -> str:
    if sources.get(name) is not None:
        belongs = f"it is a source of category {sources[name]}"
        return f"unknown category '{name}'; {belongs}; its weight goes under within, and 0 here takes it out"
    hint = did_you_mean(name, CATEGORIES) or f"; the categories are {', '.join(CATEGORIES)}"
    return f"unknown category '{name}'{hint}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _positive(weight: Any) -> bool:
    return isinstance(weight, int | float) and weight > 0
