"""The built-in recipes plan without their data, a network, a GPU or torch, and say what the paper says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from joyctl.recipe.load import load_recipe
from joyctl.recipe.suite import load_suite

# Any call to a network ends the process, and so does what a login node may not have.
GUARDED = """
import socket, sys
def none(*a, **k): raise SystemExit("a network was asked")
socket.socket.connect = socket.getaddrinfo = none
from joyctl.cli.main import main
sys.argv = ["joyctl", *sys.argv[1:]]
try:
    main()
finally:
    heavy = {"torch", "torchtitan", "transformers", "datasets", "lm_eval", "pandas"} & {*sys.modules}
    assert not heavy, heavy
"""
RECIPES = Path(__file__).parents[1] / "recipes"
WITHOUT_DATA = ("paper-7b", "ladder-160m", "ladder-1b")


def call(here: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", GUARDED, *words],
        cwd=here,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Any:
    here = tmp_path_factory.mktemp("nothing here")

    @cache
    def plan(*words: str) -> dict[str, Any]:
        done = call(here, "plan", *words, "--json")
        assert done.returncode == 0, done.stderr
        assert not [*here.iterdir()], "planning writes nothing"
        value: dict[str, Any] = json.loads(done.stdout)
        return value

    return plan


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_it_plans_from_its_own_words_alone(planned: Any, name: str):
    plan = planned(name)
    assert plan["data"]["stated"] is True
    assert [run["id"] for run in plan["runs"]] == [
        "control/s0", "upsample-5/s0", "upsample-10/s0", "upsample-20/s0", "upsample-30/s0",
    ]  # fmt: skip
    assert all(run["action"] == "run" for run in plan["runs"])
    assert all(use["epochs"] < 4 for run in plan["runs"] for use in run["sources"].values())
    assert plan["totals"]["full_runs"] == pytest.approx({"trunk": 1, "phases": 0.65, "phases_if_separate": 4}, abs=1e-4)


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_every_source_says_where_it_comes_from_and_where_its_size_stands(name: str):
    recipe = load_recipe(name)
    assert all(source.dataset and source.about and source.tokens for source in recipe.sources.values())
    assert {source.category for source in recipe.sources.values()} == {"large_cc", "small_cc", "domain", "code"}


@pytest.mark.parametrize(("name", "least", "most"), [("ladder-160m", 20, 100), ("ladder-1b", 20, 100)])
def test_a_ladder_trains_on_twenty_to_a_hundred_tokens_a_parameter(name: str, least: float, most: float):
    recipe = load_recipe(name)
    assert least <= recipe.training.tokens / parameters(recipe.model) <= most
    assert f"{recipe.training.steps:,} steps" in (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")


def parameters(model: Any) -> int:
    """Of a Llama with as many key and value heads as query heads, and a head of its own; written down anew."""
    assert model.n_kv_heads == model.n_heads
    norms = (2 * model.n_layers + 1) * model.dim
    block = 4 * model.dim**2 + 3 * model.dim * model.ffn_hidden
    return norms + model.n_layers * block + 2 * model.vocab_size * model.dim


# The paper's numbers, and what follows from them by hand.
STEP = 4096 * 960
STEPS = 10**12 // STEP
BASE = {"large_cc": 34.35, "small_cc": 36.70, "domain": 7.17, "code": 21.78}
UPSAMPLED = {"large_cc": 0.0, "small_cc": 30.0, "domain": 35.0, "code": 35.0}
BRANCHES = {"upsample-5": 241_597, "upsample-10": 228_882, "upsample-20": 203_450, "upsample-30": 178_019}


def shares(mix: dict[str, float], left_out: str | None = None) -> dict[str, float]:
    """Of tokens by source: a category's share in proportion to the sizes of its sources."""
    sources = load_recipe("paper-7b").sources
    whole = {c: sum(s.tokens for s in sources.values() if s.category == c and s.tokens) for c in mix}
    found = {n: mix[s.category] * (s.tokens or 0) / whole[s.category] for n, s in sources.items() if n != left_out}
    return {name: share / sum(found.values()) for name, share in found.items()}


def test_the_papers_steps_and_branches(planned: Any):
    plan = planned("paper-7b")
    assert STEPS == 254_313
    assert {run["end_step"] for run in plan["runs"]} == {254_313}
    assert {run["variant"]: run["branch_step"] for run in plan["runs"]} == {"control": None, **BRANCHES}
    for name, share in (("upsample-5", 0.05), ("upsample-10", 0.1), ("upsample-20", 0.2), ("upsample-30", 0.3)):
        assert BRANCHES[name] == STEPS - round(share * STEPS)


