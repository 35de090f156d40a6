"""Which stretches of trunk belong together, and which of them a plan can go on from."""

from __future__ import annotations

from collections.abc import Iterable

from joyctl.campaign.spec import SegmentSpec
from joyctl.store.fingerprint import fingerprint

Interval = tuple[int, int]
"""(first step - 1, last step) of a stretch."""


def trunk_fingerprint(spec: SegmentSpec) -> str:
    """Equal for all stretches of one trunk, and for equal trunks of other campaigns."""
    identity = spec.identity()
    for key in ("start_step", "end_step", "average"):
        identity.pop(key, None)
    return fingerprint(identity)


def usable(own: Iterable[Interval], elsewhere: Iterable[Interval], begins: int = 0) -> list[Interval]:
    """Stretches that make up a trunk from step `begins` on, its own before those of other campaigns.

    At most one ends at any step. One that starts where no other ends is left out: what it went on from is gone.
    """
    found: dict[int, Interval] = {}
    candidates = [*sorted(own), *sorted(elsewhere)]
    for start, end in sorted(candidates, key=lambda interval: interval[1]):  # stable: own ones first
        if end not in found and (start == begins or start in found):
            found[end] = (start, end)
    return sorted(found.values())
