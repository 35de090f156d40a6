"""References in the report: rows of their own, compared where they were asked the same; nothing rests on them."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from report_campaign import ARMS, SIZES, arm, give_suite, put, write_campaign, write_choices, write_run, write_scores
from rich.console import Console

from joyctl.campaign.spec import ReferenceSpec
from joyctl.report.jsonform import render_json
from joyctl.report.markdown import render_markdown
from joyctl.report.report import Report, report
from joyctl.report.tables import render_table

MODEL = ReferenceSpec(model="org/base-2x", about="twice the tokens", folder="/hub/x", commit="0123456789abcdef")
TWICE = arm("ref-twice", 0.0, "control", 0.70, 0.55, 0.85, 1.50, mix={})
OWN = {"tokenizer_sha256": "t" * 64, "max_length": 512, "dtype": "float32"}


def add(folder: Path, scored: bool = True, **parts: Any) -> Path:
    """A reference beside the runs; `parts` of the protocol are otherwise for it."""
    kept = json.loads((folder / "campaign.json").read_text())
    put(folder / "campaign.json", {**kept, "runs": [*kept["runs"], "ref-twice/s0"]})
    spec = write_run(folder, TWICE, 0)
    changed = {"segment": None, "branch_step": None, "end_step": 0, "reference": MODEL}
    here = folder / "runs" / spec.id
    put(here / "run.json", spec.model_copy(update=changed).model_dump(mode="json"))
    for stage in ("train", "export"):
        (here / f"DONE.{stage}.json").unlink()
    if not scored:
        for stage in ("eval", "score"):
            (here / f"DONE.{stage}.json").unlink()
    for task in SIZES if scored else ():
        write_scores(here, TWICE, task, 0)
    for path in folder.glob("runs/*/*/eval/*/results.json"):
        mine = parts if here in path.parents else {}
        edit(path, lambda result, mine=mine: result["protocol_parts"].update({**OWN, "batch_size": 64, **mine}))
    return folder


def edit(path: Path, change: Any) -> None:
    """Change results.json, its protocol's digest along with the parts."""
    result = json.loads(path.read_text())
    change(result)
    parts = json.dumps(result["protocol_parts"], sort_keys=True)
    put(path, {**result, "protocol": hashlib.sha256(parts.encode()).hexdigest()})


