"""What a campaign cost: from attempts that are known to the second."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_campaign import put, write_campaign
from rich.console import Console

from joyctl.campaign.grid import DataFacts, Grid, Point
from joyctl.campaign.plan import parameters, plan
from joyctl.launch.disk import set_aside, write_plan
from joyctl.recipe.load import load_recipe
from joyctl.report.cost import Cost, campaign_cost
from joyctl.report.costwords import cost_line
from joyctl.report.jsonform import render_json
from joyctl.report.markdown import render_markdown
from joyctl.report.report import report
from joyctl.report.tables import render_table
from joyctl.store.files import append_line

STEP = 1_024  # tokens
TRUNK, TAIL, PHASE = "trunk/s0/0-80", "trunk/s0/80-100", "runs/upsample-20/s0"
MODEL = load_recipe("tiny").model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A campaign of 100 steps that is planned: the control and a phase of 20 steps."""
    settings = ["training.tokens=102_400", "phase.durations=[0.2]", "phase.drop_at=[]"]
    recipe = load_recipe("tiny", settings)
    digests = dict.fromkeys(recipe.sources, "d" * 64)
    data = DataFacts("/data", dict.fromkeys(recipe.sources, 10_000_000), digests, "t" * 64, "t" * 64)
    write_plan(tmp_path / "tiny", plan(recipe, [Point(recipe)], Grid(durations=(0.2,)), data), "joyctl sweep", {})
    return tmp_path / "tiny"


def attempt(
    here: Path, stage: str, start: float, end: float | None, outcome: str | None = "done", **facts: Any
) -> None:
    """Lines of one attempt; without an end only the first."""
    begun = {"stage": stage, "start": start, "pid": 1, "host": "n1", "threads": 1, **facts}
    append_line(here / "attempts.jsonl", begun)
    if end is not None:
        append_line(here / "attempts.jsonl", {**begun, "end": end, "outcome": outcome, "seconds": end - start})


def steps(here: Path, times: Mapping[int, float]) -> None:
    """Lines of metrics.jsonl: when each step was done."""
    for step, at in times.items():
        append_line(here / "metrics.jsonl", {"step": step, "loss": 2.0, "time": at})


def saved(here: Path, step: int) -> None:
    put(here / f"checkpoint/step-{step}/.metadata", {})


def trained(here: Path, start: float, seconds: float, **facts: Any) -> None:
    attempt(here, "train", start, start + seconds, **facts)
    put(here / "DONE.train.json", {})


def found(folder: Path, now: float = 1e9) -> Cost:
    cost = campaign_cost(folder, now)
    assert cost is not None
    assert cost.hours == pytest.approx(sum(cost.by_stage.values()))
    assert cost.wasted_hours == pytest.approx(sum(cost.wasted_by_stage.values()))
    assert 0 <= cost.wasted_hours <= cost.hours and 0 <= cost.further_wasted_core_hours <= cost.further_core_hours
    return cost


# --------------------------------------------------------------------------------------------- tokens and hours


def test_a_campaign_that_tells_of_nothing_has_no_cost(tmp_path: Path) -> None:
    assert campaign_cost(write_campaign(tmp_path / "tiny")) is None
    assert report(tmp_path / "tiny").cost is None


def test_every_stretch_is_counted_once_and_hours_by_what_each_attempt_held(folder: Path) -> None:
    trained(folder / TRUNK, 1_000, 3_600, threads=2, cores=2)
    trained(folder / TAIL, 4_600, 900)
    trained(folder / PHASE, 4_600, 900)
    attempt(folder / PHASE, "eval", 5_500, 5_860)
    attempt(folder / "runs/control/s0", "eval", 5_500, 5_860)
    cost = found(folder)
    assert cost.tokens == 120 * STEP
    assert cost.flops == 6 * parameters(MODEL) * 120 * STEP
    assert cost.unit == "core"
    assert cost.by_stage == {"train": pytest.approx(2.5), "eval": pytest.approx(0.2)}
    assert cost.wasted_hours == 0
    assert cost.seconds == pytest.approx(4_860) and cost.most_units == 2
    assert cost.money is None and cost.price is None


def test_a_stretch_in_the_middle_counts_the_steps_that_it_has(folder: Path) -> None:
    steps(folder / TRUNK, {step: 1_000.0 + step for step in range(1, 31)})
    cost = found(folder)
    assert cost.tokens == 30 * STEP
    assert cost.hours == 0 and cost.separate_tokens == 0 and cost.separate_hours is None
    assert cost.times_as_much is None
    assert cost_line(cost) == "cost  31 k tokens; no attempt tells of hours"


