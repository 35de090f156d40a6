"""Training that goes on from a base trained elsewhere: by torchtitan alone, by joyctl, or as a Hugging Face folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stock_training as stock
import training as world

from joyctl.campaign.schedule import segment_lr
from joyctl.campaign.spec import BaseSpec, SegmentSpec
from joyctl.data.folder import tokens
from joyctl.data.order import Order
from joyctl.recipe.types import Training
from joyctl.store.digest import CHECKPOINT_FILES, folder_digest

pytestmark = pytest.mark.slow
STEPS, BRANCH = world.TOTAL, 18
# torchtitan's bare attention, and that of transformers without a mask, take a row as one sequence.
JOINED = Training(tokens=STEPS * world.BATCH * world.SEQ, seq_len=world.SEQ, batch_size=world.BATCH, documents="joined")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = world.make_data(tmp_path_factory.mktemp("world") / "data")
    (folder / "tokenizer").mkdir()
    for name, value in (("tokenizer", world.TOKENIZER), ("tokenizer_config", {})):
        (folder / "tokenizer" / f"{name}.json").write_text(json.dumps(value))
    return folder


@pytest.fixture(scope="module")
def trunk(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """joyctl's own base run up to the branch point."""
    folder = tmp_path_factory.mktemp("trunk")
    assert world.train(own(data, 0, BRANCH), folder) == "done"
    return folder


