"""Does a job's stages on a node, judges how they ended, and queues the job again where that can help.

Every node of a job runs one; that of the first node, where rank 0 is, writes down how an attempt ended and decides.
Exit code 0: all stages have their markers, or, where a further job goes on with it, training is saved.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from joyctl.campaign.spec import Stage
from joyctl.errors import JoyctlError, Refused
from joyctl.launch.slurm import failures, processes, requeue
from joyctl.launch.slurm.client import Slurm, call
from joyctl.launch.slurm.crew import Crew, say
from joyctl.launch.slurm.ledger import Element, read_manifest
from joyctl.launch.slurm.place import Place
from joyctl.store import attempts, layout

# How long other nodes may take to write down what they saw, a shared filesystem's delay included.
_REPORT_SECONDS = 20.0


def supervise(arguments: Sequence[str], received: list[tuple[int, float]], slurm: Slurm = call) -> int:
    """Do what the arguments say; `received` is where signals (number, time) appear. Gives the exit code."""
    given = _parse(arguments)
    folder, element = _element(given)
    place = Place.find()
    hour = given.price_per_gpu_hour if place.gpus else given.price_per_core_hour
    crew = Crew(
        folder, place, element.part, given.processes_per_node, given.shutdown_timeout, given.rdzv_ifname, received,
        price=None if hour is None else attempts.Price(hour, given.currency), scaling=given.scaling,
    )  # fmt: skip
    processes.adopt_orphans()
    return Supervisor(given, folder, element, place, crew, received, slurm).run()


@dataclass(frozen=True)
class Supervisor:
    """One job on one node."""

    given: argparse.Namespace
    folder: Path
    element: Element
    place: Place
    crew: Crew
    received: list[tuple[int, float]]
    slurm: Slurm

    def run(self) -> int:
        """Do all stages that are not done yet: training by itself, the others together, on the first node."""
        if not self._missing(self.element.stages):
            say(f"{', '.join(self.element.stages)} of {self.folder}: done already")
            return 0
        if self.place.is_first:
            self.crew.take_over()
            if self._moves_away():
                return 1
        for stages in self._groups():
            if not self._missing(stages) or not (self.place.is_first or stages == ("train",)):
                continue
            if self.received:
                return self._stopped(saved=False, progress=False) if self.place.is_first else 1
            step = newest_step(self.folder)
            report = self.crew.work(stages)
            if self.place.is_first and (missing := self._missing(stages)):
                progress = newest_step(self.folder) > step or missing[0] != stages[0]
                return self._conclude(missing[0], report, progress=progress)
        return 0

    def _groups(self) -> list[tuple[Stage, ...]]:
        rest = tuple(stage for stage in self.element.stages if stage != "train")
        return [("train",), rest] if "train" in self.element.stages else [rest]

    def _missing(self, stages: Sequence[Stage]) -> list[Stage]:
        return [stage for stage in stages if not layout.marker(self.folder, stage).exists()]

    # -- judging, on the first node only

    def _conclude(self, stage: Stage, report: failures.Report, *, progress: bool) -> int:
        """Write down how the attempt ended, if that was left to do, and decide what becomes of the job."""
        mine = [line for line in attempts.read(self.folder, stage) if self._is_mine(line, report.began)]
        if mine and mine[-1].get("outcome") == "interrupted":
            return self._stopped(saved=True, progress=progress)
        if not mine and any(death.code == Refused.exit_code for death in report.deaths):
            say(f"another process is working on {self.folder}; see log/{stage}.log")
            return Refused.exit_code
        cause, line = self._cause(stage, mine, report)
        if self.received and not cause.own:
            how = f"asked to stop ({self._signals()}), and ended before it had saved"
            attempts.finish(self.folder, line, "interrupted", how)
            return self._stopped(saved=False, progress=progress)
        say(f"{stage}: {cause.text}")
        if not cause.own and (other := failures.same_death_elsewhere(cause, self.folder, stage)):
            cause = failures.Cause("own", f"{cause.text}, and before on {other}: the fault of the run, not of a node")
        if cause.kind == "own":
            attempts.finish(self.folder, line, "failed", cause.text)
        else:
            attempts.finish(self.folder, line, "killed", cause.text, cause=cause.key, node=cause.node)
        if not cause.own:
            self._again(cause.text, failures.bad_nodes(self.folder, stage))
        return 1

    def _cause(
        self, stage: Stage, mine: Sequence[dict[str, Any]], report: failures.Report
    ) -> tuple[failures.Cause, dict[str, Any]]:
        """The root cause, and the line of the start that it ended, made up if there was none.

        While this node knows only of lost contact, others get time to say what they saw, if there is time.
        """
        begun = {"stage": stage, "start": report.began, "pid": os.getpid(), "host": socket.gethostname()}
        line = next((start for start in reversed(mine) if "end" not in start), {**begun, **self.crew.lines()})
        others = self.place.others if stage == "train" else []
        end = time.monotonic() + _REPORT_SECONDS
        while True:
            reports = self.crew.reports(report.began)
            errors = attempts.errors(self.folder, line)
            cause = failures.judge([report, *reports], errors, self.place.nodes, self.crew.ranks_per_node(stage))
            known = cause.kind != "contact" or len(reports) >= len(others)
            if known or self.received or time.monotonic() > end:
                return cause, line
            time.sleep(0.2)

    def _is_mine(self, line: dict[str, Any], began: float) -> bool:
        same = (line.get("job"), line.get("restart")) == (self.place.job, self.place.restart)
        return same and float(line["start"]) >= began

    def _signals(self) -> str:
        return ", ".join(dict.fromkeys(signal.Signals(number).name for number, _ in self.received))

    # -- going on later

    def _stopped(self, *, saved: bool, progress: bool) -> int:
        """What becomes of a job that stopped because it was asked to."""
        out_of_time = self._out_of_time()
        chained = saved and self.element.part < self.element.parts
        if chained and out_of_time:
            say(f"saved; part {self.element.part + 1} of {self.element.parts} goes on")
            return 0
        if out_of_time and not progress:
            say("its time was over before it got anywhere: give it more, stages.<stage>.time of the cluster file")
            return 1
        queued = self._again(f"asked to stop ({self._signals() or 'its processes alone'})")
        return 0 if chained and not queued else 1

    def _out_of_time(self) -> bool:
        """Whether the signal came because the job's time is nearly over, rather than to make room for another."""
        times = [when for number, when in self.received if number == signal.SIGUSR2]
        if not times or self.place.job is None:
            return False
        try:
            return requeue.is_out_of_time(self.slurm, self.place.job, times[0], self.given.signal_grace)
        except JoyctlError as error:
            say(str(error))
            return True

    def _moves_away(self) -> bool:
        """Leave before anything is done, if Slurm has put the job onto a node on which it has died before."""
        bad = failures.bad_nodes(self.folder, self._missing(self.element.stages)[0])
        here = [node for node in self.place.nodes if node in bad]
        return bool(here) and self._again(f"it has died on {', '.join(here)} before", bad)

    def _again(self, why: str, avoid: Sequence[str] = ()) -> bool:
        """Queue the job again, if that is allowed; whether it was."""
        given = self.given
        try:
            requeue.put_back(self.slurm, self.place, allowed=given.requeue, most=given.max_requeues, avoid=avoid)
        except JoyctlError as error:
            say(f"{why}; not queued again: {error}")
            return False
        say(f"{why}; queued again" + (f", away from {', '.join(avoid)}" if avoid else ""))
        return True


