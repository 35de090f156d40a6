"""The Slurm that other tests rely on: does it do to a job what a real site's does?"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm.cluster import Cluster
from slurm.config import Options, missing

TESTS = Path(__file__).parent
ALL_GPUS = "--gres=gpu:8"


def submit(slurm: Cluster, folder: Path, script: str, *options: str) -> str:
    """The id of a job that runs this script."""
    command = ("sbatch", "--parsable", "--output=%x.out", "--open-mode=append", *options, "--wrap", script)
    return slurm.run(*command, cwd=folder).stdout.strip()


def until(ready: Callable[[], object], what: str) -> None:
    """Wait, a minute at most."""
    for _ in range(600):
        if ready():
            return
        time.sleep(0.1)
    raise AssertionError(f"not in a minute: {what}")


def states(slurm: Cluster, job: str, *, steps: bool = False) -> list[str]:
    """What accounting says of each start of a job, or of their steps as well."""
    given = ("sacct", "-n", "-P", "-D", "-j", job, "-o", "State")
    return slurm.run(*given, *([] if steps else ["-X"])).stdout.split("\n")[:-1]


def test_a_job_that_ran_is_completed_in_accounting(clean_slurm: Cluster, tmp_path: Path) -> None:
    job = submit(clean_slurm, tmp_path, "srun hostname", "--wait")
    until(lambda: states(clean_slurm, job) == ["COMPLETED"], "COMPLETED in sacct")


def test_the_elements_of_an_array_get_gpus_of_their_own(clean_slurm: Cluster, tmp_path: Path) -> None:
    script = "srun sh -c 'echo $CUDA_VISIBLE_DEVICES; sleep 1'"
    options = ("--wait", "--array=0-1", "--output=%A_%a.out", "--gres=gpu:2", "-w", "n1")
    job = submit(clean_slurm, tmp_path, script, *options)
    shown = [(tmp_path / f"{job}_{index}.out").read_text() for index in (0, 1)]
    assert sorted(shown) == ["0,1\n", "2,3\n"]


def test_a_job_that_outgrows_its_memory_is_killed_for_that(clean_slurm: Cluster, tmp_path: Path) -> None:
    hog = f"{sys.executable} -c 'import time; hog = bytearray(300_000_000); time.sleep(20)'"
    with pytest.raises(subprocess.CalledProcessError):
        submit(clean_slurm, tmp_path, f"srun {hog}", "--wait", "--mem=100M", "-J", "hog")
    output = (tmp_path / "hog.out").read_text()
    assert "oom-kill event" in output or "exceeded memory limit" in output


def test_a_preempted_job_waits_and_starts_again(clean_slurm: Cluster, tmp_path: Path) -> None:
    script = "echo start $SLURM_RESTART_COUNT; srun sleep 60"
    spot = submit(clean_slurm, tmp_path, script, "-p", "spot", "-w", "n1", ALL_GPUS, "-J", "spot")
    output = tmp_path / "spot.out"
    until(output.exists, "the spot job started")
    submit(clean_slurm, tmp_path, "sleep 1", "-p", "gpu", "-w", "n1", ALL_GPUS)
    until(lambda: states(clean_slurm, spot) == ["PREEMPTED"], "PREEMPTED in sacct")
    until(lambda: "start 1\n" in output.read_text(), "the spot job started again")


def test_grace_lets_a_preempted_job_end_by_itself_and_then_it_is_not_requeued(
    clean_slurm: Cluster, tmp_path: Path
) -> None:
    clean_slurm.grace(20)
    script = "srun sh -c 'trap \"echo saved; exit 0\" USR2; echo ready; while :; do sleep 0.1; done'"
    options = ("-p", "spot", "-w", "n1", ALL_GPUS, "--signal=USR2@60", "-J", "spot")
    spot = submit(clean_slurm, tmp_path, script, *options)
    output = tmp_path / "spot.out"
    until(lambda: output.exists() and output.read_text() == "ready\n", "the spot job started")
    submit(clean_slurm, tmp_path, "true", "-p", "gpu", "-w", "n1", ALL_GPUS)
    until(lambda: states(clean_slurm, spot) == ["COMPLETED"], "COMPLETED in sacct")
    assert output.read_text() == "ready\nsaved\n"


def test_a_job_on_a_dead_node_is_requeued(clean_slurm: Cluster, tmp_path: Path) -> None:
    job = submit(clean_slurm, tmp_path, "srun sleep 60", "-w", "n3")
    until(lambda: "RUNNING" in states(clean_slurm, job, steps=True)[1:], "its step started")
    clean_slurm.kill_node("n3")
    until(lambda: clean_slurm.node_state("n3") == "down*", "slurmctld missed the node")
    until(lambda: states(clean_slurm, job)[0] == "NODE_FAIL", "NODE_FAIL in sacct")
    assert clean_slurm.run("squeue", "-h", "-j", job, "-o", "%T").stdout == "PENDING\n"


def test_the_submit_limit_refuses_a_whole_array(clean_slurm: Cluster, tmp_path: Path) -> None:
    clean_slurm.limit_submit(2)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        submit(clean_slurm, tmp_path, "true", "--array=0-2", "--hold")
    assert "AssocMaxSubmitJobLimit" in refused.value.stderr
    submit(clean_slurm, tmp_path, "true", "--array=0-1", "--hold")


def test_clean_mends_what_a_test_broke(clean_slurm: Cluster, tmp_path: Path) -> None:
    submit(clean_slurm, tmp_path, "sleep 60", "-w", "n2")
    clean_slurm.drain("n1")
    clean_slurm.limit_submit(1)
    clean_slurm.kill_node("n2")
    clean_slurm.stop_daemon("slurmctld")
    clean_slurm.stop_daemon("slurmdbd")
    clean_slurm.clean()
    submit(clean_slurm, tmp_path, "srun hostname", "--wait", "-N4", ALL_GPUS)


def test_nothing_runs_on_when_the_tests_are_killed_and_the_cluster_is_broken(tmp_path: Path) -> None:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    folder = tmp_path / "cluster"
    program = (
        "import sys, time; from pathlib import Path; from slurm.cluster import *; from slurm.config import *\n"
        "with running(Path(sys.argv[1]), Options(nodes=1)) as cluster:\n"
        "    cluster.run('sbatch', '-o', '/dev/null', '--wrap', 'srun sleep 600')\n"
        "    print('up', flush=True)\n"
        "    time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(
        [sys.executable, "-c", program, folder], env=environment, stdout=subprocess.PIPE, text=True
    ) as tests:
        try:
            assert tests.stdout is not None
            assert tests.stdout.readline() == "up\n"
            cluster = Cluster(folder, Options(nodes=1))
            until(lambda: cluster.run("squeue", "-h", "-t", "RUNNING").stdout, "the job runs")
            cluster.kill_daemon("slurmctld")
        finally:
            tests.kill()
    until(lambda: not cluster.processes(), "every process ended")
