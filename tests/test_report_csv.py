"""The report as CSV: a tall table that spreadsheets and pandas read without being told anything."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas
import pytest
from report_states import STATES, half_finished, three_seeds, with_average

from joyctl.report.csvform import COLUMNS, render_csv
from joyctl.report.report import Report, report


def lines(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.fixture
def made(tmp_path: Path) -> Report:
    return report(three_seeds(tmp_path / "tiny"))


def test_a_row_a_score_a_delta_and_an_average(made: Report) -> None:
    kinds = [line["kind"] for line in lines(render_csv(made))]
    assert kinds.count("score") == len(made.results.scores) > 0
    assert kinds.count("delta") == len(made.deltas) > 0
    assert kinds.count("average") == len(made.averages) > 0
    assert len(kinds) == len(made.results.scores) + len(made.deltas) + len(made.averages)


def test_the_form_is_that_of_rfc_4180(made: Report) -> None:
    text = render_csv(made)
    assert text.startswith(",".join(COLUMNS) + "\r\n") and text.endswith("\r\n")
    assert "\n" not in text.replace("\r\n", "")
    assert {len(row) for row in csv.reader(io.StringIO(text, newline=""))} == {len(COLUMNS)}


def test_a_comma_in_a_name_is_quoted(tmp_path: Path) -> None:
    folder = three_seeds(tmp_path / "tiny")
    path = folder / "campaign.json"
    path.write_text(path.read_text().replace('"campaign": "tiny"', '"campaign": "a, \\"b\\""'))
    assert {line["campaign"] for line in lines(render_csv(report(folder)))} == {'a, "b"'}


def test_numbers_come_back_as_they_are_in_the_report(made: Report) -> None:
    """Full precision: nothing is rounded, and fractions stay fractions."""
    found = [line for line in lines(render_csv(made)) if line["kind"] == "average"]
    for line, delta in zip(found, made.averages, strict=True):
        assert (line["run"], line["variant"], line["control"]) == ("", delta.run, delta.control)
        assert (line["task"], line["metric"], line["filter"]) == delta.key
        numbers = ("stderr", "low", "high", "p", "p_adjusted", "q", "bootstrap_low", "bootstrap_high", "detectable")
        assert float(line["value"]) == delta.delta
        assert [float(line[name]) for name in numbers] == [getattr(delta, name) for name in numbers]
        assert (line["verdict"], line["family"], line["seeds"]) == (delta.verdict, delta.family, "3")
        assert line["better"] == {True: "true", False: "false", None: ""}[delta.better]


def test_a_row_says_all_of_its_run(made: Report) -> None:
    line = next(
        line for line in lines(render_csv(made)) if line["run"] == "drop-math-20/s1" and line["kind"] == "delta"
    )
    told = {name: line[name] for name in ("variant", "control", "seed", "trunk_seed", "duration", "dropped", "policy")}
    assert told == {
        "variant": "drop-math-20",
        "control": "upsample-20/s1",
        "seed": "0",
        "trunk_seed": "1",
        "duration": "0.2",
        "dropped": "math",
        "policy": "renormalise",
    }
    assert len(line["protocol"]) == 64


def test_units_tell_fractions_from_bits(made: Report) -> None:
    units = {(line["metric"], line["unit"]) for line in lines(render_csv(made))}
    assert ("acc", "fraction") in units and ("bits_per_byte", "bits/byte") in units
    assert all(unit == "bits/byte" for metric, unit in units if metric == "bits_per_byte")


def test_categories_and_their_average_are_scores_too(tmp_path: Path) -> None:
    found = lines(render_csv(report(with_average(tmp_path / "tiny"))))
    rescaled = {(line["kind"], line["task"]) for line in found if line["metric"] == "rescaled"}
    assert rescaled == {
        (kind, task) for kind in ("score", "delta", "average") for task in ("words", "texts", "general")
    }


def test_pandas_reads_numbers_truths_and_gaps(made: Report) -> None:
    frame = pandas.read_csv(io.StringIO(render_csv(made)))
    assert list(frame.columns) == list(COLUMNS)
    assert frame["value"].dtype == float and frame["duration"].dtype == float
    assert frame["higher_is_better"].dtype == bool
    assert set(frame["filter"]) >= {"none", "strict-match"}  # not taken for a missing value
    scores = frame[frame.kind == "score"]
    assert scores["p"].isna().all() and scores["verdict"].isna().all() and scores["value"].notna().all()
    best = frame[(frame.kind == "average") & (frame.task == "micro_mc")].set_index("variant").value
    assert best["upsample-20"] == next(
        d.delta for d in made.averages if d.run == "upsample-20" and d.task == "micro_mc"
    )


@pytest.mark.parametrize("state", STATES)
def test_every_state_of_a_campaign_gives_a_table(tmp_path: Path, state: str) -> None:
    made = report(STATES[state](tmp_path / "tiny"))
    found = lines(render_csv(made))
    rows = len(made.results.scores) + len(made.composites) + len(made.deltas) + len(made.averages)
    assert len(found) == rows
    assert (rows == 0) == (state == "nothing_scored")


def test_what_is_missing_has_no_row(tmp_path: Path) -> None:
    found = lines(render_csv(report(half_finished(tmp_path / "tiny"))))
    assert "upsample-10" not in {line["variant"] for line in found}
    assert not [line for line in found if (line["variant"], line["task"]) == ("drop-math-20", "micro_code")]
