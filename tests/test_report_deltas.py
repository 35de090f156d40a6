"""Runs against their matched controls: pairing, refusals, families, seeds."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from report_campaign import SIZES, put, write_campaign
from scipy import stats

from joyctl.errors import Refused
from joyctl.report.deltas import Delta
from joyctl.report.estimate import holm
from joyctl.report.judge import ALPHA
from joyctl.report.report import Report, report


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report(write_campaign(tmp_path_factory.mktemp("one") / "tiny"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_campaign(tmp_path / "tiny")


def one(report: Report, run: str, task: str, filter_: str | None = None) -> Delta:
    return next(d for d in report.deltas if (d.run, d.task) == (run, task) and filter_ in (None, d.filter))


def samples(folder: Path, run: str, task: str) -> list[dict[str, object]]:
    path = folder / "runs" / run / "eval" / task / "samples.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def rewrite(folder: Path, run: str, task: str, lines: list[dict[str, object]]) -> None:
    path = folder / "runs" / run / "eval" / task / "samples.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_every_run_is_compared_with_its_matched_control_on_every_score(complete: Report) -> None:
    assert len(complete.deltas) == 3 * (len(SIZES) + 1)
    assert {(d.run, d.control) for d in complete.deltas} == {
        ("upsample-10/s0", "control/s0"),
        ("upsample-20/s0", "control/s0"),
        ("drop-math-20/s0", "upsample-20/s0"),
    }


def test_delta_and_interval_from_the_files_by_another_way(folder: Path) -> None:
    run, control = (samples(folder, f"{v}/s0", "micro_math") for v in ("upsample-20", "control"))
    sums: dict[object, float] = {}
    differences = []
    for mine, other in zip(run, control, strict=True):
        if mine["filter"] == "strict-match":
            differences.append(mine["exact_match"] - other["exact_match"])  # type: ignore[operator]
            sums.setdefault(mine["cluster"], 0.0)
    mean = sum(differences) / len(differences)
    strict = [s for s in run if s["filter"] == "strict-match"]
    for sample, difference in zip(strict, differences, strict=True):
        sums[sample["cluster"]] += difference - mean
    sizes = Counter(s["cluster"] for s in strict)
    stderr = math.sqrt(sum(s * s / (1 - sizes[c] / 400) for c, s in sums.items())) / 400
    found = one(report(folder), "upsample-20/s0", "micro_math", "strict-match")
    assert found.delta == pytest.approx(mean)
    assert found.stderr == pytest.approx(stderr)
    effective = 400**2 / (100 * 3**2 + 50 * 2**2)  # 400 items over 150 problems: 100 of three, 50 of two
    assert found.high == pytest.approx(mean + stats.t.ppf(0.975, effective - 1) * stderr)
    assert (found.n, found.clusters, found.few_clusters) == (400, 150, False)


def test_bits_per_byte_delta_is_total_bits_over_total_bytes(folder: Path) -> None:
    run, control = (samples(folder, f"{v}/s0", "heldout_web") for v in ("upsample-20", "control"))
    nats = sum(a["nll"] - b["nll"] for a, b in zip(run, control, strict=True))  # type: ignore[operator]
    size = sum(a["bytes"] for a in run)  # type: ignore[misc]
    found = one(report(folder), "upsample-20/s0", "heldout_web")
    assert found.delta == pytest.approx(nats / math.log(2) / size)
    assert (found.verdict, found.better) == ("higher", False)


def test_made_up_effects_are_found_with_their_direction(complete: Report) -> None:
    assert one(complete, "upsample-20/s0", "micro_math").verdict == "higher"
    dropped = one(complete, "drop-math-20/s0", "micro_math")
    assert (dropped.verdict, dropped.better, dropped.mark) == ("lower", False, "▼")
    assert one(complete, "drop-math-20/s0", "micro_code").verdict == "no detectable difference"
    for delta in complete.deltas:
        assert (delta.verdict == "no detectable difference") == (delta.p_adjusted >= ALPHA)


def test_four_subjects_are_called_too_few(complete: Report) -> None:
    few = {d.task: d.few_clusters for d in complete.deltas}
    assert few == {task: task == "micro_mc" for task in SIZES}


def test_holm_runs_over_the_headline_scores_and_apart_over_the_others(complete: Report) -> None:
    for family, size in (("headline", 12), ("other", 6)):
        members = [d for d in complete.deltas if d.family == family]
        assert len(members) == size
        assert [d.p_adjusted for d in members] == pytest.approx(holm([d.p for d in members]))
    assert {d.key[::2] for d in complete.deltas if d.family == "other"} == {
        ("micro_math", "flexible-extract"),
        ("heldout_math", "none"),
    }


def test_items_asked_differently_are_refused_by_name(folder: Path) -> None:
    lines = samples(folder, "upsample-20/s0", "micro_mc")
    lines[7]["hash"] = "another"
    rewrite(folder, "upsample-20/s0", "micro_mc", lines)
    with pytest.raises(Refused, match=r"upsample-20/s0 and control/s0 on micro_mc .* item micro_mc_3/7 has another"):
        report(folder)


def test_other_items_are_refused_by_name(folder: Path) -> None:
    lines = samples(folder, "upsample-20/s0", "micro_code")
    lines[0]["doc_id"] = 999
    rewrite(folder, "upsample-20/s0", "micro_code", lines)
    with pytest.raises(Refused, match="item micro_code/0 stands in only one of them"):
        report(folder)


def test_other_bytes_are_refused_by_name(folder: Path) -> None:
    lines = samples(folder, "upsample-20/s0", "heldout_web")
    lines[5]["bytes"] = int(lines[5]["bytes"]) + 1  # type: ignore[call-overload]
    rewrite(folder, "upsample-20/s0", "heldout_web", lines)
    with pytest.raises(Refused, match="bytes of item heldout_web/5"):
        report(folder)


def test_two_protocols_never_stand_in_one_table(folder: Path) -> None:
    path = folder / "runs/drop-math-20/s0/eval/micro_mc/results.json"
    result = json.loads(path.read_text())
    parts = {**result["protocol_parts"], "num_fewshot": 5}
    put(path, {**result, "protocol": "b" * 64, "protocol_parts": parts})
    with pytest.raises(Refused, match=r"(?s)under different protocols.*num_fewshot  0 → 5"):
        report(folder)


def test_seeds_are_paired_within_and_averaged_with_their_noise(tmp_path: Path) -> None:
    made = report(write_campaign(tmp_path / "tiny", seeds=3))
    average = next(d for d in made.averages if (d.run, d.task) == ("upsample-20", "micro_math"))
    singles = [d for d in made.deltas if d.run.startswith("upsample-20/") and d.key == average.key]
    assert [d.control for d in singles] == ["control/s0", "control/s1", "control/s2"]
    assert (average.seeds, average.trunks, average.control) == (3, 3, "control")
    assert average.delta == pytest.approx(np.mean([d.delta for d in singles]))
    between = np.var([d.delta for d in singles], ddof=1) / 3
    assert average.stderr**2 > between
    assert average.high - average.delta > stats.t.ppf(0.975, 2) * math.sqrt(between)
    assert len(made.averages) == 18


def test_phase_seeds_of_one_trunk_are_averaged_before_trunks_are_compared(tmp_path: Path) -> None:
    folder = write_campaign(tmp_path / "tiny", seeds=3)
    for variant in ("control", "upsample-10", "upsample-20", "drop-math-20"):
        path = folder / "runs" / variant / "s1" / "run.json"
        put(path, {**json.loads(path.read_text()), "trunk_seed": 0, "seed": 1})
    made = report(folder)
    average = next(d for d in made.averages if (d.run, d.task) == ("upsample-20", "micro_mc"))
    first, second, third = (d.delta for d in made.deltas if d.run.startswith("upsample-20/") and d.key == average.key)
    assert (average.seeds, average.trunks) == (3, 2)
    assert average.delta == pytest.approx(((first + second) / 2 + third) / 2)


def test_a_verdict_with_holm_is_never_given_where_the_interval_alone_speaks() -> None:
    names = {"run": "a", "control": "b", "task": "t", "metric": "acc", "filter": "none", "family": "headline"}
    values = {
        "n": 9,
        "clusters": 9,
        "delta": 0.1,
        "stderr": 0.04,
        "low": 0.01,
        "high": 0.2,
        "p": 0.03,
        "p_adjusted": 0.3,
        "q": 0.1,
        "p_exact": None,
        "bootstrap_low": 0.02,
        "bootstrap_high": 0.19,
        "detectable": 0.15,
    }
    flags = {"few_clusters": False, "higher_is_better": True, "seeds": 1, "trunks": 1}
    delta = Delta(**names, **values, **flags, verdict="no detectable difference")  # type: ignore[arg-type]
    assert (delta.better, delta.uncorrected, delta.mark) == (None, True, "△")