@pytest.fixture(scope="module")
def rest(data: Path, trunk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """How it goes on."""
    folder = tmp_path_factory.mktemp("rest")
    assert world.train(own(data, BRANCH, STEPS), folder, world.checkpoint(trunk, BRANCH)) == "done"
    return folder


@pytest.fixture(scope="module")
def hf(data: Path, trunk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trunk's model at the branch point as a Hugging Face folder."""
    from joyctl.train.export import export_model

    folder = tmp_path_factory.mktemp("exported") / "hf"
    spec = own(data, 0, BRANCH)
    export_model(spec, world.checkpoint(trunk, BRANCH), folder, tokenizer=data / "tokenizer", card="")
    return folder


def own(data: Path, start: int, end: int, **changes: Any) -> SegmentSpec:
    """The base run as joyctl trains it, in the order that trunks on a base go on in."""
    spec = world.segment(data, start, end, **changes)
    return spec.model_copy(update={"order": spec.order.model_copy(update={"seed": 0})})


def after(data: Path, base: BaseSpec, end: int = STEPS, **changes: Any) -> SegmentSpec:
    """The base run from `base` on, told what it has seen."""
    spec = own(data, base.step, end, **changes)
    first = base.step * world.BATCH
    phases = (spec.order.phases[0].model_copy(update={"start_row": first}),)
    order = {"start_row": first, "seen": Order(spec.order).counts(first), "phases": phases}
    onwards = {"parent": None, "base": base, "init_seed": 0, "order": spec.order.model_copy(update=order)}
    return spec.model_copy(update=onwards)


def dcp(checkpoint: Path) -> BaseSpec:
    sha256 = folder_digest(checkpoint, CHECKPOINT_FILES)
    return BaseSpec(kind="dcp", path=str(checkpoint), step=BRANCH, sha256=sha256)


def losses(folder: Path) -> list[float]:
    return [float(line["loss"]) for line in world.metrics(folder)]  # type: ignore[arg-type]


def test_a_checkpoint_of_joyctls_goes_on_bit_for_bit(data: Path, trunk: Path, rest: Path, tmp_path: Path) -> None:
    assert world.train(after(data, dcp(world.checkpoint(trunk, BRANCH))), tmp_path) == "done"
    assert world.metrics(tmp_path) == world.metrics(rest)


def test_a_stock_checkpoint_goes_on_as_torchtitan_would_have(data: Path, tmp_path: Path) -> None:
    checkpoint = stock.train_stock(own(data, 0, BRANCH), tmp_path / "half")
    stock.train_stock(own(data, 0, STEPS), tmp_path / "whole")
    spec = after(data, dcp(checkpoint), training=JOINED)
    assert world.train(spec, tmp_path / "on", None) == "done"
    whole = json.loads((tmp_path / "whole" / "losses.json").read_text())
    assert losses(tmp_path / "on") == pytest.approx(whole[BRANCH:], rel=1e-6)
    lines = world.metrics(tmp_path / "on")
    assert [line["lr"] for line in lines] == [segment_lr(spec, step) for step in range(BRANCH + 1, STEPS + 1)]
    assert lines[-1]["rows"] == {"code": 12, "math": 24, "web": 84}, "with what the base has seen"


def test_its_own_checkpoints_win_over_the_base(data: Path, trunk: Path, rest: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(world.checkpoint(trunk, BRANCH), base)
    assert world.train(after(data, dcp(base), 22), tmp_path / "on") == "done"
    spec = after(data, dcp(base))
    shutil.rmtree(base)
    assert world.train(spec, tmp_path / "on") == "done"
    assert world.metrics(tmp_path / "on") == world.metrics(rest)


def test_a_hugging_face_folder_gives_the_weights_and_nothing_else(
    data: Path, rest: Path, hf: Path, tmp_path: Path
) -> None:
    base = BaseSpec(kind="hf", path=str(hf), step=BRANCH, sha256=folder_digest(hf), rewarm=4)
    spec = after(data, base)
    assert world.train(spec, tmp_path) == "done"
    mine, trunks = losses(tmp_path), losses(rest)
    assert mine[0] == trunks[0], "the first loss is of the base's weights on the same rows"
    assert mine[1:] != trunks[1:], "the optimizer starts anew"
    lines = world.metrics(tmp_path)
    assert [line["step"] for line in lines] == list(range(BRANCH + 1, STEPS + 1))
    assert [line["lr"] for line in lines] == [segment_lr(spec, step) for step in range(BRANCH + 1, STEPS + 1)]
    whole = [line["lr"] for line in world.metrics(rest)]
    assert [line["lr"] for line in lines] == pytest.approx(
        [lr * min(n / 4, 1) for n, lr in enumerate(whole, start=1)]  # type: ignore[operator]
    )
    assert [line["rows"] for line in lines] == [line["rows"] for line in world.metrics(rest)]


def test_weights_in_several_bfloat16_files_train(data: Path, tmp_path: Path) -> None:
    import torch
    import transformers

    torch.manual_seed(0)
    shape = world.MODEL
    config = transformers.LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.dim,
        intermediate_size=shape.ffn_hidden,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_kv_heads,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
    )
    folder = tmp_path / "llama"
    model = transformers.LlamaForCausalLM(config).bfloat16()
    model.save_pretrained(folder, max_shard_size="20KB")
    shutil.copytree(data / "tokenizer", folder, dirs_exist_ok=True)
    assert len(list(folder.glob("*.safetensors"))) > 1
    base = BaseSpec(kind="hf", path=str(folder), step=BRANCH, sha256=folder_digest(folder), rewarm=4)
    spec = after(data, base, BRANCH + 2, training=JOINED)
    assert world.train(spec, tmp_path / "on") == "done"
    rows = Order(spec.order).rows(BRANCH * world.BATCH, (BRANCH + 1) * world.BATCH)
    sources = [tokens(data, name) for name in sorted(world.SIZES)]
    text = [sources[s][r * world.SEQ :][: world.SEQ + 1] for s, r in zip(rows.source, rows.row, strict=True)]
    ids = torch.tensor(np.stack(text).astype(np.int64))
    logits = model.float()(ids[:, :-1]).logits
    theirs = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).item()
    assert losses(tmp_path / "on")[0] == pytest.approx(theirs, abs=1e-5)


def test_a_base_that_changed_since_it_was_planned_is_refused(data: Path, trunk: Path, tmp_path: Path) -> None:
    base = dcp(world.checkpoint(trunk, BRANCH)).model_copy(update={"sha256": "0" * 64})
    assert "has changed since it was planned" in world.train(after(data, base), tmp_path)
    assert not (tmp_path / "metrics.jsonl").exists() and not (tmp_path / "checkpoint").exists()


def test_a_base_of_other_settings_trains_nothing(data: Path, trunk: Path, tmp_path: Path) -> None:
    spec = after(data, dcp(world.checkpoint(trunk, BRANCH)))
    other = spec.model_copy(update={"optimizer": spec.optimizer.model_copy(update={"weight_decay": 0.2})})
    said = world.train(other, tmp_path)
    assert said.startswith("Refused") and "weight_decay 0.05 in the checkpoint, 0.2 in the recipe" in said
    assert not (tmp_path / "metrics.jsonl").exists() and not (tmp_path / "checkpoint").exists()


def test_two_processes_go_on_from_a_base_as_one_does(
    data: Path, trunk: Path, rest: Path, hf: Path, tmp_path: Path
) -> None:
    bases = [
        dcp(world.checkpoint(trunk, BRANCH)),
        BaseSpec(kind="hf", path=str(hf), step=BRANCH, sha256=folder_digest(hf)),
    ]
    for base in bases:
        world.train_on_two(after(data, base, BRANCH + 3), tmp_path / base.kind)
    assert losses(tmp_path / "dcp") == pytest.approx(losses(rest)[:3], abs=1e-6)
    assert losses(tmp_path / "hf")[0] == pytest.approx(losses(rest)[0], abs=1e-6)
