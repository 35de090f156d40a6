"""Campaigns in every state that a report may meet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from report_campaign import ARMS, give_suite, put, write_campaign, write_choices


def nothing_scored(folder: Path) -> Path:
    return write_campaign(folder, scored=False)


def one_run(folder: Path) -> Path:
    return write_campaign(folder, ARMS[:1])


def no_control(folder: Path) -> Path:
    """The control is planned and not scored."""
    write_campaign(folder)
    shutil.rmtree(folder / "runs/control/s0/eval")
    for stage in ("eval", "score"):
        (folder / f"runs/control/s0/DONE.{stage}.json").unlink()
    return folder


def three_seeds(folder: Path) -> Path:
    return write_campaign(folder, seeds=3)


def half_finished(folder: Path) -> Path:
    """One run is not scored, another one not on its code."""
    write_campaign(folder)
    shutil.rmtree(folder / "runs/upsample-10/s0/eval")
    code = folder / "runs/drop-math-20/s0/eval/micro_code/results.json"
    reason = {"status": "not run", "reason": "no sandbox: bwrap is not installed", "scores": []}
    put(code, {**json.loads(code.read_text()), **reason})
    return folder


def with_average(folder: Path) -> Path:
    """Two categories make an average, and a benchmark of four choices is at chance."""
    write_campaign(folder)
    truth = {"control": 0.25, "upsample-10": 0.4, "upsample-20": 0.5, "drop-math-20": 0.3}
    tasks = []
    for task, category in (("general_next", "words"), ("general_cloze", "texts")):
        write_choices(folder, task, truth)
        tasks.append({"task": task, "metric": "acc,none", "baseline": 0.25, "category": category})
    tasks.append({"task": "micro_mc", "metric": "acc,none", "baseline": 0.5})
    give_suite(folder, tasks, {"name": "general", "version": 1})
    return folder


STATES: Mapping[str, Callable[[Path], Path]] = {
    state.__name__: state for state in (nothing_scored, one_run, no_control, three_seeds, half_finished, with_average)
}


def give_published(folder: Path, **numbers: object) -> None:
    """Write published numbers into the recipe of campaign.json under the name `paper`."""
    path = folder / "campaign.json"
    campaign = json.loads(path.read_text())
    values = {
        "control": {"MMLU": 40.0, "GSM8K": 10.0},
        "upsample-20": {"MMLU": 60.0, "GSM8K": 5.0},
        "drop-math-20": {"MMLU": 61.0, "GSM8K": 2.5},
        "drop-code-10": {"MMLU": 50.0},
    }
    given = {
        "source": "A Paper, 2024",
        "model": "a larger model",
        "second_hand": True,
        "values": values,
        "tasks": {"micro_mc": "MMLU", "micro_math": "GSM8K"},
        **numbers,
    }
    put(path, {**campaign, "recipe": {**campaign["recipe"], "published": {"paper": given}}})
