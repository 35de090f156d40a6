"""What a person can get wrong when a model is scored: one clear message each, and nothing half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evals_bench import bench_texts, make_bench, suite, tear
from small_models import make_model, make_tokenizer, with_context
from stock import Entry

from joyctl.campaign.spec import EvalSpec
from joyctl.errors import JoyctlError, Missing, RecipeError
from joyctl.evals import harness

ENTRIES = (
    Entry("mmlu_anatomy", "cais/mmlu", n_shot=5),
    Entry("gsm8k_cot", "openai/gsm8k", n_shot=8, max_gen_toks=6),
)
DAMAGES = (tear, Path.unlink)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def tokenizer(bench: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"), vocabulary=400, sample=bench_texts(bench))


@pytest.fixture(scope="module")
def model(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"), tokenizer)


@pytest.fixture(scope="module")
def spec(bench: Path) -> EvalSpec:
    return suite(ENTRIES, bench)


def refused(kind: type[JoyctlError], words: list[str], model: Path, spec: EvalSpec, tmp_path: Path) -> str:
    """Evaluating ends with one clear message, and leaves no results."""
    out = tmp_path / "eval"
    with pytest.raises(kind) as caught:
        harness.evaluate(model, spec, out, prompts=tmp_path / "prompts")
    message = str(caught.value)
    for word in words:
        assert word in message
    assert "Traceback" not in message
    assert len(message) < 600, message
    assert not list(out.rglob("results.json")) and not list(out.rglob("samples.jsonl"))
    return message


def test_no_data_folder(model: Path, spec: EvalSpec, tmp_path: Path) -> None:
    gone = tmp_path / "nowhere"
    refused(Missing, [str(gone)], model, spec.model_copy(update={"data": str(gone)}), tmp_path)


def test_a_dataset_is_missing_in_the_data_folder(model: Path, spec: EvalSpec, bench: Path, tmp_path: Path) -> None:
    data = tmp_path / "bench"
    shutil.copytree(bench, data)
    shutil.rmtree(data / "openai/gsm8k")
    refused(Missing, ["gsm8k"], model, spec.model_copy(update={"data": str(data)}), tmp_path)


def _without_choices(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "choices"}


def _other_names(row: dict[str, Any]) -> dict[str, Any]:
    return {f"my_{key}": value for key, value in row.items()}


@pytest.mark.parametrize("change", [_without_choices, _other_names])
def test_wrong_columns(
    change: Callable[[dict[str, Any]], dict[str, Any]], model: Path, spec: EvalSpec, bench: Path, tmp_path: Path
) -> None:
    data = tmp_path / "bench"
    shutil.copytree(bench, data)
    for path in (data / "cais/mmlu/anatomy").glob("*.jsonl"):
        rows = [change(json.loads(line)) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    message = refused(Missing, ["mmlu_anatomy"], model, spec.model_copy(update={"data": str(data)}), tmp_path)
    assert "column" in message or "choices" in message or "question" in message, message


def test_an_unknown_task(model: Path, spec: EvalSpec, tmp_path: Path) -> None:
    tasks = (spec.tasks[0].model_copy(update={"task": "mmlu_anatomie"}),)
    refused(RecipeError, ["mmlu_anatomie"], model, spec.model_copy(update={"tasks": tasks}), tmp_path)


def test_a_model_without_tokenizer(model: Path, spec: EvalSpec, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(model, bare, ignore=shutil.ignore_patterns("tokenizer*"))
    refused(Missing, [str(bare), "tokenizer"], bare, spec, tmp_path)


def unknown_type(path: Path) -> None:
    path.write_text(path.read_text().replace('"llama"', '"lama"'))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, damage) for name in ("config.json", "model.safetensors", "tokenizer.json") for damage in DAMAGES),
        ("config.json", unknown_type),
    ],
)
def test_a_damaged_model(
    name: str, damage: Callable[[Path], None], model: Path, spec: EvalSpec, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    damage(folder / name)
    refused(Missing, [str(folder)], folder, spec, tmp_path)


def test_no_model(spec: EvalSpec, tmp_path: Path) -> None:
    refused(Missing, ["gone"], tmp_path / "gone", spec, tmp_path)


def test_a_context_too_short_for_the_continuation(tokenizer: Path, bench: Path, tmp_path: Path) -> None:
    """Choices longer than all that the model accepts: stock stops with an assertion."""
    data = tmp_path / "bench"
    shutil.copytree(bench, data)
    path = data / "cais/mmlu/anatomy/test.jsonl"
    path.write_text(path.read_text().replace('"choices": ["', '"choices": ["' + "moon star " * 60, 1))
    short = with_context(make_model(tmp_path / "m", tokenizer), tmp_path / "short", 48)
    spec = suite((Entry("mmlu_anatomy_continuation", "cais/mmlu", n_shot=5),), data)
    message = refused(RecipeError, ["48"], short, spec, tmp_path)
    assert "mmlu_anatomy_continuation" in message


def test_a_context_too_short_for_the_generation(tokenizer: Path, spec: EvalSpec, tmp_path: Path) -> None:
    short = with_context(make_model(tmp_path / "m", tokenizer), tmp_path / "short", 48)
    tasks = (spec.tasks[1].model_copy(update={"max_gen_toks": 64}),)
    message = refused(RecipeError, ["48", "64"], short, spec.model_copy(update={"tasks": tasks}), tmp_path)
    assert "gsm8k_cot" in message
