"""The dataset table: every arm that leaves sources out, and the order of sources for every benchmark."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from report_campaign import BASE, UPSAMPLED, arm, write_campaign
from test_report_render import screen

from joyctl.report.findings import rank_lines
from joyctl.report.markdown import render_markdown
from joyctl.report.report import Report, report
from joyctl.report.tables import render_table
from joyctl.report.worth import DatasetTable

UPSAMPLE = arm("upsample-20", 0.2, "control", 0.60, 0.60, 0.70, 1.60)
MC, MATH, CODE, WEB = 0, 1, 2, 3


def without(source: str, mc: float, math_: float, code: float, web: float, at: int = 20, policy: str = "renormalise"):  # type: ignore[no-untyped-def]
    label = "" if policy == "renormalise" else f"-{policy}"
    name, dropped = f"drop-{source}-{at}{label}", tuple(source.split("+"))
    return arm(name, at / 100, f"upsample-{at}", mc, math_, code, web, dropped=dropped, policy=policy)


DROPS = (
    without("web", 0.60, 0.60, 0.70, 1.90),
    without("math", 0.75, 0.05, 0.68, 1.60),
    without("facts", 0.20, 0.61, 0.71, 1.60),
    without("code", 0.68, 0.30, 0.10, 1.58),
    without("math+code", 0.70, 0.05, 0.10, 1.58),
    without("math", 0.75, 0.05, 0.68, 1.60, policy="shrink"),
    without("math", 0.60, 0.20, 0.68, 1.56, at=10),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arms = (
        arm("control", 0.0, None, 0.45, 0.28, 0.50, 1.50, mix=BASE),
        arm("upsample-10", 0.1, "control", 0.5, 0.5, 0.6, 1.55),
    )
    return write_campaign(tmp_path_factory.mktemp("worth") / "tiny", (*arms, UPSAMPLE, *DROPS))


@pytest.fixture(scope="module")
def made(folder: Path) -> Report:
    return report(folder)


@pytest.fixture(scope="module")
def table(made: Report) -> DatasetTable:
    assert made.datasets is not None
    return made.datasets


def test_every_arm_stands_beside_its_matched_control(made: Report, table: DatasetTable) -> None:
    assert {arm.variant for arm in table.arms} == {drop.variant for drop in DROPS}
    facts, joint = table.arm("drop-facts-20"), table.arm("drop-math+code-20")
    assert (facts.dropped, facts.duration, facts.policy, facts.against) == (
        ("facts",),
        0.2,
        "renormalise",
        "upsample-20",
    )
    assert facts.share == pytest.approx(UPSAMPLED["facts"])
    assert joint.share == pytest.approx(UPSAMPLED["math"] + UPSAMPLED["code"])
    for one in table.arms:
        assert one.deltas == {
            column.key: next(d for d in made.averages if (d.run, d.key) == (one.variant, column.key))
            for column in table.columns
        }


def places(table: DatasetTable, column: int) -> dict[str, int]:
    return {one.variant: one.place for one in table.ranks[table.columns[column].key]}


def test_what_costs_most_when_it_is_left_out_stands_first(table: DatasetTable) -> None:
    assert places(table, MATH) == {"drop-math-20": 1, "drop-code-20": 2, "drop-web-20": 3, "drop-facts-20": 3}


def test_what_makes_no_detectable_difference_shares_a_place_before_what_helps_by_its_absence(
    table: DatasetTable,
) -> None:
    assert places(table, MC) == {"drop-facts-20": 1, "drop-web-20": 2, "drop-code-20": 3, "drop-math-20": 4}
    code = places(table, CODE)
    assert code.pop("drop-code-20") == 1
    assert set(code.values()) == {2}


def test_a_loss_that_rises_is_a_cost(table: DatasetTable) -> None:
    assert places(table, WEB)["drop-web-20"] == 1
    assert places(table, WEB)["drop-code-20"] == 4


def test_joint_drops_and_other_durations_and_policies_are_not_ranked(table: DatasetTable) -> None:
    for ranked in table.ranks.values():
        assert {one.variant for one in ranked} == {"drop-web-20", "drop-math-20", "drop-facts-20", "drop-code-20"}


def test_order_says_where_neighbours_are_not_told_apart(tmp_path: Path) -> None:
    near = (
        without("web", 0.60, 0.30, 0.70, 1.90),
        without("math", 0.6, 0.05, 0.7, 1.6),
        without("code", 0.6, 0.29, 0.7, 1.6),
    )
    made = report(write_campaign(tmp_path / "tiny", (arm("control", 0, None, 0.45, 0.28, 0.50, 1.5), UPSAMPLE, *near)))
    assert made.datasets is not None
    lines = {label: (needs, unclear, better) for label, needs, unclear, better in rank_lines(made.datasets)}
    assert lines["math"][0] in ("math > code ~ web", "math > web ~ code")
    assert lines["math"][1:] == ("–", "–")


def test_screen_has_the_order_and_markdown_the_whole_table(made: Report) -> None:
    text = screen(render_table(made), 120)
    assert "what leaving a source out of upsample-20 does, its share spread over the others in proportion" in text
    assert any(line.split() == ["math", "math", ">", "code", "web,", "facts", "–"] for line in text.splitlines())
    assert any(line.split() == ["mc", "facts", "web", "math", ">", "code"] for line in text.splitlines())
    document = render_markdown(made)
    whole = document[document.index("## Datasets") : document.index("## Mixes")].splitlines()
    facts = next(line for line in whole if line.startswith("| facts | 20 % | 38.0 |"))
    assert "▼ worse without" in facts and "no detectable difference" in facts
    assert any(line.startswith("| math | 20 % | 37.0 | its share left out: fewer tokens |") for line in whole)
    assert any(line.startswith("| math+code | 20 % | 52.0 |") for line in whole)


@pytest.mark.parametrize("width", [40, 60, 100])
def test_the_order_fits_any_width_and_needs_no_unicode(made: Report, width: int) -> None:
    lines = screen(render_table(made), width).splitlines()
    assert max(map(len, lines)) <= width
    assert any("needs" in line for line in lines)


def test_a_missing_score_leaves_its_benchmark_to_the_others(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "tiny")
    shutil.rmtree(copy / "runs/drop-math-20/s0/eval/micro_math")
    shutil.rmtree(copy / "runs/drop-web-20/s0/eval")
    made = report(copy)
    assert made.datasets is not None
    assert {arm.variant for arm in made.datasets.arms} == {drop.variant for drop in DROPS} - {"drop-web-20"}
    math_key = made.datasets.columns[MATH].key
    assert math_key not in made.datasets.arm("drop-math-20").deltas
    assert [one.variant for one in made.datasets.ranks[math_key]] == ["drop-code-20", "drop-facts-20"]


def test_no_table_where_nothing_is_left_out_and_no_order_of_one_source(tmp_path: Path) -> None:
    arms = (arm("control", 0, None, 0.45, 0.28, 0.50, 1.5), UPSAMPLE)
    assert report(write_campaign(tmp_path / "none", arms)).datasets is None
    made = report(write_campaign(tmp_path / "one", (*arms, DROPS[1])))
    assert made.datasets is not None and not made.datasets.ranks
    assert "what leaving a source out" not in screen(render_table(made), 100)
