"""torchtitan's own settings: however the machine trains, the numbers are those of the plain run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import training as world

from joyctl.recipe.scaling import Scaling
from joyctl.store.files import write_json, write_text

pytestmark = pytest.mark.slow
STEPS, BRANCH = 8, 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_data(tmp_path_factory.mktemp("world") / "data")


@pytest.fixture(scope="module")
def plain(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, nothing set."""
    folder = tmp_path_factory.mktemp("plain")
    assert world.train(world.segment(data, 0, STEPS), folder) == "done"
    return folder


@pytest.fixture(scope="module")
def trunk(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first half of it."""
    folder = tmp_path_factory.mktemp("trunk")
    assert world.train(world.segment(data, 0, BRANCH), folder) == "done"
    return folder


def scaling(**sections: Any) -> Scaling:
    return Scaling.model_validate({"torchtitan": sections})


def equal_to_a_millionth(folder: Path, plain: Path, first: int = 0) -> None:
    expected, found = world.metrics(plain)[first:], world.metrics(folder)
    for key in ("step", "lr", "tokens", "rows"):
        assert [line[key] for line in found] == [line[key] for line in expected]
    for key in ("loss", "grad_norm"):
        assert [line[key] for line in found] == pytest.approx([line[key] for line in expected], abs=1e-6, rel=1e-6)


@pytest.mark.parametrize(
    "sections",
    [
        {"parallelism": {"data_parallel_shard_degree": 2}},
        {"parallelism": {"data_parallel_replicate_degree": 2, "data_parallel_shard_degree": 1}},
        {"parallelism": {"fsdp_reshard_after_forward": "never"}, "activation_checkpoint": {"mode": "full"}},
        {"parallelism": {"tensor_parallel_degree": 2}},
        {"parallelism": {"tensor_parallel_degree": 2, "enable_sequence_parallel": False}},
    ],
    ids=["fsdp", "hsdp", "fsdp with full checkpointing", "tensor parallel", "without sequence parallel"],
)
def test_two_processes_train_as_one_does(sections: dict[str, Any], data: Path, plain: Path, tmp_path: Path) -> None:
    world.train_on(2, world.segment(data, 0, STEPS), tmp_path, scaling=scaling(**sections))
    equal_to_a_millionth(tmp_path, plain)


def test_tensor_parallel_branches_from_a_checkpoint_of_one_process_and_one_from_its(
    data: Path, plain: Path, trunk: Path, tmp_path: Path
) -> None:
    spec = world.segment(data, BRANCH, 6)
    both = scaling(parallelism={"tensor_parallel_degree": 2}, activation_checkpoint={"mode": "selective"})
    world.train_on(2, spec, tmp_path / "two", world.checkpoint(trunk, BRANCH), scaling=both)
    last = world.segment(data, 6, STEPS)
    assert world.train(last, tmp_path / "one", world.checkpoint(tmp_path / "two", 6)) == "done"
    found = world.metrics(tmp_path / "two") + world.metrics(tmp_path / "one")
    losses = [line["loss"] for line in found]
    assert losses == pytest.approx([line["loss"] for line in world.metrics(plain)[BRANCH:]], abs=1e-6)


@pytest.mark.parametrize("mode", ["selective", "full"])
def test_activation_checkpointing_alone_changes_no_bit(mode: str, data: Path, trunk: Path, tmp_path: Path) -> None:
    spec = world.segment(data, BRANCH, STEPS)
    parent = world.checkpoint(trunk, BRANCH)
    assert world.train(spec, tmp_path / "plain", parent) == "done"
    with_it = scaling(activation_checkpoint={"mode": mode})
    assert world.train(spec, tmp_path / mode, parent, scaling=with_it) == "done"
    assert world.metrics(tmp_path / mode) == world.metrics(tmp_path / "plain")


def test_microbatches_on_two_processes(data: Path, plain: Path, tmp_path: Path) -> None:
    world.train_on(2, world.segment(data, 0, 3), tmp_path, scaling=scaling(training={"local_batch_size": 1}))
    losses = [line["loss"] for line in world.metrics(tmp_path)]
    assert losses == pytest.approx([line["loss"] for line in world.metrics(plain)[:3]], abs=1e-6)


def test_asynchronous_checkpoints_leave_the_same_run(data: Path, plain: Path, tmp_path: Path) -> None:
    always = scaling(checkpoint={"async_mode": "async"})
    assert world.train(world.segment(data, 0, STEPS), tmp_path, scaling=always, save_seconds=0.0) == "done"
    assert world.metrics(tmp_path) == world.metrics(plain)
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == [f"step-{STEPS}"]
    log = (tmp_path / "log" / "train.log").read_text()
    assert "Staging the checkpoint" in log  # some were written beside the training
    following = world.segment(data, STEPS, STEPS + 2)
    assert world.train(following, tmp_path / "next", world.checkpoint(tmp_path, STEPS)) == "done"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_with_asynchronous_checkpoints_a_stopped_or_killed_training_goes_on_bit_for_bit(
    number: signal.Signals, data: Path, tmp_path: Path
) -> None:
    spec = world.segment(data, 0, 150, total=200)
    always = scaling(checkpoint={"async_mode": "async"})
    assert world.train(spec, tmp_path / "whole") == "done"
    folder = tmp_path / "stopped"
    child = world.start(spec, folder, scaling=always, save_seconds=0.0)
    while not list((folder / "checkpoint").glob("step-*/.metadata")):
        world.wait_for_step(folder, 1, child)
    world.send(child, number)
    ended = world.finish(child, folder)
    assert ended == "exit code -9" if number == signal.SIGKILL else ended.startswith("Interrupted: ")
    assert 1 <= len(world.metrics(folder)) < 150
    assert world.train(spec, folder, scaling=always) == "done"
    assert world.metrics(folder) == world.metrics(tmp_path / "whole")
    assert [path.name for path in (folder / "checkpoint").iterdir()] == ["step-150"]


def test_with_asynchronous_checkpoints_two_processes_save_together(data: Path, plain: Path, tmp_path: Path) -> None:
    always = scaling(checkpoint={"async_mode": "async"})
    world.train_on(2, world.segment(data, 0, STEPS), tmp_path, scaling=always, save_seconds=0.0)
    equal_to_a_millionth(tmp_path, plain)
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == [f"step-{STEPS}"]


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"parallelism": {"tensor_parallel_degree": 2}}, "degrees 1 x 2 need a multiple of 2 processes"),
        ({"training": {"local_batch_size": 3}}, "3 does not divide the 4 rows that each process has of a step"),
        ({"checkpoint": {"async_mode": "async_with_pinned_mem"}}, "'async_with_pinned_mem' needs a GPU; give 'async'"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(
    sections: dict[str, Any], expected: str, data: Path, tmp_path: Path
) -> None:
    said = world.train(world.segment(data, 0, STEPS), tmp_path, scaling=scaling(**sections))
    assert said.startswith("Refused: trunk/s0/x: torchtitan.") and expected in said
    assert not (tmp_path / "metrics.jsonl").exists()


def test_every_step_but_an_attempts_first_tells_its_speed_and_a_cpu_no_mfu(plain: Path) -> None:
    lines = [json.loads(line) for line in (plain / "metrics.jsonl").read_text().splitlines()]
    assert "tokens_per_second" not in lines[0]
    seconds = sum(world.BATCH * world.SEQ / line["tokens_per_second"] for line in lines[1:])
    assert seconds == pytest.approx(lines[-1]["time"] - lines[0]["time"], rel=0.2)
    assert not any("mfu" in line for line in lines)


def test_the_worker_takes_them_from_its_command_line_and_files_trackers_by_campaign(
    data: Path, plain: Path, tmp_path: Path
) -> None:
    campaign = tmp_path / "mine"
    spec = world.segment(data, 0, STEPS, name="trunk/s0/0-8")
    write_json(campaign / "campaign.json", {})
    write_text(campaign / spec.id / "segment.json", spec.model_dump_json())
    word = Scaling.model_validate(
        {"torchtitan": {"training": {"local_batch_size": 2}}, "trackers": ["tensorboard"]}
    ).argument()
    command = [sys.executable, "-m", "joyctl.worker", str(campaign / spec.id), "train", f"--scaling={word}"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    equal_to_a_millionth(campaign / spec.id, plain)
    assert "gradient accumulation steps 2" in (campaign / spec.id / "log" / "train.log").read_text()
    assert list((campaign / spec.id / "tracker" / "tensorboard").glob("events.*"))
