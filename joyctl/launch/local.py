"""Runs jobs as local processes: graph order, longest way first, warm workers, clean stop.

Importing torch, torchtitan and lm-eval anew would cost every job of a small campaign ten seconds, so
jobs are forked from a server process that has done the imports once.
"""

from __future__ import annotations

import ctypes
import graphlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from joyctl.campaign.compare import Job
from joyctl.campaign.spec import Stage
from joyctl.errors import Interrupted, JoyctlError
from joyctl.launch.board import Board, JobState
from joyctl.recipe.scaling import PLAIN, Scaling
from joyctl.store.attempts import Price, words

STAGE_COST: dict[Stage, int] = {"train": 0, "export": 20, "eval": 150, "score": 30}
"""What a job costs in units of one optimizer step of a small model, besides its steps: for the order of starting, and
for an estimate of the time left."""
_TICK_SECONDS = 0.25
# A job that is asked to stop saves a checkpoint; one that has not ended by then is killed.
_STOP_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1


@dataclass
class _Running:
    state: JobState
    process: ForkServerProcess
    messages: Connection
    asked: float | None = None
    """When it was asked to stop."""


def warm_up() -> None:
    """Start the fork server and its imports now, while this process does something else."""
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["joyctl.train.preload", "joyctl.evals.preload"])
    forkserver.ensure_running()


def run_jobs(
    campaign: Path,
    jobs: Sequence[Job],
    *,
    cores: int,
    tick: Callable[[Board], None] = lambda board: None,
    price: Price | None = None,
    scaling: Scaling = PLAIN,
) -> Board:
    """Run `jobs` until all are done, failed or blocked by a failure; gives the final board.

    `tick` is called a few times a second, `price` is of an hour of one core, `scaling` is how the cluster file has
    training run. On SIGINT or SIGTERM nothing new starts, running jobs save and stop, and the board is given back with
    `stopping` set.
    """
    board = Board.of(jobs, cores)
    urgency = _urgency(jobs)
    states = {state.key: state for state in board.jobs}
    graph = graphlib.TopologicalSorter({(j.folder, j.stage): set(j.needs) for j in jobs})
    graph.prepare()
    ready: list[JobState] = []
    running: list[_Running] = []
    warm_up()
    with _stop_signals(board):
        while True:
            ready += [states[key] for key in graph.get_ready()]
            # Nothing waits for a reference: it takes cores that are left over, and no other job gets fewer for it.
            ready.sort(key=lambda s: (s.job.reference, -urgency[s.key]))
            while ready and not board.stopping:
                free = cores - sum(r.state.threads for r in running)
                if free < 1:
                    break
                others = sum(not s.job.reference for s in ready[1:])
                running.append(_start(campaign, ready.pop(0), max(1, free // (others + 1)), price, scaling))
            if not running:
                break
            tick(board)
            _collect(running, board, graph.done)
    for state in board.with_state("waiting"):
        state.state = "stopped" if board.stopping else "blocked"
    tick(board)
    return board


def _start(campaign: Path, state: JobState, threads: int, price: Price | None, scaling: Scaling) -> _Running:
    # Scores are computed on one thread whatever is free: sums over threads may differ in the last digit. Generated
    # programs are executed one at a time: they are stopped by the clock, so a core for each.
    state.threads = threads if state.job.stage == "train" else 1
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_child, args=(str(campaign / state.job.folder), state.job.stage, state.threads, price, scaling, theirs)
    )
    process.start()
    theirs.close()
    state.state, state.started = "running", time.time()
    return _Running(state, process, ours)


def _collect(running: list[_Running], board: Board, done: Callable[..., None]) -> None:
    """Wait a moment for news; take what ended off `running`."""
    wait([r.process.sentinel for r in running] + [r.messages for r in running], timeout=_TICK_SECONDS)
    for job in list(running):
        _read_messages(job)
        if board.stopping:
            _stop(job)
        if job.process.exitcode is None:
            continue
        _read_messages(job)
        running.remove(job)
        job.messages.close()
        job.state.seconds = time.time() - (job.state.started or 0.0)
        if job.process.exitcode == 0:
            job.state.state = "done"
            done(job.state.key)
        elif job.process.exitcode == Interrupted.exit_code or (job.asked and job.process.exitcode < 0):
            job.state.state = "stopped"
        else:
            job.state.state = "failed"
            job.state.error = job.state.error or _cause(job.process.exitcode)
        job.process.close()


def _read_messages(job: _Running) -> None:
    try:
        while job.messages.poll():
            kind, value = job.messages.recv()
            if kind == "progress":
                job.state.progress = value
            else:
                job.state.error = value
    except (EOFError, OSError):
        return


def _stop(job: _Running) -> None:
    if job.process.exitcode is not None:
        return
    if job.asked is None:
        job.asked = time.time()
        job.process.terminate()
    elif time.time() - job.asked > _STOP_SECONDS:
        job.process.kill()


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"ended with exit code {exitcode}"


@contextmanager
def _stop_signals(board: Board) -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        board.stopping = True

    old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _urgency(jobs: Sequence[Job]) -> dict[tuple[str, str], int]:
    """Cost of the longest way from each job to the end: what is on it should start first."""
    cost: dict[tuple[str, str], int] = {}
    for job in reversed(jobs):  # jobs stand after what they need
        key = (job.folder, job.stage)
        own = job.steps + STAGE_COST[job.stage] + cost.get(key, 0)
        cost[key] = own
        for need in job.needs:
            cost[need] = max(cost.get(need, 0), own)
    return cost


def _child(
    folder: str, stage: Stage, threads: int, price: Price | None, scaling: Scaling, messages: Connection
) -> None:
    """Body of a job's process."""
    # Ctrl-C reaches every process of the terminal; the launcher alone decides, and tells by SIGTERM. If the
    # launcher is killed, the fork server ends and the kernel sends the same signal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    log = Path(folder) / "log" / f"{stage}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as f:
        os.dup2(f.fileno(), 1)
        os.dup2(f.fileno(), 2)
    from joyctl.worker import run_stage

    def progress(what: str, done: int, of: int) -> None:
        messages.send(("progress", (what, done, of)))

    try:
        run_stage(Path(folder), stage, threads=threads, progress=progress, price=price, scaling=scaling)
    except Interrupted as error:
        sys.exit(error.exit_code)
    except JoyctlError as error:
        print(error, file=sys.stderr, flush=True)
        messages.send(("error", str(error)))
        sys.exit(error.exit_code)
    except BaseException as error:
        messages.send(("error", words(error, Path(folder)).strip().splitlines()[0]))
        raise  # multiprocessing prints the traceback into the log and exits with 1
