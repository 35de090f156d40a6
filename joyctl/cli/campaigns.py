"""`joyctl plan`, `sweep` and `ablate`: parse, prepare, show, run."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joyctl.cli.words import (
    DEFAULT_DATA,
    DEFAULT_RESULTS,
    DataRoot,
    Json,
    Results,
    Words,
    check_policy,
    note,
    shares,
    split_words,
)
from joyctl.errors import Problem, RecipeError

if TYPE_CHECKING:
    from joyctl.campaign.grid import Grid, Point
    from joyctl.launch.prepare import Prepared
    from joyctl.recipe.types import Recipe

Durations = Annotated[
    str | None, typer.Option("--durations", help="Percent of all steps, such as 5,10,20 (the recipe's).")
]
Seeds = Annotated[int | None, typer.Option("--seeds", min=1, help="Data orders of the phase in each trunk.")]
TrunkSeeds = Annotated[int | None, typer.Option("--trunk-seeds", min=1, help="Base runs, a seed each.")]
Drop = Annotated[list[str] | None, typer.Option("--drop", help="Leave a source out; A+B leaves both out. Repeatable.")]
Each = Annotated[bool, typer.Option("--each", help="Leave out each source of the upsampled mix in turn.")]
At = Annotated[str | None, typer.Option("--at", help="Percent of all steps at which to drop (the recipe's).")]
Policy = Annotated[
    str | None, typer.Option("--policy", help="The dropped share: renormalise | replace:SOURCE | shrink.")
]
ClusterName = Annotated[str, typer.Option("--cluster", help="Where to run: a cluster's name or file.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would run; train nothing.")]
Rerun = Annotated[bool, typer.Option("--rerun", help="Set aside and redo what other settings made.")]
UnsafeCode = Annotated[
    bool,
    typer.Option("--unsafe-code", help="Execute generated code without a sandbox: it can do what you can."),
]


@dataclass(frozen=True)
class _Asked:
    """The options of one call."""

    command: str
    words: list[str] | None
    results: Path
    data: Path
    as_json: bool
    drop: list[str] | None
    each: bool
    at: str | None
    policy: str | None
    seeds: int | None
    trunk_seeds: int | None
    durations: str | None = None


def plan(
    words: Words = None,
    durations: Durations = None,
    drop: Drop = None,
    each: Each = False,
    at: At = None,
    policy: Policy = None,
    seeds: Seeds = None,
    trunk_seeds: TrunkSeeds = None,
    results: Results = DEFAULT_RESULTS,
    data: DataRoot = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Show what would run and why: branch points, LR there, tokens and epochs by source."""
    asked = _Asked("sweep", words, results, data, as_json, drop, each, at, policy, seeds, trunk_seeds, durations)
    _show(_prepare(_load(asked), asked), asked)


