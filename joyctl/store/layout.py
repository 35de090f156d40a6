"""Names of everything in a campaign's folder."""

from __future__ import annotations

from pathlib import Path

CAMPAIGN = "campaign.json"
SEGMENT = "segment.json"
RUN = "run.json"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoint"
ATTEMPTS = "attempts.jsonl"
SUBMIT = "submit.sh"
SHARED = "shared.json"
"""In a stretch of trunk that another campaign trained: which one."""
PROMPTS = "prompts"
REFERENCE = "ref-"
"""Variants of references begin so, and no others do."""
SCORES = ("DONE.score.json", "DONE.eval.json", "eval", RUN)
"""What of a run's folder goes when it is scored anew, in this order: killed in between, it still says how it was."""


def checkpoint(segment_folder: Path, step: int) -> Path:
    """The checkpoint of a segment at a step."""
    return segment_folder / CHECKPOINTS / f"step-{step}"


def marker(folder: Path, stage: str) -> Path:
    """The file whose presence says that a stage is complete."""
    return folder / f"DONE.{stage}.json"


def run_folder(campaign: Path, run: str) -> Path:
    """Folder of a run: `runs/upsample-20/s0`."""
    return campaign / "runs" / run


def campaign_of(folder: Path) -> Path:
    """The campaign folder above a run's or segment's folder: the nearest that holds campaign.json.

    Raises FileNotFoundError when there is none.
    """
    for parent in folder.resolve().parents:
        if (parent / CAMPAIGN).exists():
            return parent
    raise FileNotFoundError(f"{folder} lies in no campaign folder: no {CAMPAIGN} above it")
