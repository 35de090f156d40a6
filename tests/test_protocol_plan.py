"""Protocols of the phase in the plan: who is compared with whom, what is averaged, what a campaign may not mix."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from recipes_for_tests import facts, point, recipe
from rich.console import Console

from joyctl.campaign.compare import compare
from joyctl.campaign.grid import Grid
from joyctl.campaign.plan import Plan, plan
from joyctl.campaign.protocol import protocol_words
from joyctl.campaign.spec import BaseSpec, Protocol, ReferenceSpec
from joyctl.cli.planjson import plan_json
from joyctl.cli.planscreen import print_plan
from joyctl.data.folder import DataFolder
from joyctl.errors import RecipeError, Refused
from joyctl.launch.disk import find, write_plan
from joyctl.launch.prepare import Prepared, drifted, refuse_drift, replace_drifted
from joyctl.recipe.types import Average
from joyctl.store import layout
from joyctl.store.files import write_json
from joyctl.store.fingerprint import fingerprint

DURATIONS = (0.1, 0.2, 0.3)
PHASE = {"durations": list(DURATIONS), "drop_at": [0.2]}
AVERAGE = {"last": 5, "every": 20}


def planned(grid: Grid, phase: dict[str, Any], **changes: Any) -> Plan:
    r = recipe(phase={**PHASE, **phase}, **changes)
    return plan(r, [point(r)], grid, facts())


def redecaying(grid: Grid, **changes: Any) -> Plan:
    return planned(grid, {"lr": "redecay"}, **changes)


def test_under_redecay_every_duration_has_a_control_that_decays_as_it_does() -> None:
    p = redecaying(Grid(durations=DURATIONS, drops=(("math",),), drop_at=(0.2,)))
    assert {r.variant: r.control for r in p.runs} == {
        "control-10": None,
        "control-20": None,
        "control-30": None,
        "upsample-10": "control-10/s0",
        "upsample-20": "control-20/s0",
        "upsample-30": "control-30/s0",
        "drop-math-20": "upsample-20/s0",
    }
    base = next(r for r in p.runs if r.variant == "control-20").mix
    assert base == pytest.approx({"web": 0.9, "math": 0.045, "code": 0.015, "facts": 0.04})
    for run in p.runs:
        segment, control = p.segment(run.segment or ""), p.segment(f"runs/{run.control or run.id}")
        assert segment.redecay == control.redecay
        assert segment.redecay is not None
        assert (segment.redecay.start_step, segment.redecay.end_step) == (run.branch_step, run.end_step)


def test_under_redecay_the_trunk_ends_at_the_last_branch() -> None:
    trunk = [s for s in redecaying(Grid(durations=DURATIONS)).segments if s.id.startswith("trunk/")]
    assert [s.id for s in trunk] == ["trunk/s0/0-700", "trunk/s0/700-800", "trunk/s0/800-900"]
    assert all(s.redecay is None for s in trunk)


def test_a_shrunk_phase_decays_to_its_own_end() -> None:
    p = redecaying(Grid(drops=(("math",),), drop_at=(0.2,), policy="shrink"))
    run = next(r for r in p.runs if r.dropped)
    redecay = p.segment(f"runs/{run.id}").redecay
    assert redecay is not None and redecay.end_step == run.end_step == 926


def test_controls_of_redecay_have_the_phase_seeds_and_the_trunks_too() -> None:
    p = redecaying(Grid(durations=(0.1, 0.2), trunk_seeds=2, phase_seeds=2))
    controls = {r.control for r in p.runs if r.control}
    assert controls == {f"control-{d}/{s}" for d in (10, 20) for s in ("s0", "s1", "t1s0", "t1s1")}
    assert controls <= {r.id for r in p.runs}
    seeds = {r.seed: p.segment(f"runs/{r.id}").order.phases[-1].seed for r in p.runs if r.variant == "control-20"}
    assert seeds == {0: 0, 1: 1}


def test_both_protocols_share_the_trunk_up_to_the_last_branch() -> None:
    schedule = {"kind": "wsd", "cooldown": 0.0}
    goes_on = planned(Grid(durations=DURATIONS), {}, schedule=schedule)
    anew = redecaying(Grid(durations=DURATIONS), schedule=schedule)
    marks = {s.id: fingerprint(s.identity()) for s in goes_on.segments}
    again = {s.id: fingerprint(s.identity()) for s in anew.segments}
    trunk = {name for name in again if name.startswith("trunk/")}
    assert {name: marks[name] for name in trunk} == {name: again[name] for name in trunk}
    phases = {name for name in again if name.startswith("runs/upsample")}
    assert phases and not any(marks[name] == again[name] for name in phases)


def test_a_reference_stands_beside_the_control_of_the_longest_duration() -> None:
    r = recipe(phase={**PHASE, "lr": "redecay"})
    reference = ReferenceSpec(model="/m", folder="/m", sha256="0" * 64)
    p = plan(r, [point(r)], Grid(durations=(0.1, 0.2)), facts(), references={"big": reference})
    assert p.runs[-1].control == "control-20/s0"


def test_a_wsd_trunk_that_never_decays_gives_every_duration_its_average_without_a_decay_of_its_own() -> None:
    schedule = {"kind": "wsd", "cooldown": 0.0}
    p = planned(Grid(durations=DURATIONS), {"average": AVERAGE}, schedule=schedule)
    for run in p.runs:
        segment = p.segment(run.segment or "")
        assert segment.kept_steps == (920, 940, 960, 980, 1000)
        assert segment.redecay is None and run.protocol == Protocol(average=Average(last=5, every=20))
    inner = [s for s in p.segments if s.id.startswith("trunk/") and s.end_step < 1000]
    assert inner and all(s.kept_steps == (s.end_step,) for s in inner)


def test_what_is_averaged_determines_the_model_that_is_scored_and_nothing_of_the_trunk_before() -> None:
    plain, mean = (planned(Grid(durations=DURATIONS), more) for more in ({}, {"average": AVERAGE}))
    before, after = ({r.id: r.fingerprint for r in p.runs} for p in (plain, mean))
    assert not set(before.values()) & set(after.values())
    inner = "trunk/s0/700-800"
    assert plain.segment(inner) == mean.segment(inner)


def test_more_checkpoints_than_the_shortest_phase_has_room_for_are_a_recipe_error() -> None:
    with pytest.raises(
        ValidationError, match="6 checkpoints, 20 steps apart, reach back 100 steps; the shortest phase"
    ):
        recipe(phase={**PHASE, "average": {"last": 6, "every": 20}})
    with pytest.raises(RecipeError, match=r"phase\.average upsample-5 has 50 steps; 5 checkpoints, 20 steps apart"):
        planned(Grid(durations=(0.05,)), {"average": AVERAGE})


def test_a_stretch_of_trunk_on_disk_too_short_for_the_average_is_a_recipe_error() -> None:
    r = recipe(phase={**PHASE, "average": AVERAGE})
    cuts = {"trunk/s0": [(0, 700), (700, 800), (800, 900), (900, 950), (950, 1000)]}
    with pytest.raises(RecipeError, match="the last stretch of trunk is trunk/s0/950-1000"):
        plan(r, [point(r)], Grid(durations=DURATIONS), facts(), cuts)


@pytest.mark.parametrize(
    ("key", "phase"),
    [
        ("phase.lr", {"lr": "redecay"}),
        ("phase.average", {"average": AVERAGE}),
        ("phase", {"lr": "redecay"}),
    ],
)
def test_a_protocol_cannot_be_swept(key: str, phase: dict[str, Any]) -> None:
    r = recipe()
    points = [point(r, {key: "x"}), point(recipe(phase={**PHASE, **phase}), {key: "y"})]
    with pytest.raises(RecipeError, match=rf"override '{key}=...' {key}: cannot be swept: a table never mixes"):
        plan(r, points, Grid(durations=DURATIONS), facts())


def test_nor_can_what_says_how_the_lr_rises_after_a_base() -> None:
    base = BaseSpec(kind="hf", path="/b", step=500, sha256="0")

    def swept(key: str, **changes: Any) -> None:
        each = [recipe(base={"hf": "/b", "step": 500}), recipe(**{"base": {"hf": "/b", "step": 500}, **changes})]
        points = [point(r, {key: str(i)}) for i, r in enumerate(each)]
        plan(each[0], points, Grid(durations=DURATIONS), facts(), base=base)

    with pytest.raises(RecipeError, match=r"base\.rewarm: cannot be swept: a table never mixes protocols"):
        swept("base.rewarm", base={"hf": "/b", "step": 500, "rewarm": 10})
    with pytest.raises(RecipeError, match=r"optimizer\.betas: changes over how many steps .* set base\.rewarm"):
        swept("optimizer.betas", optimizer={"lr": 0.005, "betas": [0.9, 0.99]})
    swept("optimizer.lr", optimizer={"lr": 0.006})


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        (Protocol(), "LR goes on · last checkpoint"),
        (Protocol(lr="redecay"), "LR decays anew in each phase · last checkpoint"),
        (
            Protocol(average=Average(last=5, every=20)),
            "LR goes on · mean of the last 5 checkpoints, 20 steps apart",
        ),
        (
            Protocol(optimizer="started anew", rewarm=50),
            "LR goes on · last checkpoint · optimizer started anew, LR rising over 50 steps",
        ),
        (Protocol(optimizer="started anew"), "LR goes on · last checkpoint · optimizer started anew"),
    ],
)
def test_a_protocol_in_words(protocol: Protocol, words: str) -> None:
    assert protocol_words(protocol) == words


def test_the_optimizer_starts_anew_only_from_a_base_without_its_state() -> None:
    from joyctl.campaign.protocol import protocol_of

    phase = recipe().phase
    hf, dcp = (BaseSpec(kind=kind, path="/b", step=5, sha256="0", rewarm=7) for kind in ("hf", "dcp"))
    assert protocol_of(phase, hf) == Protocol(optimizer="started anew", rewarm=7)
    assert protocol_of(phase, dcp) == protocol_of(phase, None) == Protocol()


def prepared(folder: Path, made: Plan) -> Prepared:
    work = compare(made, find(folder, made, sandbox=True))
    return Prepared(folder, made, work, DataFolder(folder, {}, "", 0, "", ""))


def test_the_plan_says_protocol_and_claim_on_screen_and_as_json(tmp_path: Path) -> None:
    made = planned(Grid(durations=DURATIONS, trunk_seeds=2), {"lr": "redecay", "average": AVERAGE})
    out = io.StringIO()
    print_plan(prepared(tmp_path, made), next_command="joyctl sweep", console=Console(file=out, width=160))
    words = "LR decays anew in each phase · mean of the last 5 checkpoints, 20 steps apart"
    assert f"protocol: {words}" in out.getvalue()
    assert "claim: across 2 base runs (differences paired within each)" in out.getvalue()
    assert "averaging keeps 5 checkpoints a run" in out.getvalue()
    told = json.loads(plan_json(prepared(tmp_path, made)))
    assert told["claim"]["about"] == "base runs" and told["claim"]["trunks"] == 2
    assert {run["protocol"]["words"] for run in told["runs"]} == {words}


def test_a_campaign_on_disk_is_not_gone_on_with_under_another_protocol(tmp_path: Path) -> None:
    write_plan(tmp_path, planned(Grid(durations=(0.1,)), {}), "joyctl sweep", {})
    again = prepared(tmp_path, planned(Grid(durations=(0.2,)), {}))
    refuse_drift(again, "joyctl sweep")
    assert not drifted(again)

    anew = prepared(tmp_path, redecaying(Grid(durations=(0.2,))))
    assert not anew.work.refused  # no run of this plan is on disk
    with pytest.raises(Refused, match=r"runs/control/s0 \(and 1 more\) is of another protocol") as error:
        refuse_drift(anew, "joyctl sweep")
    assert error.value.exit_code == 4 and "joyctl sweep campaign=small-2" in (error.value.hint or "")

    aside = replace_drifted(anew)
    assert (aside / "runs/control/s0/run.json").exists() and (aside / "runs/upsample-10/s0/run.json").exists()
    after = prepared(tmp_path, anew.plan)
    refuse_drift(after, "joyctl sweep")
    assert not drifted(after)


def test_what_was_only_scored_with_other_settings_keeps_its_training(tmp_path: Path) -> None:
    old, new = (planned(Grid(durations=(0.2,)), {}, eval={"limit": limit}) for limit in (4, 5))
    write_plan(tmp_path, old, "joyctl sweep", {})
    for segment in old.segments:
        write_json(layout.marker(tmp_path / segment.id, "train"), {})
    for run in old.runs:
        for stage in run.stages:
            write_json(layout.marker(layout.run_folder(tmp_path, run.id), stage), {})
    assert set(prepared(tmp_path, new).work.refused) == {"runs/control/s0", "runs/upsample-20/s0"}
    aside = replace_drifted(prepared(tmp_path, new)) / "runs/upsample-20/s0"
    assert {path.name for path in aside.iterdir()} == {"DONE.eval.json", "DONE.score.json", "run.json"}
    jobs = prepared(tmp_path, new).work.jobs
    assert [(job.folder, job.stage) for job in jobs] == [
        (f"runs/{run}/s0", stage) for run in ("control", "upsample-20") for stage in ("eval", "score")
    ]


def test_the_same_run_under_another_protocol_is_drift_by_the_recipe_s_key(tmp_path: Path) -> None:
    write_plan(tmp_path, planned(Grid(durations=(0.1,)), {}), "joyctl sweep", {})
    with pytest.raises(Refused, match=r"phase\.lr +continue → redecay"):
        refuse_drift(prepared(tmp_path, redecaying(Grid(durations=(0.1,)))), "joyctl sweep")
