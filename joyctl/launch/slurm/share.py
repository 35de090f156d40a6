"""The program of a data job's task: `python -m joyctl.launch.slurm.share`.

It does the share of a work's parts that SLURM_ARRAY_TASK_ID stands for in --manifest, or finishes the work. What a job
leaves when it is stopped is whole parts, so it is put back into the queue and goes on with the others.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from joyctl.data.work import WORKS, Reached, Work, do_parts, open_work
from joyctl.errors import Interrupted, JoyctlError
from joyctl.launch.slurm import requeue
from joyctl.launch.slurm.client import Slurm, call
from joyctl.launch.slurm.crew import say
from joyctl.launch.slurm.dataset import share_of
from joyctl.launch.slurm.ledger import read_manifest
from joyctl.launch.slurm.place import Place

_LINE_SECONDS = 60.0


def main(arguments: Sequence[str] | None = None, slurm: Slurm = call) -> int:
    """Do what this element of the array stands for; gives the exit code."""
    given = _parse(arguments)
    signals = _Signals()
    share = share_of(read_manifest(given.manifest).elements[int(os.environ["SLURM_ARRAY_TASK_ID"])])
    begun = 0
    work: Work | None = None
    try:
        with signals:
            work = open_work(given.folder, given.work)
            if share is None:
                work.finish()
                say(f"finished: {given.work} of {given.folder}")
            else:
                mine = share.of(work.parts())
                begun = sum(map(work.done, mine))
                do_parts(work, mine, given.processes, _Lines())
                say(f"all {len(mine)} parts of share {share.index}/{share.number} are done")
            return 0
    except (JoyctlError, OSError) as error:
        if not signals.heard:
            return _failed(error)
    progress = share is None or work is None or sum(map(work.done, share.of(work.parts()))) > begun
    return _stopped(given, signals, slurm, progress=progress)


class _Signals:
    """Ends the block by Interrupted at Slurm's first signal; the processes that share the work end with it."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, float]] = []

    def __enter__(self) -> None:
        for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # what is left to do is quickly done

    def _hear(self, number: int, _: FrameType | None) -> None:
        self.heard.append((number, time.time()))
        if len(self.heard) == 1:
            raise Interrupted(f"asked to stop ({signal.Signals(number).name})")


def _failed(error: JoyctlError | OSError) -> int:
    """Tell of an error: all of it, then in one line what a status quotes."""
    print(error, file=sys.stderr, flush=True)
    if isinstance(error, JoyctlError):
        say(error.message.splitlines()[0])
        return error.exit_code
    say(f"{error.strerror}: {error.filename}" if error.filename else str(error))
    return 1


def _stopped(given: argparse.Namespace, signals: _Signals, slurm: Slurm, *, progress: bool) -> int:
    """Back into the queue, unless its time was over before a single part was done. Its exit code."""
    number, told = signals.heard[0]
    why, place = f"asked to stop ({signal.Signals(number).name})", Place.find()
    try:
        timely = number == signal.SIGUSR2 and place.job is not None
        if timely and not progress and requeue.is_out_of_time(slurm, str(place.job), told, given.signal_grace):
            say(
                "its time was over before it had done a single part: give it more, stages.data.time of the cluster file"
            )
            return 1
        requeue.put_back(slurm, place, allowed=given.requeue, most=given.max_requeues)
    except JoyctlError as error:
        say(f"{why}; not queued again: {error.message}")
    else:
        say(f"{why}; queued again")
    return 1


class _Lines:
    """Says how far it is once a minute."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, reached: Reached) -> None:
        if time.monotonic() - self._last >= _LINE_SECONDS:
            self._last = time.monotonic()
            say(f"{reached.share:.0%}, {reached.parts_done} of {reached.parts} parts, {reached.tokens:,} tokens")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m joyctl.launch.slurm.share", description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of the job's array")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the work")
    parser.add_argument("--work", choices=sorted(WORKS), required=True)
    parser.add_argument("--processes", type=int, default=1, help="parts done at once")
    parser.add_argument("--max-requeues", type=int, default=5, help="how often the job may be queued again")
    parser.add_argument("--no-requeue", dest="requeue", action="store_false", help="never queue it again")
    parser.add_argument("--signal-grace", type=int, default=120, help="seconds before its end that Slurm signals")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
