"""What an inspection finds in bases that are broken, of another run, or not what the recipe says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stock_training as stock
import training as world

from joyctl.campaign.findings import Finding
from joyctl.campaign.spec import BaseSpec, SegmentSpec
from joyctl.errors import Missing, Refused
from joyctl.recipe.types import Base

BRANCH = 18


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = world.make_data(tmp_path_factory.mktemp("world") / "data")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "tokenizer.json").write_text(json.dumps(world.TOKENIZER))
    return folder


@pytest.fixture(scope="module")
def stocks(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of torchtitan alone."""
    return stock.train_stock(world.segment(data, 0, BRANCH), tmp_path_factory.mktemp("stock"))


@pytest.fixture
def copy(stocks: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stocks, tmp_path / f"step-{BRANCH}"))


def spec(data: Path, **changes: Any) -> SegmentSpec:
    return world.segment(data, BRANCH, world.TOTAL).model_copy(update=changes)


def inspect(
    folder: Path, data: Path, *, kind: str = "dcp", step: int = BRANCH, tokenizer: Path | None = None, **changes: Any
) -> tuple[Finding, ...]:
    from joyctl.train.inspect import inspect_base

    at = None if tokenizer is None else str(tokenizer)
    base = BaseSpec(kind=kind, path=str(folder), step=step, sha256="", tokenizer=at)
    return inspect_base(base, spec(data, **changes), data)


def the_failed(found: tuple[Finding, ...]) -> Finding:
    (failed,) = (finding for finding in found if not finding.ok)
    assert failed.remedy, "every failure says what to do"
    return failed


def test_a_stock_checkpoint_of_the_recipes_run_passes_in_every_point(stocks: Path, data: Path) -> None:
    found = inspect(stocks, data, tokenizer=data / "tokenizer")
    assert [finding.check for finding in found] == [
        "base checkpoint", "base contents", "base model", "base step", "base optimizer", "base settings", "base LR",
        "base tokenizer",
    ]  # fmt: skip
    assert all(finding.ok and finding.remedy is None for finding in found)


def shard(folder: Path) -> Path:
    return next(folder.glob("*.distcp"))


