"""Generating and executing code in two steps: the same results as in one, without the model in the second."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import evals_world as world
import pytest
from evals_world import evaluate

from joyctl.errors import Missing, Refused
from joyctl.evals.answers import read_answers
from joyctl.evals.harness import execute
from joyctl.evals.sandbox import probe

WHY_NOT = probe()
needs_sandbox = pytest.mark.skipif(WHY_NOT is not None, reason=f"needs sandbox: {WHY_NOT}")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_model(tmp_path_factory.mktemp("model"), data)


@pytest.fixture(scope="module")
def made(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `evaluate` leaves."""
    out = tmp_path_factory.mktemp("made")
    evaluate(model, world.spec(data), out)
    return out


@pytest.fixture
def generated(made: Path, tmp_path: Path) -> Path:
    """A copy of it to work on."""
    return Path(shutil.copytree(made, tmp_path / "generated"))


def code(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "micro_code" / "results.json").read_text())
    return found


def content(folder: Path) -> dict[str, bytes]:
    """Every file, without the times that results name."""
    return {
        str(p.relative_to(folder)): b"".join(x for x in p.read_bytes().splitlines(True) if b'"seconds":' not in x)
        for p in folder.rglob("*")
        if p.is_file()
    }


def times(folder: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


# ---- the same numbers


@needs_sandbox
def test_executing_needs_no_model(generated: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("joyctl.evals.engine.Engine.__init__", load)
    asked: list[tuple[int, int]] = []
    execute(world.spec(data), generated, on_progress=lambda _task, done, total: asked.append((done, total)))
    assert code(generated)["status"] == "ok"
    assert asked[-1] == (8, 8) and asked == sorted(asked) and len(asked) > 2


@needs_sandbox
def test_programs_executed_side_by_side_give_the_same_results(generated: Path, data: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copytree(generated, tmp_path / "alone"))
    execute(world.spec(data), generated, threads=2)
    execute(world.spec(data), alone)
    assert content(generated) == content(alone)


def test_generating_executes_nothing_and_needs_no_sandbox(
    made: Path, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object, **__: object) -> None:
        raise AssertionError("a program was executed")

    monkeypatch.setattr("joyctl.evals.scoring.run_programs", run)
    monkeypatch.setenv("PATH", str(tmp_path))
    evaluate(model, world.spec(data), tmp_path / "out")
    assert content(tmp_path / "out") == content(made)
    assert [p.name for p in (made / "micro_code").iterdir()] == ["answers.jsonl"]


# ---- carrying on


@needs_sandbox
def test_done_again_nothing_changes(generated: Path, model: Path, data: Path) -> None:
    execute(world.spec(data), generated)
    before = times(generated)
    execute(world.spec(data), generated)
    evaluate(model, world.spec(data), generated)
    execute(world.spec(data), generated)
    assert times(generated) == before


@needs_sandbox
def test_complete_results_without_responses_are_left_alone(generated: Path, model: Path, data: Path) -> None:
    execute(world.spec(data), generated)
    (generated / "micro_code" / "answers.jsonl").unlink()  # as one step left them
    before = times(generated)
    evaluate(model, world.spec(data), generated)
    execute(world.spec(data), generated)
    assert times(generated) == before


@needs_sandbox
def test_interrupted_while_executing_and_done_again(generated: Path, data: Path) -> None:
    def stop(_task: str, done: int, _total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    before = content(generated)
    with pytest.raises(KeyboardInterrupt):
        execute(world.spec(data), generated, on_progress=stop)
    assert content(generated) == before
    execute(world.spec(data), generated)
    assert code(generated)["status"] == "ok"


# ---- responses that do not count


@pytest.mark.parametrize("damage", ["none", "torn", "edited", "no head"])
def test_without_whole_responses_executing_says_so_and_generating_makes_them(
    damage: str, generated: Path, made: Path, model: Path, data: Path
) -> None:
    path = generated / "micro_code" / "answers.jsonl"
    text = path.read_text()
    match damage:
        case "none":
            path.unlink()
        case "torn":
            path.write_text(text[: len(text) // 2])
        case "edited":
            path.write_text(text.replace("return", "raise", 1))
        case "no head":
            path.write_text(text.partition("\n")[2])
    before = content(generated)
    with pytest.raises(Missing, match=r"nothing to execute: .*micro_code (holds no|lacks \d+ of 16) answers"):
        execute(world.spec(data), generated)
    assert content(generated) == before
    again: set[str] = set()
    evaluate(model, world.spec(data), generated, on_progress=lambda task, *_: again.add(task))
    assert again == {"micro_code"}
    whole, found = (read_answers(place / "micro_code") for place in (made, generated))
    assert whole is not None and found == whole


@needs_sandbox
def test_responses_of_other_weights_are_made_again_and_their_results_go(
    generated: Path, data: Path, tmp_path: Path
) -> None:
    execute(world.spec(data), generated)
    other = world.make_model(tmp_path / "other", data, seed=1, steps=1)
    evaluate(other, world.spec(data), generated)
    assert [p.name for p in (generated / "micro_code").iterdir()] == ["answers.jsonl"]
    evaluate(other, world.spec(data), tmp_path / "fresh")
    execute(world.spec(data), generated)
    execute(world.spec(data), tmp_path / "fresh")
    assert content(generated) == content(tmp_path / "fresh")


@needs_sandbox
def test_results_of_other_responses_are_replaced(generated: Path, data: Path) -> None:
    execute(world.spec(data), generated)
    right = content(generated)
    path = generated / "micro_code" / "results.json"
    path.write_text(json.dumps({**code(generated), "model": "0" * 64}))
    execute(world.spec(data), generated)
    assert content(generated) == right


@needs_sandbox
def test_responses_of_another_protocol_are_refused_with_what_changed(
    generated: Path, model: Path, tmp_path: Path
) -> None:
    moved = world.make_data(tmp_path / "moved")
    task = moved / "tasks" / "micro_code.yaml"
    task.write_text(task.read_text().replace("max_gen_toks: 64", "max_gen_toks: 63"))
    before = content(generated)
    with pytest.raises(Refused, match=r"another protocol; changed: settings\.micro_code"):
        execute(world.spec(moved), generated)
    assert content(generated) == before
    evaluate(model, world.spec(moved), generated)
    execute(world.spec(moved), generated)
    assert code(generated)["status"] == "ok"


@needs_sandbox
def test_responses_to_other_prompts_are_refused(generated: Path, tmp_path: Path) -> None:
    moved = world.make_data(tmp_path / "moved")
    items = world.code_items()
    world.write_lines(moved / "tasks" / "code.jsonl", [items[1], items[0], *items[2:]])
    before = content(generated)
    with pytest.raises(Refused, match="changed: documents"):
        execute(world.spec(moved), generated)
    assert content(generated) == before


# ---- several samples a problem


@needs_sandbox
def test_samples_are_drawn_alike_in_any_number_of_processes_and_give_pass_at_k(
    model: Path, data: Path, tmp_path: Path
) -> None:
    own = tmp_path / "tasks"
    shutil.copytree(data / "tasks", own)
    (own / "four.yaml").write_text(f"""\
include: {own / "micro_code.yaml"}
task: four
repeats: 4
metric_list:
  - metric: !function utils.pass_at_k
    aggregation: mean
    higher_is_better: true
    k: [1, 2, 4]
generation_kwargs: {{until: ["\\ndef"], do_sample: true, temperature: 1.0, max_gen_toks: 32}}
""")
    spec = world.spec(data, tasks=[{"task": "four", "runs_code": True}], heldout=False, include_path=[str(own)])
    for name, processes in (("one", 1), ("two", 2)):
        evaluate(model, spec, tmp_path / name, processes=processes)
        execute(spec, tmp_path / name, threads=2)
    found = json.loads((tmp_path / "one" / "four" / "results.json").read_text())
    assert found["scores"] == json.loads((tmp_path / "two" / "four" / "results.json").read_text())["scores"]
    rows = [json.loads(line) for line in (tmp_path / "one" / "four" / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == 8 and {row["passed"] for row in rows} != {0}
    values = {score["metric"]: score["value"] for score in found["scores"]}
    for k in (1, 2, 4):
        chances = [1 - math.comb(4 - row["passed"], k) / math.comb(4, k) for row in rows]
        assert values[f"pass@{k}"] == pytest.approx(sum(chances) / 8)
    assert 0 < values["pass@1"] < values["pass@4"]  # samples differ, some pass