@pytest.mark.parametrize("variant", ["control", *BRANCHES, "drop-math-10"])
def test_the_papers_tokens_and_epochs_by_source(planned: Any, variant: str):
    plan = planned("paper-7b", "--drop", "math", "--at", "10")
    run = next(run for run in plan["runs"] if run["variant"] == variant)
    branch = STEPS if variant == "control" else {**BRANCHES, "drop-math-10": 228_882}[variant]
    before, after = shares(BASE), shares(UPSAMPLED, "math" if variant == "drop-math-10" else None)
    # Weights are dealt in periods of at most 65,536 rows, so a share is met to half of one part in that.
    near = 10**12 / 65_536
    for name, source in load_recipe("paper-7b").sources.items():
        tokens = STEP * (branch * before[name] + (STEPS - branch) * after.get(name, 0.0))
        assert run["sources"][name]["tokens"] == pytest.approx(tokens, abs=near), name
        assert run["sources"][name]["epochs"] == pytest.approx(tokens / source.tokens, abs=near / source.tokens)
        assert run["sources"][name]["seen_before"] == pytest.approx(STEP * branch * before[name], abs=near)
        again = max(0.0, tokens - source.tokens)
        assert run["sources"][name]["repeated"] == pytest.approx(again, abs=near)
    assert sum(use["tokens"] for use in run["sources"].values()) == STEPS * STEP
    assert run["tokens"] == STEPS * STEP


def test_the_papers_cost(planned: Any):
    totals = planned("paper-7b")["totals"]
    phases = sum(STEPS - step for step in BRANCHES.values())
    n = parameters(load_recipe("paper-7b").model)
    assert 6.5e9 < n < 7.5e9
    assert totals["full_runs"] == pytest.approx({"trunk": 1.0, "phases": phases / STEPS, "phases_if_separate": 4.0})
    assert round(totals["full_runs"]["phases"], 3) == 0.65
    assert totals["tokens"] == STEP * (STEPS + phases)
    assert totals["flops"] == 6 * n * STEP * (STEPS + phases)
    assert totals["tokens_if_separate"] == 5 * STEPS * STEP
    assert 6 * n * STEP * STEPS == pytest.approx(4.2e22, rel=0.03), "a full run, as the paper's size has it"


def test_the_papers_recipe_has_its_optimizer_tasks_and_numbers():
    recipe, suite = load_recipe("paper-7b"), load_suite("core")
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.optimizer.betas) == ("lionw", 1.2e-4, (0.9, 0.95))
    assert recipe.optimizer.lr * recipe.optimizer.weight_decay == 1.2e-4
    assert (recipe.schedule.kind, recipe.training.seq_len, recipe.training.batch_size) == ("inverse_sqrt", 4096, 960)
    paper = recipe.published["paper"]
    assert {*paper.tasks} == {task.task for task in suite.tasks}
    assert {*BRANCHES, "control", "drop-math-10"} == {*paper.values}


def test_people_are_told_that_sizes_are_the_recipes_words(tmp_path: Path):
    done = call(tmp_path, "plan", "paper-7b")
    assert "data/paper-7b is not here: sizes are the recipe's own words, digests unknown" in done.stdout
    assert "0.65 of a full run beside the trunk's 1.00, 4.00 separately: 6.2 times less" in done.stdout


def test_nothing_is_trained_on_words(tmp_path: Path):
    done = call(tmp_path, "sweep", "ladder-160m")
    assert done.returncode == 6, done.stderr
    assert "data folder data/ladder does not exist; only plan and --dry-run can do without it" in done.stderr
    assert "math (open-web-math/open-web-math)" in done.stderr and "data.folder=DIR" in done.stderr
    assert not [*tmp_path.iterdir()]
    assert call(tmp_path, "sweep", "ladder-160m", "--dry-run").returncode == 0


def test_a_source_without_a_size_is_named(tmp_path: Path):
    done = call(tmp_path, "plan", "ladder-160m", "sources.math.tokens=null")
    assert done.returncode == 6, done.stderr
    assert "does not say how large math is" in done.stderr and "sources.math.tokens" in done.stderr


def test_where_the_data_is_its_counts_win(tmp_path: Path):
    counted = {name: {"tokens": 10**12, "documents": 1, "sha256": name} for name in load_recipe("ladder-1b").sources}
    marker = {
        "sources": counted, "tokenizer_sha256": "t", "vocab_size": 50_277, "tasks_sha256": "b", "sha256": "d",
        "settings": {},
    }  # fmt: skip
    (tmp_path / "tokenised").mkdir()
    (tmp_path / "tokenised" / "DATA.json").write_text(json.dumps(marker), encoding="utf-8")
    done = call(tmp_path, "plan", "ladder-1b", "data.folder=tokenised", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["data"] == {"folder": str(tmp_path / "tokenised"), "stated": False}
    math = plan["runs"][0]["sources"]["math"]
    assert math["epochs"] == pytest.approx(math["tokens"] / 10**12, rel=1e-6)
