"""What clusters do to jobs: every run ends in the right state, and the retried ones in the right numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaigns import Place, Status, numbers, over
from slurm.cluster import Cluster

pytestmark = pytest.mark.slow

DROPS = ("math", "code", "facts", "code+math", "facts+math")
GRID = tuple(word for drop in DROPS for word in ("--drop", drop))
TAIL, TRUNK = "trunk/s0/80-100", "trunk/s0/60-80"


def run(name: str) -> str:
    return f"runs/{name}/s0"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Place:
    """The numbers that nothing disturbed, made by the local launcher with one process a training, as on the cluster."""
    place = Place(tmp_path_factory.mktemp("reference"), data)
    swept = place.call("sweep", "small.yaml", *GRID)
    assert swept.returncode == 0, swept.stderr
    return place


@pytest.fixture
def place(tmp_path: Path, data: Path, clean_slurm: Cluster) -> Iterator[Place]:
    yield Place(tmp_path, data, clean_slurm.env)


def same_numbers(place: Place, reference: Place) -> None:
    """Every number of a campaign is bit-equal to the reference's, which may have more runs."""
    mine, theirs = numbers(place.campaign), numbers(reference.campaign)
    assert any("metrics" in name for name in mine)
    assert mine == {name: theirs[name] for name in mine}


def jobs_of(place: Place, folder: str) -> set[str]:
    """Ids of the jobs that trained in a folder."""
    lines = map(json.loads, (place.campaign / folder / "attempts.jsonl").read_text().splitlines())
    return {line["job"] for line in lines if line["stage"] == "train"}


def trained(place: Place, reference: Place, name: str, *, cancel: bool = True) -> None:
    """Wait until a run is trained, to the reference's numbers; what comes after is not this test's matter."""

    def is_trained(status: Status) -> bool:
        return next(stage["state"] for stage in status[name]["stages"] if stage["stage"] == "train") == "done"

    place.wait(is_trained)
    if cancel:
        assert place.call("cancel").returncode == 0
        same_numbers(place, reference)
    assert f"runs/{name}/metrics.jsonl" in numbers(place.campaign)


def test_a_campaign_from_one_command_has_the_local_numbers(place: Place, reference: Place) -> None:
    place.cluster()
    swept = place.sweep("--drop", "math")
    assert swept.returncode == 0, swept.stderr
    status = place.wait(over)
    assert {run["state"] for run in status.values()} == {"done"}, status
    same_numbers(place, reference)
    again = place.sweep("--drop", "math")
    assert again.returncode == 0 and "nothing to do" in again.stderr


def test_a_runs_folder_stands_alone_with_plain_sbatch(place: Place, slurm: Cluster) -> None:
    place.cluster()
    assert place.sweep("--durations", "20").returncode == 0
    assert place.call("cancel").returncode == 0
    for folder in ("trunk/s0/0-60", TRUNK):
        done = slurm.run("sbatch", "--wait", "submit.sh", cwd=place.campaign / folder)
        assert done.returncode == 0, done.stderr
    status = place.status()
    assert status[TRUNK]["state"] == "done" and status["upsample-20/s0"]["state"] == "cancelled"


def test_what_breaks_in_a_job_and_the_retry(place: Place, reference: Place, slurm: Cluster) -> None:
    """One campaign in which nearly every branch, and the tail of the trunk, breaks in another way."""
    place.cluster(
        faults={
            TAIL: {"at": 85, "do": "raise"},
            run("drop-math-20"): {"at": 85, "do": "raise"},
            run("drop-code-20"): {"at": 90, "do": "SIGSEGV"},
            run("drop-facts-20"): {"at": 85, "do": "memory"},
            run("upsample-20"): {"at": 85, "do": "slow"},
            run("drop-code+math-20"): {"at": 85, "do": "slow"},
            run("drop-facts+math-20"): {"at": 85, "do": "slow"},
        }
    )
    assert place.sweep(*GRID).returncode == 0
    slurm.run("scancel", place.job(run("upsample-40"), "eval"))  # pending: accounting may keep nothing of it
    # By hand, each while it trains: cancel, requeue, and the signal that tells a job to save.
    for folder, act in (
        (run("upsample-20"), lambda job: slurm.run("scontrol", "requeue", job)),
        (run("drop-code+math-20"), lambda job: slurm.run("scancel", job)),
        (run("drop-facts+math-20"), lambda job: slurm.run("scancel", "-s", "USR2", job)),
    ):
        place.wait_step(folder, 86)
        act(place.job(folder))
    (place.folder / "faults.go").touch()
    status = place.wait(over)
    # Own fault: failed, with the cause in one line; children blocked.
    assert status[TAIL]["state"] == "failed" and "the test broke this step" in status[TAIL]["cause"]
    assert status["control/s0"]["state"] == "blocked" and TAIL in status["control/s0"]["cause"]
    assert status["drop-math-20/s0"]["state"] == "failed" and "the test broke" in status["drop-math-20/s0"]["cause"]
    assert status["drop-facts-20/s0"]["state"] == "failed" and "memory" in status["drop-facts-20/s0"]["cause"]
    assert status["drop-code+math-20/s0"]["state"] == "cancelled", status["drop-code+math-20/s0"]
    # Not their fault: queued again by themselves and done.
    for name in ("drop-code-20/s0", "upsample-20/s0", "drop-facts+math-20/s0"):
        assert status[name]["state"] == "done", status[name]
    assert status["upsample-40/s0"]["state"] in ("lost", "cancelled"), status["upsample-40/s0"]
    assert place.attempts(run("drop-code-20")) == ["killed", "done"]
    assert place.attempts(run("drop-facts+math-20")) == ["interrupted", "done"]
    logs = place.call("logs", "drop-math-20/s0", "--failed")
    assert "ValueError: the test broke this step" in logs.stdout and "Traceback" in logs.stdout
    # The same command again is the retry: only what is missing, and then all is as if nothing had happened.
    place.mend()
    again = place.sweep(*GRID)
    assert again.returncode == 0, again.stderr
    status = place.wait(over)
    assert {run["state"] for run in status.values()} == {"done"}, status
    same_numbers(place, reference)
    assert place.attempts(run("drop-math-20")) == ["failed", "done"]


