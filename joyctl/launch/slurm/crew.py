"""Starts the processes of one node, stays with them to their end, and tells other nodes when they broke."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from joyctl.campaign.spec import Stage
from joyctl.launch.slurm import processes, torchrun
from joyctl.launch.slurm.failures import Death, Report
from joyctl.launch.slurm.place import Place
from joyctl.store import attempts
from joyctl.store.files import write_json

_WORKER = "joyctl.worker"
_TICK_SECONDS = 0.05
_LOOK_AROUND_SECONDS = 2.0
# When another node has failed, this one's processes mostly end by themselves, and say something.
_FOLLOW_SECONDS = 10.0
# What an enclosing torchrun may have left: libraries would take a process for one of several.
_LEFTOVERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Crew:
    """The processes that one node starts for a job."""

    folder: Path
    place: Place
    part: int
    processes_per_node: int
    """Of training, and of scoring a model, whose one worker starts them; the other stages are one process."""
    shutdown_seconds: int
    """How long they may take to stop."""
    interface: str | None
    """Network interface on which they meet."""
    received: list[tuple[int, float]]
    """Where signals (number, time) appear that this process got."""
    price: attempts.Price | None = None
    """Of an hour of one GPU, or of one core where the job has no GPUs."""
    scaling: str | None = None
    """What the worker of training is told of the cluster file, as JSON."""

    def work(self, stages: tuple[Stage, ...]) -> Report:
        """Run a worker, or torchrun with several, until it ends, passing on the first signal; gives what was seen."""
        began, kills = time.time(), processes.memory_kills()
        together = self.ranks_per_node(stages[0]) * len(self._nodes(stages[0])) > 1
        with tempfile.TemporaryDirectory() as temporary:
            told = Path(temporary) / "deaths.json"
            command = self._command(stages, told, together=together)
            say(f"{', '.join(stages)} of {self.folder} on {self.place.node}: {' '.join(command)}")
            before = processes.descendants(os.getpid())
            child = subprocess.Popen(command, env=self._environment())
            killed = self._attend(child, began, before, together=together)
            processes.kill_since(before)  # what a killed torchrun leaves behind
            deaths = _read_deaths(told)
        if child.returncode and not deaths and not killed:
            deaths = (Death(None if together else 0, child.returncode, time.time()),)
        report = Report(self.place.node, began, deaths, memory=processes.memory_kills() > kills)
        if deaths and self.place.others:
            self._publish(report)
        return report

    def take_over(self) -> None:
        """Tell processes of an earlier start of this job, should any still run, that the work is no longer theirs.

        Where slurmd dies and not its node, they do, and Slurm starts the job again elsewhere.
        """
        if self.place.job is not None:
            write_json(self._owner_path, self.lines())

    def ranks_per_node(self, stage: Stage) -> int:
        """Processes of a stage that torchrun starts on each node; 1 is a worker without it."""
        return self.processes_per_node if stage == "train" else 1

    def reports(self, began: float) -> list[Report]:
        """What other nodes have published since this one's processes began."""
        found = []
        for index in self.place.others:
            with contextlib.suppress(OSError, ValueError):
                value = json.loads(self._report_path(index).read_bytes())
                if value.pop("restart") == [self.place.job, self.place.restart] and value["began"] > began - 60:
                    value["deaths"] = tuple(Death(**death) for death in value["deaths"])
                    found.append(Report(**value))
        return found

    def lines(self) -> dict[str, Any]:
        """What the worker writes into each line of attempts.jsonl."""
        place = self.place
        lines = {"job": place.job, "restart": place.restart, "nodes": list(place.nodes), "part": self.part}
        if place.cores is not None:
            lines |= {"cores": place.cores, "gpus": place.gpus}
        return lines | (self.price.lines() if self.price else {})

    def _attend(self, child: subprocess.Popen[bytes], began: float, before: Sequence[int], *, together: bool) -> bool:
        """Stay until it has ended; whether it had to be killed."""
        asked = failed = None
        killed = False
        looked = time.monotonic()
        while child.poll() is None:
            time.sleep(_TICK_SECONDS)
            now = time.monotonic()
            if now - looked > _LOOK_AROUND_SECONDS:
                looked = now
                if together and failed is None and self.reports(began):
                    failed = now
                if not self.received and self._taken_over():
                    say("the job was started again elsewhere")
                    self.received.append((signal.SIGTERM, time.time()))
            if self.received and asked is None:
                asked = now
                self._pass_on(child.pid, together=together)
            late = asked is not None and now - asked > self.shutdown_seconds
            if late or (failed is not None and now - failed > _FOLLOW_SECONDS):
                say("kills what has not ended by now")
                killed = True
                processes.kill_since(before)
        return killed

    def _taken_over(self) -> bool:
        try:
            owner = json.loads(self._owner_path.read_bytes())
        except (OSError, ValueError):
            return False
        return bool(owner["job"] == self.place.job and owner["restart"] > self.place.restart)

    @property
    def _owner_path(self) -> Path:
        return self.folder / "log" / "owner.json"

    def _pass_on(self, child: int, *, together: bool) -> None:
        name = signal.Signals(self.received[0][0]).name
        say(f"{name}: asks the processes to save and stop")
        if self.place.is_first:
            with contextlib.suppress(OSError):  # no reason not to stop them
                attempts.note_asked(self.folder, self.lines(), name)
        processes.ask_to_stop(child, workers=_WORKER if together else None)

    def _nodes(self, stage: Stage) -> Sequence[str]:
        return self.place.nodes if stage == "train" else self.place.nodes[:1]

    def _command(self, stages: tuple[Stage, ...], told: Path, *, together: bool) -> list[str]:
        # Scores are computed on one thread: sums over threads may differ in the last digit.
        threads = max(1, _cores() // self.processes_per_node) if stages[0] == "train" else 1
        worker = [_WORKER, str(self.folder), *stages, f"--threads={threads}", "--to-log"]
        if stages[0] == "train" and self.scaling is not None:
            worker.append(f"--scaling={self.scaling}")
        if "eval" in stages and self.processes_per_node > 1:
            worker.append(f"--processes={self.processes_per_node}")
        if not together:
            return [sys.executable, "-m", *worker]
        arguments = torchrun.arguments(
            self.place.meeting(),
            nodes=len(self.place.nodes),
            index=self.place.index,
            processes=self.processes_per_node,
            shutdown_seconds=self.shutdown_seconds,
            program=worker,
        )
        return [sys.executable, "-m", torchrun.__name__, str(told), *arguments]

    def _environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if name not in _LEFTOVERS}
        if self.interface:
            environment |= dict.fromkeys(("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"), self.interface)
        return {"OMP_NUM_THREADS": "1"} | environment | {attempts.PLACE: json.dumps(self.lines())}

    def _report_path(self, index: int) -> Path:
        return self.folder / "log" / f"node-{index}.json"

    def _publish(self, report: Report) -> None:
        restart = [self.place.job, self.place.restart]
        write_json(self._report_path(self.place.index), {"restart": restart, **asdict(report)})


def say(text: str) -> None:
    """Write a line into Slurm's output file, if anybody still reads what goes there."""
    with contextlib.suppress(OSError):
        print(f"joyctl: {text}", flush=True)


def _read_deaths(path: Path) -> tuple[Death, ...]:
    return tuple(Death(**death) for death in json.loads(path.read_bytes())) if path.exists() else ()


def _cores() -> int:
    mine = len(os.sched_getaffinity(0))
    return min(mine, int(os.environ.get("SLURM_CPUS_PER_TASK", mine)))