@pytest.fixture
def plain(tmp_path: Path) -> Report:
    return report(write_campaign(tmp_path / "plain" / "tiny"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_campaign(tmp_path / "tiny")


def screen(found: Report, width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render_table(found))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def missing(found: Report) -> dict[str | None, str]:
    return {lack.task: lack.reason for lack in found.results.missing if lack.run == "ref-twice/s0"}


def test_it_is_the_last_row_with_its_difference_from_the_control(folder: Path) -> None:
    found = report(add(folder))
    assert [row.variant for row in found.rows] == [*(one.variant for one in ARMS), "ref-twice"]
    deltas = [d for d in found.averages if d.run == "ref-twice"]
    assert {d.control for d in deltas} == {"control"} and len(deltas) == len(SIZES) + 1
    assert {d.family for d in deltas} == {"reference"}
    code = next(d for d in deltas if d.task == "micro_code")
    assert code.verdict == "higher" and code.low > 0.2


def test_nothing_else_in_the_report_changes_by_it(folder: Path, plain: Report) -> None:
    found = report(add(folder))
    assert found.conclusion == plain.conclusion
    assert [d for d in found.averages if d.family != "reference"] == list(plain.averages)
    assert [d for d in found.deltas if d.family != "reference"] == list(plain.deltas)
    assert (found.curve, found.datasets, found.floors) == (plain.curve, plain.datasets, plain.floors)
    assert found.rows[:-1] == plain.rows and found.columns == plain.columns


def test_its_verdicts_are_corrected_among_themselves(folder: Path) -> None:
    deltas = [d for d in report(add(folder)).averages if d.family == "reference"]
    assert max(d.p_adjusted / d.p for d in deltas if d.p_adjusted < 1 and d.p > 0) <= len(deltas)
    least = min(deltas, key=lambda d: d.p)
    assert least.p_adjusted == pytest.approx(least.p * len(deltas))


def test_screen_and_markdown_set_it_apart_and_say_what_it_is(folder: Path) -> None:
    found = report(add(folder, tokenizer_sha256="u" * 64, max_length=2048, dtype="bfloat16"))
    for text in (screen(found), render_markdown(found)):
        lines = text.splitlines()
        (line,) = (i for i, one in enumerate(lines) if one.strip("| *").split(" ")[0].strip("*") == "references")
        assert "drop-math-20" in lines[line - 1] and "ref-twice" in lines[line + 1]
        said = " ".join(text.split())
        assert "another model, not a run of this campaign; org/base-2x (0123456789ab); twice the tokens" in said
        assert "another tokenizer (losses are bits per byte, which compare across tokenizers)" in said
        assert (
            "a context of 2048 tokens, the runs' is 512" in said and "scored in bfloat16, the runs in float32" in said
        )
        assert "Holm over their own 6 comparisons" in said
        assert "1 seed: no run-to-run noise" in said


def test_it_has_no_mix_and_no_tokens(folder: Path) -> None:
    found = report(add(folder))
    assert "ref-twice" not in render_markdown(found).partition("## Mixes")[2].partition("##")[0]
    run = next(run for run in render_json(found)["runs"] if run["id"] == "ref-twice/s0")
    assert (run["tokens"], run["mix"], run["control"]) == (0, {}, "control/s0")
    assert {run["reference"] is None for run in render_json(found)["runs"] if run["id"] != "ref-twice/s0"} == {True}


def test_json_says_which_model_it_is_and_what_came_with_it(folder: Path) -> None:
    value = render_json(report(add(folder, max_length=2048)))
    run = next(run for run in value["runs"] if run["id"] == "ref-twice/s0")
    assert run["reference"] == {
        "model": "org/base-2x",
        "revision": None,
        "about": "twice the tokens",
        "commit": "0123456789abcdef",
        "sha256": None,
        "protocol": [{"part": "max_length", "runs": "512", "own": "2048"}],
    }
    mine = {score["protocol"] for score in value["scores"] if score["run"] == "ref-twice/s0"}
    assert mine <= set(value["protocols"])
    assert {value["protocols"][digest]["max_length"] for digest in mine} == {2048}, "it keeps its own protocol"


def test_another_tokenizer_context_or_dtype_is_compared_item_by_item_all_the_same(folder: Path, tmp_path: Path) -> None:
    same = report(add(folder))
    other = report(add(write_campaign(tmp_path / "other" / "tiny"), tokenizer_sha256="u" * 64, dtype="bfloat16"))
    assert not missing(other) and other.averages == same.averages
    assert {(p.part, p.own) for p in other.results.model_parts} == {
        ("tokenizer_sha256", "u" * 64),
        ("dtype", "bfloat16"),
    }
    assert not same.results.model_parts


def test_any_other_part_of_the_protocol_makes_its_scores_missing_and_leaves_the_table(
    folder: Path, plain: Report
) -> None:
    found = report(add(folder, batch_size=7))
    assert set(missing(found)) == set(SIZES)
    assert set(missing(found).values()) == {"scored under another protocol than the runs: batch_size 64 → 7"}
    assert list(found.averages) == list(plain.averages)
    row = found.rows[-1]
    assert row.variant == "ref-twice" and all(cell.absolute is None for cell in row.cells.values())
    assert "batch_size 64 → 7" in " ".join(screen(found).split())


def test_only_the_task_that_differs_is_missing(folder: Path) -> None:
    add(folder)
    edit(
        folder / "runs/ref-twice/s0/eval/micro_math/results.json",
        lambda result: result["protocol_parts"].update({"num_fewshot": 5}),
    )
    found = report(folder)
    assert missing(found) == {"micro_math": "scored under another protocol than the runs: num_fewshot 0 → 5"}
    assert {d.task for d in found.averages if d.run == "ref-twice"} == set(SIZES) - {"micro_math"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[3].update(hash="otherwise"), "were not asked the same: item heldout_web/3 has another hash"),
        (lambda rows: rows[3].update(bytes=rows[3]["bytes"] + 1), "do not agree on the bytes of item heldout_web/3"),
        (lambda rows: rows[3].update(doc_id=900), "do not hold the same items: item heldout_web/3"),
    ],
)
def test_other_items_are_missing_with_the_first_that_differs(folder: Path, change: Any, said: str) -> None:
    here = add(folder) / "runs/ref-twice/s0/eval/heldout_web"
    rows = [json.loads(line) for line in (here / "samples.jsonl").read_text().splitlines()]
    change(rows)
    (here / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    bits = sum(row["nll"] for row in rows) / 0.6931471805599453 / sum(row["bytes"] for row in rows)
    edit(here / "results.json", lambda result: result["scores"][0].update(value=bits))
    reasons = missing(report(folder))
    assert set(reasons) == {"heldout_web"} and said in str(reasons["heldout_web"])


def test_one_that_is_not_scored_yet_is_missing_and_said_so(folder: Path, plain: Report) -> None:
    found = report(add(folder, scored=False))
    assert missing(found) == {None: "not scored yet"}
    assert found.conclusion == plain.conclusion, "the campaign's own runs are all there"
    assert "ref-twice/s0" in screen(found).partition("missing")[2]


def test_where_the_control_is_not_scored_it_stands_alone(folder: Path) -> None:
    shutil.rmtree(add(folder) / "runs/control/s0/eval")
    found = report(folder)
    cell = found.rows[-1].cells[found.columns[0].key]
    assert cell.delta is None and cell.absolute is not None and "(alone)" in screen(found)
    mine = folder / "runs/ref-twice/s0/eval/micro_mc/results.json"
    edit(mine, lambda result: result["protocol_parts"].update(batch_size=7))
    assert set(missing(report(folder))) == {"micro_mc"}, "the other runs' protocol counts as well"


def test_with_several_trunks_it_is_said_that_it_meets_one_control_only(tmp_path: Path) -> None:
    found = report(add(write_campaign(tmp_path / "tiny", seeds=2)))
    assert "against control/s0 alone" in " ".join(screen(found).split())
    assert "average of 2 seeds" in screen(found), "the runs' seeds, not the reference's"


def test_an_aggregate_is_compared_across_tokenizers_too(folder: Path) -> None:
    add(folder, tokenizer_sha256="u" * 64)
    accuracy = {"control": 0.4, "upsample-10": 0.5, "upsample-20": 0.6, "drop-math-20": 0.6, "ref-twice": 0.8}
    tasks = [
        {"task": name, "category": name, "metric": "acc,none", "baseline": 0.25} for name in ("reading", "reasoning")
    ]
    for entry in tasks:
        write_choices(folder, entry["task"], accuracy)
        path = folder / "runs/ref-twice/s0/eval" / entry["task"] / "results.json"
        edit(path, lambda result: result["protocol_parts"].update(tokenizer_sha256="u" * 64))
    give_suite(folder, tasks, {"name": "overall", "version": 1})
    found = report(folder)
    assert not missing(found)
    mine = {d.task: d for d in found.averages if d.run == "ref-twice" and d.metric == "rescaled"}
    assert set(mine) == {"reading", "reasoning", "overall"} and mine["overall"].verdict == "higher"


def test_prompts_that_were_cut_for_it_alone_are_said_with_it(folder: Path) -> None:
    add(folder, max_length=128)
    path = folder / "runs/ref-twice/s0/eval/micro_mc/results.json"
    edit(path, lambda result: result.update(n_items=400, truncated_prompts=9))
    found = report(folder)
    said = " ".join(screen(found).split())
    assert "9 of 400 prompts of micro_mc were cut" in said and "cut to fit" not in said
