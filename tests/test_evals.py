"""Scoring a Hugging Face folder: the stock command line's numbers, resumable, honest about what is missing."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import evals_world as world
import pytest
from evals_world import evaluate

from joyctl.campaign.spec import EvalSpec
from joyctl.errors import Missing, RecipeError
from joyctl.evals.harness import execute, is_complete
from joyctl.evals.samples import ratio_stderr, scores
from joyctl.evals.sandbox import probe

WHY_NOT = probe()
needs_sandbox = pytest.mark.skipif(WHY_NOT is not None, reason=f"needs sandbox: {WHY_NOT}")
PROXIES = {"gold_bits_per_byte", "correct_prob", "norm_correct_prob", "margin"}
TASKS = ["heldout_code", "heldout_web", "micro_code", "micro_math", "micro_mc"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_model(tmp_path_factory.mktemp("model"), data)


@pytest.fixture(scope="module")
def scored(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scored")
    score(model, world.spec(data), out)
    return out


def score(model: Path, spec: EvalSpec, out: Path) -> None:
    """Both steps, one after the other."""
    evaluate(model, spec, out)
    execute(spec, out)


def results(out: Path, task: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / task / "results.json").read_text())
    return found


def samples(out: Path, task: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / task / "samples.jsonl").read_text().splitlines()]


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()
    }


# ---- the numbers


@pytest.mark.slow
@needs_sandbox
def test_scores_equal_those_of_the_stock_command_line(model: Path, data: Path, scored: Path, tmp_path: Path) -> None:
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(tmp_path / "hf"),
    }
    command = [
        *(sys.executable, "-m", "lm_eval", "--model", "hf", "--device", "cpu", "--batch_size", "7"),
        *("--model_args", f"pretrained={model},dtype=float32", "--tasks", "micro_mc,micro_math,micro_code,heldout_web"),
        *("--include_path", str(data / "tasks"), "--log_samples", "--output_path", str(tmp_path / "stock")),
    ]  # fmt: skip
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, env={**os.environ, **offline, "PYTHONPATH": path}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (folder,) = (tmp_path / "stock").iterdir()
    (stock,) = [json.loads(p.read_text())["results"] for p in folder.glob("results_*.json")]

    not_trivial = set()
    for task in ("micro_mc", "micro_math", "micro_code", "heldout_web"):
        for score in results(scored, task)["scores"]:
            if score["metric"] in PROXIES:
                continue  # joyctl's own
            key = f"{score['metric']},{score['filter']}"
            assert score["value"] == pytest.approx(stock[task][key], rel=1e-6), (task, key)
            stderr = stock[task][f"{score['metric']}_stderr,{score['filter']}"]
            assert stderr == "N/A" or score["stderr"] == pytest.approx(stderr, rel=1e-9)
            assert score["n"] == stock[task]["sample_len"]
            if 0 < score["value"] < 1 and score["metric"] != "bits_per_byte":
                not_trivial.add(task)
        ours = {(r["task"], r["filter"], r["doc_id"]): r for r in samples(scored, task) if r["filter"] != "gold"}
        theirs = {}
        for file in folder.glob(f"samples_{task}*.jsonl"):
            leaf = file.name.removeprefix("samples_").rpartition("_")[0]
            for line in file.read_text().splitlines():
                row = json.loads(line)
                theirs[leaf, row["filter"], row["doc_id"]] = row
        assert ours.keys() == theirs.keys()
        for key, row in theirs.items():
            if task == "heldout_web":
                assert -ours[key]["nll"] == pytest.approx(row["bits_per_byte"][0], abs=1e-5, rel=1e-6)
                assert ours[key]["bytes"] == row["bits_per_byte"][1]
                continue
            for metric in row["metrics"]:
                assert ours[key][metric] == row[metric], (key, metric)
            if "response" in ours[key]:
                assert ours[key]["response"] == row["resps"][0][0]
    # Else this would compare nothing: some items of every benchmark are right, some wrong.
    assert not_trivial == {"micro_mc", "micro_math", "micro_code"}


@needs_sandbox
def test_every_task_has_its_results_and_its_items(scored: Path, data: Path) -> None:
    assert sorted(p.name for p in scored.iterdir()) == TASKS
    for task in TASKS:
        found = results(scored, task)
        assert (found["task"], found["status"], found["reason"]) == (task, "ok", None)
        assert found["truncated_prompts"] == 0
        assert found["seconds"] > 0
        for score in found["scores"]:
            rows = [row for row in samples(scored, task) if row["filter"] == score["filter"]]
            assert len(rows) == score["n"]
            if not score["metric"].endswith("bits_per_byte"):
                assert math.fsum(row[score["metric"]] for row in rows) / len(rows) == pytest.approx(score["value"])
            else:
                start = score["metric"].removesuffix("bits_per_byte")
                nats, size = math.fsum(row[start + "nll"] for row in rows), sum(row[start + "bytes"] for row in rows)
                assert nats / math.log(2) / size == pytest.approx(score["value"])
            assert score["higher_is_better"] is (not score["metric"].endswith("bits_per_byte"))
            assert score["stderr"] > 0
    assert {(s["metric"], s["filter"]) for s in results(scored, "micro_math")["scores"]} == {
        ("exact_match", "strict-match"),
        ("exact_match", "flexible-extract"),
        ("gold_bits_per_byte", "gold"),
    }
    assert [(s["metric"], s["filter"]) for s in results(scored, "micro_code")["scores"]] == [
        ("pass@1", "create_test"),
        ("gold_bits_per_byte", "gold"),
    ]
    assert {s["metric"] for s in results(scored, "micro_mc")["scores"]} == {"acc", *PROXIES}


@needs_sandbox
def test_items_say_what_they_cluster_by(scored: Path) -> None:
    assert {(r["task"], r["cluster"]) for r in samples(scored, "micro_mc")} == {
        ("micro_mc_animals", "animals"),
        ("micro_mc_metals", "metals"),
    }
    assert {r["cluster"] for r in samples(scored, "micro_math")} == {item["cluster"] for item in world.math_items()}
    assert [r["cluster"] for r in samples(scored, "heldout_web")] == [str(i) for i in range(9)]
    hashes = [
        r["hash"] for task in TASKS for r in samples(scored, task) if r["filter"] not in ("flexible-extract", "gold")
    ]
    assert len(set(hashes)) == len(hashes)
    strict, flexible = (
        [r["hash"] for r in samples(scored, "micro_math") if r["filter"] == f]
        for f in ("strict-match", "flexible-extract")
    )
    assert strict == flexible


@needs_sandbox
def test_code_items_say_why_they_failed(scored: Path) -> None:
    for row in samples(scored, "micro_code"):
        if row["filter"] == "gold":
            continue
        assert (row["reason"] == "passed") == (row["pass@1"] == 1.0)
        assert row["response"]
    assert {"passed", "AssertionError"} <= {row.get("reason") for row in samples(scored, "micro_code")}


def test_stderr_of_a_ratio_is_its_spread_over_samples() -> None:
    rng = random.Random(1)

    def draw() -> tuple[list[float], list[float]]:
        sizes = [rng.uniform(50, 400) for _ in range(120)]
        return [size * rng.gauss(1.9, 0.3) + rng.gauss(0, 5) for size in sizes], sizes

    draws = [draw() for _ in range(600)]
    values = [sum(x) / sum(y) for x, y in draws]
    spread = math.sqrt(sum((v - sum(values) / 600) ** 2 for v in values) / 599)
    estimates = [ratio_stderr(x, y) or 0.0 for x, y in draws]
    assert sum(estimates) / 600 == pytest.approx(spread, rel=0.08)
    assert ratio_stderr([2.0, 4.0], [1.0, 2.0]) == 0.0
    assert ratio_stderr([2.0], [1.0]) is None


def test_a_diverged_model_has_no_value_rather_than_a_wrong_one() -> None:
    results = {
        "results": {"heldout_x": {"bits_per_byte,none": math.nan, "bits_per_byte_stderr,none": "N/A", "sample_len": 2}},
        "higher_is_better": {"heldout_x": {"bits_per_byte": False}},
    }
    (score,) = scores("heldout_x", results, [{"nll": None, "bytes": 3}, {"nll": 1.0, "bytes": 2}])
    assert (score["value"], score["stderr"], score["n"]) == (None, None, 2)


# ---- protocol


@needs_sandbox
def test_protocol_does_not_depend_on_place_or_model_but_on_everything_else(
    scored: Path, data: Path, tmp_path: Path
) -> None:
    from joyctl.evals.protocol import protocol_hash

    moved = world.make_data(tmp_path / "elsewhere")
    other = world.make_model(tmp_path / "other", moved, seed=1, steps=1)
    # held-out texts only: what is compared here needs no long generations
    for name in ("micro_math", "micro_code"):
        path = moved / "tasks" / f"{name}.yaml"
        path.write_text(path.read_text().replace("max_gen_toks: 64", "max_gen_toks: 1"))
    score(other, world.spec(moved), tmp_path / "out")
    for task in TASKS:
        before, after = results(scored, task), results(tmp_path / "out", task)
        assert before["protocol"] == protocol_hash(before["protocol_parts"])
        assert (before["protocol"] == after["protocol"]) == (task not in ("micro_math", "micro_code"))
        assert before["model"] != after["model"]
    score(other, world.spec(moved, batch_size=8), tmp_path / "out8")
    for task in TASKS:
        assert results(tmp_path / "out8", task)["protocol"] != results(tmp_path / "out", task)["protocol"]
    parts = results(scored, "micro_mc")["protocol_parts"]
    assert parts["lm_eval"] == "0.4.13" and parts["dtype"] == "float32" and parts["max_length"] == 256
    assert parts["n_shot"] == {"micro_mc_animals": 0, "micro_mc_metals": 0}
    assert str(data) not in json.dumps(parts)


# ---- carrying on


@needs_sandbox
def test_a_second_run_scores_nothing(model: Path, data: Path, scored: Path) -> None:
    before = files(scored)
    calls: list[str] = []
    evaluate(model, world.spec(data), scored, on_progress=lambda task, _done, _total: calls.append(task))
    execute(world.spec(data), scored, on_progress=lambda task, _done, _total: calls.append(task))
    assert files(scored) == before
    assert calls == []


@needs_sandbox
def test_interrupted_and_run_again_only_the_missing_tasks_are_scored(
    model: Path, data: Path, scored: Path, tmp_path: Path
) -> None:
    def stop(task: str, _done: int, _total: int) -> None:
        if task == "micro_code":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(model, world.spec(data), tmp_path, on_progress=stop)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["micro_code", "micro_math", "micro_mc"]
    assert [p.name for p in (tmp_path / "micro_code").iterdir()] == ["answers.jsonl"]
    before = {name: content for name, content in files(tmp_path).items() if "micro_code" not in name}
    seen: dict[str, list[tuple[int, int]]] = {}
    evaluate(
        model, world.spec(data), tmp_path, on_progress=lambda task, *counts: seen.setdefault(task, []).append(counts)
    )
    assert sorted(seen) == ["heldout_code", "heldout_web", "micro_code"]
    assert seen["micro_code"][-1] == (8, 8) and seen["micro_code"][0][0] < 8
    assert all(done <= total for counts in seen.values() for done, total in counts)
    assert {name: content for name, content in files(tmp_path).items() if name in before} == before
    execute(world.spec(data), tmp_path)
    for task in TASKS:
        assert samples(tmp_path, task) == samples(scored, task)
        assert results(tmp_path, task)["scores"] == results(scored, task)["scores"]


@needs_sandbox
@pytest.mark.parametrize("damage", ["torn results", "torn samples", "lost samples", "not json", "other weights"])
def test_damaged_or_foreign_results_are_made_again(
    damage: str, model: Path, data: Path, scored: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for name, (_, content) in files(scored).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    result, items = out / "heldout_web" / "results.json", out / "heldout_web" / "samples.jsonl"
    whole = result.read_bytes()
    match damage:
        case "torn results":
            result.write_bytes(whole[: len(whole) // 2])
        case "torn samples":
            items.write_bytes(items.read_bytes()[:-20])
        case "lost samples":
            items.unlink()
        case "not json":
            result.write_text("[]")
        case "other weights":
            result.write_text(json.dumps({**json.loads(whole), "model": "0" * 64}))
    again: set[str] = set()
    evaluate(model, world.spec(data), out, on_progress=lambda task, *_: again.add(task))
    assert again == {"heldout_web"}
    assert items.read_bytes() == (scored / "heldout_web" / "samples.jsonl").read_bytes()
    found = results(out, "heldout_web")
    assert is_complete(out / "heldout_web", found["protocol"], found["model"])


# ---- what is missing


@pytest.fixture
def no_sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    yield


def test_without_a_sandbox_code_is_not_run_and_everything_else_is_scored(
    model: Path, data: Path, tmp_path: Path, no_sandbox: None
) -> None:
    out = tmp_path / "out"
    executed: list[str] = []
    evaluate(model, world.spec(data), out)
    execute(world.spec(data), out, on_progress=lambda task, *_: executed.append(task))
    found = results(out, "micro_code")
    assert found["status"] == "not run"
    assert found["reason"].startswith("no sandbox: bubblewrap is not installed")
    assert found["scores"] == [] and samples(out, "micro_code") == []
    assert executed == []
    assert {results(out, task)["status"] for task in TASKS if task != "micro_code"} == {"ok"}


@needs_sandbox
def test_code_that_was_not_run_is_scored_once_there_is_a_sandbox(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setenv("PATH", str(tmp_path))
        score(model, world.spec(data), tmp_path / "out")
    before = files(tmp_path / "out")
    execute(world.spec(data), tmp_path / "out")
    assert results(tmp_path / "out", "micro_code")["status"] == "ok"
    changed = {name for name, content in files(tmp_path / "out").items() if before[name] != content}
    assert changed == {"micro_code/results.json", "micro_code/samples.jsonl"}


@pytest.mark.parametrize("lack", ["folder", "config.json", "tokenizer.json", "weights"])
def test_a_model_that_is_not_whole_is_one_clear_error(lack: str, model: Path, data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "model"
    if lack != "folder":
        broken.mkdir()
        for path in model.iterdir():
            if path.name != lack and not (lack == "weights" and path.suffix == ".safetensors"):
                (broken / path.name).write_bytes(path.read_bytes())
    if lack == "weights":
        (broken / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(Missing, match="tokenizer" if lack.startswith("tok") else str(broken)):
        evaluate(broken, world.spec(data), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_tasks_and_missing_task_files_are_clear_errors(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RecipeError, match=r"unknown task 'micro_nc'"):
        evaluate(model, world.spec(data, tasks=[*world.TASKS, {"task": "micro_nc"}]), out)
    with pytest.raises(Missing, match="no task files"):
        evaluate(model, world.spec(tmp_path, heldout=False), out)
    with pytest.raises(Missing, match="nothing to execute"):
        execute(world.spec(tmp_path), out)
    (tmp_path / "tasks").mkdir()
    with pytest.raises(RecipeError, match=r"unknown task 'micro_mc'"):
        evaluate(model, world.spec(tmp_path, heldout=False), out)
    with pytest.raises(Missing, match="no held-out task files"):
        evaluate(model, world.spec(tmp_path), out)
    assert not out.exists()


# ---- good manners


@needs_sandbox
def test_prompts_that_do_not_fit_are_counted(model: Path, data: Path, tmp_path: Path) -> None:
    longer = tmp_path / "data"
    world.make_data(longer)
    items = world.math_items()
    items[3]["question"] = "pens " * 400 + str(items[3]["question"])
    world.write_lines(longer / "tasks" / "math.jsonl", items)
    score(model, world.spec(longer), tmp_path / "out")
    assert {task: results(tmp_path / "out", task)["truncated_prompts"] for task in TASKS} == {
        **dict.fromkeys(TASKS, 0),
        "micro_math": 1,
    }


@pytest.mark.slow
def test_preloading_starts_no_threads_and_a_forked_child_can_score(model: Path, data: Path, tmp_path: Path) -> None:
    program = f"""