def sweep(
    words: Words = None,
    durations: Durations = None,
    drop: Drop = None,
    each: Each = False,
    at: At = None,
    policy: Policy = None,
    seeds: Seeds = None,
    trunk_seeds: TrunkSeeds = None,
    cluster: ClusterName = "local",
    dry_run: DryRun = False,
    rerun: Rerun = False,
    unsafe_code: UnsafeCode = False,
    results: Results = DEFAULT_RESULTS,
    data: DataRoot = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Run the grid of durations (and of swept keys, and drops if given): train, export, score."""
    asked = _Asked("sweep", words, results, data, as_json, drop, each, at, policy, seeds, trunk_seeds, durations)
    _run(asked, cluster, dry_run=dry_run, rerun=rerun, unsafe=unsafe_code)


def ablate(
    words: Words = None,
    drop: Drop = None,
    each: Each = False,
    at: At = None,
    policy: Policy = None,
    seeds: Seeds = None,
    trunk_seeds: TrunkSeeds = None,
    cluster: ClusterName = "local",
    dry_run: DryRun = False,
    rerun: Rerun = False,
    unsafe_code: UnsafeCode = False,
    results: Results = DEFAULT_RESULTS,
    data: DataRoot = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Leave sources out of the phase, each beside its matched control (nothing left out)."""
    if not drop and not each:
        raise typer.BadParameter("say what to leave out: --drop SOURCE (repeatable) or --each")
    asked = _Asked("ablate", words, results, data, as_json, drop, each, at, policy, seeds, trunk_seeds)
    _run(asked, cluster, dry_run=dry_run, rerun=rerun, unsafe=unsafe_code)


def _grid(recipe: Recipe, asked: _Asked) -> Grid:
    from joyctl.campaign.grid import Grid

    drops = [tuple(sorted(set(word.split("+")))) for word in asked.drop or []]
    if asked.each:
        drops += [(name,) for name, weight in recipe.mixes.upsampled.items() if weight]
    sweeping = asked.command == "sweep"
    durations = shares(asked.durations, "--durations") or recipe.phase.durations
    return Grid(
        control=sweeping,
        durations=durations if sweeping else (),
        drops=tuple(dict.fromkeys(drops)),
        drop_at=shares(asked.at, "--at") or recipe.phase.drop_at,
        policy=check_policy(asked.policy) or recipe.phase.policy,
        trunk_seeds=asked.trunk_seeds or recipe.seeds.trunk,
        phase_seeds=asked.seeds or recipe.seeds.phase,
    )


@dataclass(frozen=True)
class _Loaded:
    """A recipe with its swept points and the grid asked for."""

    recipe: Recipe
    points: list[Point]
    grid: Grid


def _load(asked: _Asked) -> _Loaded:
    from joyctl.campaign.grid import Point
    from joyctl.recipe.load import load_recipe, load_recipe_grid
    from joyctl.recipe.suite import bench_data

    name, overrides = split_words(asked.words)
    found = load_recipe_grid(name, overrides)
    points = [Point(p.recipe, p.changed, p.suite, bench_data(p.recipe.eval.data)) for p in found]
    # With swept keys the campaign's own recipe is the one without them: what they are measured against.
    swept = set(points[0].changed)
    for key in sorted(swept & {"campaign", "name", "hypothesis"}):
        raise RecipeError([Problem(f"override '{key}=...'", key, "cannot be swept: a sweep is one campaign")])
    plain = [o for o in overrides if o.partition("=")[0].lstrip("+") not in swept]
    recipe = load_recipe(name, plain) if swept else points[0].recipe
    return _Loaded(recipe, points, _grid(recipe, asked))


def _prepare(loaded: _Loaded, asked: _Asked, *, on_nodes: bool = False) -> Prepared:
    from joyctl.evals.sandbox import UNSAFE, probe
    from joyctl.launch.prepare import prepare

    return prepare(
        loaded.recipe,
        loaded.points,
        loaded.grid,
        results=asked.results,
        data_root=asked.data,
        notify=note,
        # Whether nodes have one, joyctl doctor finds out.
        sandbox=on_nodes or os.environ.get(UNSAFE) == "1" or probe() is None,
    )


def _show(prepared: Prepared, asked: _Asked) -> None:
    from joyctl.cli.planscreen import plan_json, print_plan

    if asked.as_json:
        typer.echo(plan_json(prepared))
    else:
        print_plan(prepared, next_command=_command(asked))


def _run(asked: _Asked, cluster_name: str, *, dry_run: bool, rerun: bool, unsafe: bool) -> None:
    from joyctl.evals.sandbox import UNSAFE
    from joyctl.launch.prepare import drifted, fetch_references, refuse_drift, replace_drifted
    from joyctl.recipe.load import load_cluster
    from joyctl.store.campaign import campaign_lock, read_campaign_json

    cluster, loaded = load_cluster(cluster_name), _load(asked)
    slurm = cluster.kind == "slurm"
    if unsafe:
        note("no sandbox: generated programs will run with the permissions of whoever runs the jobs")
        os.environ[UNSAFE] = "1"
        if cluster.kind == "slurm":
            cluster = cluster.model_copy(update={"env": {**cluster.env, UNSAFE: "1"}})
    if dry_run:
        prepared = _prepare(loaded, asked, on_nodes=slurm)
        if cluster.kind == "slurm":
            from joyctl.cli.queueing import show_scripts

            if not asked.as_json:
                _show(prepared, asked)
            show_scripts(prepared, cluster, as_json=asked.as_json)
        else:
            _show(prepared, asked)
        return
    found = None
    if cluster.kind == "slurm":  # before anything is made
        from joyctl.cli.queueing import ask

        found = ask(cluster, cluster_name)
    else:
        _warm_up_while_making_data(loaded, asked)
    prepared = _prepare(loaded, asked, on_nodes=slurm)
    if not rerun:
        refuse_drift(prepared, _command(asked))
    command = shlex.join(["joyctl", *sys.argv[1:]])
    known = read_campaign_json(prepared.folder) is not None
    with campaign_lock(prepared.folder):
        if not slurm or rerun:
            _refuse_live(prepared, rerun)
        if rerun and drifted(prepared):
            note(f"set aside in {replace_drifted(prepared)}")
        if known or read_campaign_json(prepared.folder) is not None:
            # Again under the lock: another process may have finished something since.
            prepared = _prepare(loaded, asked, on_nodes=slurm)
            refuse_drift(prepared, _command(asked))
        prepared = fetch_references(prepared, note)
        if cluster.kind == "slurm":
            from joyctl.cli.queueing import run_on_slurm

            assert found is not None
            run_on_slurm(prepared, cluster, cluster_name, found, command=command, again=_again(), as_json=asked.as_json)
        else:
            from joyctl.cli.running import run_here

            _say_what_is_not_run(prepared, unsafe)
            run_here(prepared, cluster, command=command, as_json=asked.as_json)


def _say_what_is_not_run(prepared: Prepared, unsafe: bool) -> None:
    from joyctl.evals.sandbox import probe

    if not unsafe and any(run.eval.runs_code for run in prepared.plan.runs) and (why := probe()):
        note(f"generated code will not be run, its scores stay open: no sandbox: {why}; or --unsafe-code")


def _warm_up_while_making_data(loaded: _Loaded, asked: _Asked) -> None:
    from joyctl.data.build import data_folder_for
    from joyctl.launch.local import warm_up

    if not data_folder_for(loaded.recipe, asked.data).exists():
        warm_up()  # the imports of training and scoring go on while the data is made


def _refuse_live(prepared: Prepared, rerun: bool) -> None:
    """Raise Refused when jobs on Slurm are still to work in these folders."""
    from joyctl.errors import Missing, Refused
    from joyctl.launch.slurm.campaign import live_stages
    from joyctl.launch.slurm.client import NoAnswer, call

    name = prepared.plan.campaign
    try:
        live = live_stages(prepared.folder, call)
    except NoAnswer:
        raise
    except Missing as error:
        raise Refused(
            f"jobs of {name} were submitted to Slurm, which cannot be asked here: {error.message}",
            hint=f"Go on where it can, or, if none of them can still run, remove {prepared.folder / 'slurm'}.",
        ) from error
    if live:
        jobs = len({each.job for each in live.values()})
        what = "set aside what they work on" if rerun else "run here as well"
        raise Refused(
            f"{jobs} jobs of {name} are in Slurm's queue; it would be wrong to {what}",
            hint=f"Wait for them (joyctl status {name}), or take them back (joyctl cancel).",
        )


def _again() -> list[str]:
    """The words of this command for a job that submits the rest: never one that sets results aside."""
    return [word for word in sys.argv[1:] if word not in ("--rerun", "--json")]


def _command(asked: _Asked) -> str:
    """The command a person would paste to run what was asked."""
    words = [w for w in sys.argv[2:] if w not in ("--dry-run", "--json", "--rerun")]
    return shlex.join(["joyctl", asked.command, *words])
