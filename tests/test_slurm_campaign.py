"""Submitting on a real Slurm: refusals leave nothing behind, outages lose nothing, a killed command doubles nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from campaigns import Place
from slurm.cluster import Cluster

from joyctl.launch.slurm.ledger import Ledger


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def place(tmp_path: Path, data: Path, clean_slurm: Cluster) -> Iterator[Place]:
    """A place on a cluster on which nothing starts."""
    for node in clean_slurm.nodes:
        clean_slurm.drain(node)
    place = Place(tmp_path, data, clean_slurm.env)
    place.cluster()
    yield place


def queued(slurm: Cluster, place: Place) -> Counter[tuple[str, str]]:
    """How often each (folder, stage) stands in the queue."""
    manifests = {a.manifest.name: a.manifest for a in Ledger(place.campaign).read()}
    found: Counter[tuple[str, str]] = Counter()
    for line in slurm.run("squeue", "-h", "-r", "-o", "%j|%K").stdout.splitlines():
        name, index = line.split("|")
        element = manifests[name].elements[int(index)]
        found.update((element.folder, stage) for stage in element.stages)
    return found


def held(slurm: Cluster) -> list[str]:
    return [r for r in slurm.run("squeue", "-h", "-r", "-o", "%r").stdout.splitlines() if "Held" in r]


def expected(place: Place) -> set[tuple[str, str]]:
    plan = json.loads(place.call("plan", "small.yaml", "--drop", "math", "--json").stdout)
    stages = {(s["id"], "train") for s in plan["segments"]}
    return stages | {(f"runs/{r['id']}", stage) for r in plan["runs"] for stage in ("export", "eval", "score")}


def test_killed_at_random_instants_no_job_is_lost_or_doubled(place: Place, slurm: Cluster) -> None:
    chance = random.Random(20)
    words = ("sweep", "small.yaml", "--drop", "math", "--cluster", "./cluster.yaml")
    wanted = Counter(dict.fromkeys(expected(place), 1))
    arrays = place.campaign / "slurm" / "arrays"
    killed = 0
    for _ in range(10):
        for _ in range(2):
            before = set(arrays.glob("*")) if arrays.exists() else set()
            process = place.start(*words)
            while process.poll() is None and not (arrays.exists() and set(arrays.glob("*")) - before):
                time.sleep(0.005)  # until it begins to submit
            time.sleep(chance.uniform(0, 0.12))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed += process.returncode == -signal.SIGKILL
        last = place.call(*words)
        assert last.returncode == 0, last.stderr
        assert queued(slurm, place) == wanted and held(slurm) == []
        assert place.call("cancel").returncode == 0
        assert not slurm.run("squeue", "-h").stdout
    assert killed >= 10, f"only {killed} of 20 were still running when they were to be killed"


@pytest.mark.parametrize(
    ("change", "said", "at"),
    [
        ({"partition": "nope"}, "nope", "cluster.yaml"),
        ({"account": "nobody"}, "nvalid account", "cluster.yaml"),
        ({"stages.train.gpus_per_node": 9}, "9", "cluster.yaml"),
        ({"stages.train.gpus_per_node": 0, "stages.train.gres": "tpu:1"}, "tpu", "cluster.yaml"),
        ({"stages.train.time": "8-00:00:00"}, "7-00:00:00", "cluster.yaml"),
        ({"stages.train.nodes": 5, "exclude": None}, "5", "cluster.yaml"),
        ({"qos": "nope"}, "nvalid qos", "cluster.yaml"),
    ],
)
def test_what_the_cluster_does_not_have_is_refused_at_its_line(
    place: Place, slurm: Cluster, change: dict[str, Any], said: str, at: str
) -> None:
    place.cluster(change)
    swept = place.sweep()
    assert swept.returncode == 3, swept.stderr
    assert said in swept.stderr and at in swept.stderr and "Traceback" not in swept.stderr
    assert not slurm.run("squeue", "-h").stdout
    arrays = place.campaign / "slurm" / "arrays"
    assert not arrays.exists() or not list(arrays.iterdir())


def test_the_users_limit_leaves_the_rest_to_the_next_sweep(place: Place, slurm: Cluster) -> None:
    slurm.limit_submit(6)
    swept = place.sweep()
    assert swept.returncode == 0, swept.stderr
    assert "more than you may have queued" in swept.stderr
    assert sum(queued(slurm, place).values()) >= 6 and len(slurm.run("squeue", "-h", "-r").stdout.splitlines()) == 6
    assert held(slurm) == []
    slurm.limit_submit(None)
    assert place.sweep().returncode == 0
    assert set(queued(slurm, place).values()) == {1}


def test_a_controller_that_is_down_loses_nothing(place: Place, slurm: Cluster) -> None:
    slurm.stop_daemon("slurmctld")
    swept = place.sweep()
    assert swept.returncode == 6 and "Traceback" not in swept.stderr, swept.stderr
    slurm.start_daemon("slurmctld")
    assert place.sweep("--drop", "math").returncode == 0
    slurm.stop_daemon("slurmctld")
    looked = place.call("status", "small")
    assert looked.returncode == 0 and "Traceback" not in looked.stderr, looked.stderr
    assert "trunk/s0/0-60" in looked.stdout
    slurm.start_daemon("slurmctld")
    again = place.sweep("--drop", "math")
    assert again.returncode == 0 and "nothing new to submit" in again.stderr, again.stderr
    assert queued(slurm, place) == Counter(dict.fromkeys(expected(place), 1))


def test_a_controller_that_goes_away_in_the_middle_of_a_submission(
    place: Place, slurm: Cluster, tmp_path: Path
) -> None:
    shim = tmp_path / "bin" / "sbatch"
    shim.parent.mkdir()
    pid = (slurm.folder / "pid" / "slurmctld.pid").read_text().strip()
    shim.write_text(
        f"""#!/bin/sh
