"""References in the plan: scored once, trained never, and no other run is touched by them."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipes_for_tests import facts, point, recipe

from joyctl.campaign.compare import Found, Job, Work, compare
from joyctl.campaign.grid import Grid, Point
from joyctl.campaign.plan import Plan, plan
from joyctl.campaign.spec import ReferenceSpec, RunSpec
from joyctl.errors import Refused
from joyctl.launch.disk import find, write_plan
from joyctl.launch.prepare import Prepared, refuse_drift, replace_drifted
from joyctl.launch.slurm.groups import arrays, wants
from joyctl.report.facts import read_facts
from joyctl.report.status import read_status
from joyctl.store import layout
from joyctl.store.files import write_json

TWICE = ReferenceSpec(model="/models/2x", about="twice the tokens", folder="/models/2x", sha256="a" * 64)
OTHER = ReferenceSpec(model="org/name", folder="/hub/snapshots/c", commit="c" * 40)
BOTH = {"twice": TWICE, "other": OTHER}
GRID = Grid(durations=(0.1, 0.2), trunk_seeds=2, phase_seeds=2)


def planned(references: dict[str, ReferenceSpec] = BOTH, points: list[Point] | None = None) -> Plan:
    r = recipe()
    return plan(r, points or [point(r)], GRID, facts(), None, references)


def done(folder: Path, p: Plan) -> None:
    write_plan(folder, p, "joyctl sweep", {})
    for segment in p.segments:
        write_json(layout.marker(folder / segment.id, "train"), {})
    for run in p.runs:
        for stage in run.stages:
            write_json(layout.marker(layout.run_folder(folder, run.id), stage), {})


def compared(folder: Path, p: Plan) -> Work:
    return compare(p, find(folder, p, sandbox=True))


def of(p: Plan, name: str) -> RunSpec:
    return next(run for run in p.runs if run.variant == name)


def test_a_reference_runs_once_whatever_the_seeds_and_is_only_scored() -> None:
    p = planned()
    found = [run for run in p.runs if run.reference is not None]
    assert [run.id for run in found] == ["ref-twice/s0", "ref-other/s0"]
    assert all(run.stages == ("eval", "score") and run.segment is None for run in found)
    assert {run.control for run in found} == {"control/s0"}
    assert found[0].eval == of(p, "control").eval


def test_no_segment_and_no_other_run_knows_of_references() -> None:
    with_them, without = planned(), planned({})
    assert with_them.segments == without.segments
    assert [run for run in with_them.runs if run.reference is None] == list(without.runs)


def test_a_swept_key_of_eval_leaves_them_out_and_any_other_does_not() -> None:
    r = recipe()
    by_limit = [point(r, {"eval.limit": "10"}), point(r, {"eval.limit": "20"})]
    assert not [run for run in planned(points=by_limit).runs if run.reference]
    by_rate = [point(recipe(optimizer={"lr": rate}), {"optimizer.lr": str(rate)}) for rate in (0.001, 0.002)]
    assert len([run for run in planned(points=by_rate).runs if run.reference]) == 2


def test_their_jobs_wait_for_nothing_and_nothing_waits_for_them() -> None:
    jobs = compare(planned(), {}).jobs
    mine = [job for job in jobs if job.reference]
    assert mine == [
        Job("runs/ref-twice/s0", "eval", (), 0, True),
        Job("runs/ref-twice/s0", "score", (("runs/ref-twice/s0", "eval"),), 0, True),
        Job("runs/ref-other/s0", "eval", (), 0, True),
        Job("runs/ref-other/s0", "score", (("runs/ref-other/s0", "eval"),), 0, True),
    ]
    folders = {job.folder for job in mine}
    assert not [job for job in jobs if not job.reference and {need[0] for need in job.needs} & folders]


@pytest.mark.parametrize(
    ("stages", "action", "reason"),
    [
        ((), "run", "not scored yet"),
        (("eval",), "resume", "generated code not executed"),
        (("eval", "score"), "skip", "complete"),
    ],
)
def test_what_of_it_is_done_decides(stages: tuple[str, ...], action: str, reason: str) -> None:
    run = of(planned(), "ref-twice")
    here = {"runs/ref-twice/s0": Found(run=run, done=frozenset(stages))}  # type: ignore[arg-type]
    decision = compare(planned(), here).runs["ref-twice/s0"]
    assert (decision.action, decision.reason) == (action, reason)
    assert compare(planned(), {}).runs["ref-twice/s0"].reason == "new"


def test_another_model_under_the_same_name_is_refused_and_nothing_else_is(tmp_path: Path) -> None:
    done(tmp_path, planned())
    changed = planned({**BOTH, "twice": TWICE.model_copy(update={"sha256": "b" * 64})})
    work = compared(tmp_path, changed)
    assert list(work.refused) == ["runs/ref-twice/s0"] and work.jobs == ()
    assert work.refused["runs/ref-twice/s0"].changes == (("model.sha256", "a" * 64, "b" * 64),)
    prepared = Prepared(tmp_path, changed, work, None)  # type: ignore[arg-type]
    with pytest.raises(Refused) as error:
        refuse_drift(prepared, "joyctl sweep mine.yaml")
    assert "ref-twice/s0 is another model" in str(error.value) and "model.sha256" in str(error.value)
    assert "another name than 'twice'" in str(error.value) and "joyctl sweep mine.yaml --rerun" in str(error.value)
    aside = replace_drifted(prepared)
    assert (aside / "runs/ref-twice/s0/run.json").exists()
    again = compared(tmp_path, changed)
    assert {job.folder for job in again.jobs} == {"runs/ref-twice/s0"}


def test_a_reference_in_the_place_of_the_hub_s_other_commit_is_another_model(tmp_path: Path) -> None:
    done(tmp_path, planned())
    moved = planned({**BOTH, "other": OTHER.model_copy(update={"commit": "d" * 40})})
    assert list(compared(tmp_path, moved).refused) == ["runs/ref-other/s0"]


def test_a_reference_that_was_moved_or_is_told_of_otherwise_is_no_change_and_is_written_down(tmp_path: Path) -> None:
    done(tmp_path, planned())
    moved = TWICE.model_copy(update={"model": "/new", "folder": "/new", "about": "better said"})
    p = planned({**BOTH, "twice": moved})
    assert not compared(tmp_path, p).refused and not compared(tmp_path, p).jobs
    write_plan(tmp_path, p, "joyctl sweep", {})
    kept = RunSpec.model_validate_json((tmp_path / "runs/ref-twice/s0/run.json").read_bytes())
    assert kept.reference == moved and kept == of(p, "ref-twice")


def test_one_taken_out_of_the_recipe_keeps_what_it_has(tmp_path: Path) -> None:
    done(tmp_path, planned())
    fewer = planned({"twice": TWICE})
    assert not compared(tmp_path, fewer).jobs
    write_plan(tmp_path, fewer, "joyctl sweep", {})
    assert "ref-other/s0" in [facts.id for facts in read_facts(tmp_path)]


def test_status_shows_its_two_stages(tmp_path: Path) -> None:
    p = planned()
    write_plan(tmp_path, p, "joyctl sweep", {})
    layout.marker(layout.run_folder(tmp_path, "ref-twice/s0"), "eval").write_text("{}")
    by_id = {status.id: status for status in read_status(tmp_path)}
    assert [(s.stage, s.state) for s in by_id["ref-twice/s0"].stages] == [("eval", "done"), ("score", "pending")]
    assert by_id["ref-other/s0"].current.stage == "eval" and by_id["ref-other/s0"].of_steps is None
    assert [s.stage for s in by_id["control/s0"].stages] == ["export", "eval", "score"]


def test_on_slurm_all_references_are_one_array_that_starts_at_once() -> None:
    wanted = wants(compare(planned(), {}).jobs, {})
    made = arrays(wanted, {}, campaign="small", identity={}, wave=1, code="c", max_size=1000)
    mine = [m for m in made if any("/ref-" in e.folder for e in m.elements.values())]
    assert [(m.kind, [e.folder for e in m.elements.values()]) for m in mine] == [
        ("eval", ["runs/ref-twice/s0", "runs/ref-other/s0"]),
        ("score", ["runs/ref-twice/s0", "runs/ref-other/s0"]),
    ]
    assert [m.dependency for m in mine] == [None, f"aftercorr:{mine[0].name}"]
    assert all(e.stages == ("eval",) for e in mine[0].elements.values())


def test_on_slurm_what_is_done_of_one_is_not_submitted_again() -> None:
    p = planned()
    here = {"runs/ref-twice/s0": Found(run=of(p, "ref-twice"), done=frozenset({"eval"}))}
    wanted = wants([job for job in compare(p, here).jobs if job.reference], {})
    assert [(w.element.folder, w.element.stages, w.need) for w in wanted[:1]] == [
        ("runs/ref-twice/s0", ("score",), None)
    ]
