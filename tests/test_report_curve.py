"""The duration curve: the rule, how often its interval holds the truth, and what a campaign's curve is made of."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_campaign import BASE, Arm, arm, give_suite, put, write_campaign, write_choices
from test_report_render import equal_arms, screen

from joyctl.report import optimum as rule
from joyctl.report.curve import DurationCurve, duration_curve
from joyctl.report.estimate import Floats, Term
from joyctl.report.markdown import render_markdown
from joyctl.report.optimum import CONTROL, apply_rule, optimum, pareto
from joyctl.report.report import Report, report
from joyctl.report.results import read_campaign
from joyctl.report.tables import render_table

NO_LIMITS = np.zeros(1)


def choice(gains: list[float], costs: list[float], limit: float = 0.0) -> int:
    limits = np.full(len(gains), limit)
    return int(apply_rule(np.array([gains]), np.array([costs]), limits, limits)[1][0])


def test_the_best_is_the_knee_of_gain_over_cost() -> None:
    values, chosen = apply_rule(np.array([[5.0, 9.0, 10.0]]), np.array([[1.0, 2.0, 4.0]]), NO_LIMITS, NO_LIMITS)
    assert values.tolist() == [[0.5 - 0.25, 0.9 - 0.5, 0.0]]
    assert chosen.tolist() == [2]


def test_the_best_does_not_depend_on_units_of_either_side() -> None:
    rng = np.random.default_rng(0)
    gains, costs = rng.normal(0, 1, (500, 5)), rng.normal(0, 1, (500, 5))
    _, chosen = apply_rule(gains, costs, NO_LIMITS, NO_LIMITS)
    _, again = apply_rule(100 * gains, costs / 7, NO_LIMITS, NO_LIMITS)
    assert set(chosen.tolist()) == {0, 1, 2, 3, 4, 5}
    assert np.array_equal(chosen, again)


def test_without_a_detectable_cost_the_largest_gain_is_best() -> None:
    assert choice([5.0, 9.0, 10.0], [0.1, 0.2, 0.4], limit=0.5) == 3
    assert choice([5.0, 9.0, 10.0], [0.1, 0.2, 0.6], limit=0.5) == 2


def test_without_a_detectable_gain_the_best_is_not_to_upsample() -> None:
    assert choice([0.3, 0.4], [-1.0, -2.0], limit=0.5) == CONTROL
    assert choice([-3.0, -4.0], [1.0, 2.0], limit=0.5) == CONTROL


def test_a_gain_that_comes_only_with_the_last_duration_is_worth_it() -> None:
    assert choice([0.0, 1.0, 10.0], [3.0, 6.0, 9.0]) == 3


def test_general_capability_that_rises_counts_for_a_duration() -> None:
    """The paper's table (arXiv 2406.03476, v1, read second-hand), points against 0 % at 5, 10, 20 and 30 %."""
    mmlu, gsm8k, humaneval = (4.51, 7.50, 6.90, 6.09), (2.27, 5.76, 8.26, 9.85), (1.27, 3.16, 6.17, 6.94)
    gains = [sum(three) / 3 for three in zip(mmlu, gsm8k, humaneval, strict=True)]
    core, understanding = [2.26, 3.09, 3.95, 3.52], [-0.47, -1.11, -1.44, -1.17]
    assert choice(gains, [-rise for rise in core]) == 3  # 20 %
    assert choice(gains, [-rise for rise in understanding]) == 4  # 30 %, which pays less than 20 % there
    assert pareto([0, *gains], [0, *(-rise for rise in core)]) == [False, False, False, True, True]


def test_pareto_set_holds_what_nothing_beats_on_both_sides() -> None:
    assert pareto([0.0, 1.0, 2.0, 2.0, 1.5], [0.0, 1.0, 2.0, 3.0, -1.0]) == [False, False, True, False, True]
    assert pareto([1.0, 1.0], [2.0, 2.0]) == [True, True]


DURATIONS = 6
KNEE = np.array([0.05, 0.10, 0.14, 0.15, 0.155, 0.16])
STEADY = np.arange(1, DURATIONS + 1) * 0.02


