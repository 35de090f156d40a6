"""A campaign on this machine: run what is missing, show it live, say where the time went."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import get_args

import typer
from rich.console import Console
from rich.live import Live

from joyctl.campaign.spec import Stage
from joyctl.cli.livescreen import LiveScreen, finished_line
from joyctl.cli.words import note
from joyctl.errors import Interrupted, RunsFailed
from joyctl.launch.board import Board
from joyctl.launch.disk import write_plan
from joyctl.launch.local import run_jobs
from joyctl.launch.prepare import Prepared
from joyctl.recipe.cluster import LocalCluster
from joyctl.store import layout
from joyctl.store.attempts import Price

_VERSIONS = ("joyctl", "torch", "torchtitan", "lm_eval", "transformers", "datasets", "numpy")


def run_here(prepared: Prepared, cluster: LocalCluster, *, command: str, as_json: bool) -> None:
    """Run every job that is missing.

    Raises RunsFailed when some failed and Interrupted when it was stopped; both leave what is done done.
    """
    console = Console(stderr=True, highlight=False)
    name, jobs = prepared.plan.campaign, prepared.work.jobs
    record_plan(prepared, command)
    if not jobs:
        console.print(f"{name}: all {len(prepared.plan.runs)} runs are done, nothing to do.")
        _finish(prepared, None, as_json, console)
        return
    for job in jobs:  # a stage that is to be done again has no marker
        layout.marker(prepared.folder / job.folder, job.stage).unlink(missing_ok=True)
    cores = cluster.cores or len(os.sched_getaffinity(0))
    price = None if cluster.price_per_core_hour is None else Price(cluster.price_per_core_hour, cluster.currency or "")
    board = _watched(prepared, cluster, cores, price, console)
    _finish(prepared, board, as_json, console)


def say_what_is_not_run(prepared: Prepared, unsafe: bool) -> None:
    """Say that generated code stays unexecuted where there is no sandbox for it."""
    from joyctl.evals.sandbox import probe

    if not unsafe and any(run.eval.runs_code for run in prepared.plan.runs) and (why := probe()):
        note(f"generated code will not be run, its scores stay open: no sandbox: {why}; or --unsafe-code")


def record_plan(prepared: Prepared, command: str) -> None:
    """Write specs and campaign.json, with the versions of all that determines numbers."""
    write_plan(prepared.folder, prepared.plan, command, {package: version(package) for package in _VERSIONS})


def _watched(prepared: Prepared, cluster: LocalCluster, cores: int, price: Price | None, console: Console) -> Board:
    """Run the jobs with a live screen, or with plain lines where there is no terminal."""
    run = partial(run_jobs, prepared.folder, prepared.work.jobs, cores=cores, price=price, scaling=cluster.scaling)
    screen = LiveScreen(prepared)
    if not console.is_terminal:
        return run(tick=_plain_lines(prepared, console))
    with Live(console=console, refresh_per_second=4, get_renderable=screen.render) as live:
        last = 0.0

        def tick(board: Board) -> None:
            nonlocal last
            if (now := time.monotonic()) - last >= 0.5:
                screen.update(board)
                live.refresh()
                last = now

        board = run(tick=tick)
        screen.update(board)
    return board


def _plain_lines(prepared: Prepared, console: Console) -> Callable[[Board], None]:
    """A tick that prints one line for every job that started or ended."""
    told: dict[tuple[str, str], str] = {}

    def tick(board: Board) -> None:
        clock = time.strftime("%M:%S", time.gmtime(time.time() - board.started))
        for state in board.jobs:
            if state.state != "waiting" and told.get(state.key) != state.state:
                told[state.key] = state.state
                console.print(f"{clock} {finished_line(state, prepared.folder)}", soft_wrap=True)

    return tick


def _finish(prepared: Prepared, board: Board | None, as_json: bool, console: Console) -> None:
    name = prepared.plan.campaign
    failed = board.with_state("failed") if board else []
    if as_json:
        typer.echo(json.dumps(_outcome(prepared, board)))
    if board is not None:
        console.print(_where_the_time_went(board), soft_wrap=True)
    for state in failed:
        log = prepared.folder / state.job.folder / "log" / f"{state.job.stage}.log"
        console.print(f"failed: {state.job.folder} {state.job.stage}: {state.error}\n  log: {log}", soft_wrap=True)
    if failed:
        blocked = len({s.job.folder for s in board.with_state("blocked")}) if board else 0
        waiting = f"; {blocked} more could not start for it" if blocked else ""
        raise RunsFailed(
            f"{len(failed)} of {len(prepared.work.jobs)} jobs failed{waiting}.",
            hint="Everything else is kept; the same command tries again what failed.",
        )
    if board is not None and board.stopping:
        left = len(board.with_state("stopped"))
        raise Interrupted(f"stopped; {left} jobs left. The same command goes on from there.")
    console.print(f"next:  joyctl report {name}")


def _outcome(prepared: Prepared, board: Board | None) -> dict[str, object]:
    jobs = board.jobs if board else []
    return {
        "campaign": prepared.plan.campaign,
        "folder": str(prepared.folder),
        "runs": [{"id": run.id, "reason": prepared.work.runs[run.id].reason} for run in prepared.plan.runs],
        "jobs": [
            {
                "folder": s.job.folder,
                "stage": s.job.stage,
                "state": s.state,
                "seconds": s.seconds,
                "threads": s.threads,
                "error": s.error,
            }
            for s in jobs
        ],
        "seconds": time.time() - board.started if board else 0.0,
    }


def _where_the_time_went(board: Board) -> str:
    """Wall time, and how much of the cores' time went into each stage."""
    wall = time.time() - board.started
    spent = {stage: sum(s.seconds * s.threads for s in board.jobs if s.job.stage == stage) for stage in get_args(Stage)}
    total = wall * board.cores
    parts = [f"{stage} {seconds / total:.0%}" for stage, seconds in spent.items()]
    idle = max(0.0, 1 - sum(spent.values()) / total)
    done = len(board.with_state("done"))
    minutes, seconds = divmod(round(wall), 60)
    return (
        f"{done} of {len(board.jobs)} jobs done in {minutes}:{seconds:02d} on {board.cores} cores: "
        f"{', '.join(parts)}, waiting {idle:.0%}"
    )
