"""The plan: which runs and segments a grid needs, each trained once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipes_for_tests import SUITE, facts, point, recipe

from joyctl.campaign.compare import Found, compare
from joyctl.campaign.grid import Grid, Point, Probe
from joyctl.campaign.plan import Plan, chain, parameters, plan
from joyctl.campaign.spec import RunSpec, Stage
from joyctl.data.ledger import source_use
from joyctl.errors import RecipeError
from joyctl.recipe.types import Aggregate, Recipe, Suite, SuiteTask
from joyctl.store.fingerprint import fingerprint

SWEEP = Grid(durations=(0.1, 0.2, 0.3))


def planned(grid: Grid = SWEEP, points: list[Point] | None = None, cuts: Any = None, **changes: Any) -> Plan:
    r = recipe(**changes)
    return plan(r, points or [point(r)], grid, facts(), cuts)


def ids(p: Plan) -> list[str]:
    return [s.id for s in p.segments]


def test_the_trunk_is_cut_at_the_branch_points_and_each_phase_is_one_segment() -> None:
    p = planned()
    assert ids(p) == [
        "trunk/s0/0-700",
        "trunk/s0/700-800",
        "trunk/s0/800-900",
        "trunk/s0/900-1000",
        "runs/upsample-10/s0",
        "runs/upsample-20/s0",
        "runs/upsample-30/s0",
    ]
    assert p.segment("runs/upsample-20/s0").parent == "trunk/s0/700-800"
    assert {r.id: r.control for r in p.runs} == {
        "control/s0": None,
        "upsample-10/s0": "control/s0",
        "upsample-20/s0": "control/s0",
        "upsample-30/s0": "control/s0",
    }
    assert next(r.segment for r in p.runs if r.id == "control/s0") == "trunk/s0/900-1000"


def test_a_drop_brings_its_matched_control_and_no_more_trunk_than_it_needs() -> None:
    p = planned(Grid(control=False, drops=(("math",), ("code", "math")), drop_at=(0.2,)))
    assert [(r.id, r.control) for r in p.runs] == [
        ("upsample-20/s0", "control/s0"),
        ("drop-math-20/s0", "upsample-20/s0"),
        ("drop-code+math-20/s0", "upsample-20/s0"),
    ]
    assert max(s.end_step for s in p.segments if s.id.startswith("trunk")) == 800


@pytest.mark.parametrize(
    ("policy", "name", "end"),
    [
        ("renormalise", "drop-math-20", 1_000),
        ("replace:web", "drop-math-20-replace-web", 1_000),
        ("shrink", "drop-math-20-shrink", 926),
    ],
)
def test_the_drop_policy_stands_in_the_name_and_sets_the_length(policy: str, name: str, end: int) -> None:
    run = planned(Grid(drops=(("math",),), drop_at=(0.2,), policy=policy)).runs[-1]
    assert (run.variant, run.policy, run.end_step) == (name, policy, end)
    assert "math" not in run.mix and sum(run.mix.values()) == pytest.approx(1)


def test_sweep_and_ablate_share_every_segment_they_have_in_common() -> None:
    both = planned(Grid(durations=(0.1, 0.2, 0.3), drops=(("math",),), drop_at=(0.2,)))
    apart = {
        s.id: s
        for p in (planned(), planned(Grid(control=False, drops=(("math",),), drop_at=(0.2,))))
        for s in p.segments
    }
    assert apart == {s.id: s for s in both.segments}


def test_what_was_cut_before_is_used_as_it_lies() -> None:
    later = planned(Grid(durations=(0.25,)), cuts={"trunk/s0": [(0, 700), (700, 800), (800, 900), (900, 1000)]})
    assert "trunk/s0/700-750" in ids(later)
    assert [i for i in ids(later) if i.startswith("trunk")] == [
        "trunk/s0/0-700", "trunk/s0/700-750", "trunk/s0/700-800", "trunk/s0/800-900", "trunk/s0/900-1000",
    ]  # fmt: skip


steps = st.integers(1, 60)


@given(st.sets(steps, min_size=1), st.sets(steps), st.integers(1, 60))
def test_a_chain_gives_every_checkpoint_and_starts_only_where_one_is(cut: set[int], old: set[int], last: int) -> None:
    existing = list(zip([0, *sorted(old)], sorted(old), strict=False))
    got = chain(cut, existing, last)
    ends: set[int] = {0}
    for start, end in got:
        assert start in ends and start < end
        ends.add(end)
    assert {p for p in cut if p <= last} <= ends


def test_each_trunk_seed_has_its_own_trunk_and_controls() -> None:
    p = planned(Grid(durations=(0.1,), trunk_seeds=2))
    assert [r.id for r in p.runs] == ["control/s0", "upsample-10/s0", "control/t1s0", "upsample-10/t1s0"]
    assert p.runs[-1].control == "control/t1s0"
    assert p.segment("runs/upsample-10/t1s0").parent == "trunk/s1/800-900"


def test_phase_seeds_share_the_trunk_and_the_control_gets_them_too() -> None:
    p = planned(Grid(durations=(0.1,), phase_seeds=2))
    control = next(r for r in p.runs if r.id == "control/s1")
    assert control.segment == "runs/control/s1" and control.branch_step == 700
    assert len({s.id.rpartition("/")[0] for s in p.segments if s.id.startswith("trunk")}) == 1
    a, b = p.segment("runs/upsample-10/s0"), p.segment("runs/upsample-10/s1")
    assert a.parent == b.parent and fingerprint(a.identity()) != fingerprint(b.identity())


def test_swept_keys_name_the_runs_and_share_the_trunk_where_they_leave_it_alone() -> None:
    def at(web: str) -> Point:
        up = {"web": float(web), "math": 0.37, "code": 0.15, "facts": 0.38}
        mixes = recipe().mixes.model_copy(update={"upsampled": up})
        return point(recipe().model_copy(update={"mixes": mixes}), {"mixes.upsampled.web": web})

    p = planned(Grid(durations=(0.1,)), [at("0.1"), at("0.3")])
    assert [r.id for r in p.runs if r.duration] == [
        "upsample-10,upsampled.web=0.1/s0",
        "upsample-10,upsampled.web=0.3/s0",
    ]
    assert {s.id for s in p.segments if s.id.startswith("trunk")} == {
        "trunk/s0/0-700", "trunk/s0/700-800", "trunk/s0/800-900", "trunk/s0/900-1000",
    }  # fmt: skip
    assert [r.id for r in p.runs if not r.duration] == ["control/s0"]


def test_a_swept_key_of_the_trunk_gets_a_trunk_of_its_own() -> None:
    lr = recipe().optimizer.model_copy(update={"lr": 0.01})
    p = planned(
        Grid(durations=(0.1,)), [point(recipe().model_copy(update={"optimizer": lr}), {"optimizer.lr": "0.01"})]
    )
    assert p.segment("runs/upsample-10,optimizer.lr=0.01/s0").parent == "trunk/s0,optimizer.lr=0.01/800-900"


def test_a_name_that_no_folder_can_have_is_refused_before_anything_is_made() -> None:
    with pytest.raises(RecipeError, match=r"its name would have 256 characters, a folder's has at most 255; sweep"):
        planned(Grid(durations=(0.1,)), [point(recipe(), {"mixes.upsampled": "1" * 228})])


def test_points_that_leave_the_trunk_as_it_is_for_each_other_share_one() -> None:
    def at(eps: float) -> Point:
        return point(recipe(optimizer={"name": "lionw", "lr": 1e-3, "eps": eps}), {"optimizer.eps": str(eps)})

    p = planned(Grid(durations=(0.1,)), [at(1e-8), at(1e-6)])  # LionW has no eps
    assert {s.parent for s in p.segments if s.id.startswith("runs/")} == {"trunk/s0,optimizer.eps=1e-08/800-900"}
    assert len({s.id.rpartition("/")[0] for s in p.segments if s.id.startswith("trunk/")}) == 1
    assert [r.id for r in p.runs if not r.duration] == [f"control,optimizer.eps={e}/s0" for e in ("1e-08", "1e-06")]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (Grid(drops=(("maht",),), drop_at=(0.2,)), "--drop maht unknown source 'maht'; did you mean 'math'?"),
        (Grid(drops=(("math",),), drop_at=(0.2,), policy="replace:wb"), "unknown source 'wb'"),
        (Grid(drops=(("web", "math", "code", "facts"),), drop_at=(0.2,)), "nothing to train on"),
        (Grid(durations=(0.0001,)), "--durations or --at: 0.01 % of 1,000 steps rounds to no step at all"),
        (Grid(drops=(("math",),), drop_at=(0.9999,)), "99.99 % of 1,000 steps rounds to all of them"),
        (
            Grid(probes=(Probe("math", 0.1234561), Probe("math", 0.1234563)), probe_at=(0.2,)),
            "run add-math-12.3456-20: two of what is asked for would have this name",
        ),
        (Grid(durations=(0.2, 0.2001)), "20.01 % of 1,000 steps rounds to 200, as 20 % does"),
        (
            Grid(drops=(("code", "facts", "math"),), drop_at=(0.004,), policy="shrink"),
            "--policy shrink drop-code+facts+math-0.4-shrink would be left without a step",
        ),
    ],
)
def test_a_grid_the_recipe_cannot_serve_is_a_recipe_error(grid: Grid, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        planned(grid)
    assert message in str(error.value) and error.value.exit_code == 3


def test_a_source_too_small_for_one_row_is_named() -> None:
    r = recipe()
    with pytest.raises(RecipeError, match=r"sources\.math: has less than one row"):
        plan(r, [point(r)], SWEEP, facts(tokens={"web": 10**6, "math": 10, "code": 10**6, "facts": 10**6}))


def everything_done(p: Plan) -> dict[str, Found]:
    found = {s.id: Found(segment=s, done=frozenset({"train"}), step=s.end_step) for s in p.segments}
    for r in p.runs:
        folder = f"runs/{r.id}"
        segment = found[folder].segment if folder in found else None
        found[folder] = Found(segment=segment, run=r, done=frozenset({"train", "export", "eval", "score"}))
    return found


def test_nothing_on_disk_means_every_stage_once_in_order() -> None:
    p = planned()
    jobs = compare(p, {}).jobs
    assert len({(j.folder, j.stage) for j in jobs}) == len(jobs) == len(p.segments) + 3 * len(p.runs)
    seen: set[tuple[str, str]] = set()
    for job in jobs:
        assert set(job.needs) <= seen
        seen.add((job.folder, job.stage))


def test_all_done_means_no_job() -> None:
    p = planned()
    work = compare(p, everything_done(p))
    assert work.jobs == () and {d.action for d in work.runs.values()} == {"skip"}


@pytest.mark.parametrize(
    ("done", "stages", "reason"),
    [
        ({"train", "export", "eval"}, ["score"], "trained; generated code not executed"),
        ({"train", "export"}, ["eval", "score"], "trained; scores missing"),
        # What is evaluated anew generates other code: what was executed before does not count.
        ({"train", "export", "score"}, ["eval", "score"], "trained; scores missing"),
        ({"train"}, ["export", "eval", "score"], "trained; export missing"),
    ],
)
def test_what_is_missing_of_a_trained_run_is_all_there_is_to_do(
    done: set[Stage], stages: list[Stage], reason: str
) -> None:
    p = planned()
    found = everything_done(p)
    here, folder = found["runs/upsample-20/s0"], "runs/upsample-20/s0"
    found[folder] = Found(here.segment, here.run, frozenset(done))
    work = compare(p, found)
    needs = [(), *(((folder, before),) for before in stages)]
    assert [(j.folder, j.stage, j.needs) for j in work.jobs] == [
        (folder, stage, need) for stage, need in zip(stages, needs, strict=False)
    ]
    assert (work.runs["upsample-20/s0"].action, work.runs["upsample-20/s0"].reason) == ("resume", reason)


def test_only_a_suite_that_runs_code_has_the_stage_that_does() -> None:
    tasks = tuple(task for task in SUITE.tasks if not task.runs_code)
    without = planned(points=[point(recipe(), suite=SUITE.model_copy(update={"tasks": tasks}))])
    assert {run.stages for run in without.runs} == {("export", "eval")}
    assert "score" not in {job.stage for job in compare(without, {}).jobs}
    half = {folder: replace(f, done=f.done - {"score"}) for folder, f in everything_done(without).items()}
    assert compare(without, half).jobs == ()


def test_a_run_written_before_that_stage_is_no_drift_and_has_it() -> None:
    p = planned()
    found = everything_done(p)
    for folder, here in found.items():
        if here.run is not None:
            kept = here.run.model_dump(mode="json")
            del kept["eval"]["runs_code"]
            found[folder] = replace(here, run=RunSpec.model_validate(kept), done=here.done - {"score"})
    work = compare(p, found)
    assert not work.refused
    assert [(j.folder, j.stage) for j in work.jobs] == [(f"runs/{r.id}", "score") for r in p.runs]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"optimizer": {"lr": 0.006}}, "optimizer.lr"),
        ({"schedule": {"warmup": 0.1}}, "schedule.warmup"),
        ({"mixes": {"base": {"web": 1.0}, "upsampled": recipe().mixes.upsampled}}, "order.phases[0].weights.web"),
        ({"model": {**recipe().model.model_dump(), "dim": 64}}, "model.dim"),
        ({"eval": {"batch_size": 8}}, "eval.batch_size"),
        ({"eval": {"limit": 8}}, "eval.limit"),
        ({"eval": {"backend": "vllm"}}, "eval.backend"),
    ],
)
def test_other_settings_at_the_same_place_are_refused_with_their_keys(changes: dict[str, Any], key: str) -> None:
    before, after = planned(), planned(**changes)
    refused = compare(after, everything_done(before)).refused
    assert refused and all(any(k == key for k, _, _ in d.changes) for d in refused.values())
    assert {r for r in refused if r.startswith("runs/")} >= {f"runs/{r.id}" for r in after.runs}


def test_another_hypothesis_duration_or_name_is_no_drift() -> None:
    before = planned()
    after = planned(hypothesis="another question", phase={"durations": [0.1, 0.2, 0.3, 0.4], "drop_at": [0.2]})
    assert not compare(after, everything_done(before)).refused


def test_where_the_data_lies_is_no_drift_but_other_data_is() -> None:
    r, found = recipe(), everything_done(planned())
    assert not compare(plan(r, [point(r)], SWEEP, facts(folder="/elsewhere")), found).refused
    other = facts(sha256={**facts().sha256, "math": "other"})
    assert compare(plan(r, [point(r)], SWEEP, other), found).refused


def suite(**changes: Any) -> Suite:
    """The tests' suite with settings of its first task changed, or with other keys."""
    first = {key: changes.pop(key) for key in tuple(changes) if key in SuiteTask.model_fields}
    task, *others = SUITE.tasks
    return SUITE.model_copy(update={"tasks": (task.model_copy(update=first), *others), **changes})