import os, sys, threading
from pathlib import Path
import joyctl.evals.preload
assert threading.active_count() == 1
native = {{open(f"/proc/self/task/{{t}}/comm").read().strip() for t in os.listdir("/proc/self/task")}}
assert len(native - {{"jemalloc_bg_thd"}}) == 1, native
assert not {{"evaluate", "torchtitan"}} & set(sys.modules)
child = os.fork()
if child == 0:
    from joyctl.campaign.spec import EvalSpec
    from joyctl.evals.harness import evaluate, execute
    spec = EvalSpec.model_validate({world.spec(data).model_dump()!r})
    evaluate(Path({str(model)!r}), spec, Path({str(tmp_path / "out")!r}), prompts=Path({str(tmp_path / "prompts")!r}))
    execute(spec, Path({str(tmp_path / "out")!r}))
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path / "home")}
    env["PYTHONPATH"] = str(Path(__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "" and "it/s" not in done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == TASKS
    left = [str(p) for folder in ("hf", "home") for p in (tmp_path / folder).rglob("*") if p.is_file()]
    assert left == [], "scoring leaves nothing in the user's home"


def test_the_harness_itself_imports_nothing_heavy() -> None:
    heavy = {"torch", "lm_eval", "transformers", "datasets"}
    program = f"import sys, joyctl.evals.harness; sys.exit(bool({heavy} & set(sys.modules)))"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", program], env=env, timeout=60).returncode == 0
