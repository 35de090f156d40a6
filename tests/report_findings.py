"""What a made-up campaign lacks for a whole page: findings made by hand, and training that was never done."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

from report_campaign import BATCH, SEQ_LEN, STEPS, put

from joyctl.report.cost import Cost
from joyctl.report.noise import Floor
from joyctl.report.report import Report

COST = Cost(
    tokens=6_150_000,
    flops=2.4e13,
    unit="core",
    hours=0.31,
    wasted_hours=0.02,
    by_stage={"train": 0.26, "export": 0.01, "eval": 0.03, "score": 0.01},
    separate_tokens=21_000_000,
    separate_flops=8.3e13,
    separate_hours=1.05,
    price=0.04,
    currency="EUR",
    wasted_by_stage={"train": 0.02, "export": 0.0, "eval": 0.0, "score": 0.0},
    seconds=600.0,
    most_units=2,
    money=0.0124,
    wasted_money=0.0008,
    separate_money=0.042,
)


def with_findings(report: Report) -> Report:
    """The report with what no made-up campaign has: attempts that cost something, and a control that was repeated."""
    control = next((row.variant for row in report.rows if row.is_control), None)
    floors = tuple(Floor(c.key, control, 0.004, 2, 0.011, 2, 0.006, 4) for c in report.columns if control is not None)
    return replace(report, cost=COST, floors=floors)


def write_training(folder: Path, steps: int = STEPS) -> None:
    """metrics.jsonl and segment.json of every trunk and phase, and what campaign.json says of versions and commands."""
    campaign = json.loads((folder / "campaign.json").read_text())
    campaign |= {
        "versions": {"joyctl": "0.1.0", "torch": "2.13.0"},
        "commands": ["joyctl sweep tiny --drop math --at 20"],
    }
    put(folder / "campaign.json", campaign)
    for segment in campaign["segments"]:
        run = folder / segment / "run.json"
        start = json.loads(run.read_text())["branch_step"] if run.exists() else 0
        write_metrics(folder / segment / "metrics.jsonl", range(start * steps // STEPS + 1, steps + 1), steps)
        put(
            folder / segment / "segment.json",
            {"order": {"rows": dict.fromkeys(("web", "math", "facts", "code"), 5_000)}},
        )


def write_metrics(path: Path, steps: range, of: int) -> None:
    """A loss that falls and an LR that does, too, as the trainer writes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as f:
        for step in steps:
            loss, lr = 2 + 5 * math.exp(-5 * step / of) + 0.05 * math.sin(step), 3e-4 * (1 - step / (of + 1))
            rows = {"web": 6 * step, "math": step, "facts": step, "code": 0}
            line = {"step": step, "loss": loss, "lr": lr, "grad_norm": 0.5, "tokens": step * SEQ_LEN * BATCH}
            f.write(json.dumps({**line, "rows": rows, "time": 1.7e9 + step}) + "\n")
