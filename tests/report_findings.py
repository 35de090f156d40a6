"""What a made-up campaign lacks for a whole page: findings made by hand, and training that was never done."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import mean

from report_campaign import BATCH, SEQ_LEN, STEPS, put

from joyctl.report.cost import Cost
from joyctl.report.curve import CurvePoint, DurationCurve
from joyctl.report.items import BITS_PER_BYTE
from joyctl.report.noise import Floor
from joyctl.report.report import Report
from joyctl.report.results import Key
from joyctl.report.sheet import Row
from joyctl.report.worth import DatasetTable, LeftOut, Ranked

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
)


def with_findings(report: Report) -> Report:
    """The report with values in every place that its page has a section for."""
    averages = tuple(replace(delta, detectable=2.9 * delta.stderr + 0.01) for delta in report.averages)
    by_key = {(delta.run, *delta.key): delta for delta in averages}
    rows = tuple(
        replace(
            row,
            cells={
                key: replace(cell, delta=by_key.get((row.variant, *key), cell.delta)) for key, cell in row.cells.items()
            },
        )
        for row in report.rows
    )
    made = replace(report, averages=averages, rows=rows, cost=COST)
    controls = [row.variant for row in rows if row.is_control]
    floors = tuple(Floor(column.key, controls[0], 0.004, 2, 0.011, 2) for column in report.columns if controls)
    return replace(made, floors=floors, curve=curve(made), datasets=datasets(made))


def curve(report: Report) -> DurationCurve | None:
    """Gains and costs of the durations of the plain recipe, as they stand in the table."""
    targeted = tuple(c.key for c in report.columns if c.higher_is_better and c.key[1] != "rescaled")
    general = tuple(c.key for c in report.columns if c.key[1] == BITS_PER_BYTE)
    plain = [row for row in report.rows if row.runs and not row.runs[0].dropped and not row.runs[0].changed]
    if not targeted or not general:
        return None
    points = [_point(row, targeted, general) for row in plain if row.is_control or _scored(row, (*targeted, *general))]
    if len(points) < 2:
        return None
    best = max(points, key=lambda point: point.value).duration
    return DurationCurve(targeted, general, tuple(points), "gain minus loss", best, max(0.0, best - 0.05), best + 0.05)


def datasets(report: Report) -> DatasetTable | None:
    """The arms that leave something out."""
    keys = [column.key for column in report.columns]
    arms = tuple(
        LeftOut(
            variant=row.variant,
            dropped=row.runs[0].dropped,
            duration=row.runs[0].duration,
            policy=row.runs[0].policy or "",
            against=row.control or "",
            share=0.38,
            deltas={key: delta for key in keys if (delta := row.cells[key].delta) is not None},
        )
        for row in report.rows
        if row.runs and row.runs[0].dropped
    )
    ranks = {key: tuple(Ranked(arm.variant, i + 1) for i, arm in enumerate(arms)) for key in keys}
    return DatasetTable(report.columns, arms, ranks) if arms else None


def _point(row: Row, targeted: tuple[Key, ...], general: tuple[Key, ...]) -> CurvePoint:
    if row.is_control:
        return CurvePoint(row.variant, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, True)
    gains = [delta for key in targeted if (delta := row.cells[key].delta) is not None]
    costs = [delta for key in general if (delta := row.cells[key].delta) is not None]
    gain, cost = mean(d.delta for d in gains), mean(d.delta for d in costs)
    return CurvePoint(
        variant=row.variant,
        duration=row.runs[0].duration,
        gain=gain,
        gain_low=mean(d.low for d in gains),
        gain_high=mean(d.high for d in gains),
        cost=cost,
        cost_low=mean(d.low for d in costs),
        cost_high=mean(d.high for d in costs),
        value=gain - cost,
        pareto=row.runs[0].duration != 0.15,
    )


def _scored(row: Row, keys: tuple[Key, ...]) -> bool:
    return all(row.cells[key].delta is not None for key in keys)


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
