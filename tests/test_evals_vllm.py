"""Generating with vLLM: handed to lm-eval's class for it. vLLM itself is not installed: a stand-in notes calls."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import evals_world as world
import pytest
from evals_world import evaluate

from joyctl.errors import Missing


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_model(tmp_path_factory.mktemp("model"), data, steps=1)


def test_vllm_generates_and_transformers_score(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, Any]] = []
    asked: list[tuple[str, dict[str, Any]]] = []

    class Vllm:
        def __init__(self, **settings: Any) -> None:
            started.append(settings)

        def generate_until(self, requests: list[Any], disable_tqdm: bool) -> list[str]:
            asked.extend(request.args for request in requests)
            return [f"#### {len(request.args[0]) % 3}" for request in requests]

    module = ModuleType("lm_eval.models.vllm_causallms")
    module.VLLM = Vllm  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("joyctl.evals.vllm.require_vllm", lambda: None)
    entry = {"task": "micro_math", "gold": " {{answer}}"}
    spec = world.spec(data, tasks=[{"task": "micro_mc"}, entry], heldout=False, backend="vllm")
    evaluate(model, spec, tmp_path / "out")
    (settings,) = started
    assert settings["pretrained"] == str(model)
    assert (settings["tensor_parallel_size"], settings["max_model_len"]) == (1, 256)
    prompts = [f"Question: {item['question']}\nAnswer:" for item in world.math_items()]
    assert sorted(prompt for prompt, _ in asked) == sorted(prompts)
    assert all(limits["max_gen_toks"] == 64 and limits["until"] == ["Question:"] for _, limits in asked)
    rows = [json.loads(line) for line in (tmp_path / "out" / "micro_math" / "samples.jsonl").read_text().splitlines()]
    by_doc = {item["doc_id"]: item for item in rows if item["filter"] == "strict-match"}
    for number, (item, prompt) in enumerate(zip(world.math_items(), prompts, strict=True)):
        right = str(item["answer"]).endswith(f"#### {len(prompt) % 3}")
        assert by_doc[number]["response"] == f"#### {len(prompt) % 3}"
        assert by_doc[number]["exact_match"] == float(right)
    assert len([item for item in rows if item["filter"] == "gold"]) == 12
    assert (tmp_path / "out" / "micro_mc" / "results.json").exists()


def test_without_vllm_the_remedy_is_named_and_nothing_is_written(model: Path, data: Path, tmp_path: Path) -> None:
    spec = world.spec(data, tasks=[{"task": "micro_math"}], heldout=False, backend="vllm")
    with pytest.raises(Missing, match="vllm") as caught:
        evaluate(model, spec, tmp_path / "out")
    assert "pip install vllm" in str(caught.value) and caught.value.exit_code == 6
    assert not (tmp_path / "out").exists()
