"""Categories and their average: the formula, its error, what is missing, how it stands in the report."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_campaign import ARMS, give_suite, put, write_campaign, write_choices
from scipy import stats

from joyctl.errors import Refused
from joyctl.report.aggregate import composites, rescaled
from joyctl.report.deltas import Delta
from joyctl.report.estimate import Term, combined, over_seeds, ratio
from joyctl.report.jsonform import render_json
from joyctl.report.markdown import render_markdown
from joyctl.report.report import Report, report
from joyctl.report.results import read_campaign

VARIANTS = [arm.variant for arm in ARMS]
AGGREGATE = {"name": "general_average", "version": 1}


def entry(task: str, category: str | None, baseline: float, **more: Any) -> dict[str, Any]:
    return {"task": task, "category": category, "metric": "acc,none", "baseline": baseline, **more}


SUITE = [
    {"task": "micro_mc"},
    entry("cloze", "language", 0.25),
    entry("story", "language", 0.0),
    entry("physics", "sense", 0.5),
]


def by_variant(*values: float) -> dict[str, float]:
    return dict(zip(VARIANTS, values, strict=True))


def write(folder: Path, seeds: int = 1) -> Path:
    write_campaign(folder, seeds=seeds)
    write_choices(folder, "cloze", by_variant(0.72, 0.68, 0.60, 0.60), n=300)
    write_choices(folder, "story", by_variant(0.40, 0.36, 0.30, 0.31), n=280)
    write_choices(folder, "physics", by_variant(0.70, 0.68, 0.66, 0.66), n=260)
    give_suite(folder, SUITE, AGGREGATE)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report(write(tmp_path_factory.mktemp("general") / "tiny"))


def column(folder: Path, run: str, task: str) -> np.ndarray:
    lines = (folder / "runs" / run / "eval" / task / "samples.jsonl").read_text().splitlines()
    return np.array([json.loads(line)["acc"] for line in lines])


def delta_of(made: Report, run: str, task: str) -> Delta:
    return next(d for d in made.deltas if (d.run, d.task, d.metric) == (run, task, "rescaled"))


def test_guessing_is_0_all_right_is_1_and_worse_is_negative() -> None:
    assert (rescaled(0.25, 0.25), rescaled(1.0, 0.25), rescaled(0.3, 0.0)) == (0.0, 1.0, 0.3)
    assert rescaled(0.1, 0.25) == pytest.approx(-0.2)


def test_score_is_the_mean_over_categories_of_means_of_rescaled_scores(folder: Path) -> None:
    found = {(c.run, c.task): c.value for c in composites(read_campaign(folder))[0]}
    cloze, story, physics = (column(folder, "control/s0", t).mean() for t in ("cloze", "story", "physics"))
    language, sense = ((cloze - 0.25) / 0.75 + story) / 2, (physics - 0.5) / 0.5
    assert found["control/s0", "language"] == pytest.approx(language)
    assert found["control/s0", "sense"] == pytest.approx(sense)
    assert found["control/s0", "general_average"] == pytest.approx((language + sense) / 2)


def test_delta_and_interval_by_another_way(folder: Path) -> None:
    found = delta_of(report(folder), "upsample-20/s0", "general_average")
    value, variance, of_df = 0.0, 0.0, 0.0
    for task, weight, baseline in (("cloze", 0.25, 0.25), ("story", 0.25, 0.0), ("physics", 0.5, 0.5)):
        d = column(folder, "upsample-20/s0", task) - column(folder, "control/s0", task)
        part = (weight / (1 - baseline)) ** 2 * d.var(ddof=1) / len(d)
        value += weight / (1 - baseline) * d.mean()
        variance += part
        of_df += part**2 / (len(d) - 1)
    assert found.delta == pytest.approx(value)
    assert found.stderr == pytest.approx(math.sqrt(variance))
    half = stats.t.ppf(0.975, variance**2 / of_df) * math.sqrt(variance)
    assert (found.low, found.high) == pytest.approx((value - half, value + half))
    assert (found.n, found.control, found.family) == (840, "control/s0", "headline")
    assert (found.verdict, found.mark) == ("lower", "▼")


def test_over_seeds_the_noise_that_all_benchmarks_share_is_kept(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny", seeds=3)
    made = report(folder)
    average = next(d for d in made.averages if (d.run, d.task) == ("upsample-20", "general_average"))
    singles = [d.delta for d in made.deltas if d.run.startswith("upsample-20/") and d.task == "general_average"]
    assert (average.seeds, average.trunks, len(singles)) == (3, 3, 3)
    assert average.delta == pytest.approx(np.mean(singles))
    assert average.stderr**2 > np.var(singles, ddof=1) / 3


def test_the_average_stands_in_the_table_for_its_benchmarks_and_the_full_tables_have_all(made: Report) -> None:
    assert [c.label for c in made.columns] == ["mc", "math", "code", "general_average", "web loss"]
    assert [c.label for c in made.categories] == ["language", "sense"]
    markdown = render_markdown(made)
    assert "general_average, version 1: 3 benchmarks in 2 categories" in markdown
    assert "| upsample-20 | control | general_average | rescaled | none | 840 |" in markdown
    assert "| upsample-20 | control | cloze | acc | none | 300 |" in markdown
    assert "lowers general_average by up to" in made.conclusion


def test_one_category_is_not_shown_apart_from_the_average(folder: Path) -> None:
    give_suite(folder, SUITE[:3], AGGREGATE)
    made = report(folder)
    assert made.categories == ()
    assert "general_average" in [c.label for c in made.columns]


def test_json_has_composites_among_scores_and_deltas(made: Report) -> None:
    value = json.loads(json.dumps(render_json(made), allow_nan=False))
    scores = [s for s in value["scores"] if s["metric"] == "rescaled"]
    assert {s["task"] for s in scores} == {"language", "sense", "general_average"} and len(scores) == 3 * len(ARMS)
    first = next(s for s in scores if s["task"] == "general_average")
    assert {"run", "filter", "value", "stderr", "n", "protocol"} <= first.keys() and first["stderr"] > 0
    parts = value["protocols"][first["protocol"]]
    assert (parts["aggregate"], parts["version"]) == ("general_average", 1)
    assert set(parts["tasks"]) == {"cloze", "story", "physics"}
    assert parts["tasks"]["physics"].keys() == {"category", "metric", "baseline", "protocol"}
    deltas = [d for d in value["deltas"] if d["metric"] == "rescaled"]
    assert len(deltas) == 3 * 3 and all(d["low"] < d["delta"] < d["high"] for d in deltas)


def reasons(made: Report) -> dict[tuple[str, str | None], str]:
    return {(lack.run, lack.task): lack.reason for lack in made.results.missing}


def test_without_one_benchmark_neither_category_nor_average_is_given(folder: Path) -> None:
    shutil.rmtree(folder / "runs/upsample-20/s0/eval/story")
    made = report(folder)
    found = reasons(made)
    assert found["upsample-20/s0", "language"] == found["upsample-20/s0", "general_average"] == "needs story"
    assert ("upsample-20/s0", "sense") not in found
    assert {c.task for c in made.composites if c.run == "upsample-20/s0"} == {"sense"}
    assert not [d for d in made.deltas if d.run == "upsample-20/s0" and d.task in ("language", "general_average")]
    # Nor for what is compared with that run.
    assert not [d for d in made.deltas if d.run == "drop-math-20/s0" and d.task == "general_average"]
    assert [d for d in made.deltas if d.run == "upsample-10/s0" and d.task == "general_average"]


def test_a_metric_that_was_not_scored_is_named(folder: Path) -> None:
    give_suite(folder, [{**SUITE[1], "metric": "acc_norm,none"}, *SUITE[2:]], AGGREGATE)
    made = report(folder)
    assert reasons(made)["control/s0", "general_average"] == "needs acc_norm,none of cloze"
    assert made.composites and not any(c.overall for c in made.composites)
    # The benchmarks are in the table themselves then: nothing stands for them.
    assert "story" in [c.key[0] for c in made.columns]


def test_a_run_that_is_not_scored_at_all_lacks_no_aggregate_besides(folder: Path) -> None:
    shutil.rmtree(folder / "runs/upsample-10/s0/eval")
    assert [key for key in reasons(report(folder)) if key[0] == "upsample-10/s0"] == [("upsample-10/s0", None)]


def test_without_an_aggregate_there_is_none(folder: Path) -> None:
    give_suite(folder, SUITE, None)
    made = report(folder)
    assert made.composites == () and {"cloze", "story", "physics"} <= {c.key[0] for c in made.columns}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"aggregate": {**AGGREGATE, "version": 2}}, "version  1 → 2"),
        ({"tasks": [SUITE[0], {**SUITE[1], "baseline": 0.2}, *SUITE[2:]]}, r"tasks\.cloze\.baseline  0\.25 → 0\.2"),
        ({"tasks": [*SUITE[:3], {**SUITE[3], "category": "language"}]}, r"tasks\.physics\.category"),
    ],
)
def test_two_definitions_of_an_aggregate_never_stand_in_one_table(
    folder: Path, change: dict[str, Any], named: str
) -> None:
    path = folder / "runs/upsample-20/s0/run.json"
    run = json.loads(path.read_text())
    put(path, {**run, "eval": {**run["eval"], **change}})
    with pytest.raises(
        Refused, match=rf"(?s)on (general_average|language|sense) under different protocols.*{named}"
    ) as caught:
        report(folder)
    assert "aggregate has changed" in str(caught.value.hint)


def test_the_order_of_a_suite_is_no_difference(folder: Path) -> None:
    path = folder / "runs/upsample-20/s0/run.json"
    run = json.loads(path.read_text())
    put(path, {**run, "eval": {**run["eval"], "tasks": [SUITE[3], SUITE[2], SUITE[1], SUITE[0]]}})
    before = delta_of(report(write(folder.parent / "other")), "upsample-20/s0", "general_average")
    assert delta_of(report(folder), "upsample-20/s0", "general_average").delta == pytest.approx(before.delta)


def test_one_term_is_the_score_itself() -> None:
    values = np.random.default_rng(1).normal(size=(3, 60))
    term = Term(2.0, values, np.ones(60), np.arange(60))
    plain, scaled = over_seeds(values, np.ones(60), np.arange(60)), combined([term], offset=1.0)
    assert scaled.value == pytest.approx(1 + 2 * plain.value)
    assert scaled.stderr == pytest.approx(2 * plain.stderr)
    assert scaled.half_width() == pytest.approx(2 * plain.half_width())


def test_nothing_changed_is_no_difference() -> None:
    terms = [Term(0.5, np.zeros((1, 30)), np.ones(30), np.arange(30)) for _ in range(2)]
    found = combined(terms)
    assert (found.value, found.stderr, found.p_value()) == (0.0, 0.0, 1.0)


REPEATS = 1_000
SLACK = 3.3 * math.sqrt(0.95 * 0.05 / REPEATS)
SIZES, BASELINES, WEIGHTS = (60, 250, 120, 400), (0.25, 0.5, 0.0, 0.2), (1 / 4, 1 / 4, 1 / 4, 1 / 4)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_of_an_aggregated_difference_covers(seeds: int) -> None:
    """Benchmarks of unequal size, clustered items, and seeds that are good or bad for all of them at once."""
    rng = np.random.default_rng(11)
    truth = -0.03
    factors = [w / (1 - b) for w, b in zip(WEIGHTS, BASELINES, strict=True)]
    gain = truth / sum(factors)
    inside = 0
    for _ in range(REPEATS):
        shared = 0.03 * rng.normal(size=(seeds, 1)) if seeds > 1 else np.zeros((1, 1))
        terms = []
        for size, factor in zip(SIZES, factors, strict=True):
            clusters = np.arange(size) // 2
            noise = 0.4 * rng.normal(size=(seeds, size)) + 0.3 * rng.normal(size=size // 2)[clusters]
            terms.append(Term(factor, gain + shared + noise, np.ones(size), clusters))
        low, high = combined(terms).interval()
        inside += low <= truth <= high
    if seeds == 1:
        assert abs(inside / REPEATS - 0.95) < SLACK
    else:  # never too narrow; wide where seeds and items both vary, see `over_seeds`
        assert inside / REPEATS > 0.95 - SLACK


def test_adding_up_over_benchmarks_what_seeds_share_would_be_too_narrow() -> None:
    """Why the seeds' part is taken of the sum: each benchmark's own added up covers far less than 95 %."""
    rng = np.random.default_rng(12)
    inside = 0
    for _ in range(400):
        shared = 0.05 * rng.normal(size=(3, 1))
        values = [shared + 0.01 * rng.normal(size=(3, 100)) for _ in range(8)]
        estimates = [over_seeds(v, np.ones(100), np.arange(100)) for v in values]
        value, error = np.mean([e.value for e in estimates]), math.sqrt(sum(e.stderr**2 for e in estimates)) / 8
        inside += abs(value) <= stats.t.ppf(0.975, 2) * error
    assert inside / 400 < 0.85


def test_a_ratio_and_its_term_agree() -> None:
    bits, size = np.array([[10.0, 30, 20] * 8]), np.array([10.0, 20, 10] * 8)
    plain, term = ratio(bits[0], size, np.arange(24)), combined([Term(1.0, bits, size, np.arange(24))])
    assert (term.value, term.stderr) == pytest.approx((plain.value, plain.stderr))