def with_suite(changed: Suite, benchmarks: str = "hub") -> Plan:
    return planned(points=[point(recipe(), suite=changed, benchmarks=benchmarks)])


def test_run_json_says_all_that_a_job_needs_of_its_suite() -> None:
    asked = suite(n_shot=5, gold=" {{answer}}", include_path=("/tasks",), heldout=False)
    spec = with_suite(asked, "/bench").runs[0].eval
    assert (spec.tasks, spec.include_path, spec.heldout) == (asked.tasks, ("/tasks",), False)
    assert (spec.data, spec.data_folder, spec.backend, spec.limit) == ("/bench", "/data/small", "hf", None)
    assert RunSpec.model_validate_json(with_suite(asked).runs[0].model_dump_json()) == with_suite(asked).runs[0]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"n_shot": 3}, "eval.tasks[0].n_shot"),
        ({"gold": " {{x}}"}, "eval.tasks[0].gold"),
        ({"max_gen_toks": 9}, "eval.tasks[0].max_gen_toks"),
        ({"heldout": False}, "eval.heldout"),
    ],
)
def test_another_suite_under_the_same_name_is_refused_with_its_keys(changes: dict[str, Any], key: str) -> None:
    refused = compare(with_suite(suite(**changes)), everything_done(with_suite(suite()))).refused
    assert refused and all([k for k, _, _ in d.changes] == [key] for d in refused.values())


