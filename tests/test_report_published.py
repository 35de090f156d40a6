"""Published numbers beside the measured ones: matched by variant and benchmark, and always marked for what they are."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from report_campaign import same_as_golden, write_campaign
from report_states import STATES, give_published, with_average
from rich.cells import cell_len
from rich.console import Console

from joyctl.errors import Refused
from joyctl.recipe.load import load_recipe
from joyctl.report.jsonform import render_json
from joyctl.report.markdown import render_markdown
from joyctl.report.published import Published, chosen
from joyctl.report.publishedtable import NOTHING, render_published
from joyctl.report.report import Report, report


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_campaign(tmp_path / "tiny")
    give_published(tmp_path / "tiny")
    return tmp_path / "tiny"


def paper(folder: Path) -> Published:
    return chosen(report(folder).published, "paper", "tiny")


def screen(one: Published, width: int, **options: object) -> str:
    out = io.StringIO()
    Console(file=out, width=width, _environ={}, **options).print(render_published(one))  # type: ignore[arg-type]
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def test_a_published_difference_is_taken_from_the_matched_control(folder: Path) -> None:
    """Of what was dropped from the phase of 20 %, from that phase and not from the control."""
    found = {(one.delta.run, one.benchmark): (one.delta.control, one.difference) for one in paper(folder).beside}
    assert found == {
        ("upsample-20", "MMLU"): ("control", 0.2),
        ("drop-math-20", "MMLU"): ("upsample-20", 0.01),
        ("upsample-20", "GSM8K"): ("control", -0.05),
        ("drop-math-20", "GSM8K"): ("upsample-20", -0.025),
    }


def test_direction_and_interval_are_told_apart(folder: Path) -> None:
    for one in paper(folder).beside:
        assert one.inside == (one.delta.low <= one.difference <= one.delta.high)
        same = (one.delta.delta > 0) == (one.difference > 0)
        expected = "not detectable" if one.delta.better is None else "same" if same else "opposite"
        assert one.direction == expected
    found = {(one.delta.run, one.benchmark): (one.direction, one.inside) for one in paper(folder).beside}
    assert found["upsample-20", "GSM8K"] == ("opposite", False)
    assert found["drop-math-20", "GSM8K"] == ("same", False)


def test_a_direction_that_is_not_detectable_here_is_not_compared(folder: Path) -> None:
    shutil.rmtree(folder / "runs/upsample-20/s0/eval")
    shutil.copytree(folder / "runs/control/s0/eval", folder / "runs/upsample-20/s0/eval")
    one = next(one for one in paper(folder).beside if one.delta.run == "upsample-20")
    assert (one.delta.delta, one.direction) == (0.0, "not detectable")


def test_what_was_published_and_not_run_is_named(folder: Path) -> None:
    assert paper(folder).not_run == ("drop-code-10",)
    assert "not compared here: drop-code-10" in screen(paper(folder), 100)


def test_a_benchmark_may_stand_beside_an_average_over_categories(tmp_path: Path) -> None:
    folder = with_average(tmp_path / "tiny")
    give_published(folder, tasks={"general": "MMLU", "heldout_web": "GSM8K", "no_such_task": "MMLU"})
    found = paper(folder)
    assert found.benchmarks == {("general", "rescaled", "none"): "MMLU"}  # no loss, and nothing that is not scored
    assert {one.delta.run for one in found.beside} == {"upsample-20", "drop-math-20"}


@pytest.mark.parametrize("width", [100, 60])
def test_screen(folder: Path, width: int) -> None:
    same_as_golden(f"report_against_{width}.txt", screen(paper(folder), width))


@pytest.mark.parametrize("width", [48, 60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut(folder: Path, width: int) -> None:
    text = screen(paper(folder), width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "…" not in text
    assert len(re.findall(r"\[ *-?\d+\.\d, +-?\d+\.\d\]", text)) == len(paper(folder).beside)
    assert len(re.findall(r"\b(yes|no|inside|outside)$", text, re.MULTILINE)) >= len(paper(folder).beside)


def test_a_terminal_without_unicode_gets_the_same_layout(folder: Path) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    Console(file=out, width=60, _environ={}).print(render_published(paper(folder)))
    out.flush()
    found = [line.rstrip() for line in raw.getvalue().decode("ascii").splitlines()]
    assert list(map(len, found)) == list(map(len, screen(paper(folder), 60).splitlines()))


@pytest.mark.parametrize("second_hand", [True, False])
def test_every_rendering_says_whether_numbers_are_second_hand(folder: Path, second_hand: bool) -> None:
    give_published(folder, second_hand=second_hand)
    made, one = report(folder), paper(folder)
    for text in (screen(one, 100), render_markdown(made, one)):
        assert "A Paper, 2024" in text and "only the direction compares" in text
        assert ("second-hand" in text) == second_hand
    assert render_json(made)["published"][0]["second_hand"] is second_hand


def test_markdown_has_them_only_where_they_are_asked_for(folder: Path) -> None:
    made = report(folder)
    assert "A Paper" not in render_markdown(made)
    text = render_markdown(made, paper(folder))
    assert "## Beside A Paper, 2024 (second-hand)" in text
    assert re.search(
        r"\| upsample-20 \| control \| math \| GSM8K \| \+31\.\d \[.*\] ▲ \| -5\.0 \| opposite \| no \|", text
    )


def test_json_has_fractions_of_both(folder: Path) -> None:
    found = json.loads(json.dumps(render_json(report(folder))))["published"][0]
    one = next(each for each in found["beside"] if each["variant"] == "drop-math-20" and each["benchmark"] == "GSM8K")
    assert (one["value"], one["control_value"], one["difference"]) == (0.025, 0.05, -0.025)
    assert -1 <= one["low"] <= one["delta"] <= one["high"] <= 1
    assert found["benchmarks"][0] == {"task": "micro_mc", "metric": "acc", "filter": "none", "benchmark": "MMLU"}


@pytest.mark.parametrize("state", STATES)
def test_every_state_of_a_campaign_can_be_laid_beside(tmp_path: Path, state: str) -> None:
    folder = STATES[state](tmp_path / "tiny")
    give_published(folder)
    made, one = report(folder), paper(folder)
    assert screen(one, 80).startswith("\nbeside A Paper") and "Beside A Paper" in render_markdown(made, one)
    assert bool(one.beside) == (NOTHING not in screen(one, 80))
    assert all(each.delta.run in {delta.run for delta in made.averages} for each in one.beside)


def test_a_campaign_without_the_key_is_refused_with_what_it_has(folder: Path) -> None:
    with pytest.raises(Refused, match=r"campaign tiny has no published numbers called 'papper': it has 'paper'"):
        chosen(report(folder).published, "papper", "tiny")
    old: Report = report(write_campaign(folder.parent / "old"))
    assert old.published == ()
    with pytest.raises(Refused, match=r"it has none\n.*section 'published'"):
        chosen(old.published, "paper", "old")


def test_numbers_that_are_none_are_refused_with_their_place(folder: Path) -> None:
    give_published(folder, values={"control": {"MMLU": "high"}})
    with pytest.raises(Refused, match=r"recipe\.published\.paper\.values\.control\.MMLU"):
        report(folder)


def joyctl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "joyctl", *words], capture_output=True, text=True, check=False)


def test_the_command_adds_them_below_the_table(folder: Path) -> None:
    done = joyctl("report", str(folder), "--against", "paper")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("1 seed: no run-to-run noise") < done.stdout.index("beside A Paper, 2024 (second-hand)")


def test_the_command_refuses_before_it_writes(folder: Path) -> None:
    for words, code in ((["--against", "nobody"], 4), (["--against", "paper", "--format", "csv"], 2)):
        done = joyctl("report", str(folder), *words)
        assert done.returncode == code and "Traceback" not in done.stderr
        assert not done.stdout and not (folder / "report").exists()


def test_the_demo_has_the_papers_numbers_marked_second_hand() -> None:
    """Differences that the abstract gives: +6.90 MMLU, +8.26 GSM8K and +6.17 HumanEval, at 20 %."""
    numbers = load_recipe("tiny").published["paper"]
    assert numbers.second_hand and "2406.03476" in numbers.source
    before, after = numbers.values["control"], numbers.values["upsample-20"]
    gains = {name: round(after[name] - before[name], 2) for name in ("MMLU 5-shot", "GSM8K 8-shot", "HumanEval pass@1")}
    assert gains == {"MMLU 5-shot": 6.90, "GSM8K 8-shot": 8.26, "HumanEval pass@1": 6.17}
    assert set(numbers.tasks) == {"micro_mc", "micro_math", "micro_code", "general_micro"}