echo x >> {tmp_path}/calls
if [ $(wc -l < {tmp_path}/calls) = 4 ]; then
    kill -TERM {pid}
    while kill -0 {pid} 2>/dev/null && ! grep -q "State:.Z" /proc/{pid}/status; do sleep 0.1; done
fi
exec {shutil.which("sbatch")} "$@"
"""
    )
    shim.chmod(0o755)
    place.env["PATH"] = f"{shim.parent}:{os.environ['PATH']}"
    swept = place.sweep("--drop", "math")
    assert swept.returncode == 6 and "nable to contact slurm controller" in swept.stderr, swept.stderr
    slurm.start_daemon("slurmctld")
    names = set(slurm.run("squeue", "-h", "-o", "%j").stdout.split())
    assert len(names) == 3 and len(held(slurm)) >= 3, "what was taken waits held"
    again = place.sweep("--drop", "math")
    assert again.returncode == 0, again.stderr
    assert queued(slurm, place) == Counter(dict.fromkeys(expected(place), 1)) and held(slurm) == []


def test_accounting_that_is_down_hinders_nobody(place: Place, slurm: Cluster) -> None:
    slurm.stop_daemon("slurmdbd")
    try:
        swept = place.sweep()
        assert swept.returncode == 0, swept.stderr
        status = place.status()
        assert {run["state"] for run in status.values()} == {"queued"}
    finally:
        slurm.start_daemon("slurmdbd")


def test_jobs_in_the_queue_keep_others_off(place: Place) -> None:
    assert place.sweep().returncode == 0
    here = place.call("sweep", "small.yaml")
    assert here.returncode == 4 and "in Slurm's queue" in here.stderr and "joyctl cancel" in here.stderr
    changed = place.sweep("optimizer.lr=1e-3", "--rerun")
    assert changed.returncode == 4, changed.stderr


def test_dry_run_shows_the_scripts_and_submits_nothing(place: Place, slurm: Cluster) -> None:
    shown = place.sweep("--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "#SBATCH --job-name=small-" in shown.stdout and "--array=" in shown.stdout
    assert not slurm.run("squeue", "-h").stdout and not (place.campaign / "slurm").exists()


def test_the_last_small_job_submits_the_rest(tmp_path: Path, data: Path, clean_slurm: Cluster) -> None:
    place = Place(tmp_path, data, clean_slurm.env)
    place.cluster({"rest": "job", "max_submit": 3})  # the last job itself counts while it submits
    swept = place.sweep("--durations", "20")
    assert swept.returncode == 0 and "a last small job submits them" in swept.stderr, swept.stderr
    assert [len(a.manifest.elements) for a in Ledger(place.campaign).read()] == [1, 1, 1]
    status = place.wait(lambda now: now["trunk/s0/80-100"]["state"] != "pending")
    assert {status[f"trunk/s0/{part}"]["state"] for part in ("0-60", "60-80")} == {"done"}
    assert place.call("cancel").returncode == 0
