"""torchtitan goes on without a word where a branch would not be what was planned: none of these gets through.

Each is held by a test that fails where it is hit, here or where named:

 1 a branch loads the model only, at step 0 ......... test_a_branch_goes_on_with_all_of_its_parent
 2 the last checkpoint has the model only ............. test_a_branch_goes_on_with_all_of_its_parent
 3 checkpoints beyond ten are deleted ................. test_torchtitan_deletes_no_checkpoint_by_itself
 4 the data starts over on resume ..................... test_a_branch_goes_on_with_all_of_its_parent, and
     test_train_interrupted: test_a_stopped_training_saves_and_goes_on_bit_for_bit
 5 the LR bends to the steps of this process .......... test_the_lr_does_not_bend_to_where_a_segment_ends
 6 the checkpoint's LR in the first step .............. test_the_first_step_moves_the_weights_by_the_lr_that_is_due
   the checkpoint's weight decay, betas and eps ....... test_settings_that_a_checkpoint_would_change_are_refused
   AdamW's state taken for LionW's .................... test_the_state_of_another_optimizer_is_refused
 7 a source more is a missing key ..................... test_a_branch_may_have_a_source_that_its_trunk_had_not
 8 a dropped source's place is taken by the next ......
     test_a_branch_without_a_source_goes_on_in_the_others_where_the_trunk_was
 9 ranks and microbatches change the data ............. test_train_loader:
     test_ranks_and_microbatches_share_out_the_same_global_batches
10 tokens seen are wrong after a change of ranks ...... test_train_segment:
     test_a_branch_on_two_processes_equals_the_unbranched_run_to_a_millionth
11 two ranks begin with other weights than one ........ test_train_segment:
     test_two_processes_from_scratch_begin_with_the_weights_of_one
12 a signal loses what was trained .................... test_train_interrupted:
     test_a_stopped_training_saves_and_goes_on_bit_for_bit
13 randomness is not saved ............................ the same: a random step would show in its bits
14 garbage collection stays off, two seconds of sleep . test_train_segment:
     test_a_process_can_train_one_segment_after_the_other; test_no_time_is_slept_away
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import training as world

from joyctl.campaign.schedule import lr_at, segment_lr
from joyctl.recipe.types import Optimizer
from joyctl.train.config import trainer_config

pytestmark = pytest.mark.slow
TOTAL, BRANCH = 12, 6
ADAMW = Optimizer(lr=5e-3, weight_decay=0.05, betas=(0.9, 0.98))
LION = Optimizer(name="lionw", lr=1e-3, weight_decay=0.0, betas=(0.9, 0.98))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_data(tmp_path_factory.mktemp("world") / "data")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uncut base run in `whole`, and up to the branch point with both optimizers in `adamw` and `lionw`."""
    folder = tmp_path_factory.mktemp("run")
    whole = world.segment(data, 0, TOTAL, total=TOTAL, optimizer=ADAMW)
    trunks = [world.segment(data, 0, BRANCH, total=TOTAL, optimizer=optimizer) for optimizer in (ADAMW, LION)]
    world.train_in_turn(
        [
            (whole, folder / "whole", None),
            *((trunk, folder / trunk.optimizer.name, None) for trunk in trunks),
        ]
    )
    return folder


def parent(run: Path, optimizer: Optimizer = ADAMW) -> Path:
    return world.checkpoint(run / optimizer.name, BRANCH)


def branch(data: Path, end: int = TOTAL, optimizer: Optimizer = ADAMW, **settings: object):
    return world.segment(data, BRANCH, end, total=TOTAL, optimizer=optimizer, **settings)


def weights(checkpoint: Path, folder: Path) -> torch.Tensor:
    """All parameters of a checkpoint in one row."""
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    folder.mkdir(exist_ok=True)
    dcp_to_torch_save(checkpoint, folder / "whole.pt")
    there = torch.load(folder / "whole.pt", weights_only=False)
    of_model = {key: value for key, value in there.items() if torch.is_tensor(value) and value.is_floating_point()}
    return torch.cat([value.flatten() for key, value in sorted(of_model.items()) if key.endswith(".weight")])


def test_a_branch_goes_on_with_all_of_its_parent(run: Path, data: Path, tmp_path: Path) -> None:
    assert world.outcomes_in_turn([(branch(data), tmp_path, parent(run))]) == ["done"]
    assert world.metrics(tmp_path) == world.metrics(run / "whole")[BRANCH:]


def test_torchtitan_deletes_no_checkpoint_by_itself(data: Path, tmp_path: Path) -> None:
    config = trainer_config(branch(data), tmp_path, tmp_path / "parent", ranks=1)
    assert config.checkpoint.keep_latest_k == 0


def test_the_lr_does_not_bend_to_where_a_segment_ends(run: Path, data: Path) -> None:
    spec = world.segment(data, 0, TOTAL, total=TOTAL, optimizer=ADAMW)
    planned = [lr_at(spec.schedule, spec.optimizer.lr, step, TOTAL) for step in range(1, TOTAL + 1)]
    assert [line["lr"] for line in world.metrics(run / "adamw")] == planned[:BRANCH]


def test_the_first_step_moves_the_weights_by_the_lr_that_is_due(run: Path, data: Path, tmp_path: Path) -> None:
    # LionW moves every weight that has a gradient by exactly the LR. The schedule alone would have four times as much.
    trunk = world.segment(data, 0, BRANCH, total=TOTAL, optimizer=LION)
    base = world.hf_base(trunk, parent(run, LION), tmp_path / "hf", rewarm=4)
    spec = world.from_base(branch(data, BRANCH + 1, LION), base)
    assert world.outcomes_in_turn([(spec, tmp_path / "one", None)]) == ["done"]
    before = weights(parent(run, LION), tmp_path / "before")
    after = weights(world.checkpoint(tmp_path / "one", BRANCH + 1), tmp_path / "after")
    due = segment_lr(spec, BRANCH + 1)
    assert due == lr_at(spec.schedule, LION.lr, BRANCH + 1, TOTAL) / 4
    moved = (after - before).abs()
    assert moved[moved > 0].median().item() == pytest.approx(due, rel=1e-3)
    assert world.metrics(tmp_path / "one")[0]["lr"] == due