def made_up(
    number: int, gain: Floats, cost: Floats, *, items: int = 200, clusters: int = 200, seeds: int = 1, noise: float = 0
) -> list[rule.Arm]:
    """A campaign with these true gains and costs, two benchmarks and one loss.

    Durations share their items' noise in part, as runs against one control do, and their seeds' as well.
    """
    rng = np.random.default_rng([number, items, clusters, seeds])
    of_seeds = rng.normal(0, noise, (seeds, 1)) + rng.normal(0, noise, (seeds, DURATIONS))

    def terms(means: Floats, spread: float, weight: float, share: float) -> list[Term]:
        of_cluster = np.arange(items) % clusters
        shared = rng.normal(0, spread / 2, clusters)[of_cluster] + rng.normal(0, spread / 2, items)
        own = rng.normal(0, spread * 0.7, (DURATIONS, 1, items)) + rng.normal(0, spread / 4, (DURATIONS, seeds, items))
        rows = [means[d] + shared + own[d] + share * of_seeds[:, d : d + 1] for d in range(DURATIONS)]
        return [Term(weight, row, np.ones(items), of_cluster) for row in rows]

    first, second, loss = terms(gain, 0.4, 0.5, 1.0), terms(gain, 0.4, 0.5, 1.0), terms(cost, 0.1, 1.0, 0.3)
    places = tuple((seed, -1) for seed in range(seeds))
    return [rule.Arm((first[d], second[d]), (loss[d],), places) for d in range(DURATIONS)]


@pytest.mark.parametrize(
    ("gain", "options"),
    [
        (KNEE, {}),
        (KNEE, {"items": 60, "clusters": 60}),
        (KNEE, {"clusters": 20}),
        (KNEE, {"clusters": 4}),
        (KNEE, {"seeds": 2, "noise": 0.015}),
        (KNEE, {"seeds": 3, "noise": 0.03}),
        (KNEE, {"seeds": 5, "noise": 0.03}),
        (0.3 * KNEE, {}),
        (0.0 * KNEE, {}),
    ],
    ids=["knee", "few-items", "clusters", "few-clusters", "2-seeds", "3-seeds", "5-seeds", "weak", "none"],
)
def test_of_campaigns_with_a_known_optimum_95_in_100_intervals_hold_it(gain: Floats, options: dict[str, int]) -> None:
    truth = int(apply_rule(gain[None], STEADY[None], NO_LIMITS, NO_LIMITS)[1][0])
    intervals = [optimum(made_up(n, gain, STEADY, **options), draws=300).interval for n in range(300)]
    covered = sum(low <= truth <= high for low, high in intervals)
    assert covered >= 0.93 * len(intervals)  # 95 % less twice the error of 300 campaigns


def test_with_gain_and_cost_in_proportion_no_duration_is_falsely_preferred() -> None:
    widths = [np.ptp(optimum(made_up(n, 1.5 * STEADY, STEADY), draws=300).interval) for n in range(100)]
    assert np.mean(widths) > 0.75 * (DURATIONS - 1)
    assert min(widths) >= 1


def test_without_any_gain_the_control_is_chosen_but_for_the_error_allowed() -> None:
    best = [optimum(made_up(n, 0 * KNEE, STEADY), draws=2).best for n in range(300)]
    assert sum(one != CONTROL for one in best) <= 0.05 * 300


def test_with_more_items_the_interval_closes_around_the_optimum() -> None:
    few, many = (optimum(made_up(1, KNEE, STEADY, items=n, clusters=n), 300).interval for n in (100, 60_000))
    assert few[0] < many[0] == 3 == many[1] < few[1]


def test_draws_are_the_same_every_time() -> None:
    arms = made_up(0, KNEE, STEADY, seeds=2, noise=0.02)
    assert np.array_equal(optimum(arms).chosen, optimum(arms).chosen)


