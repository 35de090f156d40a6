"""What a report may compare and claim: one protocol of the phase, matched controls, base checkpoint or base runs."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema
import pytest
from report_campaign import ARMS, BASE, arm, put, write_campaign
from rich.console import Console

from joyctl.campaign.spec import Protocol, RunSpec
from joyctl.errors import Refused
from joyctl.recipe.types import Average
from joyctl.report.claim import claim
from joyctl.report.jsonform import render_json
from joyctl.report.jsonschema import report_schema
from joyctl.report.markdown import render_markdown
from joyctl.report.merge import merge
from joyctl.report.report import Report, of_results, report
from joyctl.report.results import read_campaign
from joyctl.report.tables import render_table

ANEW = Protocol(lr="redecay")
REDECAYED = (
    arm("control-10", 0.1, None, 0.45, 0.28, 0.50, 1.561, mix=BASE, protocol=ANEW),
    arm("control-20", 0.2, None, 0.47, 0.30, 0.52, 1.541, mix=BASE, protocol=ANEW),
    arm("upsample-10", 0.1, "control-10", 0.56, 0.40, 0.68, 1.608, protocol=ANEW),
    arm("upsample-20", 0.2, "control-20", 0.66, 0.53, 0.88, 1.663, protocol=ANEW),
    arm("drop-math-20", 0.2, "upsample-20", 0.67, 0.04, 0.9, 1.645, protocol=ANEW, dropped=("math",), policy="shrink"),
)


@pytest.fixture(scope="module")
def redecayed(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report(write_campaign(tmp_path_factory.mktemp("redecay") / "tiny", REDECAYED, seeds=3))


def screen(made: Report) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render_table(made))
    return console.export_text()


def test_every_duration_is_compared_with_its_own_control(redecayed: Report) -> None:
    assert {delta.run: delta.control for delta in redecayed.averages} == {
        "upsample-10": "control-10",
        "upsample-20": "control-20",
        "drop-math-20": "upsample-20",
    }
    order = [row.variant for row in redecayed.rows]
    assert order == ["control-10", "upsample-10", "control-20", "upsample-20", "drop-math-20"]
    assert [row.variant for row in redecayed.rows if row.is_control] == ["control-10", "control-20"]
    assert {floor.variant for floor in redecayed.floors} == {"control-10", "control-20"}
    said = screen(redecayed)
    assert "against the control of its duration" in said
    assert "against upsample-20, its share left out" in said


def test_the_curve_of_matched_controls_begins_at_no_difference(redecayed: Report) -> None:
    curve = redecayed.curve
    assert curve is not None
    assert [(point.variant, point.duration) for point in curve.points] == [
        ("control", 0.0),
        ("upsample-10", 0.1),
        ("upsample-20", 0.2),
    ]
    assert (curve.points[0].gain, curve.points[0].cost) == (0.0, 0.0)
    heads = {c.key for c in redecayed.columns if c.higher_is_better}
    mean = [d.delta for d in redecayed.averages if d.run == "upsample-20" and d.key in heads]
    assert curve.points[2].gain == pytest.approx(sum(mean) / len(mean))


def test_the_protocol_and_the_claim_stand_in_every_output(redecayed: Report, tmp_path: Path) -> None:
    protocol = "protocol: LR decays anew in each phase · last checkpoint"
    about = "claim: across 3 base runs (differences paired within each)"
    said, written, value = screen(redecayed), render_markdown(redecayed), render_json(redecayed)
    assert protocol in said and protocol in written
    assert about in said and about in written
    assert value["claim"] == {"about": "base runs", "trunks": 3, "phases": 1, "words": about.partition(": ")[2]}
    assert {run["protocol"]["lr"] for run in value["runs"]} == {"redecay"}
    assert {run["protocol"]["words"] for run in value["runs"]} == {protocol.partition(": ")[2]}
    jsonschema.validate(json.loads(json.dumps(value)), report_schema())


def test_the_page_says_protocol_and_claim(redecayed: Report, tmp_path: Path) -> None:
    from joyctl.report.page.render import render_page

    page = render_page(redecayed, [write_campaign(tmp_path / "tiny", REDECAYED, seeds=3, scored=False)])
    assert "protocol: LR decays anew in each phase · last checkpoint" in page
    assert "claim: across 3 base runs" in page


def test_a_run_json_from_before_protocols_is_of_the_first_one(tmp_path: Path) -> None:
    folder = write_campaign(tmp_path / "tiny")
    for path in folder.glob("runs/*/*/run.json"):
        kept = json.loads(path.read_text())
        del kept["protocol"], kept["added"], kept["share"], kept["beside"]
        put(path, kept)
    made = report(folder)
    assert made.protocol == Protocol()
    assert "protocol: LR goes on · last checkpoint" in render_markdown(made)


@pytest.mark.parametrize(
    "other", [ANEW, Protocol(average=Average(last=3, every=5)), Protocol(optimizer="started anew")]
)
def test_runs_of_different_protocols_never_stand_in_one_table(other: Protocol, tmp_path: Path) -> None:
    folder = write_campaign(tmp_path / "tiny")
    path = folder / "runs/upsample-20/s0/run.json"
    put(path, {**json.loads(path.read_text()), "protocol": other.model_dump(mode="json")})
    with pytest.raises(Refused, match="control/s0 and upsample-20/s0 are of different protocols") as error:
        report(folder)
    assert error.value.exit_code == 4
    assert "LR goes on · last checkpoint" in str(error.value) and "a report of its own" in (error.value.hint or "")


def test_campaigns_of_different_protocols_are_not_merged(tmp_path: Path) -> None:
    plain, anew = (
        read_campaign(write_campaign(tmp_path / name / "tiny", arms))
        for name, arms in (("plain", ARMS), ("anew", REDECAYED))
    )
    with pytest.raises(Refused, match="phases of different protocols\n  tiny: LR goes on") as error:
        merge([plain, anew])
    assert error.value.exit_code == 4
    assert "give each campaign a report of its own" in (error.value.hint or "")


def test_campaigns_that_decay_anew_are_one_table_by_a_control_that_both_hold(tmp_path: Path) -> None:
    _, control, _, upsampled, drop = REDECAYED
    whole = read_campaign(write_campaign(tmp_path / "a" / "tiny", REDECAYED[:4]))
    part = read_campaign(write_campaign(tmp_path / "b" / "tiny", (control, upsampled, drop)))
    merged = of_results(merge([whole, part]))
    assert "drop-math-20" in {delta.run for delta in merged.averages}
    with pytest.raises(Refused, match="share no base run"):
        merge([read_campaign(write_campaign(tmp_path / "c" / "tiny", REDECAYED[:1])), part])


def runs(*seeds: tuple[int, int]) -> list[RunSpec]:
    """An arm of these (trunk, phase) seeds."""
    plain = RunSpec.model_construct(variant="upsample-20", control="control/s0", reference=None)
    return [plain.model_copy(update={"trunk_seed": trunk, "seed": seed}) for trunk, seed in seeds]


DIFFER = ": other base runs may differ (in the micro-world they do, more than phases)"


@pytest.mark.parametrize(
    ("seeds", "base", "words"),
    [
        ([(0, 0)], None, f"about this base checkpoint{DIFFER}"),
        ([(0, 0), (0, 1)], None, f"about this base checkpoint, over 2 orders of the phase's data{DIFFER}"),
        ([(0, 0), (1, 0)], None, "across 2 base runs (differences paired within each)"),
        (
            [(0, 0), (0, 1), (1, 0), (1, 1)],
            None,
            "across 2 base runs, 2 orders of the phase's data in each (differences paired within each)",
        ),
        # One checkpoint from elsewhere stays one, however often it is gone on from.
        ([(0, 0), (1, 0)], {"hf": "/m"}, f"about this base checkpoint, trained on from there 2 times{DIFFER}"),
    ],
)
def test_what_a_claim_is_about(seeds: list[tuple[int, int]], base: object, words: str) -> None:
    found = claim(runs(*seeds), {"base": base})
    assert found is not None and found.words == words


def test_the_variant_with_the_fewest_seeds_decides_what_is_claimed() -> None:
    other = [run.model_copy(update={"variant": "drop-math-20"}) for run in runs((0, 0))]
    found = claim(runs((0, 0), (1, 0)) + other, {})
    assert found is not None and (found.about, found.trunks) == ("this base checkpoint", 1)
    assert found.words.endswith("; some variants have more seeds than others, and the fewest count here")


def test_nothing_is_claimed_where_nothing_is_compared() -> None:
    control = RunSpec.model_construct(variant="control", control=None, reference=None, trunk_seed=0, seed=0)
    assert claim([control], {}) is None
