"""Real processes under the supervisor: stopped, killed and broken.

Most with Slurm's commands played by a script, which takes no time to start a job again; then on a real Slurm.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import training as world
from slurm.cluster import Cluster

from joyctl.launch.slurm import processes
from joyctl.launch.slurm.ledger import Element, Ledger, Manifest
from joyctl.store.files import append_line, read_lines, write_json, write_text

pytestmark = pytest.mark.slow
STEPS = 150
SEGMENT = "trunk/s0/x"

SCONTROL = """#!/bin/sh
case "$1 $2" in
"show job") echo "JobId=7 JobState=RUNNING Restarts=$(cat "$(dirname "$0")/restarts") Partition=gpu" ;;
"show hostnames") echo "$3" | tr , '\\n' ;;
*) echo "scontrol $*" >> "$(dirname "$0")/calls" ;;
esac
"""


class Job:
    """One element of an array, as Slurm would start it on a node, again and again."""

    def __init__(self, folder: Path, data: Path, steps: int = STEPS) -> None:
        self.campaign = folder / "results/small"
        self.folder = self.campaign / SEGMENT
        self.bin = folder / "bin"
        write_json(self.campaign / "campaign.json", {})
        write_text(self.folder / "segment.json", world.segment(data, 0, steps, total=steps).model_dump_json())
        ledger = Ledger(self.campaign)
        ledger.place(str(folder / "elsewhere"), self.campaign)
        element = Element(SEGMENT, ("train",))
        ledger.write_manifest(Manifest("small-1", "train", 1, {3: element}, None))
        self.manifest = ledger.manifest_path("small-1")
        for name, text in {"scontrol": SCONTROL, "sinfo": "#!/bin/sh\nprintf 'n1\\nn2\\n'\n"}.items():
            write_text(self.bin / name, text)
            (self.bin / name).chmod(0o755)
        self.restarts = 0

    def start(self, processes_per_node: int = 1, **variables: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path),
            "SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "SLURM_NODEID": "0",
            "SLURM_JOB_NODELIST": "n1", "SLURM_RESTART_COUNT": str(self.restarts), "SLURM_CPUS_PER_TASK": "1",
        }  # fmt: skip
        write_text(self.bin / "restarts", str(self.restarts))
        self.restarts += 1
        command = [sys.executable, "-m", "joyctl.launch.slurm.node", "--manifest", str(self.manifest)]
        options = [f"--processes-per-node={processes_per_node}", "--shutdown-timeout=60"]
        return subprocess.Popen([*command, *options], env=environment | variables, text=True, stdout=subprocess.PIPE)

    def finish(self, supervisor: subprocess.Popen[str]) -> int:
        try:
            self.output, _ = supervisor.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            for process in [supervisor.pid, *processes.descendants(supervisor.pid)]:
                os.kill(process, signal.SIGKILL)
            raise
        return supervisor.returncode

    def submit(self, slurm: Cluster, options: list[str], node_options: list[str]) -> str:
        """Submit it to a real Slurm; gives the job's id."""
        python = f"srun {sys.executable} -m joyctl.launch.slurm.node --manifest {self.manifest}"
        path = os.pathsep.join(sys.path)
        script = f"#!/bin/sh\nexport PYTHONPATH={path}\n{python} --shutdown-timeout=60 {' '.join(node_options)}\n"
        write_text(self.bin / "job.sh", script)
        log = ["--output", str(self.campaign / "slurm/log/%A_%a.out"), "--open-mode=append"]
        array = ["--parsable", "--array=3-3", "--requeue", "--cpus-per-task=1", "--time=10"]
        return slurm.run("sbatch", *array, *log, *options, str(self.bin / "job.sh")).stdout.strip() + "_3"

    def ranks(self) -> list[int]:
        """Process ids of the training processes by rank."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                lines = path.read_bytes().decode(errors="replace").split("\0")
                words = (path.parent / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if words[1:4] == ["-u", "-m", "joyctl.worker"] and str(self.folder) in words:
                found[next(line for line in lines if line.startswith("RANK="))] = int(path.parent.name)
        return [found[rank] for rank in sorted(found)]

    @property
    def calls(self) -> list[str]:
        """What Slurm was told."""
        return (self.bin / "calls").read_text().splitlines() if (self.bin / "calls").exists() else []

    @property
    def ends(self) -> list[dict[str, Any]]:
        """End lines of all attempts; every start must have one."""
        lines = read_lines(self.folder / "attempts.jsonl")
        ends = [line for line in lines if "end" in line]
        assert len(ends) * 2 == len(lines)
        return ends

    @property
    def numbers(self) -> list[dict[str, object]]:
        return world.metrics(self.folder)

    def wait_for_step(self, step: int, supervisor: subprocess.Popen[str] | None = None) -> None:
        end = time.monotonic() + 90
        while not any(line["step"] >= step for line in self.numbers):
            assert time.monotonic() < end, "training hangs"
            assert supervisor is None or supervisor.poll() is None, "training ended too early"
            time.sleep(0.01)

    def wait_until_done(self) -> None:
        end = time.monotonic() + 150
        while not (self.folder / "DONE.train.json").exists():
            assert time.monotonic() < end, "".join(p.read_text() for p in self.campaign.glob("slurm/log/*"))
            time.sleep(0.1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_data(tmp_path_factory.mktemp("world") / "data")


@pytest.fixture
def job(tmp_path: Path, data: Path) -> Job:
    return Job(tmp_path, data)


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """Numbers of the same training, never stopped, in one process."""
    folder = tmp_path_factory.mktemp("alone")
    assert world.train(world.segment(data, 0, STEPS, total=STEPS), folder) == "done"
    return world.metrics(folder)


@pytest.fixture(scope="module")
def both(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """Numbers of the same training, never stopped, in two processes."""
    folder = tmp_path_factory.mktemp("both")
    world.train_on_two(world.segment(data, 0, STEPS, total=STEPS), folder)
    return world.metrics(folder)


def test_a_stopped_job_saves_queues_itself_again_and_ends_with_the_same_numbers(job: Job, alone: Any) -> None:
    supervisor = job.start()
    job.wait_for_step(5, supervisor)
    supervisor.send_signal(signal.SIGUSR2)
    assert job.finish(supervisor) == 1
    assert job.calls == ["scontrol requeue 7_3"]
    saved = len(job.numbers)
    assert 5 <= saved < STEPS and (job.folder / f"checkpoint/step-{saved}/.metadata").exists()

    assert job.finish(job.start()) == 0
    assert job.numbers == alone  # bit for bit, and no step twice
    assert (job.folder / "DONE.train.json").exists()
    facts = [(end["outcome"], end["job"], end["restart"], end["nodes"], end["part"]) for end in job.ends]
    assert facts == [("interrupted", "7_3", 0, ["n1"], 1), ("done", "7_3", 1, ["n1"], 1)]
    assert f"from step {saved} to 150" in (job.folder / "log/train.log").read_text()

    assert job.finish(job.start()) == 0  # done already
    assert "done already" in job.output and len(job.ends) == 2


def test_two_processes_stop_at_the_same_step_and_end_with_the_same_numbers(job: Job, both: Any) -> None:
    supervisor = job.start(2)
    job.wait_for_step(5, supervisor)
    supervisor.send_signal(signal.SIGUSR2)
    supervisor.send_signal(signal.SIGTERM)  # told twice, they save all the same
    assert job.finish(supervisor) == 1
    assert [end["outcome"] for end in job.ends] == ["interrupted"] and job.calls == ["scontrol requeue 7_3"]
    assert 5 <= len(job.numbers) < STEPS

    assert job.finish(job.start(2)) == 0
    assert job.numbers == both
    assert [end["outcome"] for end in job.ends] == ["interrupted", "done"]
    assert "to 150" in (job.folder / "log/train-1.log").read_text()


def test_processes_that_find_their_work_done_all_return(job: Job) -> None:
    write_json(job.folder / "DONE.train.json", {})
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    worker = ["joyctl.worker", str(job.folder), "train", "--to-log"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *worker], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not (job.folder / "attempts.jsonl").exists() and not job.numbers


def test_the_signal_that_killed_one_rank_is_named_and_the_job_queued_again(job: Job) -> None:
    supervisor = job.start(2)
    job.wait_for_step(5, supervisor)
    os.kill(job.ranks()[1], signal.SIGSEGV)
    assert job.finish(supervisor) == 1
    [end] = job.ends
    assert (end["outcome"], end["error"]) == ("killed", "killed by SIGSEGV on n1 (rank 1)")
    assert (end["cause"], end["node"]) == ("SIGSEGV", "n1")
    assert job.calls == ["scontrol requeue 7_3"]


def test_a_process_killed_without_a_word_is_no_fault_of_the_run(job: Job) -> None:
    supervisor = job.start()
    job.wait_for_step(3, supervisor)
    [worker] = processes.descendants(supervisor.pid)
    os.kill(worker, signal.SIGKILL)
    assert job.finish(supervisor) == 1
    [end] = job.ends
    assert (end["outcome"], end["error"]) == ("killed", "killed by SIGKILL on n1, perhaps out of memory")
    assert job.calls == ["scontrol requeue 7_3"]


def test_a_killed_torchrun_leaves_no_process_behind(job: Job) -> None:
    supervisor = job.start(2)
    job.wait_for_step(3, supervisor)
    ranks = job.ranks()
    [starter] = [p for p in processes.descendants(supervisor.pid) if set(ranks) <= set(processes.descendants(p))]
    os.kill(starter, signal.SIGKILL)
    assert job.finish(supervisor) == 1
    assert job.ends[0]["outcome"] == "killed"
    assert not set(ranks) & set(processes.descendants(1))


def test_the_exception_of_one_rank_is_the_cause_and_not_what_the_other_makes_of_it(
    job: Job, tmp_path: Path, data: Path
) -> None:
    # Python runs this before the program; rank 1 gets an exception out of the blue once step 5 is done.
    write_text(
        tmp_path / "site/sitecustomize.py",
        f"""