def ladder(top: float = 0.8) -> tuple[Arm, ...]:
    """Three durations, of which the middle one is the knee."""
    return (
        arm("control", 0.0, None, 0.45, 0.28, 0.50, 1.50, mix=BASE),
        arm("upsample-10", 0.1, "control", 0.50, 0.33, 0.55, 1.55),
        arm("upsample-20", 0.2, "control", 0.78, 0.60, 0.85, 1.60),
        arm("upsample-30", 0.3, "control", top, 0.62, 0.87, 1.70),
        arm("drop-math-20", 0.2, "upsample-20", 0.78, 0.1, 0.85, 1.58, dropped=("math",), policy="renormalise"),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report(write_campaign(tmp_path_factory.mktemp("curve") / "tiny", ladder()))


def curve_of(made: Report) -> DurationCurve:
    assert made.curve is not None
    return made.curve


def test_gain_and_cost_are_means_of_the_tables_differences(made: Report) -> None:
    curve = curve_of(made)
    assert [key[0] for key in curve.targeted] == ["micro_mc", "micro_math", "micro_code"]
    assert [key[0] for key in curve.general] == ["heldout_web"]
    assert [point.variant for point in curve.points] == ["control", "upsample-10", "upsample-20", "upsample-30"]
    for point in curve.points[1:]:
        deltas = {d.key: d for d in made.averages if d.run == point.variant}
        assert point.gain == pytest.approx(sum(deltas[key].delta for key in curve.targeted) / 3)
        assert point.gain_low < point.gain < point.gain_high
        loss = deltas[curve.general[0]]
        assert (point.cost, point.cost_low, point.cost_high) == pytest.approx((loss.delta, loss.low, loss.high))
    assert (curve.points[0].gain, curve.points[0].cost, curve.cost_unit) == (0.0, 0.0, "bits/byte")


def test_the_knee_is_found_and_said(made: Report) -> None:
    curve = curve_of(made)
    assert (curve.kind, curve.best, curve.best_low, curve.best_high, curve.seeds) == ("trade-off", 0.2, 0.2, 0.2, 1)
    assert sum(point.chosen for point in curve.points) == pytest.approx(1)
    assert all(point.pareto for point in curve.points)
    assert "The best trade-off is at 20 %." in made.conclusion
    text = screen(render_table(made), 200)
    assert "best trade-off: 20 % [20, 20], gaining +" in text
    assert "(mean of mc, math and code) for +0.1" in text and "bits/byte (web loss)" in text
    assert "Pareto set (none of the others gains as much for less): 0, 10, 20, 30 %" in text
    assert "rule: the largest gain less cost, each as a share of its largest change over the durations" in text
    assert "## Durations" in render_markdown(made) and "| 20 % | +" in render_markdown(made)


def test_over_seeds_their_noise_joins_the_interval(tmp_path: Path) -> None:
    """Three base runs, the third of which gained nothing."""
    folder = write_campaign(tmp_path / "tiny", ladder(), seeds=3)
    for variant in ("upsample-10", "upsample-20", "upsample-30"):
        for task in ("micro_mc", "micro_math", "micro_code"):
            there = folder / f"runs/{variant}/s2/eval/{task}"
            shutil.rmtree(there)
            shutil.copytree(folder / f"runs/control/s2/eval/{task}", there)
    curve = curve_of(report(folder))
    assert curve.seeds == 3
    assert curve.points[2].gain_low < 0 < curve.points[2].gain  # two degrees of freedom
    assert (curve.kind, curve.best) == ("none", 0.0)
    assert curve.best_low == 0.0 < curve.best_high


def test_a_run_without_all_scores_leaves_its_duration_to_the_other_seeds(tmp_path: Path) -> None:
    folder = write_campaign(tmp_path / "tiny", ladder()[:4], seeds=3)
    whole = curve_of(report(folder))
    shutil.rmtree(folder / "runs/upsample-10/s2/eval/micro_code")
    made = report(folder)
    curve = curve_of(made)
    assert (whole.seeds, curve.seeds, curve.left_out) == (3, 2, ())
    of_run = [d for d in made.deltas if d.run in ("upsample-10/s0", "upsample-10/s1") and d.key in curve.targeted]
    assert curve.points[1].gain == pytest.approx(sum(d.delta for d in of_run) / len(of_run))
    assert curve.points[2] == replace(whole.points[2], chosen=curve.points[2].chosen, value=curve.points[2].value)


def test_orders_of_the_phase_count_as_seeds_where_there_is_one_base_run(tmp_path: Path) -> None:
    folder = write_campaign(tmp_path / "tiny", ladder()[:4], seeds=3)
    over_trunks = curve_of(report(folder))
    for path in folder.glob("runs/*/*/run.json"):
        run = json.loads(path.read_text())
        put(path, {**run, "seed": run["trunk_seed"], "trunk_seed": 0})
    assert curve_of(report(folder)) == over_trunks


def test_without_any_effect_nothing_speaks_for_a_duration(tmp_path: Path) -> None:
    made = report(equal_arms(tmp_path / "tiny"))
    curve = curve_of(made)
    assert (curve.best, curve.kind) == (0.0, "none")
    assert [point.value for point in curve.points] == [0.0, 0.0, 0.0]
    assert "best duration: none, since no duration's mean gain is detectable" in screen(render_table(made), 200)
    assert "trade-off" not in made.conclusion


def test_without_losses_the_fall_of_the_aggregate_is_the_cost(tmp_path: Path) -> None:
    folder = write_campaign(tmp_path / "tiny", ladder())
    names = [one.variant for one in ladder()]
    for task, truth in (("cloze", (0.7, 0.68, 0.6, 0.5, 0.6)), ("story", (0.7, 0.7, 0.65, 0.6, 0.65))):
        write_choices(folder, task, dict(zip(names, truth, strict=True)))
    entry = {"category": "language", "metric": "acc,none"}
    tasks = [{"task": "cloze", **entry, "baseline": 0.25}, {"task": "story", **entry, "baseline": 0.5}]
    give_suite(folder, tasks, {"name": "general_average", "version": 1})
    made = report(folder)
    assert curve_of(made).cost_unit == "bits/byte"
    for path in folder.glob("runs/*/*/eval/heldout_web"):
        shutil.rmtree(path)
    made = report(folder)
    curve = curve_of(made)
    assert (curve.cost_unit, curve.general) == ("pp", (("general_average", "rescaled", "none"),))
    for point in curve.points[1:]:
        fall = next(d for d in made.averages if (d.run, d.task) == (point.variant, "general_average"))
        assert (point.cost, point.cost_low, point.cost_high) == pytest.approx((-fall.delta, -fall.high, -fall.low))
    assert "pp (fall of general_average)" in screen(render_table(made), 200)


def test_a_duration_without_all_scores_is_left_out_and_named(tmp_path: Path) -> None:
    folder = write_campaign(tmp_path / "tiny", ladder())
    shutil.rmtree(folder / "runs/upsample-10/s0/eval/micro_code")
    made = report(folder)
    assert curve_of(made).left_out == ("upsample-10",)
    assert [point.duration for point in curve_of(made).points] == [0.0, 0.2, 0.3]
    assert "not among these, since scores are missing: upsample-10" in screen(render_table(made), 200)


def test_one_duration_is_a_point_and_no_choice(tmp_path: Path) -> None:
    made = report(write_campaign(tmp_path / "tiny", ladder()[:2]))
    curve = curve_of(made)
    assert [point.duration for point in curve.points] == [0.0, 0.1]
    assert not curve.open_choice
    assert "best" not in made.conclusion and "best trade-off" not in screen(render_table(made), 200)


def test_durations_that_are_not_told_apart_are_said_to_be_open(tmp_path: Path) -> None:
    """Twice the same duration under two names of length, scored on few items."""
    arms = (
        arm("control", 0.0, None, 0.2, 0.2, 0.2, 1.5, mix=BASE),
        arm("upsample-10", 0.1, "control", 0.70, 0.60, 0.80, 1.5),
        arm("upsample-20", 0.2, "control", 0.71, 0.61, 0.79, 1.5),
    )
    made = report(write_campaign(tmp_path / "tiny", arms))
    curve = curve_of(made)
    assert (curve.best_low, curve.best_high) == (0.1, 0.2) and not curve.told_apart
    assert "is open:" in made.conclusion and "not told apart" in made.conclusion


def test_no_curve_without_a_control_a_benchmark_or_anything_general(tmp_path: Path) -> None:
    folder = write_campaign(tmp_path / "tiny", ladder()[:3])
    results, columns = read_campaign(folder), report(folder).columns
    benchmarks, losses = columns[:3], columns[3:]
    assert duration_curve(results, columns) is not None
    assert duration_curve(results, benchmarks) is None
    assert duration_curve(results, losses) is None
    shutil.rmtree(folder / "runs/control/s0/eval")
    assert duration_curve(read_campaign(folder), columns) is None


def test_swept_variants_are_not_on_the_curve(tmp_path: Path) -> None:
    folder = write_campaign(tmp_path / "tiny", ladder()[:4])
    path = folder / "runs/upsample-30/s0/run.json"
    put(path, {**json.loads(path.read_text()), "changed": {"mixes.upsampled.web": "0.3"}})
    assert [point.variant for point in curve_of(report(folder)).points] == ["control", "upsample-10", "upsample-20"]


def test_bits_per_byte_of_several_crawls_are_averaged_crawl_by_crawl(tmp_path: Path) -> None:
    folder = write_campaign(tmp_path / "tiny", ladder()[:3])
    kept = json.loads((folder / "campaign.json").read_text())
    kept["recipe"]["sources"]["math"]["category"] = "large_cc"
    put(folder / "campaign.json", kept)
    made = report(folder)
    curve = curve_of(made)
    assert {key[0] for key in curve.general} == {"heldout_web", "heldout_math"}
    rises = [d.delta for d in made.averages if d.run == "upsample-20" and d.key in curve.general]
    assert curve.points[2].cost == pytest.approx(math.fsum(rises) / 2)
