"""The ledger of a campaign: as planned where its logs say so, and told where they do not."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from report_campaign import BATCH, SEQ_LEN, STEPS, put, write_campaign
from trained_campaign import ROWS, give_trainings, log

from joyctl.campaign.spec import SegmentSpec
from joyctl.cli.ledger import _table as ledger_table
from joyctl.cli.results import find_campaign
from joyctl.cli.wholetable import console_for
from joyctl.data.order import Order
from joyctl.report.datawords import seen_words
from joyctl.report.jsonform import render_json
from joyctl.report.ledger import RunLedger, Segments, read_ledger
from joyctl.report.markdown import render_markdown
from joyctl.report.report import report
from joyctl.report.results import read_runs

RUN = "upsample-20/s0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_campaign(tmp_path / "tiny", scored=False)
    give_trainings(tmp_path / "tiny", tmp_path / "data")
    return tmp_path / "tiny"


def ledger(folder: Path) -> dict[str, RunLedger]:
    return {one.run: one for one in read_ledger(Segments(folder), read_runs(folder))}


def spec(folder: Path, segment: str = f"runs/{RUN}") -> SegmentSpec:
    return SegmentSpec.model_validate_json((folder / segment / "segment.json").read_bytes())


def joyctl(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "joyctl", "data", "ledger", *words, "--results", str(folder.parent)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_whole_campaign_is_as_planned(folder: Path) -> None:
    found = ledger(folder)
    assert list(found) == ["control/s0", "upsample-10/s0", RUN, "drop-math-20/s0"]
    for one in found.values():
        assert one.differs == () and one.step == one.end_step == STEPS
        for line in one.sources:
            due, seen = line.planned, line.realised
            assert seen is not None and seen_words(one, line) == "as planned"
            assert (seen.tokens, seen.trunk, seen.phase) == (due.tokens, due.trunk, due.phase)
            assert (seen.epochs, seen.repeated) == (due.epochs, due.repeated)
        assert sum(line.planned.tokens for line in one.sources) == STEPS * BATCH * SEQ_LEN
    math = {one.run: line.planned for one in found.values() for line in one.sources if line.source == "math"}
    assert math["control/s0"].phase == 0 and math["drop-math-20/s0"].phase == 0
    assert math[RUN].rows_repeated == round(8_000 * (0.045 * 0.8 + 0.37 * 0.2)) - ROWS["math"]


def test_a_run_half_way_tells_how_far_it_is(folder: Path) -> None:
    own, order = spec(folder), Order(spec(folder).order)
    (folder / own.id / "DONE.train.json").unlink()
    log(folder, own, 850)
    one = ledger(folder)[RUN]
    assert (one.step, one.end_step, one.differs) == (850, STEPS, ())
    for line in one.sources:
        seen, now, before = line.realised, order.counts(850 * BATCH), order.counts(800 * BATCH)
        assert seen is not None and seen.tokens == now[line.source] * SEQ_LEN
        assert (seen.trunk, seen.phase) == (
            before[line.source] * SEQ_LEN,
            (now[line.source] - before[line.source]) * SEQ_LEN,
        )
        assert seen_words(one, line) == f"{seen.tokens:,} by step 850"


def test_a_phase_that_has_not_begun_has_seen_what_its_trunk_has(folder: Path) -> None:
    own = spec(folder)
    for name in ("DONE.train.json", "metrics.jsonl"):
        (folder / own.id / name).unlink()
    one = ledger(folder)[RUN]
    assert (one.step, one.differs) == (800, ())
    assert {line.realised.phase for line in one.sources if line.realised} == {0}
    for path in folder.glob("trunk/**/metrics.jsonl"):
        path.unlink()
    nothing = ledger(folder)[RUN]
    assert nothing.step == 0 and {line.realised for line in nothing.sources} == {None}
    assert seen_words(nothing, nothing.sources[0]) == "nothing yet"


def test_without_its_trunks_log_a_run_tells_all_but_the_trunks_share(folder: Path) -> None:
    for path in folder.glob("trunk/**/metrics.jsonl"):
        path.unlink()
    one = ledger(folder)[RUN]
    assert one.differs == ()
    for line in one.sources:
        assert line.realised is not None and line.realised.tokens == line.planned.tokens
        assert (line.realised.trunk, line.realised.phase) == (None, None)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    (f"runs/{RUN}", {"rows": {"web": 6_360, "math": 880, "facts": 560, "code": 200}}, "rows by step 1,000; planned"),
    (f"runs/{RUN}", {"rows": {}}, "web 0 rows by step 1,000; planned are"),
    (f"runs/{RUN}", {"tokens": 512}, "512 tokens by step 1,000; planned are 1,024,000"),
    (f"runs/{RUN}", {"rows": {"books": 12}}, "books 12 rows by step 1,000; planned are none"),
    ("trunk/s0/0-800", {"step": 799, "tokens": 799 * BATCH * SEQ_LEN}, "ends at step 799; planned are 800"),
]


@pytest.mark.parametrize(("segment", "other", "said"), WRONG)
def test_what_is_not_as_planned_is_told_with_exit_code_5(
    folder: Path, segment: str, other: dict[str, Any], said: str
) -> None:
    whole = spec(folder, segment)
    log(folder, whole, whole.end_step, **other)
    wrong = [one.run for one in ledger(folder).values() if one.differs]
    assert RUN in wrong and (segment.startswith("trunk/") or wrong == [RUN])
    assert any(said in line and segment in line for line in ledger(folder)[RUN].differs)
    called = joyctl(folder, "tiny", "--run", RUN, "--json")
    assert called.returncode == 5 and said in called.stderr and "Traceback" not in called.stderr
    assert json.loads(called.stdout)["runs"][0]["differs"]
    # The report goes on, and says so.
    made = report(folder)
    assert any(note.startswith("not trained on what was planned: ") for note in render_json(made)["notes"])
    assert said in render_markdown(made)


def test_a_run_that_is_marked_as_done_and_is_not_is_told(folder: Path) -> None:
    log(folder, spec(folder), 900)
    assert ledger(folder)[RUN].differs == (f"runs/{RUN}/metrics.jsonl ends at step 900; planned are 1,000",)


def test_the_command_lists_planned_and_realised_and_what_is_shown_again(folder: Path) -> None:
    called = joyctl(folder)
    assert called.returncode == 0, called.stderr
    lines = called.stdout.splitlines()
    assert lines[0].split() == [
        "run",
        "source",
        "trunk",
        "phase",
        "epochs",
        "again",
        "from",
        "step",
        "seen",
        "so",
        "far",
    ]
    one = ledger(folder)[RUN]
    math = next(line.planned for line in one.sources if line.source == "math")
    place = next(i for i, line in enumerate(lines) if line.startswith(RUN))
    row = next(line for line in lines[place:] if line.split()[-9:][0] == "math" or " math " in line)
    assert row.split()[-7:] == [
        f"{math.trunk:,}", f"{math.phase:,}", f"{math.epochs:.2f}", f"{math.repeated:,}", f"{math.first_repeat_step:,}",
        "as", "planned",
    ]  # fmt: skip
    said = f"math {math.repeated:,} tokens from step {math.first_repeat_step:,} on in {RUN} ({math.epochs:.2f} epochs)"
    assert f"shown again: {said}" in called.stdout
    assert f"rows shown again: {said.replace('/s0', '')}" in render_json(report(folder))["notes"]


def test_the_folder_one_stands_in_has_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert [find_campaign(name, Path("results")).name for name in (".", "../tiny", "runs/..")] == ["tiny"] * 3


def test_what_is_not_there_is_said_with_a_remedy(folder: Path) -> None:
    called = joyctl(folder, "--run", "upsample-99")
    assert (called.returncode, called.stdout) == (6, "") and "no run 'upsample-99'" in called.stderr
    put(folder.parent / "other/campaign.json", {"campaign": "other", "runs": [], "segments": []})
    called = joyctl(folder, "other")
    assert (called.returncode, called.stdout) == (6, "") and "tells of no training" in called.stderr


def test_a_run_that_cannot_be_read_is_named_and_not_just_left_out(folder: Path) -> None:
    (folder / "runs/upsample-10/s0/segment.json").write_text("{")
    (folder / "runs/drop-math-20/s0/run.json").write_text("{")
    called = joyctl(folder, "--json")
    assert called.returncode == 0, called.stderr
    assert [one["run"] for one in json.loads(called.stdout)["runs"]] == ["control/s0", RUN]
    assert "not listed: upsample-10/s0: runs/upsample-10/s0/segment.json is gone or cannot be read" in called.stderr
    assert "not listed: drop-math-20/s0: run.json is torn or invalid" in called.stderr
    called = joyctl(folder, "--run", "drop-math-20")
    assert called.returncode == 6 and "run.json is torn or invalid" in called.stderr


def test_a_narrow_terminal_cuts_no_number(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read_ledger(Segments(folder), read_runs(folder))
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    out = io.StringIO()
    table = ledger_table(found)
    console = console_for(table, words=(len(table.columns) - 1,))
    console.file = out
    assert console.width < 90, "no wider than it has to be"
    console.print(table)
    for one in found:
        for line in one.sources:
            assert re.search(rf"{line.source} +{line.planned.trunk:,} +{line.planned.phase:,} ", out.getvalue())
    assert "…" not in out.getvalue()
