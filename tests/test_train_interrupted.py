"""Training that is stopped, killed or broken off goes on with the same numbers, or says why it cannot."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import training as world

from joyctl.recipe.scaling import Scaling

pytestmark = pytest.mark.slow
STEPS, HORIZON = 150, 200


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_data(tmp_path_factory.mktemp("world") / "data")


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same segment, never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert world.train(spec(data), folder) == "done"
    return folder


def spec(data: Path, **changed: object):
    return world.segment(data, 0, STEPS, total=HORIZON, **changed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_training_saves_and_goes_on_bit_for_bit(
    number: signal.Signals, whole: Path, data: Path, tmp_path: Path
) -> None:
    child = world.start(spec(data), tmp_path)
    world.wait_for_step(tmp_path, 5, child)
    world.send(child, number)
    assert world.finish(child, tmp_path).startswith("Interrupted: trunk/s0/x: stopped as asked at step")
    done = world.metrics(tmp_path)
    assert 5 <= len(done) < STEPS
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == [f"step-{len(done)}"]

    assert world.train(spec(data), tmp_path) == "done"
    assert world.metrics(tmp_path) == world.metrics(whole)
    assert world.metrics(tmp_path)[: len(done)] == done
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == [f"step-{STEPS}"]


def test_a_killed_training_goes_on_from_its_last_checkpoint_without_a_line_twice(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    child = world.start(spec(data), tmp_path, save_seconds=0.05)
    while not list((tmp_path / "checkpoint").glob("step-*/.metadata")):
        world.wait_for_step(tmp_path, 1, child)
    os.kill(child.pid, signal.SIGKILL)
    assert world.finish(child, tmp_path) == "exit code -9"
    assert len(world.metrics(tmp_path)) < STEPS

    assert world.train(spec(data), tmp_path) == "done"
    assert world.metrics(tmp_path) == world.metrics(whole)
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == [f"step-{STEPS}"]


def test_a_checkpoint_cut_short_is_not_taken_for_one(whole: Path, data: Path, tmp_path: Path) -> None:
    child = world.start(spec(data), tmp_path)
    world.wait_for_step(tmp_path, 5, child)
    world.send(child, signal.SIGTERM)
    world.finish(child, tmp_path)
    step = len(world.metrics(tmp_path))
    good = world.checkpoint(tmp_path, step)
    torn = world.checkpoint(tmp_path, step + 3)  # as if killed while writing: data there, .metadata not
    torn.mkdir()
    content = (good / "__0_0.distcp").read_bytes()
    (torn / "__0_0.distcp").write_bytes(content[: len(content) // 2])
    (torn / ".metadata.tmp").write_bytes(b"")

    assert world.train(spec(data), tmp_path) == "done"
    assert world.metrics(tmp_path) == world.metrics(whole)
    assert not torn.exists()


def test_a_checkpoint_that_holds_something_else_is_named_with_what_to_do(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    child = world.start(spec(data), tmp_path / "own")
    world.wait_for_step(tmp_path / "own", 5, child)
    world.send(child, signal.SIGTERM)
    world.finish(child, tmp_path / "own")
    mine = world.checkpoint(tmp_path / "own", len(world.metrics(tmp_path / "own")))
    parent = Path(shutil.copytree(world.checkpoint(whole, STEPS), tmp_path / "parent"))
    for checkpoint in (mine, parent):
        shard = checkpoint / "__0_0.distcp"
        shard.write_bytes(bytes(shard.stat().st_size))  # as a machine that lost its power may leave it
    said = world.train(spec(data), tmp_path / "own")
    assert f"Refused: {mine} cannot be read: UnpicklingError" in said and "Remove it: the same command" in said
    branch = world.segment(data, STEPS, HORIZON, total=HORIZON)
    said = world.train(branch, tmp_path / "branch", parent=parent)
    assert f"Refused: {parent} cannot be read: UnpicklingError" in said and "--audit" in said

    shutil.rmtree(mine)
    assert world.train(spec(data), tmp_path / "own") == "done"
    assert world.metrics(tmp_path / "own") == world.metrics(whole)


def test_a_torn_line_of_metrics_is_written_anew(whole: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoint")
    with (tmp_path / "metrics.jsonl").open("a") as f:
        f.write('{"step": 151, "lo')
    assert world.train(spec(data), tmp_path) == "done"
    assert world.metrics(tmp_path) == world.metrics(whole)


def test_missing_lines_of_trained_steps_are_not_passed_over(data: Path, tmp_path: Path) -> None:
    child = world.start(spec(data), tmp_path)
    world.wait_for_step(tmp_path, 5, child)
    world.send(child, signal.SIGTERM)
    world.finish(child, tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_text("".join(lines[1:]))
    assert "does not have one line for each of the steps 1 to" in world.train(spec(data), tmp_path)
    uncounted = [json.dumps({k: v for k, v in json.loads(line).items() if k != "rows"}) + "\n" for line in lines]
    (tmp_path / "metrics.jsonl").write_text("".join(uncounted))
    assert "how many rows of each source were shown" in world.train(spec(data), tmp_path)


def test_a_loss_or_gradient_that_is_not_finite_is_named_and_nothing_is_kept(data: Path, tmp_path: Path) -> None:
    loss = world.train(spec(data, lr=1e40), tmp_path / "loss")
    assert loss.startswith("Diverged: trunk/s0/x: the loss became nan at step 2\n")
    gradient = world.train(spec(data, lr=1e30), tmp_path / "gradient")
    assert gradient.startswith("Diverged: trunk/s0/x: the norm of the gradient became nan at step ")
    for folder in tmp_path.iterdir():
        assert not (folder / "checkpoint").exists()


def test_a_parent_that_does_not_fit_is_refused(whole: Path, data: Path, tmp_path: Path) -> None:
    parent = world.checkpoint(whole, STEPS)
    after = world.segment(data, STEPS, 170, total=HORIZON)
    assert "Missing" in world.train(after, tmp_path / "none", world.checkpoint(whole, 7))

    torn = tmp_path / "torn" / f"step-{STEPS}"
    shutil.copytree(parent, torn)
    (torn / ".metadata").unlink()
    assert "is not complete" in world.train(after, tmp_path / "torn-run", torn)

    earlier = world.segment(data, 140, 170, total=HORIZON)
    assert "would begin at step 150, not at step 140" in world.train(earlier, tmp_path / "step", parent)

    other_batch = world.segment(data, STEPS, 170, total=HORIZON, batch_size=2)
    assert "stands at row 600 of the data" in world.train(other_batch, tmp_path / "row", parent)

    other_lr = world.segment(data, STEPS, 170, total=HORIZON, lr=1e-3)
    assert "would go on with LR" in world.train(other_lr, tmp_path / "lr", parent)

    assert "parent checkpoint: None" in world.train(after, tmp_path / "forgotten")
    assert not list(tmp_path.glob("*/metrics.jsonl"))


def test_data_that_changed_after_planning_is_refused(data: Path, tmp_path: Path) -> None:
    mine = tmp_path / "data"
    shutil.copytree(data, mine)
    planned = spec(mine)
    described = mine / "sources" / "web" / "source.json"
    described.write_text(json.dumps({**json.loads(described.read_text()), "sha256": "0" * 64}))
    assert "not those the campaign was planned for" in world.train(planned, tmp_path / "sha")
    unchecked = planned.model_copy(update={"source_sha256": {}})
    (mine / "sources" / "web" / "train.bin").write_bytes(bytes(2000))
    assert "31 rows of 32 tokens, the plan was made for 187" in world.train(unchecked, tmp_path / "rows")


def test_rows_that_cannot_be_shared_out_are_refused(data: Path, tmp_path: Path) -> None:
    scaling = Scaling.model_validate({"torchtitan": {"training": {"local_batch_size": 3}}})
    assert "3 does not divide the 4 rows that each process has" in world.train(spec(data), tmp_path, scaling=scaling)