def cut(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing shard": (lambda f: shard(f).unlink(), "1 of 1 files are missing: __0_0.distcp"),
    "truncated shard": (lambda f: cut(shard(f), 0.9), "1 of 1 files are cut short: __0_0.distcp has"),
    "zeroed shard": (
        lambda f: shard(f).write_bytes(bytes(shard(f).stat().st_size)),
        "damaged: train_state.step cannot",
    ),
    "no metadata": (lambda f: (f / ".metadata").unlink(), "has no .metadata"),
    "empty metadata": (lambda f: cut(f / ".metadata", 0), "is torn"),
    "foreign metadata": (lambda f: (f / ".metadata").write_text("{}"), "is torn"),
    "gone": (shutil.rmtree, "is no folder here"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_checkpoint(name: str, copy: Path, data: Path) -> None:
    harm, said = BROKEN[name]
    harm(copy)
    assert said in the_failed(inspect(copy, data)).said


def test_metadata_torn_anywhere_is_seen(copy: Path, data: Path) -> None:
    from joyctl.train.inspect_dcp import dcp_step

    whole = (copy / ".metadata").read_bytes()
    for length in range(1, len(whole), len(whole) // 60):
        (copy / ".metadata").write_bytes(whole[:length])
        with pytest.raises(Refused, match="torn"):
            dcp_step(copy)
    (copy / ".metadata").write_bytes(whole)
    shard(copy).write_bytes(bytes(shard(copy).stat().st_size))
    with pytest.raises(Refused, match=r"is damaged: train_state\.step cannot be read"):
        dcp_step(copy)


def test_another_step(stocks: Path, data: Path) -> None:
    assert the_failed(inspect(stocks, data, step=17)).said == "18, planned for 17"


def test_another_shape(stocks: Path, data: Path) -> None:
    wider = world.MODEL.model_copy(update={"ffn_hidden": 96})
    failed = the_failed(inspect(stocks, data, model=wider))
    assert "layers.0.feed_forward.w1.weight is (64, 32) there, (96, 32) in the recipe" in failed.said


def test_another_depth(stocks: Path, data: Path) -> None:
    shallow, deep = (world.MODEL.model_copy(update={"n_layers": n}) for n in (1, 3))
    assert "the recipe's model has no layers.1." in the_failed(inspect(stocks, data, model=shallow)).said
    lacks = [finding for finding in inspect(stocks, data, model=deep) if not finding.ok]
    assert [finding.check for finding in lacks] == ["base model", "base optimizer"]
    assert "it lacks layers.2." in lacks[0].said


@pytest.mark.parametrize(
    ("changes", "said", "remedy"),
    [
        ({"weight_decay": 0.1}, "weight_decay 0.05 in the checkpoint, 0.1 in the recipe", "optimizer.weight_decay=0.0"),
        ({"betas": (0.9, 0.95)}, "betas [0.9,0.98] in the checkpoint, [0.9,0.95] in the recipe", "optimizer.betas"),
        ({"eps": 1e-6}, "eps 1e-08 in the checkpoint, 1e-06 in the recipe", "optimizer.eps=1e-08"),
    ],
)  # fmt: skip
def test_settings_that_torchtitan_would_take_silently(
    stocks: Path, data: Path, changes: dict[str, Any], said: str, remedy: str
) -> None:
    optimizer = spec(data).optimizer.model_copy(update=changes)
    failed = the_failed(inspect(stocks, data, optimizer=optimizer))
    assert failed.said == said and remedy in (failed.remedy or "")


def test_another_lr_names_both_and_the_peak(stocks: Path, data: Path) -> None:
    optimizer = spec(data).optimizer.model_copy(update={"lr": 4e-3})
    failed = the_failed(inspect(stocks, data, optimizer=optimizer))
    assert failed.said == "it would go on with LR 0.00214285714 at step 19, the recipe's schedule has 0.00171428571"
    assert "optimizer.lr=0.005" in (failed.remedy or "")


def test_another_length_of_training_is_another_lr(stocks: Path, data: Path) -> None:
    failed = the_failed(inspect(stocks, data, total_steps=40))
    assert failed.check == "base LR" and "training.tokens" in (failed.remedy or "")


def test_an_lr_is_the_schedules_to_a_millionth() -> None:
    from joyctl.train.inspect_dcp import lr_agrees

    assert lr_agrees(1e-4 * (1 + 5e-7), 1e-4) and not lr_agrees(1e-4 * (1 + 2e-6), 1e-4)


def test_another_optimizer(stocks: Path, data: Path) -> None:
    lion = spec(data).optimizer.model_copy(update={"name": "lionw"})
    failed = the_failed(inspect(stocks, data, optimizer=lion))
    assert "two moments, as Adam" in failed.said and "optimizer.name: adamw" in (failed.remedy or "")


def test_the_model_alone(data: Path, tmp_path: Path) -> None:
    checkpoint = stock.train_stock(world.segment(data, 0, 2), tmp_path, model_only=True)
    failed = the_failed(inspect(checkpoint, data))
    assert failed.said == "it has the model alone: no optimizer state, no optimizer settings, no step"
    assert "last_save_model_only=False" in (failed.remedy or "") and "base.hf" in (failed.remedy or "")


def test_state_of_unfused_projections_is_refused_plainly(data: Path, tmp_path: Path) -> None:
    checkpoint = stock.train_stock(world.segment(data, 0, BRANCH), tmp_path, fuse_qkv=False)
    assert "separate wq, wk and wv" in the_failed(inspect(checkpoint, data)).said


def test_another_tokenizer(stocks: Path, data: Path, tmp_path: Path) -> None:
    its = tmp_path / "its"
    its.mkdir()
    for change, part in (
        ({"model": {**world.TOKENIZER["model"], "merges": ["w1 w2"]}}, "merges"),
        ({"added_tokens": [{"content": "<new>", "id": 64}]}, "vocabulary"),
    ):
        (its / "tokenizer.json").write_text(json.dumps({**world.TOKENIZER, **change}))
        failed = the_failed(inspect(stocks, data, tokenizer=its))
        assert failed.check == "base tokenizer" and f"differs from the data's in its {part}" in failed.said
    (its / "tokenizer.json").unlink()
    assert "does not exist" in the_failed(inspect(stocks, data, tokenizer=its)).said


def test_a_tokenizer_written_by_an_older_library_is_the_same(stocks: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    for folder, merges in ((tmp_path / "tokenizer", ["w1 w2"]), (tmp_path, [["w1", "w2"]])):
        whole = {**world.TOKENIZER, "model": {**world.TOKENIZER["model"], "merges": merges}}
        (folder / "tokenizer.json").write_text(json.dumps(whole))
    from joyctl.train.inspect import inspect_base

    base = BaseSpec(kind="dcp", path=str(stocks), step=BRANCH, sha256="", tokenizer=str(tmp_path))
    assert inspect_base(base, spec(data), tmp_path)[-1].ok


@pytest.fixture(scope="module")
def llama(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of the recipe's shape in several files."""
    import transformers

    shape, folder = world.MODEL, tmp_path_factory.mktemp("llama")
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
    transformers.LlamaForCausalLM(config).save_pretrained(folder, max_shard_size="20KB")
    shutil.copy(data / "tokenizer" / "tokenizer.json", folder)
    return folder


def test_a_hugging_face_folder_of_the_recipes_shape_passes_in_every_point(llama: Path, data: Path) -> None:
    found = inspect(llama, data, kind="hf")
    assert [f.check for f in found] == ["base model", "base weights", "base tensors", "base tokenizer"]
    assert all(finding.ok for finding in found)


def test_a_hugging_face_folder_without_tokenizer_json_has_it_elsewhere(llama: Path, data: Path, tmp_path: Path) -> None:
    from recipes_for_tests import recipe

    from joyctl.launch.bases import identify_base

    folder = Path(shutil.copytree(llama, tmp_path / "llama"))
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")  # as older folders have it
    failed = the_failed(inspect(folder, data, kind="hf"))
    assert "does not exist" in failed.said and "base.tokenizer" in (failed.remedy or "")
    assert all(finding.ok for finding in inspect(folder, data, kind="hf", tokenizer=data / "tokenizer"))
    found = identify_base(recipe(base=Base(hf=str(folder), step=9, tokenizer=str(data / "tokenizer"))))
    assert found is not None and found.tokenizer == str(data / "tokenizer")


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "size": ({"intermediate_size": 96}, "config.json has intermediate_size 96, the recipe 64"),
    "theta": ({"rope_parameters": {"rope_theta": 5e5}}, "rope_theta 500000.0, the recipe 10000"),
    "old theta": ({"rope_parameters": None, "rope_theta": 5e5}, "rope_theta 500000.0, the recipe 10000"),
    "scaled": ({"rope_parameters": None, "rope_scaling": {"rope_type": "llama3"}}, "rope_type 'llama3'"),
    "eps": ({"rms_norm_eps": 1e-6}, "rms_norm_eps 1e-06, the recipe 1e-05"),
    "tied": ({"tie_word_embeddings": True}, "tie_word_embeddings True, the recipe False"),
    "family": ({"model_type": "qwen2"}, "model_type 'qwen2', the recipe 'llama'"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_that_disagrees_is_named_by_its_keys(
    name: str, llama: Path, data: Path, tmp_path: Path
) -> None:
    changes, said = CONFIGS[name]
    folder = Path(shutil.copytree(llama, tmp_path / "llama"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    failed = the_failed(inspect(folder, data, kind="hf"))
    assert said in failed.said


def first_shard(folder: Path) -> Path:
    return sorted(folder.glob("model-*.safetensors"))[0]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda f: first_shard(f).unlink(), "is missing"),
        (lambda f: cut(first_shard(f), 0.9), "is torn: it has"),
        (lambda f: cut(first_shard(f), 0.01), "is torn: its header is cut short"),
        (lambda f: cut(f / "model.safetensors.index.json", 0.5), "index.json is torn"),
        (lambda f: (f / "model.safetensors.index.json").unlink(), "neither model.safetensors nor"),
    ],
)
def test_weights_that_are_not_whole(
    harm: Callable[[Path], object], said: str, llama: Path, data: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(llama, tmp_path / "llama"))
    harm(folder)
    assert said in the_failed(inspect(folder, data, kind="hf")).said


def test_what_a_checkpoint_is_called_and_what_the_recipe_says_must_agree_with_it(copy: Path, tmp_path: Path) -> None:
    from recipes_for_tests import recipe

    from joyctl.launch.bases import identify_base

    found = identify_base(recipe(base=Base(dcp=str(copy))))
    assert found is not None and (found.step, found.path, found.kind) == (BRANCH, str(copy), "dcp")
    with pytest.raises(Refused, match=r"holds step 18, the recipe's base\.step is 20"):
        identify_base(recipe(base=Base(dcp=str(copy), step=20)))
    copy.rename(tmp_path / "step-20")
    with pytest.raises(Refused, match="holds step 18, not the 20 of its name"):
        identify_base(recipe(base=Base(dcp=str(tmp_path / "step-20"))))
    (tmp_path / "step-20").rename(tmp_path / "mine")
    again = identify_base(recipe(base=Base(dcp=str(tmp_path / "mine"), step=BRANCH)))
    assert again is not None and again.sha256 == found.sha256, "the same wherever it lies"


def test_a_model_of_the_hub_is_looked_at_once_it_is_here(data: Path) -> None:
    from joyctl.train.inspect import inspect_base, require_base

    base = BaseSpec(kind="hf", path="org/llama", step=BRANCH, sha256="c" * 40, hub="org/llama")
    (found,) = inspect_base(base, spec(data), data)
    assert found.ok and "not downloaded yet" in found.said
    with pytest.raises(Missing, match="org/llama is not downloaded"):
        require_base(base, spec(data))
