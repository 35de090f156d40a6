"""A plan on disk: specs are written once, found again, and set aside when they are to be replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recipes_for_tests import SUITE, facts, point, recipe

from joyctl.campaign.compare import compare
from joyctl.campaign.grid import Grid
from joyctl.campaign.plan import Plan, plan
from joyctl.campaign.spec import RunSpec
from joyctl.errors import Missing, Refused
from joyctl.evals.answers import ANSWERS
from joyctl.launch.disk import find, last_metrics, set_aside, trunk_cuts, write_plan
from joyctl.store import layout
from joyctl.store.campaign import campaign_lock
from joyctl.store.files import append_line, read_lines, write_json

GRID = Grid(durations=(0.1, 0.2))


def planned(folder: Path, lr: float = 0.005) -> Plan:
    r = recipe(optimizer={"lr": lr})
    return plan(r, [point(r)], GRID, facts(), trunk_cuts(folder))


def done(folder: Path, p: Plan) -> None:
    for segment in p.segments:
        write_json(layout.marker(folder / segment.id, "train"), {})
    for run in p.runs:
        for stage in run.stages:
            write_json(layout.marker(layout.run_folder(folder, run.id), stage), {})


def test_a_plan_written_and_done_is_found_complete(tmp_path: Path) -> None:
    p = planned(tmp_path)
    write_plan(tmp_path, p, "joyctl sweep", {})
    assert len(compare(p, find(tmp_path, p, sandbox=True)).jobs) == len(p.segments) + 3 * len(p.runs)
    done(tmp_path, p)
    again = planned(tmp_path)
    assert again == p and compare(again, find(tmp_path, again, sandbox=True)).jobs == ()


def test_campaign_json_adds_up_what_was_asked_for(tmp_path: Path) -> None:
    write_plan(tmp_path, planned(tmp_path), "joyctl sweep", {"joyctl": "0"})
    r = recipe()
    more = plan(r, [point(r)], Grid(control=False, drops=(("math",),), drop_at=(0.2,)), facts(), trunk_cuts(tmp_path))
    write_plan(tmp_path, more, "joyctl ablate --drop math", {"joyctl": "0"})
    kept = json.loads((tmp_path / layout.CAMPAIGN).read_text())
    assert kept["runs"] == ["control/s0", "upsample-10/s0", "upsample-20/s0", "drop-math-20/s0"]
    assert kept["commands"] == ["joyctl sweep", "joyctl ablate --drop math"]


def test_what_other_settings_made_is_set_aside_whole_and_done_anew(tmp_path: Path) -> None:
    old = planned(tmp_path)
    write_plan(tmp_path, old, "joyctl sweep", {})
    done(tmp_path, old)
    new = planned(tmp_path, lr=0.004)
    refused = compare(new, find(tmp_path, new, sandbox=True)).refused
    assert set(refused) == {s.id for s in new.segments} | {f"runs/{r.id}" for r in new.runs}
    aside = set_aside(tmp_path, ["trunk/s0", *(f"runs/{r.id}" for r in new.runs)])
    assert (aside / "trunk/s0/0-700" / layout.SEGMENT).exists()
    anew = planned(tmp_path, lr=0.004)
    assert not compare(anew, find(tmp_path, anew, sandbox=True)).refused
    assert json.loads((tmp_path / layout.CAMPAIGN).read_text())["runs"] == []


def test_a_score_left_out_for_want_of_a_sandbox_is_made_up_for_when_there_is_one(tmp_path: Path) -> None:
    p = planned(tmp_path)
    write_plan(tmp_path, p, "joyctl sweep", {})
    done(tmp_path, p)
    task = tmp_path / "runs/control/s0/eval/programs"
    write_json(task / ANSWERS, {})
    write_json(task / "results.json", {"task": "programs", "status": "not run"})
    assert compare(p, find(tmp_path, p, sandbox=False)).jobs == ()
    jobs = compare(p, find(tmp_path, p, sandbox=True)).jobs
    assert [(j.folder, j.stage) for j in jobs] == [("runs/control/s0", "score")]


@pytest.mark.parametrize("text", ['{"status": "not run"}', '{"status": '])
def test_results_that_cannot_be_made_of_responses_are_evaluated_again(tmp_path: Path, text: str) -> None:
    p = planned(tmp_path)
    write_plan(tmp_path, p, "joyctl sweep", {})
    done(tmp_path, p)
    task = tmp_path / "runs/control/s0/eval/programs"
    task.mkdir(parents=True)
    (task / "results.json").write_text(text, encoding="utf-8")
    for sandbox in (False, True):
        jobs = compare(p, find(tmp_path, p, sandbox=sandbox)).jobs
        assert [(j.folder, j.stage) for j in jobs] == [("runs/control/s0", "eval"), ("runs/control/s0", "score")]


def test_damaged_results_without_programs_are_evaluated_again_whatever_else_lies_there(
    tmp_path: Path,
) -> None:
    p = planned(tmp_path)
    write_plan(tmp_path, p, "joyctl sweep", {})
    done(tmp_path, p)
    task = tmp_path / "runs/control/s0/eval/choices"
    write_json(task / ANSWERS, {})
    (task / "results.json").write_text('{"status": ', encoding="utf-8")
    jobs = compare(p, find(tmp_path, p, sandbox=True)).jobs
    assert [(j.folder, j.stage) for j in jobs] == [("runs/control/s0", "eval"), ("runs/control/s0", "score")]


def test_what_of_scoring_is_no_drift_is_brought_up_to_date(tmp_path: Path) -> None:
    p = planned(tmp_path)
    write_plan(tmp_path, p, "joyctl sweep", {})
    done(tmp_path, p)
    r = recipe(optimizer={"lr": 0.005})
    suite = SUITE.model_copy(update={"tasks": tuple(t.model_copy(update={"category": "all"}) for t in SUITE.tasks)})
    moved = plan(
        r,
        [point(r, suite=suite)],
        GRID,
        facts(folder="/moved"),
        trunk_cuts(tmp_path),
    )
    assert compare(moved, find(tmp_path, moved, sandbox=True)).jobs == ()
    write_plan(tmp_path, moved, "joyctl sweep", {})
    kept = RunSpec.model_validate_json((tmp_path / "runs/control/s0" / layout.RUN).read_bytes())
    assert kept == moved.runs[0]
    assert (kept.eval.data_folder, kept.eval.tasks[0].category) == ("/moved", "all")


def test_a_damaged_spec_is_refused_by_name(tmp_path: Path) -> None:
    p = planned(tmp_path)
    write_plan(tmp_path, p, "joyctl sweep", {})
    (tmp_path / "trunk/s0/0-700" / layout.SEGMENT).write_text("{", encoding="utf-8")
    with pytest.raises(Refused, match=r"trunk/s0/0-700/segment\.json is damaged"):
        find(tmp_path, p, sandbox=True)


def test_a_torn_line_spoils_nothing_but_itself(tmp_path: Path) -> None:
    path = tmp_path / layout.METRICS
    path.write_text('{"step": 1}\n{"step": 2}\n{"st', encoding="utf-8")
    assert last_metrics(tmp_path) == {"step": 2}
    append_line(path, {"step": 3})
    assert [line["step"] for line in read_lines(path)] == [1, 2, 3]


def test_a_campaign_is_held_by_one_process(tmp_path: Path) -> None:
    with (
        campaign_lock(tmp_path),
        pytest.raises(Refused, match="is being worked on by process"),
        campaign_lock(tmp_path),
    ):
        pass
    with campaign_lock(tmp_path):
        pass
    (tmp_path / "file").touch()
    for folder, why in (("file", "File exists"), ("file/small", "Not a directory")):
        with pytest.raises(Missing, match=f"{folder} cannot be made: {why}"), campaign_lock(tmp_path / folder):
            pass
