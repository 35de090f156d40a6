"""What verdicts are about, in one wording for all outputs: this base checkpoint, or base runs in general."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from joyctl.campaign.spec import RunSpec

About = Literal["this base checkpoint", "base runs"]


@dataclass(frozen=True)
class Claim:
    """What a campaign's differences can be said of."""

    about: About
    trunks: int
    """Base runs behind every variant, at least."""
    phases: int
    """Orders of the phase's data behind every variant within each base run, at least."""
    words: str


def claim(runs: Sequence[RunSpec], recipe: Mapping[str, Any]) -> Claim | None:
    """What the differences of these runs are about; None where none of them is compared with a control.

    A recipe whose base was trained elsewhere has one base checkpoint, however many trunks go on from it.
    """
    seeds: dict[str, dict[int, set[int]]] = {}
    for run in runs:
        if run.control is not None and run.reference is None:
            seeds.setdefault(run.variant, {}).setdefault(run.trunk_seed, set()).add(run.seed)
    if not seeds:
        return None
    counts = [(len(trunks), min(map(len, trunks.values()))) for trunks in seeds.values()]
    trunks, phases = min(count for count, _ in counts), min(count for _, count in counts)
    elsewhere = recipe.get("base") is not None
    about: About = "base runs" if trunks > 1 and not elsewhere else "this base checkpoint"
    words = _words(about, trunks, phases)
    if len(set(counts)) > 1:
        words += "; some variants have more seeds than others, and the fewest count here"
    return Claim(about, trunks, phases, words)


def _words(about: About, trunks: int, phases: int) -> str:
    orders = f"{phases} orders of the phase's data" if phases > 1 else ""
    if about == "base runs":
        each = f", {orders} in each" if orders else ""
        return f"across {trunks} base runs{each} (differences paired within each)"
    parts = [f", trained on from there {trunks} times" if trunks > 1 else "", f", over {orders}" if orders else ""]
    differ = "other base runs may differ (in the micro-world they do, more than phases)"
    return f"about this base checkpoint{''.join(parts)}: {differ}"
