"""The report as screen, Markdown and JSON, of a made-up half-finished campaign."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_campaign import ARMS, BASE, RECIPE, arm, put, same_as_golden, write_campaign, write_run
from rich.cells import cell_len
from rich.console import Console, RenderableType

from joyctl.report.jsonform import render_json
from joyctl.report.markdown import render_markdown
from joyctl.report.report import Report, report
from joyctl.report.status import read_status
from joyctl.report.statustable import render_status
from joyctl.report.tables import render_table
from joyctl.report.write import write_report


def half_finished(folder: Path) -> Path:
    """A fifth run is not trained, one was scored without a sandbox for its code, one is not scored."""
    write_campaign(folder, (*ARMS, arm("upsample-30", 0.3, "control", 0.7, 0.6, 0.95, 1.7)))
    late = folder / "runs/upsample-30/s0"
    shutil.rmtree(late / "eval")
    for stage in ("train", "export", "eval", "score"):
        (late / f"DONE.{stage}.json").unlink()
    (late / "metrics.jsonl").write_text('{"step": 820, "loss": 1.25}\n')
    code = folder / "runs/drop-math-20/s0/eval/micro_code/results.json"
    reason = {"status": "not run", "reason": "no sandbox: bwrap is not installed", "scores": []}
    put(code, {**json.loads(code.read_text()), **reason})
    shutil.rmtree(folder / "runs/upsample-10/s0/eval")
    for stage in ("eval", "score"):
        (folder / f"runs/upsample-10/s0/DONE.{stage}.json").unlink()
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return half_finished(tmp_path_factory.mktemp("half") / "tiny")


@pytest.fixture(scope="module")
def made(folder: Path) -> Report:
    return report(folder)


def screen(what: RenderableType, width: int, **options: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=width, _environ={}, **options).print(what)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize("width", [100, 72])
def test_screen(made: Report, width: int) -> None:
    same_as_golden(f"report_{width}.txt", screen(render_table(made), width))


def test_markdown(made: Report) -> None:
    same_as_golden("report.md", render_markdown(made))


def test_status_screen(folder: Path) -> None:
    same_as_golden("status_100.txt", screen(render_status(read_status(folder)), 100))


@pytest.mark.parametrize("width", [40, 50, 60, 72, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal(made: Report, width: int) -> None:
    lines = screen(render_table(made), width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert any("control" in line and "±" in line for line in lines)


@pytest.mark.parametrize("width", [40, 44, 72, 200])
def test_columns_that_do_not_fit_stand_below(made: Report, width: int) -> None:
    heads = [line.split() for line in screen(render_table(made), width).splitlines()]
    for label in ("mc", "math", "code"):
        assert any(label in words and "of" not in words for words in heads)
    assert any(words[-2:] == ["web", "loss"] for words in heads)


def test_colour_says_nothing_that_signs_do_not(made: Report) -> None:
    plain = screen(render_table(made), 100)
    assert "\x1b" in screen(render_table(made), 100, force_terminal=True, color_system="standard")
    assert "\x1b[3" not in screen(render_table(made), 100, force_terminal=True, color_system="standard", no_color=True)
    assert "▲" in plain and "▼" in plain


def test_a_terminal_without_unicode_gets_the_same_layout(made: Report) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    Console(file=out, width=100, _environ={}).print(render_table(made))
    out.flush()
    ascii_lines = [line.rstrip() for line in raw.getvalue().decode("ascii").splitlines()]
    assert list(map(len, ascii_lines)) == list(map(len, screen(render_table(made), 100).splitlines()))


def test_json_has_exactly_the_promised_keys_and_more_at_most(made: Report) -> None:
    value = json.loads(json.dumps(render_json(made), allow_nan=False))
    assert {"campaign", "conclusion", "runs", "scores", "deltas"} <= value.keys()
    assert {"id", "variant", "seed", "control", "mix", "tokens"} <= value["runs"][0].keys()
    assert {"run", "task", "metric", "filter", "value", "stderr", "n", "protocol"} <= value["scores"][0].keys()
    delta_keys = "run control task metric filter delta stderr low high p p_adjusted verdict"
    assert set(delta_keys.split()) <= value["deltas"][0].keys()
    tokens = {run["id"]: run["tokens"] for run in value["runs"]}
    assert tokens["control/s0"] == 1_000 * 8 * 128
    assert tokens["upsample-20/s0"] == 200 * 8 * 128
    assert all(abs(d["delta"]) <= 1 for d in value["deltas"])  # fractions, not per cent


def test_report_files_are_written_and_written_again_alike(folder: Path) -> None:
    paths = write_report(folder)
    assert [path.name for path in paths] == ["report.json", "report.md", "report.html"]
    first = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_report(folder)] == first
    assert json.loads(first[0])["campaign"] == "tiny"
    names = sorted(path.name for path in (folder / "report").iterdir())
    assert names == ["report.html", "report.json", "report.md"]


def test_conclusion_of_a_whole_campaign(tmp_path: Path) -> None:
    text = report(write_campaign(tmp_path / "tiny")).conclusion
    assert text.startswith("Upsampling raises mc by up to ")
    assert "it raises web loss by up to 0.10" in text
    assert "Dropping math loses" in text and "of math" in text
    assert "So far" not in text


def equal_arms(folder: Path) -> Path:
    """A campaign whose every run answered exactly as the control did."""
    write_campaign(folder, (*ARMS[:3], replace(ARMS[3], policy="shrink")))
    answers = folder / "runs/control/s0/eval"
    for variant in ("upsample-10", "upsample-20", "drop-math-20"):
        shutil.rmtree(folder / "runs" / variant / "s0/eval")
        shutil.copytree(answers, folder / "runs" / variant / "s0/eval")
    return folder


def test_conclusion_without_any_effect_claims_none(tmp_path: Path) -> None:
    made = report(equal_arms(tmp_path / "tiny"))
    assert made.conclusion == (
        "Upsampling makes no detectable difference on mc, math and code; it makes no detectable difference on "
        "web loss. Dropping math makes no detectable difference on any benchmark."
    )
    assert {(d.delta, d.p, d.verdict) for d in made.deltas} == {(0.0, 1.0, "no detectable difference")}
    assert "its share left out: fewer tokens" in render_markdown(made)


def test_a_difference_that_does_not_outlast_the_correction_is_named_as_such(tmp_path: Path) -> None:
    folder = equal_arms(tmp_path / "tiny")
    path = folder / "runs/drop-math-20/s0/eval/micro_code/samples.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    wrong = [line for line in lines if line["pass@1"] == 1.0][:6]
    for line in wrong:
        line["pass@1"] = 0.0
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = path.with_name("results.json")
    value = json.loads(result.read_text())
    value["scores"][0]["value"] -= 6 / 164
    put(result, value)
    made = report(folder)
    delta = next(d for d in made.deltas if (d.run, d.task) == ("drop-math-20/s0", "micro_code"))
    assert delta.p < 0.05 < delta.p_adjusted
    assert delta.verdict == "no detectable difference"
    assert "Dropping math shows nothing that holds after correction (before it: -3.7 pp of code)." in made.conclusion
    assert "▽" in screen(render_table(made), 100) and "△▽ not detectable either" in render_markdown(made)


def test_benchmarks_of_other_campaigns_get_their_own_columns(tmp_path: Path) -> None:
    """Nothing is tied to the micro-world's names: MMLU, GSM8K and HumanEval over two large crawls."""
    folder = tmp_path / "big"
    sources = {"cc": {"category": "large_cc"}, "books": {"category": "small_cc"}}
    runs = ["control/s0", "upsample-10/s0"]
    put(folder / "campaign.json", {"campaign": "big", "recipe": {**RECIPE, "sources": sources}, "runs": runs})
    tasks = {
        "mmlu": ("acc", ["none"]),
        "gsm8k_cot": ("exact_match", ["flexible-extract", "strict-match"]),
        "humaneval": ("pass@1", ["create_test"]),
        "heldout_cc": ("bits_per_byte", ["none"]),
        "heldout_books": ("bits_per_byte", ["none"]),
    }
    for one in (arm("control", 0.0, None, 0, 0, 0, 0, mix=BASE), arm("upsample-10", 0.1, "control", 0, 0, 0, 0)):
        run = write_run(folder, one, 0)
        for task, (metric, filters) in tasks.items():
            bits = metric == "bits_per_byte"
            lines, scores = [], []
            for name in filters:
                for i in range(40):
                    item = {"doc_id": i, "task": task, "filter": name, "cluster": str(i), "hash": str(i)}
                    right = float((i + len(one.variant)) % 3 == 0)
                    lines.append({**item, **({"nll": 70.0 + i, "bytes": 100} if bits else {metric: right})})
                values = [line["nll"] / 69.314718 if bits else line[metric] for line in lines if line["filter"] == name]  # type: ignore[operator]
                score = {"metric": metric, "filter": name, "value": sum(values) / 40, "stderr": None, "n": 40}
                scores.append({**score, "higher_is_better": not bits})
            here = folder / "runs" / run.id / "eval" / task
            put(here / "results.json", {"task": task, "status": "ok", "protocol": "p", "scores": scores})
            (here / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = report(folder)
    assert [column.label for column in made.columns] == ["mmlu", "gsm8k_cot", "humaneval", "cc loss"]
    assert [column.key[2] for column in made.columns] == ["none", "strict-match", "create_test", "none"]
    assert {d.task for d in made.deltas if d.family == "other"} == {"gsm8k_cot", "heldout_books"}
    assert "gsm8k_cot" in screen(render_table(made), 100)
