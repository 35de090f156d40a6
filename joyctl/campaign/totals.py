"""What a plan trains in all, measured in full runs."""

from __future__ import annotations

from dataclasses import dataclass

from joyctl.campaign.plan import Plan


@dataclass(frozen=True)
class FullRuns:
    """Steps of a whole plan, done or not, in full runs; one of them is the recipe from step 0 to its end."""

    trunk: float
    """Of all trunks: 1 where one reaches the end, as the control needs."""
    phases: float
    """Of all phases, branched from the trunks; equal ones are trained once."""
    phases_if_separate: float
    """Of the same arms, each trained from step 0 by itself."""


def full_runs(plan: Plan) -> FullRuns:
    """How much training the phases of `plan` are beside the trunks, and how much they save."""
    trunk = phases = 0.0
    for segment in plan.segments:
        share = (segment.end_step - segment.start_step) / segment.total_steps
        if segment.id.startswith("trunk/"):
            trunk += share
        else:
            phases += share
    arms = [run for run in plan.runs if run.branch_step is not None and run.segment is not None]
    separate = sum(run.end_step / plan.segment(run.segment).total_steps for run in arms if run.segment is not None)
    return FullRuns(trunk, phases, separate)
