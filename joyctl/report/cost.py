"""What the campaign cost: tokens, FLOPs, hours and money; spent, wasted, and what separate full runs take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Cost:
    """Costs at this moment, from the attempts that were made."""

    tokens: int
    """Trained so far, every stretch counted once."""
    flops: float
    """6 * parameters * tokens of that (Kaplan et al., arXiv 2001.08361)."""
    unit: Literal["GPU", "core"]
    """What hours count: GPUs where jobs had any, else processor cores."""
    hours: float
    """GPU- or core-hours of all attempts."""
    wasted_hours: float
    """Of these, in attempts that failed, were killed or lost, less what a later attempt could go on from."""
    by_stage: Mapping[str, float]
    """Hours by stage."""
    separate_tokens: int
    """Tokens that a full run for every run of the campaign would have taken."""
    separate_flops: float
    separate_hours: float | None
    """Hours that these would have taken at the campaign's own speed; None before anything is trained."""
    price: float | None = None
    """Price of one hour, from the cluster file."""
    currency: str = ""


def campaign_cost(folder: Path) -> Cost | None:
    """Costs of the campaign in `folder`; None where it tells of no attempt and no segment."""
    return None
