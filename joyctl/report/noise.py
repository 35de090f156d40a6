"""The noise floor: how much a score of the control moves from run to run though nothing was changed."""

from __future__ import annotations

from dataclasses import dataclass

from joyctl.report.results import CampaignResults, Key


@dataclass(frozen=True)
class Floor:
    """Run-to-run noise of one score of one control, the same items every time, in the score's own unit."""

    key: Key
    variant: str
    """The control's."""
    phase_sd: float | None
    """Standard deviation between orders of data in the phase, within one base run; None below two runs of one trunk."""
    phase_df: int
    """Degrees of freedom behind it."""
    trunk_sd: float | None
    """Standard deviation between base runs, each the mean of its phases; None below two base runs."""
    trunk_df: int


def noise_floors(results: CampaignResults) -> tuple[Floor, ...]:
    """Floors of every control that was run more than once, in the order of `results.scores`."""
    return ()
