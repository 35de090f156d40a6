"""Reading a campaign's folder: whole, half-finished, torn."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from report_campaign import ARMS, SIZES, put, write_campaign

from joyctl.errors import Missing, Refused
from joyctl.report.report import report
from joyctl.report.results import CampaignResults, read_campaign


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_campaign(tmp_path / "tiny")


def reasons(results: CampaignResults) -> dict[tuple[str, str | None], str]:
    return {(lack.run, lack.task): lack.reason for lack in results.missing}


def test_a_complete_campaign_has_every_score_and_nothing_missing(folder: Path) -> None:
    results = read_campaign(folder)
    assert [run.id for run in results.runs] == [f"{arm.variant}/s0" for arm in ARMS]
    assert len(results.scores) == len(ARMS) * (len(SIZES) + 1)  # math has two filters
    assert results.missing == ()
    assert results.tasks == ("micro_mc", "micro_math", "micro_code", "heldout_math", "heldout_web")
    assert results.hypothesis.startswith("does upsampling")


def test_a_campaign_that_has_only_begun_is_read(tmp_path: Path) -> None:
    put(tmp_path / "campaign.json", {"campaign": "tiny", "runs": ["control/s0"], "segments": ["trunk/s0/0-10"]})
    results = read_campaign(tmp_path)
    assert reasons(results) == {("control/s0", None): "not started"}
    assert report(tmp_path).conclusion.startswith("Nothing to compare yet")


def test_no_campaign_is_missing_and_a_torn_one_refused(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"no campaign\.json"):
        read_campaign(tmp_path)
    (tmp_path / "campaign.json").write_text('{"runs": [')
    with pytest.raises(Refused, match="is not JSON"):
        read_campaign(tmp_path)


def test_a_run_found_on_disk_counts_though_campaign_json_does_not_name_it(folder: Path) -> None:
    campaign = json.loads((folder / "campaign.json").read_text())
    campaign["runs"].remove("drop-math-20/s0")
    put(folder / "campaign.json", campaign)
    assert read_campaign(folder).expected[-1] == "drop-math-20/s0"


def stop_in_training(run: Path) -> None:
    shutil.rmtree(run / "eval")
    for stage in ("train", "export", "eval", "score"):
        (run / f"DONE.{stage}.json").unlink()
    (run / "metrics.jsonl").write_text('{"step": 801, "loss": 2.0}\n{"step": 850, "loss": 1.5}\n{"step": 8')


def fail_in_export(run: Path) -> None:
    shutil.rmtree(run / "eval")
    for stage in ("export", "eval", "score"):
        (run / f"DONE.{stage}.json").unlink()
    start = {"stage": "export", "start": 1.0, "pid": 1, "host": "n1"}
    ended = {**start, "end": 2.0, "outcome": "failed", "error": "no space left", "seconds": 1.0}
    (run / "attempts.jsonl").write_text(json.dumps(start) + "\n" + json.dumps(ended) + "\n")


def no_scores(run: Path) -> None:
    shutil.rmtree(run / "eval")
    for stage in ("eval", "score"):
        (run / f"DONE.{stage}.json").unlink()


def tear_run(run: Path) -> None:
    (run / "run.json").write_text('{"id": "upsa')


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (stop_in_training, "not trained yet (step 50 of 200)"),
        (fail_in_export, "export failed: no space left"),
        (no_scores, "not scored yet"),
        (tear_run, "run.json is torn or invalid"),
        (lambda run: (run / "run.json").unlink(), "not started"),
    ],
)
def test_a_run_without_scores_is_missing_with_its_reason(
    folder: Path, break_it: Callable[[Path], None], reason: str
) -> None:
    break_it(folder / "runs/upsample-20/s0")
    found = reasons(read_campaign(folder))
    assert list(found) == [("upsample-20/s0", None)]
    assert found["upsample-20/s0", None].startswith(reason)


def test_a_control_whose_trunk_is_not_complete_says_so(folder: Path) -> None:
    no_scores(folder / "runs/control/s0")
    (folder / "runs/control/s0/DONE.export.json").unlink()
    (folder / "trunk/s0/0-1000/DONE.train.json").unlink()
    assert reasons(read_campaign(folder))["control/s0", None] == "not trained yet (trunk/s0/0-1000 is not complete)"


@pytest.mark.parametrize("others", [True, False])
def test_code_that_was_generated_and_not_executed_is_missing_with_that_reason(folder: Path, others: bool) -> None:
    runs = sorted((folder / "runs").glob("*/s0"))
    waiting = [runs[-1]] if others else runs  # whether any run tells that there is such a task
    for run in waiting:
        task = run / "eval/micro_code"
        shutil.rmtree(task)
        put(task / "answers.jsonl", {})
        (run / "DONE.score.json").unlink()
    found = reasons(read_campaign(folder))
    assert found == {(f"{run.parent.name}/s0", "micro_code"): "generated code not executed yet" for run in waiting}


def test_code_that_could_not_be_executed_is_missing_with_the_cause(folder: Path) -> None:
    run = folder / "runs/upsample-20/s0"
    shutil.rmtree(run / "eval/micro_code")
    put(run / "eval/micro_code/answers.jsonl", {})
    (run / "DONE.score.json").unlink()
    start = {"stage": "score", "start": 1.0, "pid": 1, "host": "n1"}
    put(run / "attempts.jsonl", {**start, "end": 2.0, "outcome": "failed", "error": "no space left", "seconds": 1.0})
    assert reasons(read_campaign(folder)) == {("upsample-20/s0", "micro_code"): "score failed: no space left"}


def change_results(task: Path, **changes: object) -> None:
    result = json.loads((task / "results.json").read_text())
    put(task / "results.json", {**result, **changes})


def no_sandbox(task: Path) -> None:
    change_results(task, status="not run", reason="no sandbox: bwrap is not installed", scores=[])


def tear_results(task: Path) -> None:
    (task / "results.json").write_text((task / "results.json").read_text()[:-20])


def tear_samples(task: Path) -> None:
    (task / "samples.jsonl").write_text((task / "samples.jsonl").read_text()[:-5])


def half_samples(task: Path) -> None:
    lines = (task / "samples.jsonl").read_text().splitlines()
    (task / "samples.jsonl").write_text("\n".join(lines[: len(lines) // 2]))


def edit_samples(task: Path, edit: Callable[[dict[str, object]], None]) -> None:
    lines = [json.loads(line) for line in (task / "samples.jsonl").read_text().splitlines()]
    edit(lines[3])
    (task / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (no_sandbox, "not run: no sandbox: bwrap is not installed"),
        (tear_results, "results.json is torn or invalid"),
        (tear_samples, "samples.jsonl line 164 is torn"),
        (half_samples, "samples.jsonl holds 82 of 164 items of pass@1, create_test"),
        (lambda task: (task / "samples.jsonl").unlink(), "samples.jsonl is missing"),
        (
            lambda task: edit_samples(task, lambda s: s.update({"pass@1": float("nan")})),
            "samples.jsonl: pass@1 of",
        ),
        (lambda task: edit_samples(task, lambda s: s.update(doc_id=2)), "samples.jsonl holds an item twice"),
        (lambda task: edit_samples(task, lambda s: s.pop("hash")), "samples.jsonl holds an item without"),
        (lambda task: (task / "results.json").unlink(), "not among its scored tasks"),
    ],
)
def test_a_task_without_a_usable_score_is_missing_with_its_reason(
    folder: Path, break_it: Callable[[Path], None], reason: str
) -> None:
    break_it(folder / "runs/upsample-20/s0/eval/micro_code")
    found = reasons(read_campaign(folder))
    assert list(found) == [("upsample-20/s0", "micro_code")]
    assert found["upsample-20/s0", "micro_code"].startswith(reason)
    compared = {(d.run, d.task) for d in report(folder).deltas}
    assert ("upsample-20/s0", "micro_code") not in compared
    assert ("drop-math-20/s0", "micro_code") not in compared  # its control is what is missing
    assert ("upsample-20/s0", "micro_math") in compared


def test_a_value_that_its_items_do_not_give_is_no_score(folder: Path) -> None:
    task = folder / "runs/upsample-20/s0/eval/heldout_web"
    scores = json.loads((task / "results.json").read_text())["scores"]
    change_results(task, scores=[{**scores[0], "value": scores[0]["value"] + 0.01}])
    assert "but not by samples.jsonl" in reasons(read_campaign(folder))["upsample-20/s0", "heldout_web"]
