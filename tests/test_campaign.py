"""A whole campaign through the command line: torchtitan trains, lm-eval scores, the report compares."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaigns import GRID, RECIPE, Place, numbers


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[Place]:
    """A finished campaign: control, two durations, one drop, on cores that cost something."""
    place = Place(tmp_path_factory.mktemp("done"), data)
    (place.folder / "paid.yaml").write_text("kind: local\nprice_per_core_hour: 3.6\ncurrency: EUR\n", encoding="utf-8")
    swept = place.call("sweep", "small.yaml", *GRID, "--cluster", "./paid.yaml")
    assert swept.returncode == 0, swept.stderr
    yield place


def test_every_expected_file_is_there_and_marked(done: Place) -> None:
    for run in ("control", "upsample-20", "upsample-40", "drop-math-20"):
        here = done.campaign / "runs" / run / "s0"
        stages = {p.name for p in here.glob("DONE.*.json")}
        assert stages >= {"DONE.export.json", "DONE.eval.json", "DONE.score.json"}
        assert ("DONE.train.json" in stages) == (run != "control")
        assert {p.name for p in (here / "eval").iterdir()} >= {"micro_mc", "micro_math", "micro_code", "heldout_web"}
    counted = json.loads(done.call("status", "--json").stdout)
    assert {run["state"] for run in counted["runs"]} == {"done"}


def test_what_the_markers_vouch_for_is_what_lies_there(done: Place) -> None:
    for marker in done.campaign.rglob("DONE.*.json"):
        files = json.loads(marker.read_text())["files"]
        assert files, marker
        for name, kept in files.items():
            content = (marker.parent / name).read_bytes()
            assert kept == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}, (marker, name)
    here = done.campaign / "runs" / "control" / "s0"
    evaluated, executed = (set(json.loads((here / f"DONE.{s}.json").read_text())["files"]) for s in ("eval", "score"))
    code = "eval/micro_code/"
    assert f"{code}answers.jsonl" in evaluated
    assert executed - evaluated == {f"{code}results.json", f"{code}samples.jsonl"}


def test_an_exported_run_loads_and_says_what_it_is(done: Place) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = done.campaign / "runs" / "drop-math-20" / "s0" / "hf"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.config.hidden_size == 128 and len(tokenizer) == 1024
    card = (folder / "README.md").read_text()
    for said in (
        "Recipe `small`",
        "drop-math-20",
        "Left out: math (policy renormalise)",
        "branched at step 80",
        "| web |",
    ):
        assert said in card


def test_the_table_compares_every_run_with_its_matched_control(done: Place) -> None:
    report = json.loads(done.call("report", "small", "--format", "json").stdout)
    assert {(d["run"], d["control"]) for d in report["deltas"]} == {
        ("upsample-20/s0", "control/s0"),
        ("upsample-40/s0", "control/s0"),
        ("drop-math-20/s0", "upsample-20/s0"),
    }
    table = done.call("report").stdout
    assert "control" in table and "drop-math-20" in table and "No such" not in table
    assert (done.campaign / "report" / "report.md").exists()


def test_the_report_says_what_it_cost(done: Place) -> None:
    cost = json.loads(done.call("report", "small", "--format", "json").stdout)["cost"]
    lines = [json.loads(line) for path in done.campaign.rglob("attempts.jsonl") for line in path.open()]
    core_seconds = sum(line["seconds"] * line["cores"] for line in lines if "end" in line)
    assert {(line["price"], line["currency"], line["cores"] == line["threads"]) for line in lines} == {
        (3.6, "EUR", True)
    }
    assert cost["unit"] == "core" and cost["hours"] == pytest.approx(core_seconds / 3_600)
    assert set(cost["by_stage"]) == {"train", "export", "eval", "score"}
    assert cost["money"] == pytest.approx(core_seconds / 1_000) and cost["wasted_hours"] == 0
    trained = [json.loads(path.read_text()) for path in done.campaign.rglob("segment.json")]
    assert cost["tokens"] == sum(spec["end_step"] - spec["start_step"] for spec in trained) * 1_024
    assert cost["separate_tokens"] == 4 * 100 * 1_024  # four runs of 100 steps
    assert "EUR" in done.call("report", "small").stdout


def test_the_same_command_again_does_nothing_and_says_so(done: Place) -> None:
    before = numbers(done.campaign)
    attempts = [p.read_text() for p in sorted(done.campaign.rglob("attempts.jsonl"))]
    again = done.call("sweep", "small.yaml", *GRID)
    assert again.returncode == 0 and "nothing to do" in again.stderr
    assert numbers(done.campaign) == before
    assert [p.read_text() for p in sorted(done.campaign.rglob("attempts.jsonl"))] == attempts


def test_ablate_shares_all_that_sweep_trained(done: Place) -> None:
    again = done.call("ablate", "small.yaml", "--drop", "math")
    assert again.returncode == 0 and "nothing to do" in again.stderr


def test_a_changed_key_is_refused_with_what_changed_and_nothing_is_written(done: Place) -> None:
    before = {p: p.stat().st_mtime_ns for p in done.campaign.rglob("*") if p.name not in (".lock",)}
    refused = done.call("sweep", "small.yaml", "optimizer.lr=0.004", *GRID)
    assert refused.returncode == 4
    assert "optimizer.lr" in refused.stderr and "0.008 → 0.004" in refused.stderr
    assert "campaign=small-2" in refused.stderr and "--rerun" in refused.stderr
    assert {p: p.stat().st_mtime_ns for p in done.campaign.rglob("*") if p.name not in (".lock",)} == before


def test_another_cluster_is_no_change(done: Place) -> None:
    (done.folder / "one-core.yaml").write_text("kind: local\ncores: 1\n", encoding="utf-8")
    again = done.call("sweep", "small.yaml", *GRID, "--cluster", "one-core.yaml")
    assert again.returncode == 0 and "nothing to do" in again.stderr


def test_data_order_says_what_every_row_was(done: Place) -> None:
    rows = json.loads(
        done.call("data", "order", "small.yaml", "--run", "drop-math-20", "--rows", "636:644", "--json").stdout
    )
    assert [r["row"] for r in rows] == list(range(636, 644))
    assert {r["source"] for r in rows if r["row"] >= 640} <= {"web", "code", "facts"}


def test_the_ledger_says_that_all_runs_saw_what_was_planned(done: Place) -> None:
    called = done.call("data", "ledger", "small", "--json")
    assert called.returncode == 0, called.stderr
    runs = {one["run"]: one for one in json.loads(called.stdout)["runs"]}
    assert set(runs) == {"control/s0", "upsample-20/s0", "upsample-40/s0", "drop-math-20/s0"}
    planned = json.loads(done.call("plan", "small.yaml", *GRID, "--json").stdout)
    for run in planned["runs"]:
        ledger = runs[run["id"]]
        assert ledger["differs"] == [] and ledger["step"] == run["end_step"]
        assert {line["source"]: line["planned"] for line in ledger["sources"]} == run["sources"]
        for line in ledger["sources"]:
            assert all(line["realised"][key] == line["planned"][key] for key in line["realised"])


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_anywhere_and_run_again_gives_the_same_numbers(
    done: Place, data: Path, tmp_path: Path, how: signal.Signals
) -> None:
    place = Place(tmp_path, data)
    # Stop once in the trunk, once among the branches and scores.
    for marks in (0, 4):
        process = place.start("sweep", "small.yaml", *GRID)
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and process.poll() is None:
            steps = [p for p in place.campaign.rglob("metrics.jsonl") if p.stat().st_size > 2_000]
            if steps and len(list(place.campaign.rglob("DONE.*.json"))) >= marks:
                break
            time.sleep(0.05)
        assert process.poll() is None, process.communicate()
        process.send_signal(how)
        process.communicate(timeout=120)
        assert process.returncode == (130 if how != signal.SIGKILL else -signal.SIGKILL)
    finished = place.call("sweep", "small.yaml", *GRID)
    assert finished.returncode == 0, finished.stderr
    assert numbers(place.campaign) == numbers(done.campaign)


BAD = [
    (["sweep", "small.yaml", "optimizer.lrr=1"], "optimizer.lr"),
    (["sweep", "small.yaml", "phase.durations=[0.2,1.0]"], "phase.durations[1]"),
    (["sweep", "small.yaml", "phase.durations=[0]"], "phase.durations[0]"),
    (["sweep", "small.yaml", "mixes.base={web:0,math:0,code:0,facts:0}"], "mixes.base"),
    (["sweep", "missing.yaml"], "missing.yaml"),
    (["sweep", "small.yaml", "--durations", "0"], "no duration"),
    (["sweep", "small.yaml", "--durations", "100"], "no duration"),
    (["ablate", "small.yaml", "--drop", "maht"], "did you mean 'math'?"),
    (["ablate", "small.yaml", "--drop", "math", "--policy", "renormalize"], "unknown policy"),
    (["sweep", "small.yaml", "+sources.books.category=domain"], "books"),
    (["sweep", "twice.yaml"], "web"),
    (["sweep", "small.yaml", "eval.suite=cora"], "unknown suite 'cora'; did you mean 'core'?"),
    (["sweep", "small.yaml", "eval.suite=mine.yaml"], "no file mine.yaml"),
]


@pytest.mark.parametrize(("words", "said"), BAD)
def test_bad_input_is_one_message_exit_code_3_and_nothing_written(tmp_path: Path, words: list[str], said: str) -> None:
    place = Place(tmp_path, tmp_path / "data")
    twice = RECIPE + "sources:\n  web: {category: large_cc}\n  web: {category: large_cc}\n"
    (place.folder / "twice.yaml").write_text(twice, encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    failed = place.call(*words)  # in a place without data: not even that is made
    assert failed.returncode == 3, failed.stderr
    assert said in failed.stderr and "Traceback" not in failed.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_not_there_is_exit_code_6_with_a_remedy(tmp_path: Path, data: Path) -> None:
    place = Place(tmp_path, data)
    for words, said in (
        (["report"], "joyctl sweep"),
        (["sweep", "small.yaml", "eval.suite=core", "eval.data=bench"], "eval.data is"),
        (["status", "small"], "no campaign 'small'"),
        (["data", "order", "small.yaml", "--run", "upsample-99"], "joyctl sweep small"),
        (["data", "list", "small.yaml", "--data", "elsewhere"], "joyctl data build"),
    ):
        failed = place.call(*words)
        assert failed.returncode == 6 and said in failed.stderr and "Traceback" not in failed.stderr, words


def test_a_swept_campaign_name_is_refused(tmp_path: Path, data: Path) -> None:
    failed = Place(tmp_path, data).call("plan", "small.yaml", "campaign=a,b")
    assert failed.returncode == 3 and "cannot be swept" in failed.stderr


def test_the_picture_of_the_table_needs_no_network(done: Place) -> None:
    assert done.call("report", "--format", "svg", "--output", "table.svg").returncode == 0
    drawn = (done.folder / "table.svg").read_text()
    assert drawn.startswith("<svg") and "upsample-40" in drawn and "url(http" not in drawn.replace('"', "")


def test_a_campaign_that_another_process_holds_is_refused(done: Place) -> None:
    from joyctl.store.campaign import campaign_lock

    with campaign_lock(done.campaign):
        refused = done.call("sweep", "small.yaml", *GRID)
    assert refused.returncode == 4 and f"process {os.getpid()}" in refused.stderr


@pytest.mark.slow
def test_a_run_that_cannot_train_fails_alone(done: Place, tmp_path: Path, data: Path) -> None:
    place = Place(tmp_path, data)
    shutil.copytree(done.campaign, place.campaign)
    broken = place.campaign / "runs" / "upsample-40" / "s0"
    for path in broken.glob("DONE.*.json"):
        path.unlink()
    shutil.rmtree(broken / "checkpoint")
    (broken / "checkpoint").write_text("a file where a folder should be", encoding="utf-8")
    failed = place.call("sweep", "small.yaml", *GRID)
    assert failed.returncode == 5 and "runs/upsample-40/s0" in failed.stderr
    report = place.call("report", "small")
    assert report.returncode == 0 and "upsample-40" in report.stdout
    (broken / "checkpoint").unlink()
    mended = place.call("sweep", "small.yaml", *GRID)
    assert mended.returncode == 0, mended.stderr
    assert numbers(place.campaign) == numbers(done.campaign)