def test_separate_full_runs_are_those_of_runs_that_are_trained_at_the_campaigns_own_speed(folder: Path) -> None:
    trained(folder / TRUNK, 0, 3_600)
    trained(folder / TAIL, 3_600, 900)
    cost = found(folder)
    assert cost.separate_tokens == cost.tokens == 100 * STEP  # so far only the control, which is a full run
    trained(folder / PHASE, 3_600, 900)
    cost = found(folder)
    assert cost.tokens == 120 * STEP and cost.separate_tokens == 200 * STEP
    assert cost.times_as_much == pytest.approx(200 / 120)
    assert cost.separate_hours == pytest.approx(1.5 * 200 / 120)  # 1.5 hours for 120 steps
    assert cost.separate_flops == pytest.approx(cost.flops * 200 / 120)


def test_a_run_without_a_segment_of_its_own_takes_no_training(folder: Path) -> None:
    trained(folder / TRUNK, 0, 3_600)
    trained(folder / TAIL, 3_600, 900)
    run = json.loads((folder / "runs/control/s0/run.json").read_text())
    put(folder / "runs/elsewhere/s0/run.json", {**run, "id": "elsewhere/s0", "segment": "", "fingerprint": ""})
    put(folder / "runs/torn/s0/run.json", {"id": "torn/s0"})
    attempt(folder / "runs/elsewhere/s0", "eval", 4_500, 8_100)
    cost = found(folder)
    assert cost.separate_tokens == 100 * STEP
    assert cost.by_stage["eval"] == pytest.approx(1.0)


# ----------------------------------------------------------------------------------------------------- what was lost


def test_training_that_failed_lost_all_where_nothing_was_saved(folder: Path) -> None:
    steps(folder / TRUNK, {1: 110.0, 2: 120.0})
    attempt(folder / TRUNK, "train", 100, 200, "failed")
    cost = found(folder)
    assert cost.wasted_hours == cost.hours == pytest.approx(100 / 3_600)


def test_what_was_saved_is_not_lost_though_nothing_has_gone_on_from_it_yet(folder: Path) -> None:
    steps(folder / TRUNK, {1: 110.0, 2: 120.0, 3: 130.0})
    saved(folder / TRUNK, 2)
    attempt(folder / TRUNK, "train", 100, 140, "killed")
    assert found(folder).wasted_hours == pytest.approx(20 / 3_600)


def test_training_that_went_on_lost_what_came_after_the_checkpoint(folder: Path) -> None:
    """Going on drops the lines after the checkpoint: the first attempt has steps 1 and 2 left, the second none."""
    attempt(folder / TRUNK, "train", 100, 150, "killed")
    attempt(folder / TRUNK, "train", 200, 260, "lost")
    attempt(folder / TRUNK, "train", 300, 400, "interrupted")
    steps(folder / TRUNK, {1: 110.0, 2: 120.0, 3: 350.0, 4: 395.0})
    saved(folder / TRUNK, 4)
    assert found(folder).wasted_hours == pytest.approx((30 + 60 + 5) / 3_600)
    trained(folder / TRUNK, 500, 100)
    assert found(folder).wasted_hours == pytest.approx((30 + 60 + 5) / 3_600)


def test_of_other_stages_all_that_did_not_end_well_counts_as_lost(folder: Path) -> None:
    for start, outcome in ((0, "failed"), (100, "interrupted"), (200, "killed"), (300, "done")):
        attempt(folder / PHASE, "eval", start, start + 36, outcome)
    cost = found(folder)
    assert cost.hours == pytest.approx(0.04) and cost.wasted_hours == pytest.approx(0.03)


def test_what_was_set_aside_was_paid_for_and_is_lost(folder: Path) -> None:
    trained(folder / TRUNK, 0, 3_600)
    trained(folder / PHASE, 3_600, 900)
    before = found(folder)
    assert before.wasted_hours == 0
    set_aside(folder, [PHASE, "trunk/s0"])
    after = found(folder)
    assert after.hours == after.wasted_hours == pytest.approx(before.hours)
    assert after.tokens == 0 and after.separate_hours is None


