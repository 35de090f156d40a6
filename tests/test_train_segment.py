"""Training through torchtitan: branches, cuts, ranks and threads change nothing that they should not."""

from __future__ import annotations

from pathlib import Path

import pytest
import training as world

from joyctl.campaign.schedule import lr_at
from joyctl.recipe.scaling import Scaling

pytestmark = pytest.mark.slow
STEPS = world.TOTAL
BRANCH = 18


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_data(tmp_path_factory.mktemp("world") / "data")


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uncut base run, step 0 to the end."""
    folder = tmp_path_factory.mktemp("whole")
    assert world.train(world.segment(data, 0, STEPS), folder) == "done"
    return folder


@pytest.fixture(scope="module")
def trunk(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base run up to the branch point."""
    folder = tmp_path_factory.mktemp("trunk")
    assert world.train(world.segment(data, 0, BRANCH), folder) == "done"
    return folder


def test_a_finished_segment_holds_its_metrics_one_full_checkpoint_and_a_log(whole: Path) -> None:
    lines = world.metrics(whole)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert lines[-1]["tokens"] == STEPS * world.BATCH * world.SEQ
    assert lines[-1]["rows"] == {"code": 12, "math": 24, "web": 84}
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.5  # it learns
    assert sorted(path.name for path in whole.iterdir()) == ["checkpoint", "log", "metrics.jsonl", "outcome"]
    assert [path.name for path in (whole / "checkpoint").iterdir()] == [f"step-{STEPS}"]


def test_metrics_count_the_rows_that_were_given_to_the_model_whatever_was_due(data: Path, tmp_path: Path) -> None:
    spec, wrong = world.segment(data, 0, STEPS), {"JOYCTL_TEST_CODE_FOR_MATH": "1"}
    assert world.train(spec, tmp_path, environment=wrong) == "done"
    assert world.metrics(tmp_path)[-1]["rows"] == {"code": 36, "math": 0, "web": 84}


def test_the_lr_logged_is_that_of_the_plan_at_every_step(whole: Path, data: Path) -> None:
    spec = world.segment(data, 0, STEPS)
    planned = [lr_at(spec.schedule, spec.optimizer.lr, step, STEPS) for step in range(1, STEPS + 1)]
    assert [line["lr"] for line in world.metrics(whole)] == planned


def test_a_branch_on_the_base_mix_is_bit_equal_to_the_unbranched_run(
    whole: Path, trunk: Path, data: Path, tmp_path: Path
) -> None:
    spec = world.segment(data, BRANCH, STEPS, phase=world.BASE, phase_from=BRANCH)
    assert world.train(spec, tmp_path, world.checkpoint(trunk, BRANCH)) == "done"
    assert world.metrics(trunk) + world.metrics(tmp_path) == world.metrics(whole)


def test_a_branch_on_two_processes_equals_the_unbranched_run_to_a_millionth(
    whole: Path, trunk: Path, data: Path, tmp_path: Path
) -> None:
    spec = world.segment(data, BRANCH, STEPS)
    world.train_under_torchrun(spec, tmp_path, world.checkpoint(trunk, BRANCH))
    alone, together = world.metrics(whole)[BRANCH:], world.metrics(tmp_path)
    for key in ("step", "lr", "tokens", "rows"):
        assert [line[key] for line in together] == [line[key] for line in alone]
    for key in ("loss", "grad_norm"):
        assert [line[key] for line in together] == pytest.approx([line[key] for line in alone], abs=1e-6, rel=1e-6)


def test_two_processes_from_scratch_begin_with_the_weights_of_one(whole: Path, data: Path, tmp_path: Path) -> None:
    world.train_on_two(world.segment(data, 0, 3), tmp_path)
    losses = [line["loss"] for line in world.metrics(tmp_path)]
    assert losses == pytest.approx([line["loss"] for line in world.metrics(whole)[:3]], abs=1e-6)


def test_a_run_of_two_processes_can_be_carried_on_by_one(whole: Path, data: Path, tmp_path: Path) -> None:
    world.train_on_two(world.segment(data, 0, 3), tmp_path / "two")
    spec = world.segment(data, 3, 6)
    assert world.train(spec, tmp_path / "one", world.checkpoint(tmp_path / "two", 3)) == "done"
    losses = [line["loss"] for line in world.metrics(tmp_path / "one")]
    assert losses == pytest.approx([line["loss"] for line in world.metrics(whole)[3:6]], abs=1e-6)


def test_a_run_cut_in_two_segments_is_bit_equal_to_the_uncut_one(
    whole: Path, trunk: Path, data: Path, tmp_path: Path
) -> None:
    spec = world.segment(data, BRANCH, STEPS)
    assert world.train(spec, tmp_path, world.checkpoint(trunk, BRANCH)) == "done"
    assert world.metrics(trunk) + world.metrics(tmp_path) == world.metrics(whole)


def test_a_process_can_train_one_segment_after_the_other(whole: Path, data: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    branch = world.segment(data, 5, 9), second, world.checkpoint(first, 5)
    world.train_in_turn([(world.segment(data, 0, 5), first, None), branch])
    assert world.metrics(first) + world.metrics(second) == world.metrics(whole)[:9]


def test_one_and_two_threads_give_the_same_bits(data: Path, tmp_path: Path) -> None:
    # Wide enough that its sums are worth splitting between threads.
    model = world.MODEL.model_copy(update={"dim": 128, "ffn_hidden": 352, "vocab_size": 1024, "max_seq_len": 128})
    spec = world.segment(data, 0, 4, model=model, seq_len=128, batch_size=8)
    for threads in (1, 2):
        assert world.train(spec, tmp_path / str(threads), threads=threads) == "done"
    assert world.metrics(tmp_path / "1") == world.metrics(tmp_path / "2")


def test_gradient_accumulation_trains_on_the_same_rows(whole: Path, data: Path, tmp_path: Path) -> None:
    one_row = Scaling.model_validate({"torchtitan": {"training": {"local_batch_size": 1}}})
    assert world.train(world.segment(data, 0, 6), tmp_path, scaling=one_row) == "done"
    losses = [line["loss"] for line in world.metrics(tmp_path)]
    assert losses == pytest.approx([line["loss"] for line in world.metrics(whole)[:6]], abs=1e-5)


def test_a_branch_that_drops_a_source_trains_on_the_others(trunk: Path, data: Path, tmp_path: Path) -> None:
    spec = world.segment(data, BRANCH, STEPS, phase={"code": 3, "web": 1}, phase_from=BRANCH)
    assert world.train(spec, tmp_path, world.checkpoint(trunk, BRANCH)) == "done"
    before, after = world.metrics(trunk)[-1]["rows"], world.metrics(tmp_path)[-1]["rows"]
    assert {name: after[name] - before[name] for name in after} == {"code": 36, "math": 0, "web": 12}


def test_a_finished_segment_is_left_as_it_is(trunk: Path, data: Path) -> None:
    files = [trunk / "metrics.jsonl", world.checkpoint(trunk, BRANCH) / "__0_0.distcp"]
    before = [path.stat().st_mtime_ns for path in files]
    assert world.train(world.segment(data, 0, BRANCH), trunk) == "done"
    assert [path.stat().st_mtime_ns for path in files] == before
