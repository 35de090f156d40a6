"""What the documents of a row are to each other, in words, and whose documents a segment has."""

from __future__ import annotations

from collections.abc import Collection

from joyctl.campaign.spec import SegmentSpec

APART = "documents apart"
JOINED = "documents joined, as the recipe says"


def sources_of(segment: SegmentSpec) -> tuple[str, ...]:
    """Sources that a segment or the trunk before it trains on, sorted."""
    weights = [phase.weights for phase in segment.order.phases]
    return tuple(sorted({name for each in weights for name, weight in each.items() if weight}))


def attention_words(unknown: Collection[str]) -> str:
    """What is said where the recipe wants documents apart, and of `unknown` sources nothing tells where they begin."""
    if not unknown:
        return APART
    return f"documents see each other: in {', '.join(unknown)} nothing tells where they begin"
