"""What a plan says it will be able to detect: from assumptions, and from what the campaign has measured."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from recipes_for_tests import recipe
from report_campaign import put, write_campaign
from rich.console import Console

from joyctl.campaign.compare import compare
from joyctl.campaign.grid import DataFacts, Grid, Point
from joyctl.campaign.plan import Plan, plan
from joyctl.campaign.spec import RunSpec
from joyctl.cli.planjson import last_report, plan_json
from joyctl.cli.planscreen import print_plan
from joyctl.data.folder import DataFolder
from joyctl.launch.prepare import Prepared
from joyctl.recipe.suite import load_suite
from joyctl.report.estimate import Estimate, Part
from joyctl.report.exact import mcnemar_detectable
from joyctl.report.foresight import DISCORDANT, foresee
from joyctl.report.jsonform import render_json
from joyctl.report.power import power
from joyctl.report.report import report

SOURCES = ("web", "math", "code", "facts")
FACTS = DataFacts("/data", dict.fromkeys(SOURCES, 10**6), dict.fromkeys(SOURCES, "a" * 64), "b" * 64, "c" * 64)


def planned(suite: str, *, seeds: int = 1, limit: int | None = None) -> Plan:
    made = recipe()
    made = made.model_copy(update={"eval": made.eval.model_copy(update={"limit": limit})})
    grid = Grid(durations=(0.1, 0.2), drops=(("math",),), drop_at=(0.2,), phase_seeds=seeds)
    return plan(made, [Point(made, {}, load_suite(suite), "hub")], grid, FACTS)


def test_before_anything_is_scored_a_share_of_discordant_items_is_assumed() -> None:
    sights = {sight.key[0]: sight for sight in foresee(planned("core").runs, None)}
    assert set(sights) == {"mmlu", "gsm8k_cot", "humaneval"}
    assert {sight.basis for sight in sights.values()} == {"assumed"}
    assert {sight.comparisons for sight in sights.values()} == {3 * 3}  # three compared variants, three benchmarks
    for task, n in (("gsm8k_cot", 1_319), ("humaneval", 164)):
        assert sights[task].n == n
        assert sights[task].alone == mcnemar_detectable(DISCORDANT, n, 0.05)
        assert sights[task].corrected == mcnemar_detectable(DISCORDANT, n, 0.05 / 9)
    mmlu = Estimate(0.0, (Part(DISCORDANT / 14_042, 56.0),), 14_042, 57, few_clusters=False)
    assert power(sights["mmlu"].alone, mmlu, 0.05) == pytest.approx(0.8, abs=0.002)
    assert all(sight.alone_with_noise is None for sight in sights.values())


def test_a_quick_look_at_few_items_sees_less() -> None:
    whole, few = (foresee(planned("core", limit=limit).runs, None) for limit in (None, 100))
    assert {sight.n for sight in few} == {100}
    assert all(a.alone < b.alone for a, b in zip(whole, few, strict=True))


def test_benchmarks_behind_an_average_are_not_looked_at_one_by_one() -> None:
    assert {sight.key[0] for sight in foresee(planned("micro").runs, None)} == {"micro_mc", "micro_math", "micro_code"}


def measured(folder: Path) -> dict[str, object]:
    return json.loads(json.dumps(render_json(report(folder))))


def runs_of(folder: Path) -> list[RunSpec]:
    return [RunSpec.model_validate_json(path.read_bytes()) for path in sorted(folder.glob("runs/*/*/run.json"))]


def test_what_the_campaign_has_scored_is_measured_with_its_noise(tmp_path: Path) -> None:
    folder = write_campaign(tmp_path / "tiny", seeds=3)
    made = report(folder)
    sights = {sight.key: sight for sight in foresee(runs_of(folder), measured(folder))}
    assert set(sights) == {column.key for column in made.columns}
    for key, sight in sights.items():
        assert sight.basis == "measured" and sight.seeds == 3
        pairs = [delta for delta in made.deltas if delta.key == key]
        error = float(np.median([delta.stderr for delta in pairs]))
        df = sight.n - 1.0 if pairs[0].few_clusters else pairs[0].clusters - 1.0
        alone = Estimate(0.0, (Part(error**2, df),), sight.n, sight.n, few_clusters=False)
        assert power(sight.alone, alone, 0.05) == pytest.approx(0.8, abs=0.002)
        floor = next(floor for floor in made.floors if floor.key == key)
        assert floor.delta_sd is not None and sight.alone_with_noise is not None
        noisy = Estimate(0.0, (*alone.parts, Part(floor.delta_sd**2 / 3, 2.0)), sight.n, sight.n, few_clusters=False)
        assert power(sight.alone_with_noise, noisy, 0.05) == pytest.approx(0.8, abs=0.002)
        assert sight.alone_with_noise >= sight.alone


def test_a_single_run_with_known_noise_sees_less_than_three(tmp_path: Path) -> None:
    folder = write_campaign(tmp_path / "tiny", seeds=3)
    found, three = measured(folder), runs_of(folder)
    for floor in found["noise"]:  # type: ignore[attr-defined]
        floor["delta_sd"] = 0.05
    one = [run for run in three if run.trunk_seed == 0]
    for a, b in zip(foresee(one, found), foresee(three, found), strict=True):
        assert (a.seeds, b.seeds) == (1, 3)
        assert a.alone_with_noise is not None and b.alone_with_noise is not None
        assert a.alone_with_noise > b.alone_with_noise > b.alone


def test_a_torn_report_is_no_report(tmp_path: Path) -> None:
    put(tmp_path / "report" / "report.json", {"deltas": []})
    assert last_report(tmp_path) == {"deltas": []}
    (tmp_path / "report" / "report.json").write_text('{"deltas": [')
    assert last_report(tmp_path) is None
    assert last_report(tmp_path / "nowhere") is None


def test_the_plan_shows_it_on_screen_and_as_json(tmp_path: Path) -> None:
    made = planned("core")
    prepared = Prepared(tmp_path, made, compare(made, {}), DataFolder(tmp_path, {}, "", 0, "", ""))
    screen = Console(file=io.StringIO(), width=120, highlight=False)
    print_plan(prepared, next_command="joyctl sweep", console=screen)
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    sights = foresee(made.runs, None)
    shown = " · ".join(f"{sight.key[0]} ±{sight.alone * 100:.1f} pp" for sight in sights)
    assert f"each alone    {shown}" in text
    assert "assumed: a run and its control answer 25 % of the items differently" in text
    assert "run-to-run noise is not in it" in text
    told = json.loads(plan_json(prepared))["power"]
    assert [one["task"] for one in told] == ["mmlu", "gsm8k_cot", "humaneval"]
    assert [one["detectable"] for one in told] == [sight.alone for sight in sights]
    assert all(one["detectable"] < one["detectable_adjusted"] < 1 for one in told)
