"""Checkpoints that are averaged stay through stops and kills, and their mean is what is exported."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
import training as world
from safetensors.numpy import load_file

from joyctl.campaign.spec import SegmentSpec
from joyctl.recipe.types import Average
from joyctl.store.files import write_text

STEPS, KEPT = 90, ("step-50", "step-70", "step-90")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_data(tmp_path_factory.mktemp("world") / "data")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segment that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert world.train(spec(data), folder) == "done"
    return folder


def spec(data: Path) -> SegmentSpec:
    return world.segment(data, 0, STEPS, total=100).model_copy(update={"average": Average(last=3, every=20)})


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoint").iterdir())


def exported(spec: SegmentSpec, folder: Path, steps: list[int], tokenizer: Path, out: Path) -> Path:
    """The weights' file of the mean over these checkpoints."""
    from joyctl.train.export import export_model

    *earlier, last = (world.checkpoint(folder, step) for step in steps)
    export_model(spec, last, out, tokenizer=tokenizer, card="", averaged_with=earlier)
    return out / "model.safetensors"


@pytest.mark.slow
def test_the_exported_model_is_the_mean_of_the_checkpoints_exported_one_by_one(
    whole: Path, data: Path, tokenizer: Path, tmp_path: Path
) -> None:
    assert checkpoints(whole) == [*KEPT]
    mean = load_file(exported(spec(data), whole, [50, 70, 90], tokenizer, tmp_path / "mean"))
    single = [load_file(exported(spec(data), whole, [s], tokenizer, tmp_path / str(s))) for s in (50, 70, 90)]
    assert all(abs(single[0][name] - single[2][name]).max() > 1e-4 for name in mean)  # training went on between them
    for name, value in mean.items():
        exact = sum(each[name].astype("float64") for each in single) / 3
        assert (abs(value - exact) <= 2**-24 * abs(exact) + 1e-12).all()  # rounded to float32 once


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_training_that_is_stopped_or_killed_comes_to_the_same_mean_bit_for_bit(
    number: signal.Signals, whole: Path, data: Path, tokenizer: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stopped"
    child = world.start(spec(data), folder)
    world.wait_for_step(folder, 55, child)
    world.send(child, number)
    world.finish(child, folder)
    assert len(world.metrics(folder)) < STEPS and "step-50" in checkpoints(folder)

    assert world.train(spec(data), folder) == "done"
    assert checkpoints(folder) == [*KEPT]
    assert world.metrics(folder) == world.metrics(whole)
    means = [exported(spec(data), at, [50, 70, 90], tokenizer, tmp_path / at.name) for at in (whole, folder)]
    assert means[0].read_bytes() == means[1].read_bytes()


@pytest.mark.slow
def test_a_torn_checkpoint_of_those_averaged_is_made_again_though_later_ones_are_there(
    whole: Path, data: Path, tokenizer: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "torn"
    shutil.copytree(whole, folder)
    (world.checkpoint(folder, 70) / ".metadata").unlink()
    assert world.train(spec(data), folder) == "done"
    assert checkpoints(folder) == [*KEPT] and world.metrics(folder) == world.metrics(whole)
    log = (folder / "log" / "train.log").read_text()
    assert "Training trunk/s0/x from step 50 to 90" in log
    means = [exported(spec(data), at, [50, 70, 90], tokenizer, tmp_path / f"hf-{at.name}") for at in (whole, folder)]
    assert means[0].read_bytes() == means[1].read_bytes()


@pytest.mark.parametrize(
    ("there", "step"),
    [
        ({}, None),
        ({"step-40": True}, 40),
        ({"step-40": True, "step-50": False}, 40),  # killed while writing it
        ({"step-50": True, "step-60": True}, 60),
        ({"step-60": True}, None),  # 50 is lost: only from the start can it be made again
        ({"step-40": True, "step-50": False, "step-60": True}, 40),
        ({"step-50": True, "step-70": True, "step-90": True}, 90),
    ],
)
def test_training_goes_on_from_where_all_that_is_averaged_can_still_come(
    there: dict[str, bool], step: int | None, tmp_path: Path
) -> None:
    from joyctl.train import checkpoints as on_disk

    for name, whole in there.items():
        folder = tmp_path / "checkpoint" / name
        folder.mkdir(parents=True)
        if whole:
            write_text(folder / ".metadata", "")
    assert on_disk.resumable(tmp_path, (50, 70, 90)) == step
