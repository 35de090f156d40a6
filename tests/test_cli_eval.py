"""`joyctl eval`: any Hugging Face folder scored outside campaigns, resumable, with lm-eval's own files beside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import evals_world as world
import pytest
import yaml
from typer.testing import CliRunner

from joyctl.cli.main import app
from joyctl.cli.scoretable import shown
from joyctl.errors import JoyctlError, Missing, RecipeError, Refused
from joyctl.evals import harness
from joyctl.evals.answers import read_answers
from joyctl.evals.sandbox import probe

WHY_NOT = probe()
needs_sandbox = pytest.mark.skipif(WHY_NOT is not None, reason=f"needs sandbox: {WHY_NOT}")
NO_CODE = [task for task in world.TASKS if not task.get("runs_code")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_model(tmp_path_factory.mktemp("models") / "small", data, steps=20)


@pytest.fixture
def place(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a suite of each kind and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, tasks in (("small", world.TASKS), ("no_code", NO_CODE)):
        text = yaml.safe_dump({"tasks": tasks, "include_path": [str(data / "tasks")]})
        (tmp_path / "suites").mkdir(exist_ok=True)
        (tmp_path / "suites" / f"{name}.yaml").write_text(text)
    return tmp_path


def call(*words: str) -> str:
    """What `joyctl eval` says on stdout; raises what it raises."""
    done = CliRunner().invoke(app, ["eval", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def scores(*words: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    answer = json.loads(call(*words, "--json"))
    return {(s["task"], s["metric"], s["filter"]): s for s in answer["scores"]}


@needs_sandbox
def test_scores_items_and_lm_evals_own_files_are_those_of_the_harness(model: Path, data: Path, place: Path) -> None:
    found = scores(str(model), "--suite", "small", "--batch-size", "7")
    assert set(next(iter(found.values()))) == {"task", "metric", "filter", "value", "stderr", "n", "protocol"}
    spec = world.spec(data, heldout=False)
    world.evaluate(model, spec, place / "other")
    harness.execute(spec, place / "other")
    for task in ("micro_mc", "micro_math", "micro_code"):
        theirs = json.loads((place / "other" / task / "results.json").read_text())
        mine = json.loads((place / "eval-small" / task / "results.json").read_text())
        assert mine["scores"] == theirs["scores"] and mine["scores"]
        assert mine["samples_sha256"] == theirs["samples_sha256"]
        for score in theirs["scores"]:
            told = found[task, score["metric"], score["filter"]]
            assert (told["value"], told["stderr"], told["n"]) == (score["value"], score["stderr"], score["n"])
    (results,) = (place / "eval-small").glob("results_*.json")
    lm_eval = json.loads(results.read_text())
    date = results.stem.removeprefix("results_")
    assert lm_eval["results"]["micro_mc"]["acc,none"] == found["micro_mc", "acc", "none"]["value"]
    assert (
        lm_eval["results"]["micro_code"]["pass@1,create_test"] == found["micro_code", "pass@1", "create_test"]["value"]
    )
    math = (place / "eval-small" / f"samples_micro_math_{date}.jsonl").read_text().splitlines()
    assert len(math) == 2 * len(world.math_items())  # one for each of the two filters
    assert {"doc_id", "doc", "resps", "filtered_resps", "exact_match"} <= json.loads(math[0]).keys()
    assert list((place / "cache" / "joyctl" / "prompts").iterdir())


def test_the_same_command_leaves_what_is_done_and_another_limit_does_not(model: Path, place: Path) -> None:
    words = (str(model), "--suite", "no_code", "--output", "out")
    first = scores(*words)
    before = {p: p.stat().st_mtime_ns for p in place.glob("out/*/*")}
    assert scores(*words) == first
    assert {p: p.stat().st_mtime_ns for p in place.glob("out/*/*")} == before
    assert {s["n"] for s in scores(*words, "--limit", "2").values()} == {2, 4}  # two subjects in one group
    assert {s["n"] for s in first.values()} == {12}


def test_the_table_has_a_tasks_own_metrics_before_the_proxies(model: Path, place: Path) -> None:
    said = call(str(model), "--suite", "no_code")
    lines = [line.split()[:3] for line in said.splitlines()]
    metrics = [next((word for word in line if word.partition(",")[0] in METRICS), None) for line in lines]
    assert [m for m in metrics if m] == [
        "acc",
        "gold_bits_per_byte",
        "correct_prob",
        "norm_correct_prob",
        "margin",
        "exact_match,strict-match",
        "exact_match,flexible-extract",
        "gold_bits_per_byte,gold",
    ]
    assert "standard error" in said and "lower is better" in said and "eval-small/" in said
    assert max(map(len, said.splitlines()[2:])) <= 80


METRICS = {"acc", "gold_bits_per_byte", "correct_prob", "norm_correct_prob", "margin", "exact_match"}


def test_prompts_that_were_cut_are_told(model: Path, data: Path, place: Path) -> None:
    short = place / "short"
    shutil.copytree(model, short)
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 70}))
    said = call(str(short), "--suite", "no_code")
    cut = json.loads((place / "eval-short" / "micro_math" / "results.json").read_text())["truncated_prompts"]
    assert cut and f"lost their beginning: {cut} of micro_math" in said


@pytest.mark.parametrize(
    ("metric", "value", "stderr", "text"),
    [
        ("acc", 0.25, 0.0433, ("25.0 %", "± 4.3")),
        ("pass@1", 1.0, 0.0, ("100.0 %", "± 0.0")),
        ("correct_prob", 0.000349, 0.000016, ("0.0349 %", "± 0.0016")),
        ("gold_bits_per_byte", 5.842, 0.039, ("5.842", "± 0.039")),
        ("word_perplexity", 31.4159, None, ("31.416", "")),
        ("acc", None, None, ("not finite", "")),
    ],
)
def test_numbers_as_people_read_them(metric: str, value: Any, stderr: Any, text: tuple[str, str]) -> None:
    assert shown(metric, value, stderr) == text


# -- what is wrong


def refused(place: Path, *words: str) -> JoyctlError:
    """The error of a command that must leave nothing behind."""
    before = sorted(place.rglob("*"))
    with pytest.raises(JoyctlError) as error:
        call(*words)
    assert sorted(p for p in place.rglob("*") if "cache" not in p.parts) == [
        p for p in before if "cache" not in p.parts
    ]
    return error.value


def test_a_folder_that_is_no_model(place: Path) -> None:
    (place / "empty").mkdir()
    for name, said in (("nowhere", "no model in nowhere: it is no folder"), ("empty", "it has no config.json")):
        error = refused(place, name, "--suite", "no_code")
        assert isinstance(error, Missing) and said in str(error)


def test_a_model_without_its_tokenizer_or_weights(model: Path, place: Path) -> None:
    for pattern, said in (("token*", "no tokenizer"), ("*.safetensors", "does not load")):
        broken = place / "broken"
        shutil.copytree(model, broken, ignore=shutil.ignore_patterns(pattern))
        with pytest.raises(Missing, match=said):
            call(str(broken), "--suite", "no_code")
        assert not list(place.glob("eval-broken/*/results.json"))
        shutil.rmtree(broken)


def test_a_suite_or_task_that_there_is_not(model: Path, place: Path) -> None:
    error = refused(place, str(model), "--suite", "cora")
    assert isinstance(error, RecipeError) and "--suite cora: unknown suite 'cora'; did you mean 'core'?" in str(error)
    (place / "suites" / "odd.yaml").write_text("tasks: [{task: gsm8k_kot}]\n")
    error = refused(place, str(model), "--suite", "odd")
    assert isinstance(error, RecipeError) and "unknown task 'gsm8k_kot'" in str(error)


def test_benchmark_data_that_are_not_there(model: Path, place: Path) -> None:
    error = refused(place, str(model), "--data", "bench")
    assert isinstance(error, Missing) and "--data is" in str(error) and "cais/mmlu" in str(error)


def test_no_sandbox_is_told_before_anything_is_computed(
    model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from joyctl.evals import sandbox

    monkeypatch.setattr(sandbox, "probe", lambda: "bwrap is not installed")
    error = refused(place, str(model), "--suite", "small")
    assert isinstance(error, Missing) and "bwrap is not installed" in str(error) and "--unsafe-code" in str(error)
    scores(str(model), "--suite", "no_code")  # needs none


def test_without_a_sandbox_on_purpose(model: Path, place: Path) -> None:
    said = call(str(model), "--suite", "small", "--unsafe-code", "--limit", "2")
    assert "generated programs ran without a sandbox" in said and "pass@1" in said
    assert json.loads((place / "eval-small/micro_code/results.json").read_text())["sandbox"] == "none"


def test_scores_of_another_model_are_not_written_over(model: Path, place: Path) -> None:
    call(str(model), "--suite", "no_code", "--limit", "1", "--output", "out")
    shutil.copytree(model, place / "twin")
    with pytest.raises(Refused, match=r"holds scores of .*small"):
        call("twin", "--suite", "no_code", "--limit", "1", "--output", "out")


def test_an_unknown_backend_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["eval", "x", "--backend", "gguf"]).exit_code == 2


def test_help_and_bad_input_import_nothing_heavy(place: Path) -> None:
    code = (
        "import sys; from joyctl.cli.main import main; sys.argv = ['joyctl', 'eval', 'nowhere', '--suite', 'no_code']\n"
        "try: main()\nexcept SystemExit as end: print(end.code)\n"
        "print(sorted({'torch', 'lm_eval', 'transformers', 'hydra'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "6\n[]\n" and "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_and_run_again_gives_the_same(
    model: Path, place: Path, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (str(model), "--suite", "no_code", "--batch-size", "1")
    code = (
        "import time; from joyctl.evals.answers import Journal; add = Journal.add\n"
        "Journal.add = lambda *a: (add(*a), time.sleep(0.2))[0]\n"  # so that there is a middle
        "from joyctl.cli.main import main; main()"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code, "eval", *words], env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    journals: list[Path] = []
    while time.monotonic() < deadline and started.poll() is None:
        journals = [p for p in place.glob("eval-small/*/answers.jsonl") if p.read_bytes().count(b"\n") > 3]
        if journals:
            break
        time.sleep(0.02)
    assert started.poll() is None and journals
    started.send_signal(how)
    _, said = started.communicate(timeout=60)
    assert started.returncode == 130 and b"Traceback" not in said and b"goes on from there" in said
    found = read_answers(journals[0].parent)
    assert found is not None
    kept = len(found[1])
    counts: list[int] = []
    add = harness.Journal.add

    def counted(self: Any, answers: Any) -> None:
        found = list(answers)
        counts.append(len(found))
        add(self, found)

    monkeypatch.setattr(harness.Journal, "add", counted)
    again, rest = scores(*words), sum(counts)
    counts.clear()
    assert again == scores(*words, "--output", "whole")
    assert kept > 0 and rest == sum(counts) - kept
