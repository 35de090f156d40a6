"""`joyctl plan`, `sweep`, `ablate` and `probe`: parse, prepare, show, run."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from typing import TYPE_CHECKING

import typer

from joyctl.cli.asking import Asked, Loaded, command_of, load, prepare_asked
from joyctl.cli.options import (
    Add,
    At,
    Audit,
    Beside,
    Category,
    ClusterName,
    Drop,
    DryRun,
    Durations,
    Each,
    Every,
    NoOverlap,
    Policy,
    ProbeAt,
    ProbeShare,
    Rerun,
    Seeds,
    TrunkSeeds,
    UnsafeCode,
)
from joyctl.cli.words import (
    DEFAULT_DATA,
    DEFAULT_RESULTS,
    DataRoot,
    Json,
    Results,
    Words,
    note,
    shares,
)
from joyctl.errors import Refused

if TYPE_CHECKING:
    from joyctl.launch.prepare import Prepared
    from joyctl.recipe.cluster import Cluster


def plan(
    words: Words = None,
    durations: Durations = None,
    drop: Drop = None,
    each: Each = False,
    category: Category = None,
    at: At = None,
    policy: Policy = None,
    seeds: Seeds = None,
    trunk_seeds: TrunkSeeds = None,
    every: Every = False,
    audit: Audit = False,
    cluster: ClusterName = "local",
    results: Results = DEFAULT_RESULTS,
    data: DataRoot = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Show what would run and why: branch points, LR there, tokens and epochs by source, memory and time there."""
    from joyctl.cli.fitting import require_fit
    from joyctl.recipe.load import load_cluster_file

    # Of the million small objects of a large plan none is garbage; looking among them took a third of the time.
    gc.disable()
    asked = Asked(
        "sweep", words, results, data, as_json, drop, each, at, policy, seeds, trunk_seeds, durations, category
    )
    found_cluster, loaded = load_cluster_file(cluster), load(asked)
    require_fit(found_cluster, (point.recipe for point in loaded.points))
    _show(prepare_asked(loaded, asked, planning=True), asked, found_cluster.value, every=every, audit=audit)
    if "torch" not in sys.modules:  # a base was read: its bindings would report as leaked what nobody looks through
        gc.freeze()  # nor does the end of the process look through them


