"""Mixes as the plan's screen shows them: a line where that is enough, else by category and then by source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from joyctl.campaign.categories import by_category
from joyctl.recipe.types import Recipe

Column = tuple[str, tuple[str, ...]]
"""What stands over it, and the sources whose shares it adds up."""


def columns(recipe: Recipe, room: int) -> list[Column]:
    """A column a source, or where these do not fit (or mixes are by category) one a category; none if neither fits."""
    sources: list[Column] = [(name, (name,)) for name in recipe.sources]
    members: dict[str, list[str]] = {}
    for name, source in recipe.sources.items():
        members.setdefault(source.category, []).append(name)
    categories: list[Column] = [(name, tuple(names)) for name, names in members.items()]
    for found in [categories] if recipe.mixes.by == "category" else [sources, categories]:
        if sum(max(len(label), 4) + 2 for label, _ in found) <= room:
            return found
    return []


def one_line(mix: Mapping[str, float]) -> str:
    """`web 87.0  math 6.0`, in per cent."""
    return "  ".join(f"{name} {share * 100:.1f}" for name, share in mix.items() if share)


def lines(recipe: Recipe, mixes: Sequence[tuple[Mapping[str, float], Sequence[str]]], width: int) -> list[str]:
    """Every mix with the names of the runs that train on it."""
    said = [f" mix   {one_line(mix)}: {', '.join(names)}" for mix, names in mixes]
    if recipe.mixes.by == "source" and max(map(len, said), default=0) <= width:
        return said
    wide = max((len(source.category) for source in recipe.sources.values()), default=0)
    found = []
    for mix, names in mixes:
        found += _wrapped(" mix of ", [*(f"{name}," for name in names[:-1]), *names[-1:]], width, " ")
        for category, shares in by_category(recipe, mix).items():
            head = f"   {category:<{wide}} {sum(shares.values()) * 100:5.1f}   "
            found += _wrapped(head, [f"{name} {share * 100:.1f}" for name, share in shares.items()], width, "  ")
    return found


def _wrapped(head: str, items: Sequence[str], width: int, gap: str) -> list[str]:
    """`items` after `head`, in lines of at most `width` where an item is no longer than that; never cut in two."""
    made, line = [], head
    for i, item in enumerate(items):
        if i and len(line) + len(item) > width:
            made.append(line.rstrip())
            line = " " * len(head)
        line += item + gap
    return [*made, line.rstrip()]
