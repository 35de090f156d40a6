"""Several campaigns of one base run as one table: what is equal stands once, what differs is told apart."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from report_campaign import ARMS, RECIPE, Arm, give_suite, put, write_campaign, write_choices

from joyctl.errors import Refused
from joyctl.report.csvform import render_csv
from joyctl.report.jsonform import render_json
from joyctl.report.latex import render_latex
from joyctl.report.markdown import render_markdown
from joyctl.report.merge import merge
from joyctl.report.report import Report, of_results, report
from joyctl.report.results import read_campaign

CONTROL, TEN, TWENTY, NO_MATH = ARMS


def campaign(
    folder: Path, *arms: Arm, weights: Mapping[str, str] | None = None, seeds: int = 1, **recipe: object
) -> Path:
    """A campaign called after its folder; runs of one id have equal weights unless `weights` marks their variant."""
    write_campaign(folder, arms, seeds)
    path = folder / "campaign.json"
    base = {"mixes": {"base": {"web": 0.9, "math": 0.1}}, "optimizer": {"lr": 0.01}}
    value = {**json.loads(path.read_text()), "campaign": folder.name, "recipe": {**RECIPE, **base, **recipe}}
    put(path, value)
    for run in folder.glob("runs/*/*/run.json"):
        spec = json.loads(run.read_text())
        mark = f"{spec['id']} {(weights or {}).get(spec['variant'], '')}"
        put(run, {**spec, "fingerprint": mark})
    return folder


def together(*folders: Path) -> Report:
    return of_results(merge([read_campaign(folder) for folder in folders]))


def runs(made: Report) -> list[str]:
    return [run.id for run in made.results.runs]


def test_what_both_have_stands_once(tmp_path: Path) -> None:
    made = together(campaign(tmp_path / "a", CONTROL, TEN), campaign(tmp_path / "b", CONTROL, TEN, TWENTY, NO_MATH))
    assert runs(made) == ["control/s0", "upsample-10/s0", "upsample-20/s0", "drop-math-20/s0"]
    assert made.results.campaign == "a + b"
    alone = report(tmp_path / "b")
    assert made.averages == alone.averages and made.deltas == alone.deltas
    assert len(made.results.scores) == len(alone.results.scores) and made.results.missing == ()


def test_holm_corrects_over_all_of_them(tmp_path: Path) -> None:
    """Four comparisons of one campaign and eight of the other are twelve."""
    first = campaign(tmp_path / "a", CONTROL, TEN)
    second = campaign(tmp_path / "b", CONTROL, TWENTY, NO_MATH)
    apart, made = (report(first), report(second)), together(first, second)
    assert [sum(d.family == "headline" for d in one.averages) for one in (*apart, made)] == [4, 8, 12]
    before = {(d.run, *d.key): d for one in apart for d in one.averages}
    for delta in made.averages:
        same = before[delta.run, *delta.key]
        assert (delta.delta, delta.low, delta.high, delta.p) == (same.delta, same.low, same.high, same.p)
        assert delta.p_adjusted >= same.p_adjusted
    assert "Holm over 12 comparisons" in render_markdown(made)


def test_variants_of_one_name_and_other_weights_are_told_apart(tmp_path: Path) -> None:
    first = campaign(tmp_path / "a", CONTROL, TWENTY)
    second = campaign(tmp_path / "b", CONTROL, TWENTY, NO_MATH, weights={"upsample-20": "other mix"})
    made = together(first, second)
    assert runs(made) == ["control/s0", "a:upsample-20/s0", "b:upsample-20/s0", "b:drop-math-20/s0"]
    specs = {run.id: run for run in made.results.runs}
    assert specs["b:drop-math-20/s0"].control == "b:upsample-20/s0"  # its own matched control
    assert specs["a:upsample-20/s0"].changed == {"campaign": "a"}
    assert {delta.run for delta in made.averages} == {"a:upsample-20", "b:upsample-20", "b:drop-math-20"}
    assert made.curve is None and made.datasets is None  # they are no arms of one recipe
    assert "against b:upsample-20" in render_markdown(made)


def test_equal_weights_with_other_controls_are_told_apart(tmp_path: Path) -> None:
    """Two mixes may differ in nothing but what is dropped: one run, and two differences."""
    first = campaign(tmp_path / "a", CONTROL, TWENTY, NO_MATH)
    second = campaign(tmp_path / "b", CONTROL, TWENTY, NO_MATH, weights={"upsample-20": "more math"})
    controls = {run.id: run.control for run in together(first, second).results.runs}
    assert controls["a:drop-math-20/s0"] == "a:upsample-20/s0"
    assert controls["b:drop-math-20/s0"] == "b:upsample-20/s0"


def test_of_three_campaigns_the_two_that_agree_share_a_name(tmp_path: Path) -> None:
    folders = [
        campaign(tmp_path / name, CONTROL, TEN, weights={"upsample-10": mark})
        for name, mark in (("a", "x"), ("b", "y"), ("c", "x"))
    ]
    assert runs(together(*folders)) == ["control/s0", "a:upsample-10/s0", "b:upsample-10/s0"]


def test_campaigns_of_one_recipe_make_one_curve_and_one_table_of_datasets(tmp_path: Path) -> None:
    first = campaign(tmp_path / "a", CONTROL, TEN)
    made, whole = together(first, campaign(tmp_path / "b", CONTROL, TWENTY, NO_MATH)), write_campaign(tmp_path / "all")
    assert made.curve is not None and made.curve == report(whole).curve
    assert made.datasets is not None and [arm.variant for arm in made.datasets.arms] == ["drop-math-20"]


def test_more_seeds_of_a_variant_join_it(tmp_path: Path) -> None:
    made = together(campaign(tmp_path / "a", CONTROL, TEN), campaign(tmp_path / "b", CONTROL, TEN, seeds=3))
    assert {delta.seeds for delta in made.averages} == {3}
    assert len(runs(made)) == 6


def test_two_campaigns_of_one_name_are_numbered(tmp_path: Path) -> None:
    first = campaign(tmp_path / "one/tiny", CONTROL, TEN)
    second = campaign(tmp_path / "two/tiny", CONTROL, TEN, weights={"upsample-10": "other"})
    made = together(first, second)
    assert made.results.campaign == "tiny + tiny(2)"
    assert runs(made) == ["control/s0", "tiny:upsample-10/s0", "tiny(2):upsample-10/s0"]


def test_a_score_that_one_campaign_lacks_comes_from_the_other(tmp_path: Path) -> None:
    first, second = (campaign(tmp_path / name, CONTROL, TWENTY) for name in ("a", "b"))
    code = first / "runs/upsample-20/s0/eval/micro_code/results.json"
    reason = {"status": "not run", "reason": "no sandbox: bwrap is not installed", "scores": []}
    put(code, {**json.loads(code.read_text()), **reason})
    assert together(first).results.missing != ()
    made = together(first, second)
    assert made.results.missing == ()
    assert [s.task for s in made.results.scores if s.run == "upsample-20/s0"].count("micro_code") == 1


def test_what_neither_has_is_missing_with_its_reason(tmp_path: Path) -> None:
    first, second = campaign(tmp_path / "a", CONTROL, TEN), campaign(tmp_path / "b", CONTROL, TWENTY)
    write_choices(second, "extra", {"control": 0.4, "upsample-20": 0.5})
    found = {(lack.run, lack.task): lack.reason for lack in together(first, second).results.missing}
    assert found == {("upsample-10/s0", "extra"): "not among its scored tasks"}


def test_an_average_over_categories_is_made_of_all(tmp_path: Path) -> None:
    folders = campaign(tmp_path / "a", CONTROL, TEN), campaign(tmp_path / "b", CONTROL, TWENTY)
    for folder in folders:
        write_choices(folder, "general_next", {"control": 0.4, "upsample-10": 0.5, "upsample-20": 0.6})
        task = {"task": "general_next", "metric": "acc,none", "baseline": 0.25, "category": "words"}
        give_suite(folder, [task], {"name": "general", "version": 1})
    made = together(*folders)
    assert {delta.run for delta in made.averages if delta.task == "general"} == {"upsample-10", "upsample-20"}


def test_other_base_runs_are_refused_with_the_keys_that_differ(tmp_path: Path) -> None:
    first = campaign(tmp_path / "a", CONTROL, TEN)
    second = campaign(tmp_path / "b", CONTROL, TEN, weights={"control": "x"}, optimizer={"lr": 0.02})
    with pytest.raises(Refused) as caught:
        together(first, second)
    assert str(caught.value) == (
        "a and b are not of one base run: their controls differ\n"
        "  optimizer.lr  0.01 → 0.02\n"
        "One table holds campaigns of one base run: give each a report of its own."
    )


def test_other_data_under_equal_recipes_is_refused_too(tmp_path: Path) -> None:
    first = campaign(tmp_path / "a", CONTROL)
    with pytest.raises(Refused, match="the recipes agree: the data"):
        together(first, campaign(tmp_path / "b", CONTROL, weights={"control": "x"}))


def test_a_source_that_the_base_mix_does_not_weigh_is_no_difference(tmp_path: Path) -> None:
    """The question may be what a new dataset is worth."""
    new = {**RECIPE["sources"], "books": {"category": "domain"}}
    made = together(campaign(tmp_path / "a", CONTROL, TEN), campaign(tmp_path / "b", CONTROL, TWENTY, sources=new))
    assert set(made.results.recipe["sources"]) == set(new)


def test_by_category_the_difference_is_told_of_categories_too(tmp_path: Path) -> None:
    two_level = {"by": "category", "base": {"large_cc": 0.9, "domain": 0.1}, "within": {"domain": "uniform"}}
    second = campaign(tmp_path / "b", CONTROL, weights={"control": "x"}, mixes=two_level)
    with pytest.raises(Refused) as caught:
        together(campaign(tmp_path / "a", CONTROL), second)
    assert "  mixes.by  source → category\n" in str(caught.value)
    assert "  mixes.within.domain  " in str(caught.value)


def test_campaigns_that_share_no_control_are_refused(tmp_path: Path) -> None:
    second = campaign(tmp_path / "b", CONTROL, TWENTY)
    (second / "runs/control/s0/run.json").unlink()
    with pytest.raises(Refused, match="share no base run"):
        together(campaign(tmp_path / "a", CONTROL, TEN), second)


def test_other_protocols_are_refused_with_the_keys_that_differ(tmp_path: Path) -> None:
    first, second = campaign(tmp_path / "a", CONTROL, TEN), campaign(tmp_path / "b", CONTROL, TWENTY)
    for path in second.glob("runs/*/*/eval/micro_mc/results.json"):
        parts = {"task": "micro_mc", "num_fewshot": 5, "lm_eval": "0.4.13"}
        put(path, {**json.loads(path.read_text()), "protocol": "e" * 64, "protocol_parts": parts})
    with pytest.raises(Refused) as caught:
        together(first, second)
    assert "a:control/s0 and b:control/s0 were scored on micro_mc under different protocols" in str(caught.value)
    assert "num_fewshot  0 → 5" in str(caught.value)


def test_one_campaign_is_given_back_as_it_is(tmp_path: Path) -> None:
    results = read_campaign(campaign(tmp_path / "a", CONTROL, TEN))
    assert merge([results]) is results


def test_every_format_shows_them(tmp_path: Path) -> None:
    first = campaign(tmp_path / "a", CONTROL, TWENTY)
    made = together(first, campaign(tmp_path / "b", CONTROL, TWENTY, weights={"upsample-20": "x"}))
    assert made.cost is None
    for text in (render_csv(made), render_latex(made), render_markdown(made), json.dumps(render_json(made))):
        assert "a:upsample-20" in text and "b:upsample-20" in text and "a + b" in text


def test_the_command_shows_and_writes_nothing_into_their_folders(tmp_path: Path) -> None:
    folders = campaign(tmp_path / "a", CONTROL, TEN), campaign(tmp_path / "b", CONTROL, TWENTY)
    words = [sys.executable, "-m", "joyctl", "report", "a", "b", "--results", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a + b · ")
    assert "nothing was written into their folders; --output FILE keeps this" in done.stderr
    kept = tmp_path / "both.csv"
    done = subprocess.run([*words, "--format", "csv", "--output", str(kept)], capture_output=True, check=False)
    assert done.returncode == 0 and kept.read_bytes().startswith(b"campaign,kind,run")
    assert not any((folder / "report").exists() for folder in folders)


def test_one_campaign_named_twice_is_one(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", CONTROL, TEN)
    words = [sys.executable, "-m", "joyctl", "report", "a", "a", "--results", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("a · ") and (folder / "report/report.json").exists()
