"""The LR that the optimizer applies is the planned one: every schedule and protocol, branched, stopped, resumed.

`lr` in metrics.jsonl is read from the optimizer as the step begins; nothing here asks a scheduler.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import training as world

from joyctl.campaign.schedule import lr_at, segment_lr
from joyctl.campaign.spec import Redecay, SegmentSpec
from joyctl.recipe.types import Optimizer, Schedule

pytestmark = pytest.mark.slow
TOTAL, BRANCH = 12, 7
LION = Optimizer(name="lionw", lr=3e-4, betas=(0.9, 0.95), weight_decay=1.0)
SCHEDULES = {
    "linear": Schedule(warmup=0.2, min_lr_factor=0.1),
    "cosine": Schedule(kind="cosine", warmup=0.2),
    "wsd": Schedule(kind="wsd", warmup=0.2, cooldown=0.3),
    "wsd-sqrt": Schedule(kind="wsd", warmup=0.2, cooldown=0.3, cooldown_shape="one_minus_sqrt"),
    "flat": Schedule(kind="wsd", warmup=0.2),
    "inverse": Schedule(kind="inverse_sqrt", warmup=0.2, cooldown=0.3),
    "inverse-sqrt": Schedule(kind="inverse_sqrt", warmup=0.2, cooldown=0.3, cooldown_shape="one_minus_sqrt"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_data(tmp_path_factory.mktemp("world") / "data")


def planned(spec: SegmentSpec) -> list[float]:
    return [segment_lr(spec, step) for step in range(spec.start_step + 1, spec.end_step + 1)]


def applied(folder: Path) -> list[float]:
    return [line["lr"] for line in world.metrics(folder)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_trunk_branch_and_redecay_apply_the_planned_lr_to_the_last_bit(name: str, data: Path, tmp_path: Path) -> None:
    schedule = SCHEDULES[name]
    trunk = world.segment(data, 0, BRANCH, total=TOTAL, schedule=schedule)
    arm = world.segment(data, BRANCH, TOTAL, total=TOTAL, schedule=schedule, phase={"code": 1}, phase_from=BRANCH)
    redecay = arm.model_copy(update={"redecay": Redecay(start_step=BRANCH, end_step=TOTAL - 1), "end_step": TOTAL - 1})
    parent = world.checkpoint(tmp_path / "trunk", BRANCH)
    specs = {"trunk": trunk, "arm": arm, "redecay": redecay}
    world.train_in_turn([(spec, tmp_path / at, parent if at != "trunk" else None) for at, spec in specs.items()])
    assert applied(tmp_path / "trunk") + applied(tmp_path / "arm") == [
        lr_at(schedule, 5e-3, step, TOTAL) for step in range(1, TOTAL + 1)
    ]
    assert applied(tmp_path / "redecay") == planned(redecay)
    assert applied(tmp_path / "redecay")[0] == applied(tmp_path / "arm")[0]


def test_redecay_and_rewarm_go_on_through_an_interruption(data: Path, tmp_path: Path) -> None:
    schedule = Schedule(kind="wsd", warmup=0.01, cooldown=0.1, cooldown_shape="one_minus_sqrt")
    settings = {"total": 400, "optimizer": LION, "schedule": schedule}
    trunk = world.segment(data, 0, 5, **settings)
    assert world.train(trunk, tmp_path / "trunk") == "done"
    base = world.hf_base(trunk, world.checkpoint(tmp_path / "trunk", 5), tmp_path / "hf", rewarm=120)
    phase = world.segment(data, 5, 150, redecay=Redecay(start_step=5, end_step=150), **settings)
    spec, folder = world.from_base(phase, base), tmp_path / "phase"
    child = world.start(spec, folder)
    world.wait_for_step(folder, 9, child)
    world.send(child, signal.SIGTERM)
    assert world.finish(child, folder).startswith("Interrupted")
    assert 5 < world.metrics(folder)[-1]["step"] < 150
    assert world.train(spec, folder) == "done"
    assert applied(folder) == pytest.approx(planned(spec), rel=1e-12, abs=0)
    assert max(applied(folder)) < 3e-4 * 0.7  # neither the ramp nor the fall is without effect


@pytest.fixture(scope="module")
def lion(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LionW: folder `whole`, and `trunk` with a `branch` on the base mix."""
    folder = tmp_path_factory.mktemp("lion")
    parent = world.checkpoint(folder / "trunk", BRANCH)
    whole, trunk, branch = (
        world.segment(data, *steps, total=TOTAL, optimizer=LION) for steps in ((0, TOTAL), (0, BRANCH), (BRANCH, TOTAL))
    )
    world.train_in_turn(
        [(whole, folder / "whole", None), (trunk, folder / "trunk", None), (branch, folder / "branch", parent)]
    )
    return folder


def test_a_lionw_branch_on_the_base_mix_is_bit_equal_to_the_unbranched_run(lion: Path) -> None:
    whole = world.metrics(lion / "whole")
    assert whole[-1]["loss"] < whole[0]["loss"]
    assert world.metrics(lion / "trunk") + world.metrics(lion / "branch") == whole


def test_a_lionw_branch_on_two_processes_equals_it_to_a_millionth(lion: Path, data: Path, tmp_path: Path) -> None:
    spec = world.segment(data, BRANCH, TOTAL, total=TOTAL, optimizer=LION)
    world.train_on_two(spec, tmp_path, world.checkpoint(lion / "trunk", BRANCH))
    alone, together = world.metrics(lion / "branch"), world.metrics(tmp_path)
    for key in ("loss", "grad_norm"):
        assert [line[key] for line in together] == pytest.approx([line[key] for line in alone], abs=1e-6, rel=1e-6)
    assert applied(tmp_path) == planned(spec)
