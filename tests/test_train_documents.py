"""Documents of one row are trained on as if each were alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import training as world
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import and_masks, create_block_mask, flex_attention
from torchtitan.models.common import attention as titan_attention
from torchtitan.models.common.attention import FlexAttention, ScaledDotProductAttention
from torchtitan.tools import utils as titan

from joyctl.recipe.types import Model, Training
from joyctl.report.results import read_campaign
from joyctl.store.files import write_json, write_text
from joyctl.train.attention import MaskedAttention, document_mask, fix_flex_kernels, inner_attention
from joyctl.train.config import trainer_config
from joyctl.train.loader import OrderedLoader
from joyctl.train.model import model_spec
from joyctl.train.trainer import SegmentTrainer

LENGTHS = (7, 19, 6)
WIDE = world.MODEL.model_copy(update={"dim": 64})  # heads of 16, the least that flex attention has on a GPU


def built(model: Model, *, apart: bool) -> torch.nn.Module:
    """A model with the weights of seed 0."""
    torch.manual_seed(0)
    made = model_spec(model, apart=apart).model.build()
    made.init_weights(buffer_device=None)
    return made


def row() -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and positions of three documents in one row, in a batch with a row of one document."""
    ids = torch.randint(64, (2, sum(LENGTHS)), generator=torch.Generator().manual_seed(1))
    counted = torch.cat([torch.arange(n) for n in LENGTHS])
    return ids, torch.stack([counted, torch.arange(sum(LENGTHS))])


def given_to(model: torch.nn.Module, ids: torch.Tensor, positions: torch.Tensor) -> dict[str, Any]:
    """What the trainer makes of a batch for this model."""
    trainer = object.__new__(SegmentTrainer)
    trainer.model_config, trainer.model_parts, trainer.ntokens_seen = model.config, [model], 0
    trainer.parallel_dims = SimpleNamespace(cp_enabled=False)
    trainer.config = SimpleNamespace(parallelism=SimpleNamespace(spmd_backend="partial_dtensor"))
    return trainer.post_dataloading_process({"input": ids, "positions": positions}, ids)[2]