def test_a_supervisors_end_without_a_start_counts(folder: Path) -> None:
    line = {"stage": "train", "start": 100.0, "pid": 7, "host": "n1", "job": "2_0", "cores": 8, "gpus": 4}
    append_line(folder / TRUNK / "attempts.jsonl", {**line, "end": 190.0, "outcome": "killed"})
    cost = found(folder)
    assert cost.hours == cost.wasted_hours == pytest.approx(4 * 90 / 3_600)


# ------------------------------------------------------------------------------------------------- without an end


def test_an_attempt_that_runs_here_counts_up_to_now_and_is_not_lost(folder: Path) -> None:
    attempt(folder / TRUNK, "train", 1_000, None, pid=os.getpid(), host=socket.gethostname())
    cost = found(folder, now=4_600)
    assert cost.hours == pytest.approx(1.0) and cost.wasted_hours == 0


@pytest.mark.parametrize("pid", [2**22 + 1, 1])
def test_one_that_was_killed_or_runs_elsewhere_counts_up_to_its_last_step(folder: Path, pid: int) -> None:
    here = {"pid": pid, "host": socket.gethostname() if pid > 1 else "n1"}
    attempt(folder / TRUNK, "train", 1_000, None, **here)
    attempt(folder / PHASE, "eval", 1_000, None, **here)
    steps(folder / TRUNK, {1: 1_100.0, 2: 1_360.0})
    saved(folder / TRUNK, 1)
    cost = found(folder)
    assert cost.hours == cost.by_stage["train"] == pytest.approx(0.1)
    assert cost.wasted_hours == pytest.approx(260 / 3_600)


def test_one_that_the_next_start_did_not_close_ends_before_that(folder: Path) -> None:
    attempt(folder / TRUNK, "train", 1_000, None)
    steps(folder / TRUNK, {1: 1_100.0, 2: 2_100.0})
    trained(folder / TRUNK, 2_000, 200)
    assert found(folder).hours == pytest.approx((100 + 200) / 3_600)


def test_nothing_is_negative_when_clocks_disagree(folder: Path) -> None:
    attempt(folder / TRUNK, "train", 1_000, 900, "killed")
    attempt(folder / PHASE, "train", 1_000, None, pid=os.getpid(), host=socket.gethostname())
    assert found(folder, now=500).hours == 0


def test_torn_and_foreign_lines_are_left_out(folder: Path) -> None:
    attempt(folder / TRUNK, "train", 0, 36)
    with (folder / TRUNK / "attempts.jsonl").open("a") as file:
        file.write('{"stage": "train"}\n{"stage": "train", "start": "early"}\n[1]\n{"stage": "train", "start": 50')
    assert found(folder).hours == pytest.approx(0.01)


# ------------------------------------------------------------------------------------------------- GPUs and money


def on_slurm(gpus: int, cores: int, price: float | None = None) -> dict[str, Any]:
    priced = {} if price is None else {"price": price, "currency": "EUR"}
    return {"job": "202_0", "nodes": ["n1", "n2"], "gpus": gpus, "cores": cores, **priced}


def test_hours_are_of_gpus_where_jobs_had_any_and_cores_stand_apart(folder: Path) -> None:
    trained(folder / TRUNK, 0, 3_600, **on_slurm(16, 192, 2.0))
    attempt(folder / PHASE, "train", 3_600, 5_400, "failed", **on_slurm(16, 192, 3.0))
    attempt(folder / PHASE, "score", 7_200, 10_800, **on_slurm(0, 4, 0.05))
    cost = found(folder)
    assert cost.unit == "GPU" and cost.by_stage == {"train": pytest.approx(24)}
    assert cost.hours == pytest.approx(24) and cost.wasted_hours == pytest.approx(8)
    assert cost.further_core_hours == pytest.approx(4) and cost.most_units == 16
    assert cost.money == pytest.approx(16 * 2 + 8 * 3 + 4 * 0.05)
    assert cost.wasted_money == pytest.approx(8 * 3)
    assert (cost.price, cost.currency) == (3.0, "EUR")


def test_what_separate_full_runs_cost_is_at_the_present_price(folder: Path) -> None:
    trained(folder / TRUNK, 0, 3_600, **on_slurm(8, 64, 2.0))
    trained(folder / TAIL, 3_600, 900, **on_slurm(8, 64, 2.5))
    cost = found(folder)
    assert cost.separate_hours == pytest.approx(10) and cost.separate_money == pytest.approx(25)