def newest_step(folder: Path) -> int:
    """Step of the newest complete checkpoint; 0 when there is none. (joyctl.train knows more of them, and torch.)"""
    found = (folder / layout.CHECKPOINTS).glob("step-*/.metadata")
    return max((int(path.parent.name.removeprefix("step-")) for path in found), default=0)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m joyctl.launch.slurm.node", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--manifest", type=Path, help="manifest of the job's array")
    what.add_argument("--folder", type=Path, help="folder of a segment or run, with its stages")
    parser.add_argument("stages", nargs="*", choices=(*get_args(Stage), []), metavar="stage")
    parser.add_argument("--processes-per-node", type=int, default=1, help="processes of training and eval on each node")
    parser.add_argument("--max-requeues", type=int, default=5, help="how often the job may be queued again")
    parser.add_argument("--no-requeue", dest="requeue", action="store_false", help="never queue it again")
    parser.add_argument("--shutdown-timeout", type=int, default=300, help="seconds to stop in, once asked")
    parser.add_argument("--signal-grace", type=int, default=120, help="seconds before its end that Slurm signals")
    parser.add_argument(
        "--scaling", metavar="JSON", help="sections torchtitan and trackers, for the worker of training"
    )
    parser.add_argument("--rdzv-ifname", help="network interface on which the processes meet")
    parser.add_argument("--price-per-gpu-hour", type=float, help="what a GPU costs, kept with every attempt")
    parser.add_argument("--price-per-core-hour", type=float, help="what a core costs, where the job has no GPUs")
    parser.add_argument("--currency", default="", help="what prices are in")
    given = parser.parse_args(arguments)
    if (given.folder is not None) != bool(given.stages):
        parser.error("give --folder with stages, or --manifest alone")
    return given


def _element(given: argparse.Namespace) -> tuple[Path, Element]:
    """The folder and what to do in it."""
    if given.manifest is None:
        folder = given.folder.absolute()
        return folder, Element(folder.name, cast("tuple[Stage, ...]", tuple(given.stages)))
    element = read_manifest(given.manifest).elements[int(os.environ["SLURM_ARRAY_TASK_ID"])]
    # <campaign>/slurm/arrays/<name>.json, where slurm/ may be a link to somewhere else
    return given.manifest.absolute().parent.parent.parent / element.folder, element
