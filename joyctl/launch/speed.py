"""How fast a campaign has trained so far."""

from __future__ import annotations

import json
from pathlib import Path

from joyctl.campaign.plan import Plan
from joyctl.store import layout


def measured_speed(campaign: Path, plan: Plan) -> float | None:
    """Tokens per second of the slowest stretch of trunk that this campaign has trained; None before the first."""
    found = []
    for segment in plan.segments:
        if segment.id.startswith("trunk/"):
            try:
                seconds = json.loads(layout.marker(campaign / segment.id, "train").read_bytes())["seconds"]
            except (OSError, ValueError, KeyError):
                continue
            steps = segment.end_step - segment.start_step
            found.append(steps * segment.training.tokens_per_step / max(1e-6, float(seconds)))
    return min(found, default=None)