def alone(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Logits of every document of the first row, fed by itself, one behind the other."""
    return torch.cat([model(document[None])[0] for document in ids[0].split(LENGTHS)])


def test_a_row_of_documents_has_the_logits_of_each_alone() -> None:
    model, (ids, positions) = built(world.MODEL, apart=True), row()
    together = model(ids, **given_to(model, ids, positions))
    assert torch.allclose(together[0], alone(model, ids), atol=1e-5)
    assert torch.allclose(together[1], model(ids[1:])[0], atol=1e-5)


def test_and_their_gradients() -> None:
    model, (ids, positions) = built(world.MODEL, apart=True), row()

    def gradients(logits: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        torch.nn.functional.cross_entropy(logits, ids[0], reduction="sum").backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    together = gradients(model(ids, **given_to(model, ids, positions))[0])
    assert torch.allclose(together, gradients(alone(model, ids)), atol=1e-4, rtol=1e-4)


def test_joined_documents_see_each_other() -> None:
    model, (ids, _) = built(world.MODEL, apart=False), row()
    together = model(ids)[0]
    assert torch.allclose(together[: LENGTHS[0]], alone(model, ids)[: LENGTHS[0]], atol=1e-5)
    assert not torch.allclose(together[LENGTHS[0] :], alone(model, ids)[LENGTHS[0] :], atol=1e-2)


def test_flex_attention_takes_its_kernels_by_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FlexAttention, "inductor_configs", {**FlexAttention.inductor_configs, "max_autotune": True})
    monkeypatch.setattr(FlexAttention, "_compiled_flex_attn", None)
    fix_flex_kernels()
    options, compiled = FlexAttention.inductor_configs, FlexAttention._compiled_flex_attn
    assert not options["max_autotune"] and not options["coordinate_descent_tuning"] and callable(compiled)
    fix_flex_kernels()
    assert FlexAttention._compiled_flex_attn is compiled  # once a process


@settings(deadline=None, max_examples=40)
@given(rows=st.lists(st.lists(st.integers(1, 9), min_size=9, max_size=9), min_size=1, max_size=3))
def test_the_mask_is_torchtitans(rows: list[list[int]]) -> None:
    length = 9
    positions = torch.stack([torch.cat([torch.arange(n) for n in documents])[:length] for documents in rows])
    documents = (positions == 0).cumsum(1)
    obvious = [[[k <= q and of[k] == of[q] for k in range(length)] for q in range(length)] for of in documents.tolist()]
    assert document_mask(positions)[:, 0].tolist() == obvious
    theirs = and_masks(
        titan_attention.get_causal_mask_mod(),
        titan_attention.get_efficient_causal_mask_mod_for_packed_document(positions),
    )
    batch, place = torch.arange(len(rows)), torch.arange(length)
    found = theirs(batch[:, None, None], torch.tensor(0), place[None, :, None], place[None, None, :])
    assert found.tolist() == obvious


def test_flex_attention_computes_what_the_mask_of_all_pairs_does(monkeypatch: pytest.MonkeyPatch) -> None:
    # Uncompiled, as torchtitan itself has it on some devices: compiling is for a GPU, and so is its backward pass.
    monkeypatch.setattr(FlexAttention, "_compiled_flex_attn", flex_attention)
    monkeypatch.setattr(titan_attention, "_compiled_create_block_mask", create_block_mask)
    monkeypatch.setattr(titan, "device_type", "cuda")
    on_gpu, (ids, positions) = built(WIDE, apart=True), row()
    monkeypatch.setattr(titan, "device_type", "cpu")
    here = built(WIDE, apart=True)
    with torch.no_grad():
        flex = on_gpu(ids, **given_to(on_gpu, ids, positions))
        masked = here(ids, **given_to(here, ids, positions))
    assert isinstance(on_gpu.layers["0"].attention.inner_attention, FlexAttention)
    assert isinstance(here.layers["0"].attention.inner_attention, MaskedAttention)
    assert torch.allclose(flex, masked, atol=1e-5)


def test_which_attention_is_for_which_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(inner_attention("cuda", 64, apart=True)) is FlexAttention.Config
    assert type(inner_attention("cuda", 8, apart=True)) is MaskedAttention.Config
    assert type(inner_attention("cpu", 64, apart=True)) is MaskedAttention.Config
    for device in ("cpu", "cuda"):
        assert type(inner_attention(device, 64, apart=False)) is ScaledDotProductAttention.Config
    monkeypatch.setattr(titan, "device_type", "cuda")
    data = world.make_data(tmp_path / "data")
    config = trainer_config(world.segment(data, 0, 4, model=WIDE), tmp_path, None, ranks=1)
    kinds = {type(layer.attention.inner_attention) for layer in config.model_spec.model.layers}
    assert kinds == {FlexAttention.Config} and config.dataloader.positions


def forget_documents(data: Path, *sources: str) -> Path:
    for name in sources:
        path = data / "sources" / name / "source.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "boundary": None}))
    return data


def test_the_loader_gives_positions_and_a_row_that_does_not_tell_is_one(tmp_path: Path) -> None:
    spec = world.segment(forget_documents(world.make_data(tmp_path / "data"), "web"), 0, 4)
    loader = OrderedLoader(
        OrderedLoader.Config(order=spec.order, data_folder=spec.data_folder, global_batch_size=40, positions=True),
        dp_world_size=1,
        dp_rank=0,
        tokenizer=None,
        seq_len=world.SEQ,
        local_batch_size=40,
    )
    sources = loader.order.rows(0, 40).source
    batch, _ = next(iter(loader))
    restarts = 0
    for source, ids, places in zip(sources, batch["input"], batch["positions"], strict=True):
        begins = (ids == world.BOUNDARY["token"]) if loader.order.names[source] != "web" else ids < 0
        begins[0] = True
        assert places.dtype == torch.int64 and ((places == 0) == begins).all()
        assert (places[1:][~begins[1:]] == places[:-1][~begins[1:]] + 1).all()
        restarts += int(begins.sum()) - 1
    assert restarts > 3


@pytest.mark.slow
def test_apart_trains_otherwise_than_joined_and_where_nothing_tells_as_joined(tmp_path: Path) -> None:
    data = world.make_data(tmp_path / "data")
    apart = world.segment(data, 0, 3)
    joined = apart.model_copy(update={"training": apart.training.model_copy(update={"documents": "joined"})})
    unknown = forget_documents(world.make_data(tmp_path / "unknown"), "code", "math", "web")
    specs = {"apart": apart, "joined": joined, "untold": apart.model_copy(update={"data_folder": str(unknown)})}
    world.train_in_turn([(spec, tmp_path / name, None) for name, spec in specs.items()])
    losses = {name: world.metrics(tmp_path / name) for name in specs}
    assert losses["untold"] == losses["joined"]
    different = [abs(a["loss"] - j["loss"]) for a, j in zip(losses["apart"], losses["joined"], strict=True)]
    assert min(different) > 1e-5
    logs = {name: (tmp_path / name / "log" / "train.log").read_text() for name in specs}
    assert "INFO Attention: documents apart\n" in logs["apart"]
    assert "INFO Attention: documents joined, as the recipe says\n" in logs["joined"]
    said = "Attention: documents see each other: in code, math, web nothing tells where they begin\n"
    assert logs["untold"].count(f"WARNING {said}") == 1


@pytest.mark.slow
def test_the_marker_of_a_training_says_it(tmp_path: Path) -> None:
    data = forget_documents(world.make_data(tmp_path / "data"), "math")
    folder = tmp_path / "campaign" / "trunk" / "s0" / "0-2"
    write_json(tmp_path / "campaign" / "campaign.json", {"segments": ["trunk/s0/0-2"]})
    write_text(folder / "segment.json", world.segment(data, 0, 2, name="trunk/s0/0-2").model_dump_json())
    command = [sys.executable, "-m", "joyctl.worker", str(folder), "train", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = "documents see each other: in math nothing tells where they begin"
    assert json.loads((folder / "DONE.train.json").read_text())["attention"] == said
    assert read_campaign(tmp_path / "campaign").attention == (said,)


def test_documents_are_apart_unless_a_recipe_says_otherwise() -> None:
    assert Training(tokens=1024, seq_len=32, batch_size=4).documents == "apart"
