"""How far a campaign is, from its files alone."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path

import pytest
from report_campaign import put, write_campaign

from joyctl.errors import Missing
from joyctl.report.status import RunStatus, count_states, read_status

HOST = socket.gethostname()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_campaign(tmp_path / "tiny", scored=False)


def of(folder: Path, name: str) -> RunStatus:
    return next(status for status in read_status(folder) if status.id == name)


def attempt(folder: Path, *lines: dict[str, object]) -> None:
    text = "".join(json.dumps({"stage": "train", "host": HOST, **line}) + "\n" for line in lines)
    (folder / "attempts.jsonl").write_text(text)


def test_expected_segments_then_runs_each_with_its_stages(folder: Path) -> None:
    found = read_status(folder)
    assert [status.id for status in found] == [
        "trunk/s0/0-1000",
        "control/s0",
        "upsample-10/s0",
        "upsample-20/s0",
        "drop-math-20/s0",
    ]
    assert [stage.stage for stage in found[0].stages] == ["train"]
    assert [stage.stage for stage in found[1].stages] == ["export", "eval", "score"]  # a control trains nothing
    assert [stage.stage for stage in found[2].stages] == ["train", "export", "eval", "score"]
    assert count_states(found) == {"done": 16, "running": 0, "failed": 0, "pending": 0}


def test_what_is_expected_and_not_there_is_pending(folder: Path) -> None:
    shutil.rmtree(folder / "runs")
    assert count_states(read_status(folder)) == {"done": 1, "running": 0, "failed": 0, "pending": 15}


def test_no_campaign_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Missing):
        read_status(tmp_path)


def test_a_run_whose_suite_runs_no_code_has_no_stage_for_it(folder: Path) -> None:
    path = folder / "runs/control/s0/run.json"
    run = json.loads(path.read_text())
    put(path, {**run, "eval": {**run["eval"], "runs_code": False}})
    assert [stage.stage for stage in of(folder, "control/s0").stages] == ["export", "eval"]


@pytest.mark.parametrize(
    ("lines", "state", "cause"),
    [
        ([{"start": 1.0, "pid": os.getpid()}], "running", None),
        ([{"start": 1.0, "pid": 2**22 + 1}], "pending", "its process was killed"),
        ([{"start": 1.0, "pid": 5, "host": "elsewhere"}], "running", None),
        (
            [
                {"start": 1.0, "pid": 5},
                {"start": 1.0, "pid": 5, "end": 2.0, "outcome": "failed", "error": "NaN"},
            ],
            "failed",
            "NaN",
        ),
        (
            [{"start": 1.0, "pid": 5}, {"start": 1.0, "pid": 5, "end": 2.0, "outcome": "interrupted"}],
            "pending",
            "interrupted",
        ),
        (
            [
                {"start": 1.0, "pid": 5},
                {"start": 1.0, "pid": 5, "end": 2.0, "outcome": "failed", "error": "x"},
                {"start": 3.0, "pid": os.getpid()},
            ],
            "running",
            None,
        ),
    ],
)
def test_state_of_a_stage_by_its_last_attempt(
    folder: Path, lines: list[dict[str, object]], state: str, cause: str | None
) -> None:
    here = folder / "runs/upsample-20/s0"
    for stage in ("train", "export", "eval", "score"):
        (here / f"DONE.{stage}.json").unlink()
    attempt(here, *lines)
    now = of(folder, "upsample-20/s0").current
    assert (now.stage, now.state) == ("train", state)
    assert (now.cause or "").startswith(cause or "") and bool(now.cause) == bool(cause)


def test_a_marker_outweighs_any_attempt(folder: Path) -> None:
    attempt(folder / "runs/upsample-20/s0", {"start": 1.0, "pid": 5, "end": 2.0, "outcome": "failed", "error": "x"})
    assert of(folder, "upsample-20/s0").current.state == "done"


def test_steps_are_counted_from_the_segments_start_and_a_torn_last_line_is_passed_over(folder: Path) -> None:
    here = folder / "runs/upsample-20/s0"
    lines = [json.dumps({"step": step, "loss": 3.0 - step / 1000}) for step in (850, 863)]
    (here / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 8')
    status = of(folder, "upsample-20/s0")
    assert (status.step, status.of_steps) == (63, 200)
    assert status.loss == pytest.approx(2.137)


def test_steps_of_a_trunk_segment_are_known_from_its_name(folder: Path) -> None:
    (folder / "trunk/s0/0-1000/metrics.jsonl").write_text(json.dumps({"step": 10, "loss": 6.5}) + "\n")
    status = of(folder, "trunk/s0/0-1000")
    assert (status.step, status.of_steps) == (10, 1000)


def test_json_has_the_keys_that_scripts_rely_on(folder: Path) -> None:
    line = of(folder, "control/s0").to_json()
    assert {"id", "stage", "state", "cause", "step", "of_steps", "job"} <= line.keys()
    assert (line["stage"], line["state"]) == ("score", "done")
    put(folder / "check.json", line)
