"""Scores at chance and their proxies, cut prompts, quick looks, unprotected code, protocols that differ."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from report_campaign import ARMS, give_suite, put, same_as_golden, write_campaign, write_choices
from rich.cells import cell_len
from rich.console import Console

from joyctl.errors import Refused
from joyctl.report.jsonform import render_json
from joyctl.report.markdown import render_markdown
from joyctl.report.notes import chance_notes, scoring_notes
from joyctl.report.report import Report, report
from joyctl.report.tables import render_table

VARIANTS = [arm.variant for arm in ARMS]
MMLU = {"task": "mmlu", "n_shot": 5, "metric": "acc,none", "baseline": 0.25}
GENERAL = [
    {"task": task, "category": category, "metric": "acc,none", "baseline": baseline}
    for task, category, baseline in (
        ("cloze", "language_understanding", 0.25),
        ("story", "language_understanding", 0.25),
        ("physics", "commonsense", 0.5),
    )
]


def by_variant(*values: float) -> dict[str, float]:
    return dict(zip(VARIANTS, values, strict=True))


def write(folder: Path, mmlu: float = 0.33, **result: Any) -> Path:
    """The control's true ability is `mmlu`, of which the made-up items give about 0.08 less as accuracy."""
    write_campaign(folder)
    write_choices(folder, "mmlu", by_variant(mmlu, mmlu + 0.01, mmlu + 0.04, mmlu), n=400, **result)
    give_suite(folder, [MMLU], None)
    return folder


def write_general(folder: Path) -> Path:
    """At chance on mmlu, a general average that falls, prompts that were cut."""
    write(folder, truncated_prompts=33)
    write_choices(folder, "cloze", by_variant(0.72, 0.70, 0.64, 0.64), n=300)
    write_choices(folder, "story", by_variant(0.32, 0.31, 0.30, 0.31), n=280)
    write_choices(folder, "physics", by_variant(0.72, 0.70, 0.66, 0.67), n=260)
    give_suite(folder, [MMLU, *GENERAL], {"name": "general_average", "version": 1})
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny")


