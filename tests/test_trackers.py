"""TensorBoard, wandb and trackio, the real ones, without a network: what they keep, and that they stop no training."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import training as world

from joyctl.recipe.scaling import Scaling

pytestmark = pytest.mark.slow
STEPS = 6
ALL = Scaling(trackers=("tensorboard", "wandb", "trackio"))
SEALED = {"JOYCTL_TEST_SEALED": "1"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_data(tmp_path_factory.mktemp("world") / "data")


@pytest.fixture(scope="module")
def tracked(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training with all three, in two attempts, that could reach nothing but this machine."""
    folder = tmp_path_factory.mktemp("tracked")
    spec = world.segment(data, 0, STEPS)
    assert sealed(spec.model_copy(update={"end_step": 3}), folder) == "done"
    assert sealed(spec, folder) == "done"
    return folder


def sealed(spec: Any, folder: Path, scaling: Scaling = ALL) -> str:
    """Train where a connection to anything but this machine is an error that is written down."""
    child = world.start(spec, folder, environment=SEALED, scaling=scaling, project="camp")
    return world.finish(child, folder)


def test_nothing_tried_to_reach_the_network(tracked: Path) -> None:
    assert (tracked / "sealed").read_text() == ""


def test_tensorboard_has_every_step_once(tracked: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tracked / "tracker" / "tensorboard"))
    events.Reload()
    lines = world.metrics(tracked)
    for key in ("loss", "lr", "grad_norm", "tokens"):
        found = {event.step: event.value for event in events.Scalars(key)}
        assert found == pytest.approx({line["step"]: line[key] for line in lines})
    assert len(events.Scalars("loss")) == STEPS
    assert events.Scalars("rows/web")[-1].value == lines[-1]["rows"]["web"]
    assert [event.step for event in events.Scalars("tokens_per_second")] == [2, 3, 5, 6]


def wandb_records(data: bytes) -> Iterator[bytes]:
    """Records of a .wandb file: LevelDB's log after 7 bytes, 32 KiB blocks of checksum, length, type, content."""
    at, begun = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # a block's end too short for a header
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        begun += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield begun
            begun = b""


def test_wandb_is_offline_and_both_attempts_are_one_run(tracked: Path) -> None:
    from wandb.proto import wandb_internal_pb2

    runs = sorted((tracked / "tracker" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(runs) == 2
    steps, names = [], set()
    for path in runs:
        for content in wandb_records(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            if record.HasField("run"):
                names.add((record.run.project, record.run.display_name, record.run.run_id))
            if record.HasField("history"):
                values = {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
                steps.append((int(values["_step"]), json.loads(values["loss"])))
    assert steps == [(line["step"], line["loss"]) for line in world.metrics(tracked)]
    assert names == {("camp", "trunk/s0/x", (tracked / "tracker" / "run-id").read_text())}


def test_trackio_keeps_one_run_on_this_machine(tracked: Path) -> None:
    [path] = (tracked / "tracker" / "trackio").glob("*.db")
    with sqlite3.connect(path) as database:
        rows = database.execute("select run_name, step, metrics from metrics order by step").fetchall()
    assert {name for name, _, _ in rows} == {"trunk/s0/x"}
    assert [(step, json.loads(metrics)["loss"]) for _, step, metrics in rows] == [
        (line["step"], line["loss"]) for line in world.metrics(tracked)
    ]


def test_what_is_trained_is_the_same_as_without(tracked: Path, data: Path, tmp_path: Path) -> None:
    assert world.train(world.segment(data, 0, STEPS), tmp_path) == "done"
    assert world.metrics(tmp_path) == world.metrics(tracked)
    assert not (tmp_path / "tracker").exists()


def test_a_tracker_that_fails_is_named_once_and_training_goes_on(data: Path, tmp_path: Path) -> None:
    tmp_path.joinpath("tracker").write_text("a file, where they want a folder")
    assert sealed(world.segment(data, 0, STEPS), tmp_path) == "done"
    assert len(world.metrics(tmp_path)) == STEPS
    log = (tmp_path / "log" / "train.log").read_text()
    for name in ("tensorboard", "wandb"):
        assert log.count(f"{name} failed, training goes on without it: ") == 1
    assert "this batch could not be persisted" in log  # trackio says so itself, and goes on


def test_a_missing_package_is_named_with_the_command_that_installs_it(data: Path, tmp_path: Path) -> None:
    hidden = {**SEALED, "JOYCTL_TEST_HIDDEN": "trackio"}
    child = world.start(world.segment(data, 0, 2), tmp_path, environment=hidden, scaling=ALL)
    said = world.finish(child, tmp_path)
    assert said.startswith("Missing: trackers of the cluster file are not installed: trackio\n")
    assert said.endswith("pip install 'joyctl[trackers]'")