def test_an_attempt_from_before_the_price_counts_at_the_newest(folder: Path) -> None:
    trained(folder / TRUNK, 0, 3_600)
    trained(folder / TAIL, 3_600, 3_600, price=0.5, currency="EUR")
    assert found(folder).money == pytest.approx(1.0)


def test_without_every_price_or_in_two_currencies_there_is_no_sum(folder: Path) -> None:
    trained(folder / TRUNK, 0, 3_600, **on_slurm(8, 64, 2.0))
    attempt(folder / PHASE, "score", 7_200, 10_800, **on_slurm(0, 4))
    assert found(folder).money is None
    attempt(folder / PHASE, "score", 11_000, 11_001, gpus=0, cores=4, price=1.0, currency="USD")
    assert found(folder).money is None and found(folder).price == 2.0


# ---------------------------------------------------------------------------------------------------- properties

OUTCOMES = st.sampled_from(["done", "failed", "killed", "lost", "interrupted", None])


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_spent_is_the_sum_of_its_stages_and_no_more_is_wasted_than_spent(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cost")
    for place in ("trunk/s0/0-9", "runs/a/s0", "replaced/2020/runs/a/s0"):
        clock = 0.0
        for number in range(data.draw(st.integers(0, 4))):
            clock += data.draw(st.floats(0, 100))
            outcome = data.draw(OUTCOMES)
            end = None if outcome is None else clock + data.draw(st.floats(-1, 100))
            stage = data.draw(st.sampled_from(["train", "export", "eval", "score"]))
            facts = {"gpus": data.draw(st.integers(0, 8)), "cores": data.draw(st.integers(0, 8)), "pid": number}
            attempt(folder / place, stage, clock, end, outcome, **facts)
        times = sorted(data.draw(st.lists(st.floats(0, 400), max_size=6)))
        steps(folder / place, dict(enumerate(times, start=1)))
        if data.draw(st.booleans()):
            saved(folder / place, data.draw(st.integers(0, 6)))
    if list(folder.rglob("attempts.jsonl")):
        cost = found(folder)
        assert cost.seconds >= 0 and cost.most_units >= 0


# ------------------------------------------------------------------------------------------------------ shown


def test_screen_markdown_and_json_say_the_same(folder: Path) -> None:
    trained(folder / TRUNK, 0, 3_600, **on_slurm(8, 64, 2.0))
    trained(folder / TAIL, 3_600, 900, **on_slurm(8, 64, 2.0))
    steps(folder / PHASE, {81: 3_700.0, 82: 3_900.0})
    saved(folder / PHASE, 81)
    attempt(folder / PHASE, "train", 3_600, 4_000, "failed", **on_slurm(8, 64, 2.0))
    attempt(folder / PHASE, "score", 7_200, 10_800, **on_slurm(0, 4, 0.05))
    made = report(folder)
    console = Console(width=160, highlight=False)
    with console.capture() as screen:
        console.print(render_table(made))
    line = (
        "cost  104 k tokens, 2 h 15 min on up to 16 GPUs (10.9 GPU-hours, 4.00 core-hours, 21.98 EUR, 6 % wasted); "
        "separate full runs: 102 k tokens, 1.0 times as much"
    )
    assert line in screen.get()
    section = render_markdown(made).partition("## Cost\n\n")[2].partition("\n\n## ")[0].rstrip()
    assert (
        section
        == """\
| stage | GPU-hours | wasted |
| --- | ---: | ---: |
| train | 10.9 | 0.67 |
| all | 10.9 | 0.67 |
| without GPUs, core-hours | 4.00 | 0 |

- Trained: 104 k tokens, 4.16e+11 FLOPs, 2 h 15 min on up to 16 GPUs at once.
- Price: 21.98 EUR, of which 1.33 EUR wasted (now 2 EUR a GPU-hour).
- Separate full runs: 102 k tokens, 1.0 times as much; at the same speed 10.0 GPU-hours of training, 20.04 EUR.
- Wasted: attempts that did not end well, less the training that was saved; and all that was set aside. \
Hours are those of attempts, without the start of Python."""
    )
    found_json = render_json(made)["cost"]
    assert json.loads(json.dumps(found_json))["hours"] == pytest.approx(10.9, abs=0.05)
    assert found_json["by_stage"].keys() == {"train"} and found_json["currency"] == "EUR"