def sweep(
    words: Words = None,
    durations: Durations = None,
    drop: Drop = None,
    each: Each = False,
    category: Category = None,
    at: At = None,
    policy: Policy = None,
    seeds: Seeds = None,
    trunk_seeds: TrunkSeeds = None,
    cluster: ClusterName = "local",
    dry_run: DryRun = False,
    rerun: Rerun = False,
    unsafe_code: UnsafeCode = False,
    no_overlap: NoOverlap = False,
    results: Results = DEFAULT_RESULTS,
    data: DataRoot = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Run the grid of durations (and of swept keys, and drops if given): train, export, score."""
    asked = Asked(
        "sweep", words, results, data, as_json, drop, each, at, policy, seeds, trunk_seeds, durations, category
    )
    _run(asked, cluster, dry_run=dry_run, rerun=rerun, unsafe=unsafe_code, overlap=not no_overlap)


def ablate(
    words: Words = None,
    drop: Drop = None,
    each: Each = False,
    category: Category = None,
    at: At = None,
    policy: Policy = None,
    seeds: Seeds = None,
    trunk_seeds: TrunkSeeds = None,
    cluster: ClusterName = "local",
    dry_run: DryRun = False,
    rerun: Rerun = False,
    unsafe_code: UnsafeCode = False,
    no_overlap: NoOverlap = False,
    results: Results = DEFAULT_RESULTS,
    data: DataRoot = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Leave sources out of the phase, each beside its matched control (nothing left out)."""
    if not drop and not each:
        raise typer.BadParameter("say what to leave out: --drop SOURCE (repeatable) or --each")
    asked = Asked("ablate", words, results, data, as_json, drop, each, at, policy, seeds, trunk_seeds, None, category)
    _run(asked, cluster, dry_run=dry_run, rerun=rerun, unsafe=unsafe_code, overlap=not no_overlap)


def probe(
    words: Words = None,
    add: Add = None,
    share: ProbeShare = "30",
    beside: Beside = "base",
    at: ProbeAt = None,
    seeds: Seeds = None,
    trunk_seeds: TrunkSeeds = None,
    cluster: ClusterName = "local",
    dry_run: DryRun = False,
    rerun: Rerun = False,
    unsafe_code: UnsafeCode = False,
    no_overlap: NoOverlap = False,
    results: Results = DEFAULT_RESULTS,
    data: DataRoot = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """What is a new dataset worth? A phase on some of it beside the base mix or one source, against its control."""
    if not add:
        raise typer.BadParameter("say which dataset: --add SOURCE (repeatable)")
    from joyctl.campaign.grid import Probe

    found = shares(share, "--share", "share") or ()
    rest = None if beside == "base" else beside
    probes = tuple(Probe(source, part, rest) for source in dict.fromkeys(add) for part in found)
    asked = Asked("probe", words, results, data, as_json, None, False, at, None, seeds, trunk_seeds, probes=probes)
    _run(asked, cluster, dry_run=dry_run, rerun=rerun, unsafe=unsafe_code, overlap=not no_overlap)


def _show(prepared: Prepared, asked: Asked, cluster: Cluster, *, every: bool = False, audit: bool = False) -> None:
    """The plan; with `audit` every check with checksums, and exit code 4 where one failed."""
    from joyctl.cli.planjson import plan_json
    from joyctl.cli.planscreen import print_plan

    checked = None
    if audit:
        from joyctl.cli.auditscreen import audit_json, print_audit
        from joyctl.launch.audit import audit_campaign

        checked = audit_campaign(prepared, digests=True)
    if asked.as_json:
        typer.echo(plan_json(prepared, cluster, None if checked is None else audit_json(checked)))
    else:
        print_plan(prepared, next_command=command_of(asked), cluster=cluster, every=every)
        for said in prepared.shared.damaged:
            note(said)
    if checked is not None:
        if not asked.as_json:
            print_audit(prepared, checked)
        if any(each.level == "failure" for each in checked):
            raise typer.Exit(Refused.exit_code)


def _run(
    asked: Asked, cluster_name: str, *, dry_run: bool, rerun: bool, unsafe: bool, overlap: bool
) -> None:  # fmt: skip
    from joyctl.cli.auditscreen import audit_or_refuse, set_aside_unfit
    from joyctl.cli.fitting import require_fit, require_trackers
    from joyctl.cli.overlap import check_before
    from joyctl.data.stated import lacks_data, nothing_to_train_on
    from joyctl.evals.sandbox import UNSAFE
    from joyctl.launch.prepare import drifted, fetch_models, refuse_drift, share_trunks
    from joyctl.recipe.load import load_cluster_file
    from joyctl.store.campaign import campaign_lock, read_campaign_json

    found_cluster, loaded = load_cluster_file(cluster_name), load(asked)
    require_fit(found_cluster, (point.recipe for point in loaded.points))
    cluster = found_cluster.value
    slurm = cluster.kind == "slurm"
    if unsafe:
        note("no sandbox: generated programs will run with the permissions of whoever runs the jobs")
        os.environ[UNSAFE] = "1"
        if cluster.kind == "slurm":
            cluster = cluster.model_copy(update={"env": {**cluster.env, UNSAFE: "1"}})
    if dry_run:
        prepared = prepare_asked(loaded, asked, on_nodes=slurm, planning=True)
        if cluster.kind == "slurm":
            from joyctl.cli.queueing import show_scripts

            if not asked.as_json:
                _show(prepared, asked, cluster)
            show_scripts(prepared, cluster, as_json=asked.as_json)
        else:
            _show(prepared, asked, cluster)
        audit_or_refuse(prepared)
        return
    require_trackers(found_cluster)
    found = None
    if lacks_data(loaded.recipe, asked.data):
        if slurm or loaded.recipe.data.tokenizer is None:
            raise nothing_to_train_on(loaded.recipe, asked.data, cluster_name if slurm else None)
        from joyctl.cli.building import build_here

        build_here(loaded.recipe, asked.data)
    if cluster.kind == "slurm":  # before anything is made
        from joyctl.cli.queueing import ask

        found = ask(cluster, cluster_name)
    else:
        _warm_up_while_making_data(loaded, asked)
    prepared = prepare_asked(loaded, asked, on_nodes=slurm)
    if not rerun:
        refuse_drift(prepared, command_of(asked))
    command = shlex.join(["joyctl", *sys.argv[1:]])
    known = read_campaign_json(prepared.folder) is not None
    with campaign_lock(prepared.folder):
        if not slurm or rerun:
            _refuse_live(prepared, rerun)
        if rerun and (drifted(prepared) or known):
            set_aside_unfit(prepared)
        if known or read_campaign_json(prepared.folder) is not None:
            # Again under the lock: another process may have finished something since.
            prepared = prepare_asked(loaded, asked, on_nodes=slurm)
            refuse_drift(prepared, command_of(asked))
        prepared = fetch_models(prepared, note)
        audit_or_refuse(prepared)
        if overlap:
            check_before(prepared, loaded, asked, cluster=cluster_name if slurm else None)
        prepared = share_trunks(prepared, note)
        if cluster.kind == "slurm":
            from joyctl.cli.queueing import run_on_slurm

            assert found is not None
            run_on_slurm(prepared, cluster, cluster_name, found, command=command, again=_again(), as_json=asked.as_json)
        else:
            from joyctl.cli.running import run_here, say_what_is_not_run

            say_what_is_not_run(prepared, unsafe)
            run_here(prepared, cluster, command=command, as_json=asked.as_json)


def _warm_up_while_making_data(loaded: Loaded, asked: Asked) -> None:
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