def test_the_aggregate_item_counts_and_where_task_files_and_benchmarks_lie_are_no_drift() -> None:
    before = everything_done(with_suite(suite(), "/bench"))
    aggregate = Aggregate(name="average", version=2)
    for_report = {"category": "c", "metric": "acc,none", "baseline": 0.25, "aggregate": aggregate}
    other = suite(**for_report, items=300, clusters=30, include_path=("/x",))
    assert not compare(with_suite(other, "/moved/bench"), before).refused
    assert compare(with_suite(other), before).refused  # the hub's datasets may be others


def test_a_run_json_from_before_suite_files_is_read_and_is_drift() -> None:
    p = planned()
    kept = p.runs[0].model_dump(mode="json")
    kept["eval"] = {key: kept["eval"][key] for key in ("suite", "batch_size", "data_folder", "data_sha256")}
    old = RunSpec.model_validate(kept)
    assert old.stages == ("export", "eval", "score") and old.eval.tasks == ()
    found = everything_done(p)
    found[f"runs/{old.id}"] = replace(found[f"runs/{old.id}"], run=old)
    assert set(compare(p, found).refused) == {f"runs/{old.id}"}


def test_the_ledger_counts_what_trunk_and_phase_show() -> None:
    p = planned()
    run = next(r for r in p.runs if r.variant == "upsample-20")
    use = source_use(p.segment(run.segment), run.branch_step)
    assert sum(u.tokens for u in use.values()) == 128_000
    assert use["math"].seen_before == pytest.approx(0.045 * 0.8 * 128_000, abs=16)
    assert use["math"].tokens == pytest.approx((0.045 * 0.8 + 0.37 * 0.2) * 128_000, abs=32)
    assert use["math"].epochs == pytest.approx(use["math"].tokens / 1_000_000, rel=1e-3)
    assert use["math"].repeated == 0


def test_parameters_are_those_of_the_tiny_model() -> None:
    model = Recipe.model_validate(recipe().model_dump()).model.model_copy(
        update={"dim": 128, "n_layers": 2, "n_heads": 4, "n_kv_heads": 4, "ffn_hidden": 352, "vocab_size": 1024}
    )
    assert parameters(model) == 2 * (4 * 128 * 128 + 3 * 128 * 352 + 2 * 128) + 2 * 1024 * 128 + 128
