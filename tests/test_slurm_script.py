"""sbatch scripts: pure functions of the cluster file, held by golden files and by what each key becomes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from joyctl.launch.slurm.script import Place, by_hand_text, node_program, sbatch_text
from joyctl.recipe.cluster import SlurmCluster

GOLDEN = Path(__file__).parent / "golden"
PLACE = Place(
    Path("/shared/results/mine/slurm/log"), Path("/shared/results/mine/slurm/code/0a1b"), "/opt/joy/bin/python"
)
STAGES: dict[str, Any] = {
    "train": {"time": "12:00:00", "nodes": 2, "gpus_per_node": 8, "cpus_per_task": 96, "mem": "0"},
    "eval": {"time": "02:00:00", "gpus_per_node": 1, "cpus_per_task": 12, "mem": "64G"},
    "score": {"time": 30, "cpus_per_task": 4, "mem": "8G", "partition": "cpu"},
}


def cluster(**changes: Any) -> SlurmCluster:
    return SlurmCluster.model_validate({"kind": "slurm", "partition": "gpu", "stages": STAGES, **changes})


def text(kind: Any = "train", given: SlurmCluster | None = None, **more: Any) -> str:
    given = given or cluster()
    program = node_program(given, kind, ["--manifest", "/shared/results/mine/slurm/arrays/mine-1.json"])
    return sbatch_text(given, kind, PLACE, name="mine-1", program=program, indices=more.pop("indices", [0]), **more)


@pytest.mark.parametrize("kind", ["train", "eval", "score"])
def test_golden(kind: Any) -> None:
    made = text(kind, cluster(account="nlp", env={"NCCL_DEBUG": "WARN"}), indices=range(3), dependency="afterok:202_0")
    assert made == (GOLDEN / f"sbatch-{kind}.sh").read_text()


def test_the_same_settings_give_the_same_text() -> None:
    assert text() == text()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"partition": "big"}, "#SBATCH --partition=big"),
        ({"account": "nlp"}, "#SBATCH --account=nlp"),
        ({"qos": "high"}, "#SBATCH --qos=high"),
        ({"reservation": "maint"}, "#SBATCH --reservation=maint"),
        ({"constraint": "h100&nvlink"}, "#SBATCH --constraint='h100&nvlink'"),
        ({"nodelist": "n[1-2]"}, "#SBATCH --nodelist='n[1-2]'"),
        ({"exclusive": True}, "#SBATCH --exclusive"),
        ({"requeue": True}, "#SBATCH --requeue"),
        ({"requeue": False}, "#SBATCH --no-requeue"),
        ({"signal_grace_s": 77}, "#SBATCH --signal=USR2@77"),
        ({"wckey": "joy"}, "#SBATCH --wckey=joy"),
        ({"array_parallelism": 2}, "#SBATCH --array=0-3%2"),
        ({"additional_parameters": {"licenses": "tokens:1"}}, "#SBATCH --licenses=tokens:1"),
        ({"env": {"A": "b c"}}, "export A='b c'"),
        ({"setup": ("module load cuda",)}, "module load cuda"),
    ],
)
def test_what_each_key_becomes(changes: dict[str, Any], line: str) -> None:
    lines = text(given=cluster(**changes), indices=range(4)).splitlines()
    assert line in lines
    assert line not in text(indices=range(4)).splitlines() or changes == {"requeue": True}


def test_no_wckey_of_our_own() -> None:
    assert "wckey" not in text()


def test_indices_are_written_short() -> None:
    assert "#SBATCH --array=0-2,5,7-8\n" in text(indices=[0, 1, 2, 5, 7, 8])


def test_bad_nodes_add_to_the_sites_own() -> None:
    assert "#SBATCH --exclude='n[3,7],n9'\n" in text(given=cluster(exclude="n[3,7]"), exclude=("n9",))


def test_a_stage_can_have_its_own_partition() -> None:
    assert "#SBATCH --partition=cpu\n" in text("score") and "#SBATCH --partition=gpu\n" in text("eval")


def test_jobs_whose_parent_failed_leave_the_queue() -> None:
    assert "#SBATCH --kill-on-invalid-dep=yes\n" in text(dependency="afterok:1_0")
    assert "kill-on-invalid-dep" not in text(given=cluster(kill_on_invalid_dep=False), dependency="afterok:1_0")


def test_the_node_program_is_told_what_it_must_know() -> None:
    made = text(given=cluster(max_requeues=9, shutdown_timeout_s=44, rdzv_ifname="ib0", requeue=False))
    for option in (
        "--processes-per-node=8",
        "--max-requeues=9",
        "--shutdown-timeout=44",
        "--rdzv-ifname=ib0",
        "--no-requeue",
    ):
        assert option in made


def test_the_node_program_is_told_the_price_of_its_time() -> None:
    made = text(given=cluster(price_per_gpu_hour=2.5, price_per_core_hour=0.04, currency="EUR"))
    assert " --price-per-gpu-hour=2.5 --price-per-core-hour=0.04 --currency=EUR" in made
    assert "price" not in text()


@pytest.mark.parametrize(
    ("asked", "processes"),
    [
        ({}, 1),
        ({"gpus_per_node": 1}, 1),
        ({"gpus_per_node": 4}, 4),
        ({"gpus_per_node": 4, "processes_per_node": 2}, 2),
        ({"gres": "gpu:h100:8", "processes_per_node": 8}, 8),
    ],
)
def test_a_model_is_scored_on_all_gpus_of_its_job(asked: dict[str, Any], processes: int) -> None:
    given = cluster(stages={**STAGES, "eval": {"time": 60, **asked}})
    assert f" --processes-per-node={processes} " in text("eval", given)
    assert "#SBATCH --nodes=1\n" in text("eval", given) and "#SBATCH --ntasks-per-node=1\n" in text("eval", given)


def test_apptainer_goes_around_python() -> None:
    box = {"runtime": "apptainer", "image": "/img/joy.sif", "mounts": ("/shared", "/data:/d"), "workdir": "/shared"}
    command = text(given=cluster(container=box)).splitlines()[-1]
    assert (
        "apptainer exec --nv --bind /shared --bind /data:/d --pwd /shared /img/joy.sif /opt/joy/bin/python -m"
        in command
    )


def test_pyxis_is_told_through_srun() -> None:
    box = {"runtime": "pyxis", "image": "nvcr.io#nvidia/pytorch:25.10-py3", "mounts": ("/a", "/b:/c"), "workdir": "/a"}
    command = text(given=cluster(container=box)).splitlines()[-1]
    assert "--container-image=nvcr.io#nvidia/pytorch:25.10-py3" in command
    assert "--container-mounts=/a,/b:/c --container-workdir=/a" in command and "apptainer" not in command


def test_by_hand_needs_no_array_and_no_manifest() -> None:
    made = by_hand_text(cluster(), PLACE, Path("/shared/results/mine/runs/up-20/s0"), ["train", "export", "eval"], "up")
    assert made.startswith("#!/bin/bash\n#")
    assert "--array" not in made and "--manifest" not in made and "--dependency" not in made
    assert "--folder /shared/results/mine/runs/up-20/s0 train export eval" in made


def test_torchtitans_settings_and_trackers_stand_in_the_script_of_training_and_in_that_by_hand() -> None:
    given = cluster(torchtitan={"parallelism": {"tensor_parallel_degree": 2}}, trackers=["wandb"])
    option = '--scaling={"torchtitan":{"parallelism":{"tensor_parallel_degree":2}},"trackers":["wandb"]}'
    assert option in node_program(given, "train", [])
    assert shlex.quote(option) in text("train", given)
    assert shlex.quote(option) in by_hand_text(given, PLACE, Path("/r/x"), ["train", "export"], "x")
    assert not any(word.startswith("--scaling") for word in node_program(given, "eval", []))
    assert not any(word.startswith("--scaling") for word in node_program(cluster(), "train", []))
