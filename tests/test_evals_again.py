"""Scoring in several processes, interrupted, on damaged files, and with the prompts of before."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evals_bench import bench_texts, flip, make_bench, results, samples, suite, tear
from small_models import make_model, make_tokenizer
from stock import Entry

from joyctl.campaign.spec import EvalSpec
from joyctl.evals import harness
from joyctl.evals.answers import ANSWERS

ANATOMY, ASTRONOMY = (Entry(f"mmlu_{s}", "cais/mmlu", n_shot=5) for s in ("anatomy", "astronomy"))
SUMS = Entry("gsm8k_cot", "openai/gsm8k", n_shot=8, max_gen_toks=6)
ENTRIES = (ANATOMY, ASTRONOMY, SUMS)
TASKS = [entry.task for entry in ENTRIES]


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
    """Batches of 3, so that there are many units and the last of a task is a short one."""
    return suite(ENTRIES, bench, batch_size=3)


@pytest.fixture(scope="module")
def whole(model: Path, spec: EvalSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one undisturbed run; its prompts and the number of its units lie beside them."""
    out = tmp_path_factory.mktemp("whole") / "eval"
    told: list[str] = []
    harness.evaluate(model, spec, out, prompts=out.parent / "prompts", on_progress=lambda task, *_: told.append(task))
    (out.parent / "units.json").write_text(json.dumps({task: told.count(task) for task in TASKS}))
    return out


@pytest.fixture
def units_of(whole: Path) -> dict[str, int]:
    """Units of every task; progress is told once a unit."""
    found: dict[str, int] = json.loads((whole.parent / "units.json").read_text())
    return found


