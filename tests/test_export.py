"""An exported folder is the trained model: same logits, and loads as any Hugging Face model does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import training as world

from joyctl.campaign.spec import SegmentSpec
from joyctl.errors import Refused
from joyctl.recipe.types import Model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_data(tmp_path_factory.mktemp("world") / "data")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module", params=["grouped heads", "two processes"])
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory, request) -> tuple[SegmentSpec, Path]:
    """A model trained long enough that its weights are not their initial values, by one process and by two."""
    folder = tmp_path_factory.mktemp("trained")
    spec = world.segment(data, 0, 10)
    if request.param == "two processes":
        world.train_on_two(spec, folder)
    else:
        assert world.train(spec, folder) == "done"
    return spec, world.checkpoint(folder, 10)


def test_logits_equal_torchtitans(trained, tokenizer: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import torch
    import torch.distributed.checkpoint as dcp
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from joyctl.train.export import export_model
    from joyctl.train.model import model_spec

    spec, checkpoint = trained
    out = tmp_path / "hf"
    export_model(spec, checkpoint, out, tokenizer=tokenizer, card="# what it is\n")

    titan = model_spec(spec.model).model.build()
    weights = titan.state_dict()
    dcp.load(weights, checkpoint_id=checkpoint, no_dist=True)
    titan.load_state_dict(weights)
    exported, said = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert {what: keys for what, keys in said.items() if keys} == {}
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]

    torch.manual_seed(0)
    tokens = torch.randint(0, spec.model.vocab_size, (4, spec.model.max_seq_len))
    with torch.no_grad():
        ours, theirs = titan(tokens), exported(tokens).logits
    assert ours.std() > 0.1
    assert (ours - theirs).abs().max() < 1e-5

    text = AutoTokenizer.from_pretrained(out)
    assert text("abc")["input_ids"][-3:] == [0, 1, 2]
    generated = exported.generate(tokens[:1, :4], max_new_tokens=3, do_sample=False)
    assert generated.shape[1] > 4


def test_the_folder_holds_what_a_hugging_face_folder_holds(trained, tokenizer: Path, tmp_path: Path) -> None:
    from joyctl.train.export import export_model

    spec, checkpoint = trained
    out = tmp_path / "hf"
    out.mkdir()
    (out / "left-over").write_text("of an export that was cut short")
    export_model(spec, checkpoint, out, tokenizer=tokenizer, card="# what it is\n")
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert (out / "README.md").read_text() == "# what it is\n"
    config = json.loads((out / "config.json").read_text())
    assert {key: config[f"{key}_token_id"] for key in ("bos", "eos", "pad")} == {"bos": 26, "eos": 26, "pad": 27}
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_nothing_is_left_when_it_fails(trained, tokenizer: Path, tmp_path: Path) -> None:
    from joyctl.train.export import export_model

    spec, checkpoint = trained
    too_small = Model(**{**spec.model.model_dump(), "vocab_size": 20})
    with pytest.raises(Refused, match="token ids up to 27, the model has 20 rows"):
        changed = spec.model_copy(update={"model": too_small})
        export_model(changed, checkpoint, tmp_path / "hf", tokenizer=tokenizer, card="")
    wider = Model(**{**spec.model.model_dump(), "dim": 64})
    with pytest.raises(Refused, match="Size mismatch"):
        changed = spec.model_copy(update={"model": wider})
        export_model(changed, checkpoint, tmp_path / "hf", tokenizer=tokenizer, card="")
    assert list(tmp_path.iterdir()) == []