import ctypes, os, pathlib, threading, time
def strike():
    metrics = pathlib.Path({str(job.folder / "metrics.jsonl")!r})
    while not metrics.exists() or metrics.read_bytes().count(b"\\n") < 5:
        time.sleep(0.01)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(threading.main_thread().ident), ctypes.py_object(ZeroDivisionError))
if os.environ.get("RANK") == "1":
    threading.Thread(target=strike, daemon=True).start()
""",
    )
    path = os.pathsep.join([str(tmp_path / "site"), *sys.path])
    assert job.finish(job.start(2, PYTHONPATH=path)) == 1
    [end] = job.ends
    assert (end["outcome"], end["error"]) == ("failed", "ZeroDivisionError")
    assert job.calls == []
    kept = json.loads((job.folder / "log/error-train-1.json").read_bytes())
    assert (kept["rank"], kept["job"], kept["restart"]) == (1, "7_3", 0)
    assert "in run" in kept["traceback"] and "ZeroDivisionError" in kept["traceback"]


def test_a_start_whose_job_was_started_again_elsewhere_saves_and_lets_go(tmp_path: Path, data: Path) -> None:
    job = Job(tmp_path, data, steps=2000)
    first = job.start()
    job.wait_for_step(5, first)
    second = job.start()  # as when slurmd dies on the first's node, and nothing else does
    assert job.finish(first) == 1
    assert "not queued again: Slurm has started it again already" in job.output
    assert job.finish(second) == 0
    assert job.calls == [] and [line["step"] for line in job.numbers] == list(range(1, 2001))
    assert [(end["outcome"], end["restart"]) for end in job.ends] == [("interrupted", 0), ("done", 1)]


def test_a_start_that_nobody_could_close_is_closed_by_the_next(job: Job, alone: Any) -> None:
    supervisor = job.start()
    job.wait_for_step(5, supervisor)
    gone = [supervisor.pid, *processes.descendants(supervisor.pid)]
    for process in gone:
        os.kill(process, signal.SIGKILL)  # as when the node loses power
    job.finish(supervisor)
    assert job.finish(job.start()) == 0
    assert [(end["outcome"], end["error"]) for end in job.ends] == [
        ("lost", "ended without a word on n1"),
        ("done", None),
    ]
    assert job.numbers == alone


def test_two_nodes_with_two_processes_each_are_stopped_and_go_on_under_slurm(
    tmp_path: Path, data: Path, alone: Any, clean_slurm: Cluster
) -> None:
    job = Job(tmp_path, data)
    number = job.submit(clean_slurm, ["--nodes=2", "--mem=3G"], ["--processes-per-node=2"])
    job.wait_for_step(5)
    clean_slurm.run("scancel", "-s", "USR2", number)
    job.wait_until_done()
    clean_slurm.wait_idle()
    ends = [(end["outcome"], end["restart"], end["job"], len(end["nodes"])) for end in job.ends]
    assert ends == [("interrupted", 0, number, 2), ("done", 1, number, 2)]
    assert {path.name for path in (job.folder / "log").glob("train*")} == {
        f"train{n}.log" for n in ("", "-1", "-2", "-3")
    }
    for key in ("step", "lr", "tokens", "rows"):
        assert [line[key] for line in job.numbers] == [line[key] for line in alone]
    for key in ("loss", "grad_norm"):
        assert [line[key] for line in job.numbers] == pytest.approx([line[key] for line in alone], abs=1e-6, rel=1e-6)


def test_slurm_starts_a_job_elsewhere_after_two_deaths_on_a_node(
    tmp_path: Path, data: Path, clean_slurm: Cluster
) -> None:
    job = Job(tmp_path, data, steps=600)
    for node in clean_slurm.nodes:  # wherever it starts, the next death there is the second
        line = {"stage": "train", "start": 1.0, "pid": 1, "host": "h", "job": "1_0", "restart": 0, "nodes": [node]}
        append_line(job.folder / "attempts.jsonl", line)
        ended = {"end": 2.0, "outcome": "killed", "error": "x", "seconds": 1.0, "cause": "SIGBUS", "node": node}
        append_line(job.folder / "attempts.jsonl", {**line, **ended})
    number = job.submit(clean_slurm, ["--exclude=n4", "--mem=2G"], [])
    job.wait_for_step(5)
    [worker] = [line["pid"] for line in read_lines(job.folder / "attempts.jsonl") if line["job"] == number]
    os.kill(worker, signal.SIGKILL)
    job.wait_until_done()
    *_, first, second = job.ends
    assert (first["outcome"], second["outcome"], second["restart"]) == ("killed", "done", 1)
    assert first["node"] == first["nodes"][0] != second["nodes"][0]
    shown = clean_slurm.run("scontrol", "show", "job", "-o", number).stdout
    assert f" ExcNodeList=n4,{first['node']} " in shown or f" ExcNodeList={first['node']},n4 " in shown
    assert [line["step"] for line in job.numbers] == list(range(1, 601))