def test_the_end_of_its_time_is_a_checkpoint_and_a_requeue_or_the_next_of_a_chain(
    place: Place, reference: Place
) -> None:
    # At this speed upsample-40 needs two jobs, upsample-20 one. Slurm sends the signal up to a minute early.
    slow = {"do": "slow", "seconds": 10}
    place.cluster(
        {"stages.train.time": 2, "signal_grace_s": 30, "tokens_per_second": 400.0},
        faults={run("upsample-20"): {"at": 82, **slow}, run("upsample-40"): {"at": 62, **slow}},
    )
    assert place.sweep().returncode == 0
    both = ("upsample-20/s0", "upsample-40/s0")

    def told(status: Status) -> bool:
        lines = [place.campaign / f"runs/{name}/attempts.jsonl" for name in both]
        return all(path.exists() and '"outcome"' in path.read_text() for path in lines)

    place.wait(told, seconds=400)
    place.mend()
    for name in both:
        trained(place, reference, name, cancel=name == both[-1])
        assert place.attempts(f"runs/{name}") == ["interrupted", "done"]
    again, chained = (jobs_of(place, f"runs/{name}") for name in both)
    assert len(again) == 1 and len(chained) == 2, "the same job queued again; a second job of the chain"


def trains(folder: str) -> dict[str, object]:
    return {folder: {"at": 86, "do": "slow"}}


def retried(status: Status, name: str) -> bool:
    return status[name]["state"] in ("retrying", "queued")


def test_a_node_that_dies_and_one_that_is_drained(place: Place, reference: Place, slurm: Cluster) -> None:
    place.cluster(faults=trains(run("upsample-20")))
    assert place.sweep("--durations", "20").returncode == 0
    place.wait_step(run("upsample-20"), 87)
    node = (
        place.call("status", "small", "--json").stdout
        and slurm.run("squeue", "-h", "-r", "-j", place.job(run("upsample-20")), "-o", "%N").stdout.strip()
    )
    slurm.kill_node(node)
    place.wait(lambda now: retried(now, "upsample-20/s0"))
    place.mend()
    slurm.start_daemon(f"slurmd.{node}")
    other = "n2" if node == "n1" else "n1"
    slurm.drain(other)  # what runs there runs on; what comes waits for the other
    trained(place, reference, "upsample-20/s0")
    slurm.resume(other)
    assert place.attempts(run("upsample-20")) == ["lost", "done"]


@pytest.mark.parametrize("grace", [0, 20])
def test_preempted_with_and_without_grace(place: Place, reference: Place, slurm: Cluster, grace: int) -> None:
    slurm.grace(grace)
    place.cluster({"partition": "spot"}, faults=trains(run("upsample-20")))
    assert place.sweep("--durations", "20").returncode == 0
    place.wait_step(run("upsample-20"), 87)
    urgent = ["--gpus-per-node=8", "--mem=100M", "--exclude=n[3-4]", "-N2", "-t", "5", "-o", "/dev/null"]
    slurm.run("sbatch", "-p", "gpu", *urgent, "--wrap", "sleep 20")
    place.wait(lambda now: retried(now, "upsample-20/s0"))
    place.mend()
    trained(place, reference, "upsample-20/s0")
    ended = place.attempts(run("upsample-20"))
    assert len(ended) == 2 and ended[-1] == "done", ended
    assert ended[0] == "interrupted" or grace == 0, "with notice it saves"