def test_settings_that_a_checkpoint_would_change_are_refused(run: Path, data: Path, tmp_path: Path) -> None:
    changed = {
        "weight_decay 0.05 (asked for: 0.1)": ADAMW.model_copy(update={"weight_decay": 0.1}),
        "betas [0.9, 0.98] (asked for: [0.9, 0.95])": ADAMW.model_copy(update={"betas": (0.9, 0.95)}),
        "eps 1e-08 (asked for: 1e-06)": ADAMW.model_copy(update={"eps": 1e-6}),
        "LR 0.0025, the schedule says 0.0005": ADAMW.model_copy(update={"lr": 1e-3}),
    }
    lion = LION.model_copy(update={"weight_decay": 1.0})
    specs = [(branch(data, optimizer=o), tmp_path / str(i), parent(run)) for i, o in enumerate(changed.values())]
    outcomes = world.outcomes_in_turn([*specs, (branch(data, optimizer=lion), tmp_path / "lion", parent(run, LION))])
    for outcome, words in zip(outcomes, [*changed, "weight_decay 0.0 (asked for: 1.0)"], strict=True):
        assert outcome.startswith("Refused: trunk/s0/x: the checkpoint of step 6 would go on with " + words)
    assert not list(tmp_path.glob("*/metrics.jsonl"))


def test_the_state_of_another_optimizer_is_refused(run: Path, data: Path, tmp_path: Path) -> None:
    # With equal settings nothing else tells them apart: the state of AdamW has a first moment for LionW.
    to_lion, to_adamw = ADAMW.model_copy(update={"name": "lionw"}), LION.model_copy(update={"name": "adamw"})
    outcomes = world.outcomes_in_turn(
        [
            (branch(data, optimizer=to_lion), tmp_path / "lion", parent(run, ADAMW)),
            (branch(data, optimizer=to_adamw), tmp_path / "adamw", parent(run, LION)),
        ]
    )
    assert "holds the state of AdamW, the optimizer here is lionw" in outcomes[0]
    assert "holds the state of LionW, the optimizer here is adamw" in outcomes[1]
    assert not list(tmp_path.glob("*/metrics.jsonl"))


def test_a_branch_may_have_a_source_that_its_trunk_had_not(data: Path, tmp_path: Path) -> None:
    def without_code(order: dict, phases: int) -> dict:
        rows = {name: n for name, n in order["rows"].items() if name != "code"}
        return {**order, "rows": rows, "phases": [{"start_row": 0, "weights": {"math": 2, "web": 7}}][:phases]}

    whole = world.segment(data, 0, BRANCH, total=TOTAL, optimizer=ADAMW).model_dump()
    trunk = world.segment(data, 0, BRANCH, total=TOTAL, optimizer=ADAMW, order=without_code(whole["order"], 1))
    spec = branch(data, BRANCH + 2, phase={"code": 1}, phase_from=BRANCH)
    order = spec.order.model_copy(update={"phases": (trunk.order.phases[0], spec.order.phases[1])})
    spec = spec.model_copy(update={"order": order})
    at = world.checkpoint(tmp_path / "trunk", BRANCH)
    world.train_in_turn([(trunk, tmp_path / "trunk", None), (spec, tmp_path / "arm", at)])
    assert world.metrics(tmp_path / "trunk")[-1]["rows"] == {"math": 5, "web": 19}
    assert world.metrics(tmp_path / "arm")[-1]["rows"] == {"code": 8, "math": 5, "web": 19}


def test_a_branch_without_a_source_goes_on_in_the_others_where_the_trunk_was(data: Path) -> None:
    from joyctl.train.loader import OrderedLoader

    def batches(phase: dict[str, int], row: int) -> list[np.ndarray]:
        spec = world.segment(data, 0, TOTAL, total=TOTAL, phase=phase, phase_from=BRANCH)
        loader = OrderedLoader(
            OrderedLoader.Config(order=spec.order, data_folder=spec.data_folder, global_batch_size=world.BATCH),
            dp_world_size=1,
            dp_rank=0,
            tokenizer=None,
            seq_len=world.SEQ,
            local_batch_size=world.BATCH,
        )
        loader.load_state_dict({"joyctl": f'{{"row": {row}}}'})
        found = iter(loader)
        return [next(found)[0]["input"].numpy() for _ in range(3)]

    def web_rows(phase: dict[str, int]) -> list[list[int]]:
        tokens = np.fromfile(data / "sources/web/train.bin", "<u2")
        web = {tuple(tokens[i : i + world.SEQ]) for i in range(0, len(tokens) - world.SEQ, world.SEQ)}
        rows = [row for batch in batches(phase, BRANCH * world.BATCH) for row in batch]
        return [row.tolist() for row in rows if tuple(row) in web]

    whole, dropped = web_rows(world.BASE), web_rows({"code": 1, "web": 7})
    shared = min(len(whole), len(dropped))
    assert shared >= 8 and whole[:shared] == dropped[:shared]


def test_no_time_is_slept_away(run: Path) -> None:
    log = (run / "whole" / "log" / "train.log").read_text()
    assert "Training trunk/s0/x from step 0 to 12" in log and "Sleeping" not in log
