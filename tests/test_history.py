"""Curves of training, thinned while they are read."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from report_campaign import put
from report_findings import write_metrics

from joyctl.report.history import Curve, Point, read_history
from joyctl.report.page.blocks import Table
from joyctl.report.page.speed import speeds


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A trunk in two segments, and one run."""
    names = {"segments": ["trunk/s0/600-1000", "trunk/s0/0-600", "runs/upsample-20/s0"], "runs": ["upsample-20/s0"]}
    put(tmp_path / "campaign.json", names)
    write_metrics(tmp_path / "trunk/s0/0-600/metrics.jsonl", range(1, 601), 1_000)
    write_metrics(tmp_path / "trunk/s0/600-1000/metrics.jsonl", range(601, 1_001), 1_000)
    write_metrics(tmp_path / "runs/upsample-20/s0/metrics.jsonl", range(801, 1_001), 1_000)
    return tmp_path


def steps(curve: Curve) -> list[int]:
    return [point.step for point in curve.points]


def test_segments_of_a_trunk_are_one_curve_in_the_order_of_steps(folder: Path) -> None:
    trunk, run = read_history(folder)
    assert (trunk.id, trunk.trunk, run.id, run.trunk) == ("trunk/s0", True, "upsample-20/s0", False)
    assert steps(trunk) == list(range(1, 1_001))
    assert steps(run) == list(range(801, 1_001))


def test_points_are_what_was_written(folder: Path) -> None:
    lines = (folder / "runs/upsample-20/s0/metrics.jsonl").read_text().splitlines()
    written = {line["step"]: (line["loss"], line["lr"]) for line in map(json.loads, lines)}
    assert {p.step: (p.loss, p.lr) for p in read_history(folder)[1].points} == written


@pytest.mark.parametrize("points", [100, 400, 800])
def test_a_campaign_gets_about_the_points_asked_for_evenly_spaced(folder: Path, points: int) -> None:
    curves = read_history(folder, points)
    assert 0.4 * points <= sum(len(curve.points) for curve in curves) <= 1.2 * points
    for curve in curves:
        gaps = [b - a for a, b in zip(steps(curve), steps(curve)[1:], strict=False)]
        assert max(gaps) <= 2 * sum(gaps) / len(gaps) + 1


def test_a_long_file_is_probed_from_its_first_line_to_its_last(folder: Path) -> None:
    write_metrics(folder / "trunk/s0/0-600/metrics.jsonl", range(1, 40_001), 40_000)
    put(folder / "campaign.json", {"segments": ["trunk/s0/0-600"], "runs": []})
    (trunk,) = read_history(folder, points=500)
    found = steps(trunk)
    assert (found[0], found[-1]) == (1, 40_000)
    assert 450 <= len(found) <= 510
    assert max(b - a for a, b in itertools.pairwise(found)) < 2 * 40_000 / 500


def test_torn_lines_and_losses_that_are_no_numbers_spoil_nothing_else(folder: Path) -> None:
    path = folder / "runs/upsample-20/s0/metrics.jsonl"
    path.write_text('{"step": 801, "loss": NaN, "lr": 0.1}\n{"step": 802, "loss"\n[]\n{"step": 803, "loss": 2.5}\n{"st')
    points = read_history(folder)[1].points
    assert [(p.step, p.loss, p.lr) for p in points] == [(801, None, 0.1), (803, 2.5, None)]


def test_a_step_done_again_after_an_interruption_stands_once(folder: Path) -> None:
    path = folder / "runs/upsample-20/s0/metrics.jsonl"
    path.write_text(
        "".join(json.dumps({"step": s, "loss": loss}) + "\n" for s, loss in [(1, 3), (2, 2), (2, 1), (3, 0)])
    )
    assert [(p.step, p.loss) for p in read_history(folder)[1].points] == [(1, 3.0), (2, 1.0), (3, 0.0)]


def test_nothing_trained_gives_no_curves(tmp_path: Path) -> None:
    assert read_history(tmp_path) == ()
    put(tmp_path / "campaign.json", {"segments": ["trunk/s0/0-600"], "runs": ["upsample-20/s0"]})
    (tmp_path / "trunk/s0/0-600").mkdir(parents=True)
    (tmp_path / "trunk/s0/0-600/metrics.jsonl").touch()
    assert read_history(tmp_path) == ()


def test_the_page_tells_the_median_speed_of_every_curve_that_has_one() -> None:
    lines = [(1, None, None), (2, 1000.0, 0.3), (3, 3000.0, 0.5), (4, 2000.0, 0.4)]
    run = Curve("a/s0", False, tuple(Point(step, 1.0, 0.1, speed, mfu) for step, speed, mfu in lines))
    on_cpu = Curve("b/s0", False, (Point(1, 1.0, 0.1, 500.0),))
    old = Curve("c/s0", False, (Point(1, 1.0, 0.1),))
    made = speeds([run, on_cpu, old])
    assert made is not None and isinstance(made.table, Table)
    assert [[cell.text for cell in row] for row in made.table.rows] == [
        ["a/s0", "2.0 k", "40.0 %"],
        ["b/s0", "500", "–"],
    ]
    assert speeds([old]) is None