@pytest.fixture(scope="module")
def interrupted(model: Path, spec: EvalSpec, whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves that is killed in its second task."""
    out = tmp_path_factory.mktemp("interrupted") / "eval"
    assert in_child(killed_after, 6, model, spec, out, whole.parent / "prompts", 1) == -signal.SIGKILL
    return out


@pytest.fixture
def prompts(whole: Path) -> Path:
    return whole.parent / "prompts"


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """Keys of every unit that a model computes in this process."""
    from joyctl.evals.engine import Engine

    answer, seen = Engine.answer, []

    def counted(self: Engine, unit: Any) -> Any:
        seen.append(list(unit.keys))
        return answer(self, unit)

    monkeypatch.setattr(Engine, "answer", counted)
    return seen


def same(out: Path, other: Path) -> None:
    """Byte for byte the same items, and the same scores of the same protocol."""
    for task in TASKS:
        assert (out / task / "samples.jsonl").read_bytes() == (other / task / "samples.jsonl").read_bytes(), task
        mine, theirs = results(out, task), results(other, task)
        for found in (mine, theirs):
            found.pop("seconds")
        assert mine == theirs, task


def answered(out: Path) -> int:
    """Units of the second task with an answer on disk: one line each, behind the first."""
    return len((out / TASKS[1] / ANSWERS).read_bytes().splitlines()) - 1


# ---- processes


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one(
    model: Path, spec: EvalSpec, whole: Path, prompts: Path, tmp_path: Path
) -> None:
    harness.evaluate(model, spec, tmp_path / "two", prompts=prompts, processes=2)
    same(tmp_path / "two", whole)


@pytest.mark.slow
def test_threads_change_nothing_that_counts(
    model: Path, spec: EvalSpec, whole: Path, prompts: Path, tmp_path: Path
) -> None:
    harness.evaluate(model, spec, tmp_path / "two", prompts=prompts, threads=2)
    for task in TASKS:
        for mine, theirs in zip(samples(tmp_path / "two", task), samples(whole, task), strict=True):
            assert mine.keys() == theirs.keys()
            assert mine == pytest.approx(theirs, abs=1e-4) if "gold_nll" in mine else mine == theirs


# ---- interrupted


def killed_after(items: int, model: Path, spec: EvalSpec, out: Path, prompts: Path, processes: int = 1) -> None:
    """Evaluate, and end like a node that loses its power once so many items of the second task are there."""

    def die(task: str, done: int, _: int) -> None:
        if task == TASKS[1] and done >= items:
            os.kill(os.getpid(), signal.SIGKILL)

    harness.evaluate(model, spec, out, prompts=prompts, processes=processes, on_progress=die)


def left_behind() -> None:
    """No process of the killed one goes on; they are told by the test that they were started in."""
    mark = f"PYTEST_CURRENT_TEST={os.environ['PYTEST_CURRENT_TEST']}".encode()
    deadline = time.monotonic() + 20
    while True:
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (place / "cmdline").read_bytes()
                if b"spawn_main" in command and mark in (place / "environ").read_bytes():
                    found.append(int(place.name))
        if not found:
            return
        if time.monotonic() > deadline:
            for pid in found:
                os.kill(pid, signal.SIGKILL)
            pytest.fail(f"processes {found} were left behind")
        time.sleep(0.2)


def in_child(work: Callable[..., None], *arguments: Any) -> int | None:
    child = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    child.start()
    child.join(300)
    return child.exitcode


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_goes_on_where_it_was(
    model: Path,
    spec: EvalSpec,
    whole: Path,
    prompts: Path,
    tmp_path: Path,
    units: list[list[Any]],
    units_of: dict[str, int],
    processes: int,
) -> None:
    out = tmp_path / "eval"
    assert in_child(killed_after, 6, model, spec, out, prompts, processes) == -signal.SIGKILL
    assert not (out / TASKS[1] / "results.json").exists()
    there = answered(out)
    assert 0 < there < units_of[TASKS[1]]
    left_behind()
    first = (out / TASKS[0] / "results.json").stat().st_mtime_ns

    harness.evaluate(model, spec, out, prompts=prompts)
    same(out, whole)
    assert (out / TASKS[0] / "results.json").stat().st_mtime_ns == first
    assert len(units) == units_of[TASKS[1]] + units_of[TASKS[2]] - there


def test_what_is_done_is_left_alone(
    model: Path, spec: EvalSpec, whole: Path, prompts: Path, units: list[list[Any]]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    harness.evaluate(model, spec, whole, prompts=prompts)
    assert not units
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()} == before


# ---- damaged


def flip_first_line(path: Path) -> None:
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(first.replace(b"e", b"f", 1) + b"\n" + rest)


@pytest.mark.parametrize(("damage", "lost"), [(tear, 1), (flip, 1), (flip_first_line, None), (Path.unlink, None)])
def test_answers_that_are_torn_or_damaged_are_computed_again(
    damage: Callable[[Path], None],
    lost: int | None,
    model: Path,
    spec: EvalSpec,
    whole: Path,
    interrupted: Path,
    prompts: Path,
    tmp_path: Path,
    units: list[list[Any]],
    units_of: dict[str, int],
) -> None:
    out = tmp_path / "eval"
    shutil.copytree(interrupted, out)
    kept = answered(out) - (answered(out) if lost is None else lost)
    damage(out / TASKS[1] / ANSWERS)
    harness.evaluate(model, spec, out, prompts=prompts)
    same(out, whole)
    assert len(units) == units_of[TASKS[1]] - kept + units_of[TASKS[2]]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("samples.jsonl", tear),
        ("samples.jsonl", flip),
        ("samples.jsonl", Path.unlink),
        ("results.json", tear),
        ("results.json", Path.unlink),
    ],
)
def test_results_that_are_torn_or_damaged_are_made_again(
    damage: Callable[[Path], None],
    name: str,
    model: Path,
    spec: EvalSpec,
    whole: Path,
    prompts: Path,
    tmp_path: Path,
    units: list[list[Any]],
    units_of: dict[str, int],
) -> None:
    out = tmp_path / "eval"
    shutil.copytree(whole, out)
    damage(out / TASKS[0] / name)
    harness.evaluate(model, spec, out, prompts=prompts)
    same(out, whole)
    assert len(units) == units_of[TASKS[0]]


def test_answers_of_another_model_are_not_taken(
    tokenizer: Path, spec: EvalSpec, whole: Path, interrupted: Path, prompts: Path, tmp_path: Path
) -> None:
    other = make_model(tmp_path / "other", tokenizer, seed=1)
    harness.evaluate(other, spec, tmp_path / "clean", prompts=prompts)
    shutil.copytree(interrupted, tmp_path / "eval")
    harness.evaluate(other, spec, tmp_path / "eval", prompts=prompts)
    same(tmp_path / "eval", tmp_path / "clean")
    assert samples(tmp_path / "eval", TASKS[0]) != samples(whole, TASKS[0])


# ---- prompts


def entries(prompts: Path) -> dict[str, int]:
    return {
        str(p.relative_to(prompts)): p.stat().st_mtime_ns for p in prompts.rglob("*") if p.suffix in (".json", ".npz")
    }


def test_prompts_are_made_once_for_all_models(
    tokenizer: Path, spec: EvalSpec, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from joyctl.evals import prompts as module

    before = entries(prompts)
    assert len({Path(name).parts[0] for name in before}) == len(TASKS)
    monkeypatch.setattr(module, "build", lambda *_: pytest.fail("prompts were made again"))
    other = make_model(tmp_path / "other", tokenizer, seed=2)
    harness.evaluate(other, spec, tmp_path / "eval", prompts=prompts)
    assert entries(prompts) == before


@pytest.mark.parametrize("name", ["PROMPTS.json", "prompts.npz"])
@pytest.mark.parametrize("damage", [tear, flip, Path.unlink])
def test_damaged_prompts_are_made_again(
    damage: Callable[[Path], None],
    name: str,
    model: Path,
    spec: EvalSpec,
    whole: Path,
    prompts: Path,
    tmp_path: Path,
) -> None:
    own = tmp_path / "prompts"
    shutil.copytree(prompts, own)
    for path in own.rglob(name):
        damage(path)
    harness.evaluate(model, spec, tmp_path / "eval", prompts=own)
    same(tmp_path / "eval", whole)
    for path in prompts.rglob("*.npz"):
        assert (own / path.relative_to(prompts)).read_bytes() == path.read_bytes()


def test_prompts_of_other_data_are_others(
    model: Path, bench: Path, spec: EvalSpec, whole: Path, tmp_path: Path
) -> None:
    """The same folder names, one question changed."""
    data = tmp_path / "bench"
    shutil.copytree(bench, data)
    path = data / "cais/mmlu/anatomy/test.jsonl"
    path.write_text(path.read_text().replace("what of", "which of", 1))
    prompts = tmp_path / "prompts"
    shutil.copytree(whole.parent / "prompts", prompts)
    changed = spec.model_copy(update={"data": str(data)})
    harness.evaluate(model, changed, tmp_path / "eval", prompts=prompts)
    assert results(tmp_path / "eval", TASKS[0])["protocol"] != results(whole, TASKS[0])["protocol"]
    assert samples(tmp_path / "eval", TASKS[0])[0]["hash"] != samples(whole, TASKS[0])[0]["hash"]
