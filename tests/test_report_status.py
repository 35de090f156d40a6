"""How far a campaign is, from its files alone."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from report_campaign import put, write_campaign
from rich.console import Console

from joyctl.errors import Missing
from joyctl.report.status import RunStatus, StageStatus, about, count_states, read_status
from joyctl.report.statustable import StatusScreen

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
    assert count_states(found) == {"done": 16}


def test_what_is_expected_and_not_there_is_pending(folder: Path) -> None:
    shutil.rmtree(folder / "runs")
    assert count_states(read_status(folder)) == {"done": 1, "pending": 15}


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
        (
            [{"start": 1.0, "pid": 5}, {"start": 1.0, "pid": 5, "end": 2.0, "outcome": "killed", "error": "killed by"}],
            "pending",
            "killed by; the same command goes on",
        ),
        ([{"start": 1.0, "pid": 5, "end": 2.0, "outcome": "failed", "error": "\nfirst\nthen"}], "failed", "first"),
        ([{"pid": 5}], "pending", None),  # torn
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
    assert (now.since is not None) == (state == "running")


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


def test_time_left_is_by_the_speed_since_the_last_start(folder: Path) -> None:
    here = folder / "runs/upsample-20/s0"
    (here / "DONE.train.json").unlink()
    attempt(here, {"start": 500.0, "pid": os.getpid()})
    before = [{"step": 800 + i, "loss": 2.0, "time": 100.0 + 9 * i} for i in range(20)]
    since = [{"step": 815 + i, "loss": 2.0, "time": 501.0 + 2 * i} for i in range(36)]
    (here / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*before, *since]))
    status = of(folder, "upsample-20/s0")
    assert (status.step, status.of_steps) == (50, 200)
    assert status.seconds_left == pytest.approx(2 * 150)
    (here / "DONE.train.json").write_text("{}")
    assert of(folder, "upsample-20/s0").seconds_left is None


def test_a_suite_without_generated_code_has_no_such_stage(folder: Path) -> None:
    path = folder / "runs/control/s0/run.json"
    spec = json.loads(path.read_text())
    spec["eval"]["runs_code"] = False
    put(path, spec)
    assert [stage.stage for stage in of(folder, "control/s0").stages] == ["export", "eval"]


def test_a_run_that_nobody_expects_is_shown_if_it_has_its_spec(folder: Path) -> None:
    put(folder / "runs/extra/s0/run.json", {"branch_step": 900, "end_step": 1000})
    (folder / "runs/empty/s0").mkdir(parents=True)
    assert [status.id for status in read_status(folder)][-1] == "extra/s0"


def test_json_has_the_keys_that_scripts_rely_on(folder: Path) -> None:
    line = of(folder, "control/s0").to_json()
    assert {"id", "stage", "state", "cause", "step", "of_steps", "job"} <= line.keys()
    assert (line["stage"], line["state"]) == ("score", "done")
    put(folder / "check.json", line)


# --- the screen

NOW = 10_000.0


def stage(name: str, state: str, cause: str | None = None, job: str | None = None, since: float | None = None) -> Any:
    return StageStatus(name, state, cause, None, job, since)  # type: ignore[arg-type]


ON_SLURM = [
    RunStatus("trunk/s0/2050-2343", (stage("train", "running", None, "81733_0", NOW - 720),), 204, 293, 2.113, 660.0),
    RunStatus(
        "upsample-30/s0", (stage("train", "queued", "waiting for trunk/s0/2050-2343 (done in 11 min)", "81734_0"),),
    ),
    RunStatus("upsample-20/s1", (stage("train", "queued", "Priority: other jobs go first", "81735_1"),)),
    RunStatus(
        "drop-math-20/s0",
        (
            stage("train", "done", None, "81735_2"),
            stage("export", "retrying", "killed by SIGKILL on n17; attempt 2 of 3, n17 excluded", "81741_2"),
        ),
        586, 586, 1.9,
    ),
    RunStatus("drop-code-20/s0", (stage("train", "failed", "loss became NaN at step 2,873", "81735_4"),), 70, 586),
    RunStatus("control/s0", (stage("export", "done", None, "81740_0"),)),
]  # fmt: skip


def screen(width: int, height: int = 50, *, fit: bool = False, **more: Any) -> str:
    console = Console(width=width, height=height, file=io.StringIO(), highlight=False, **more)
    console.print(StatusScreen(ON_SLURM, NOW, "read from files and one squeue at 14:02:11", (), fit))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_screen_of_a_campaign_on_slurm() -> None:
    assert (
        screen(100)
        == """\
run                 stage   state        step   loss  job      why / since
trunk/s0/2050-2343  train   RUNNING   204/293  2.113  81733_0  12 min, about 11 min left
upsample-30/s0      train   QUEUED                    81734_0  waiting for trunk/s0/2050-2343 (done
                                                               in 11 min)
upsample-20/s1      train   QUEUED                    81735_1  Priority: other jobs go first
drop-math-20/s0     export  RETRYING  586/586  1.900  81741_2  killed by SIGKILL on n17; attempt 2
                                                               of 3, n17 excluded
drop-code-20/s0     train   FAILED     70/586         81735_4  loss became NaN at step 2,873
control/s0                  DONE
2 of 7 stages done · 1 running · 1 retrying · 2 queued · 1 failed
read from files and one squeue at 14:02:11
"""
    )


def test_where_causes_do_not_fit_beside_they_stand_below() -> None:
    lines = screen(80).splitlines()
    assert lines[1:3] == [
        "trunk/s0/2050-2343  train   RUNNING   204/293  2.113  81733_0",
        "    12 min, about 11 min left",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_no_line_of_a_cause_is_wider_than_the_terminal(width: int) -> None:
    table = len("trunk/s0/2050-2343  train   RUNNING   204/293  2.113  81733_0")
    assert max(map(len, screen(width).splitlines())) <= max(width, table)


def test_on_a_small_screen_what_matters_most_is_kept() -> None:
    lines = screen(120, height=7, fit=True).splitlines()
    assert len(lines) <= 6
    assert [line.split()[0] for line in lines[1:-2]] == ["trunk/s0/2050-2343", "drop-math-20/s0", "drop-code-20/s0"]
    assert lines[-2] == "… and 1 done, 2 queued"


def test_states_are_words_and_colour_only_repeats_them() -> None:
    coloured = screen(100, force_terminal=True, color_system="standard")
    assert "\x1b[31mFAILED" in coloured
    assert "\x1b[3" not in screen(100, force_terminal=True, color_system="standard", no_color=True)


def test_lengths_of_time() -> None:
    assert [about(s) for s in (0.4, 59, 61, 3_599, 7_500, 200_000)] == [
        "0 s", "59 s", "1 min", "1 h 00 min", "2 h 05 min", "2 d 7 h",
    ]  # fmt: skip