@pytest.fixture(scope="module")
def general(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report(write_general(tmp_path_factory.mktemp("general") / "tiny"))


def screen(made: Report, width: int, **options: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=width, _environ={}).print(render_table(made, **options))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def rows(folder: Path, run: str, task: str) -> list[dict[str, Any]]:
    lines = (folder / "runs" / run / "eval" / task / "samples.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def change(folder: Path, run: str, task: str, **changes: Any) -> None:
    path = folder / "runs" / run / "eval" / task / "results.json"
    put(path, {**json.loads(path.read_text()), **changes})


class TestProxies:
    def test_bits_per_byte_of_the_gold_answer_is_total_bits_over_total_bytes(self, folder: Path) -> None:
        found = next(d for d in report(folder).deltas if (d.run, d.metric) == ("upsample-20/s0", "gold_bits_per_byte"))
        run, control = rows(folder, "upsample-20/s0", "mmlu"), rows(folder, "control/s0", "mmlu")
        nats = sum(a["gold_nll"] - b["gold_nll"] for a, b in zip(run, control, strict=True))
        assert found.delta == pytest.approx(nats / math.log(2) / sum(a["gold_bytes"] for a in run))
        assert (found.higher_is_better, found.better) == (False, True)

    def test_a_generative_task_has_them_under_a_filter_of_their_own(self, folder: Path) -> None:
        for here in folder.glob("runs/*/*/eval/micro_math"):
            gold = [
                {"doc_id": i, "task": "micro_math", "filter": "gold", "cluster": f"c{i}", "hash": f"h{i}"}
                for i in range(40)
            ]
            lines = [{**row, "gold_nll": 7.0 + i % 3, "gold_bytes": 10} for i, row in enumerate(gold)]
            with (here / "samples.jsonl").open("a") as f:
                f.writelines(json.dumps(line) + "\n" for line in lines)
            value = sum(line["gold_nll"] for line in lines) / math.log(2) / 400
            score = {
                "metric": "gold_bits_per_byte",
                "filter": "gold",
                "value": value,
                "n": 40,
                "higher_is_better": False,
            }
            results = json.loads((here / "results.json").read_text())
            put(here / "results.json", {**results, "scores": [*results["scores"], score]})
        made = report(folder)
        assert made.results.missing == ()
        assert {(d.metric, d.filter) for d in made.deltas if d.task == "micro_math"} == {
            ("exact_match", "strict-match"),
            ("exact_match", "flexible-extract"),
            ("gold_bits_per_byte", "gold"),
        }
        assert "micro_math" not in {c.key[0] for c in made.proxies}  # the suite gives it no baseline

    def test_a_value_that_the_items_do_not_give_is_no_score(self, folder: Path) -> None:
        path = folder / "runs/control/s0/eval/mmlu/results.json"
        scores = json.loads(path.read_text())["scores"]
        wrong = [{**s, "value": s["value"] + 0.1} if s["metric"] == "gold_bits_per_byte" else s for s in scores]
        change(folder, "control/s0", "mmlu", scores=wrong)
        reasons = [lack.reason for lack in report(folder).results.missing]
        assert len(reasons) == 1 and reasons[0].startswith("gold_bits_per_byte, none is ")

    def test_empty_gold_answers_do_not_take_the_accuracy_with_them(self, folder: Path) -> None:
        for here in folder.glob("runs/*/*/eval/mmlu"):
            lines = [
                {**json.loads(line), "gold_bytes": 0} for line in (here / "samples.jsonl").read_text().splitlines()
            ]
            (here / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        made = report(folder)
        assert {lack.reason for lack in made.results.missing} == {
            "samples.jsonl holds no items of gold_bits_per_byte, none"
        }
        assert [d for d in made.deltas if (d.task, d.metric) == ("mmlu", "acc")]

    def test_perplexity_is_no_mean_of_items_and_left_out(self, folder: Path) -> None:
        for here in folder.glob("runs/*/*/eval/mmlu"):
            results = json.loads((here / "results.json").read_text())
            score = {"metric": "perplexity", "filter": "none", "value": 12.0, "n": 400, "higher_is_better": False}
            put(here / "results.json", {**results, "scores": [score, *results["scores"]]})
        made = report(folder)
        assert made.results.missing == () and "perplexity" not in {d.metric for d in made.deltas}


class TestAtChance:
    def test_the_control_decides_and_the_note_names_what_to_read(self, folder: Path) -> None:
        made = report(folder)
        assert [(one.key[0], one.control, one.baseline) for one in made.chance] == [("mmlu", "control", 0.25)]
        note = chance_notes(made)[0]
        assert note.startswith("mmlu: control is at chance (2") and "guessing 25)" in note
        assert "bits per byte of its right answers and norm_correct_prob" in note
        assert "mmlu: control is at chance" in render_markdown(made)
        listed = render_json(made)["at_chance"]
        assert [(one["task"], one["read"]) for one in listed] == [("mmlu", ["gold_bits_per_byte", "norm_correct_prob"])]

    def test_its_proxies_join_the_headline_and_the_accuracy_stays(self, folder: Path) -> None:
        made = report(folder)
        headline = {(d.task, d.metric) for d in made.averages if d.family == "headline" and d.task == "mmlu"}
        assert headline == {("mmlu", "acc"), ("mmlu", "gold_bits_per_byte"), ("mmlu", "norm_correct_prob")}
        other = {d.metric for d in made.averages if d.family == "other" and d.task == "mmlu"}
        assert other == {"correct_prob", "margin"}
        assert "proxies: bits per byte of the gold answer" in screen(made, 100)
        assert "## At chance" in render_markdown(made)

    def test_above_chance_they_stay_out_of_the_way(self, tmp_path: Path) -> None:
        made = report(write(tmp_path / "tiny", mmlu=0.6))
        assert made.chance == () and made.proxies == () and chance_notes(made) == []
        assert {d.metric for d in made.averages if d.family == "headline" and d.task == "mmlu"} == {"acc"}
        assert "gold" not in screen(made, 100) and "## At chance" not in render_markdown(made)
        shown = screen(made, 100, proxies=True)  # unless they are asked for
        assert "gold bits/byte" in shown and "norm_correct_prob" in shown and "margin" in shown

    def test_without_a_baseline_in_the_suite_nothing_is_said(self, folder: Path) -> None:
        give_suite(folder, [{"task": "mmlu"}], None)
        assert report(folder).chance == ()

    def test_without_proxies_it_says_so(self, folder: Path) -> None:
        for here in folder.glob("runs/*/*/eval/mmlu"):
            results = json.loads((here / "results.json").read_text())
            put(here / "results.json", {**results, "scores": results["scores"][:1]})
        assert chance_notes(report(folder))[0].endswith("no proxy was scored beside it")

    def test_many_behind_an_average_take_one_line(self, general: Report) -> None:
        assert chance_notes(general)[1:] == ["at chance too: story (1 of the 3 behind the average)"]
        assert {c.key[0] for c in general.proxies} == {"mmlu"}


class TestNotes:
    def test_cut_prompts_are_counted(self, general: Report, folder: Path) -> None:
        assert scoring_notes(general) == ["33 of 400 prompts of mmlu were cut to fit 2,048 tokens"]
        assert scoring_notes(report(folder)) == []
        assert "33 of 400 prompts of mmlu were cut" in render_markdown(general)
        scorings = render_json(general)["scorings"]
        assert {"run": "control/s0", "task": "mmlu", "items": 400, "truncated": 33, "sandbox": None} in scorings

    def test_a_limit_is_said(self, folder: Path) -> None:
        give_suite(folder, [MMLU], None, limit=1000)
        note = "a quick look: only the first 1,000 items of every task were scored"
        assert note in scoring_notes(report(folder))
        assert note in " ".join(screen(report(folder), 100).split())

    def test_documents_that_see_each_other_are_said(self, folder: Path) -> None:
        said = "documents see each other: in math nothing tells where they begin"
        put(folder / "trunk/s0/0-1000/DONE.train.json", {"attention": "documents apart"})
        put(folder / "runs/upsample-10/s0/DONE.train.json", {"attention": "documents joined, as the recipe says"})
        assert scoring_notes(report(folder)) == []
        for run in ("upsample-20", "drop-math-20"):
            put(folder / f"runs/{run}/s0/DONE.train.json", {"attention": said})
        assert scoring_notes(report(folder)) == [f"training: {said}"]
        assert render_json(report(folder))["notes"] == [f"training: {said}"]

    def test_unprotected_code_is_said_with_its_runs(self, folder: Path) -> None:
        change(folder, "upsample-10/s0", "micro_code", sandbox="none")
        for run in ("control/s0", "upsample-20/s0", "drop-math-20/s0"):
            change(folder, run, "micro_code", sandbox="bubblewrap")
        text = "micro_code: generated code ran unprotected in upsample-10/s0 (--unsafe-code)"
        assert scoring_notes(report(folder)) == [text]
        for run in ("control/s0", "upsample-20/s0", "drop-math-20/s0"):
            change(folder, run, "micro_code", sandbox="none")
        assert scoring_notes(report(folder)) == [
            "micro_code: generated code ran unprotected in every run (--unsafe-code)"
        ]


@pytest.mark.parametrize(
    ("part", "value"),
    [("max_length", 4096), ("truncation", "right"), ("tokenizer_sha256", "u" * 64), ("n_shot", 0), ("lm_eval", "0.5")],
)
def test_a_table_refuses_two_protocols_and_names_what_differs(folder: Path, part: str, value: object) -> None:
    results = json.loads((folder / "runs/upsample-20/s0/eval/mmlu/results.json").read_text())
    parts = {**results["protocol_parts"], part: value}
    change(folder, "upsample-20/s0", "mmlu", protocol="c" * 64, protocol_parts=parts)
    with pytest.raises(Refused, match=rf"(?s)on mmlu under different protocols\n  {part}  .* → {value}\n"):
        report(folder)


def test_a_table_refuses_a_benchmark_of_the_average_under_two_protocols(tmp_path: Path) -> None:
    folder = write_general(tmp_path / "tiny")
    change(folder, "upsample-20/s0", "story", protocol="c" * 64)
    with pytest.raises(Refused, match="on story under different protocols"):
        report(folder)


@pytest.mark.parametrize("width", [100, 72])
def test_screen(general: Report, width: int) -> None:
    same_as_golden(f"report_general_{width}.txt", screen(general, width))


@pytest.mark.parametrize("width", [40, 60, 72, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(general: Report, width: int) -> None:
    assert max(map(cell_len, screen(general, width, proxies=True).splitlines())) <= width
