"""What a cluster does not have is told before anything is submitted, at the line that asks for it."""

# Messages stand here whole, as a user sees them.
# ruff: noqa: E501

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from pathlib import Path

import pytest

from joyctl.errors import RecipeError
from joyctl.launch.slurm import limits
from joyctl.launch.slurm.client import Answer, NoAnswer
from joyctl.launch.slurm.fit import Gres, parse_gres
from joyctl.launch.slurm.limits import parse_sinfo
from joyctl.recipe.cluster import SlurmCluster
from joyctl.recipe.load import load_cluster

ME = pwd.getpwuid(os.geteuid()).pw_name

SINFO = """\
gpu*|up|7-00:00:00|4|gpu:h100:8(S:0-1)|h100,nvlink|1000000|64
gpu*|up|7-00:00:00|2|gpu:a100:4|a100|500000+|48
short|up|10:00|1|gpu:h100:8|h100,nvlink|1000000|64
cpu|up|infinite|3|(null)|(null)|256000|128
old|down|1-00:00:00|9|(null)|(null)|64000|16
"""
CONFIG = """\
Configuration data as of 2024-05-01T12:00:00
KillWait                = 30 sec
MaxArraySize            = 1001
SLURM_VERSION           = 23.02.7

Slurmctld(primary) at head is UP
"""
CLUSTER = """\
kind: slurm
partition: gpu
stages:
  train: {time: 60, gpus_per_node: 8}
  eval: {time: 30, gpus_per_node: 1}
  score: {time: 30, partition: cpu}
"""


class Fake:
    """A cluster that gives set answers, and remembers what it was asked."""

    def __init__(self, **answers: str | Exception | Answer) -> None:
        self.answers: dict[str, str | Exception | Answer] = {
            "sinfo": SINFO, "scontrol": CONFIG, "show user": "", "show qos": "", **answers
        }  # fmt: skip
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, *command: str, text: str | None = None, keep: Sequence[int] = ()) -> Answer:
        self.asked.append(command)
        key = command[0] if command[0] != "sacctmgr" else " ".join(command[2:4])
        answer = self.answers[key]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Answer) else Answer(0, answer, "")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cluster_of(text: str) -> SlurmCluster:
    Path("c.yaml").write_text(text)
    cluster = load_cluster("./c.yaml")
    assert isinstance(cluster, SlurmCluster)
    return cluster


def refused(text: str, **answers: str | Exception | Answer) -> list[str]:
    """The problems of a cluster file on that cluster, without the file's name; empty when it fits."""
    try:
        limits.require("./c.yaml", cluster_of(text), limits.read_limits(Fake(**answers)))
    except RecipeError as error:
        assert error.exit_code == 3
        assert "would never start" in str(error.hint)
        return [str(problem).removeprefix("./c.yaml:") for problem in error.problems]
    return []


def test_two_calls_tell_all():
    slurm = Fake()
    found = limits.read_limits(slurm)
    assert [command[0] for command in slurm.asked] == ["sinfo", "scontrol"]
    assert (found.max_array_size, found.kill_wait_s, found.version) == (1001, 30, "23.02.7")
    assert {name: p.minutes for name, p in found.partitions.items()} == {
        "gpu": 10_080, "short": 10, "cpu": None, "old": 1_440
    }  # fmt: skip
    assert [name for name, p in found.partitions.items() if p.default] == ["gpu"]
    assert [(n.count, n.memory_mb, n.cpus) for n in found.partitions["gpu"].nodes] == [
        (4, 1_000_000, 64),
        (2, 500_000, 48),
    ]


def test_a_controller_that_is_down_is_no_empty_cluster():
    with pytest.raises(NoAnswer):
        limits.read_limits(Fake(sinfo=NoAnswer("down")))


def test_lines_of_sinfo_that_are_no_partition_are_passed_over():
    assert parse_sinfo("CLUSTER: a\n" + SINFO).keys() == parse_sinfo(SINFO).keys()
    assert parse_sinfo("") == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("gpu:8", [Gres("gpu", None, 8)]),
        ("gpu", [Gres("gpu", None, 1)]),
        ("gpu:h100", [Gres("gpu", "h100", 1)]),
        ("gpu:h100:8(S:0-1,3)", [Gres("gpu", "h100", 8)]),
        ("gpu:a100:4,lscratch:2K", [Gres("gpu", "a100", 4), Gres("lscratch", None, 2048)]),
    ],
)
def test_generic_resources_in_slurms_words(text: str, expected: list[Gres]):
    assert list(parse_gres(text)) == expected


def test_a_cluster_file_that_fits():
    assert refused(CLUSTER) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("partition: gpu", "partition: gup", ["2:12 partition: there is no partition 'gup' for you; you can use cpu, gpu, old, short; did you mean 'gpu'?"]),
        ("partition: gpu", "partition: old", ["2:12 partition: partition old is down: it starts no jobs now"]),
        ("partition: cpu", "partition: old", ["6:32 stages.score.partition: partition old is down: it starts no jobs now"]),
        ("time: 60", "time: 8-00:00:00", ["4:17 stages.train.time: 8-00:00:00 is above the limit of partition gpu, which is 7-00:00:00"]),
        ("time: 60", "time: 7-00:00:01", ["4:17 stages.train.time: 7-00:00:01 is above the limit of partition gpu, which is 7-00:00:00"]),
        ("time: 60", "time: 7-00:00:00", []),
        ("partition: cpu", "partition: short", ["6:17 stages.score.time: 30 is above the limit of partition short, which is 00:10:00"]),
        ("time: 30, partition: cpu", "time: 100-0, partition: cpu", []),
        ("time: 60,", "time: 60, nodes: 7,", ["4:28 stages.train.nodes: 7; partition gpu has 6 nodes"]),
        ("time: 60,", "time: 60, nodes: 5,", ["4:46 stages.train.gpus_per_node: only 4 nodes of partition gpu have 8 GPUs; 5 are asked for"]),
        ("gpus_per_node: 8", "gpus_per_node: 4, nodes: 6", []),
        ("gpus_per_node: 8", "gpus_per_node: 16", ["4:36 stages.train.gpus_per_node: no node of partition gpu has 16 GPUs; there are gpu:a100:4, gpu:h100:8"]),
        ("gpus_per_node: 8", "gres: 'gpu:h200:8'", ["4:27 stages.train.gres: no node of partition gpu has gpu:h200:8; there are gpu:a100:4, gpu:h100:8"]),
        ("gpus_per_node: 8", "gres: 'gpu:a100:4'", []),
        ("partition: cpu", "partition: cpu, gpus_per_node: 1", ["6:52 stages.score.gpus_per_node: no node of partition cpu has 1 GPU; they have none"]),
        ("gpus_per_node: 8", "gpus_per_node: 8, constraint: h10", ["4:51 stages.train.constraint: no node of partition gpu has features 'h10'; did you mean 'h100'?"]),
        ("gpus_per_node: 8", "gpus_per_node: 8, constraint: a100", ["4:36 stages.train.gpus_per_node: no node of partition gpu has 8 GPUs; there are gpu:a100:4"]),
        ("gpus_per_node: 8", "gpus_per_node: 8, constraint: a100&nvlink", ["4:51 stages.train.constraint: no node of partition gpu has features 'a100&nvlink'; there are a100, h100, nvlink"]),
        ("gpus_per_node: 8", "gpus_per_node: 8, constraint: 'a100|nvlink'", []),
        ("gpus_per_node: 8", "gpus_per_node: 8, constraint: '[h100*1&nvlink*2]'", []),
        ("gpus_per_node: 8", "gpus_per_node: 8, cpus_per_task: 65", ["4:54 stages.train.cpus_per_task: no node of partition gpu has 65 cores; the most is 64"]),
        ("gpus_per_node: 8", "gpus_per_node: 8, mem: 977G", ["4:44 stages.train.mem: no node of partition gpu has 977G of memory; the most is 1000000M"]),
        ("gpus_per_node: 8", "gpus_per_node: 8, mem: 976G", []),
        ("gpus_per_node: 8", "gpus_per_node: 8, mem: 0", []),
        ("gpus_per_node: 8", "gpus_per_node: 8, cpus_per_task: 64, mem_per_cpu: 16G", ["4:71 stages.train.mem_per_cpu: no node of partition gpu has 64 x 16G of memory; the most is 1000000M"]),
        ("gpus_per_node: 8", "gpus_per_node: 8, mem_per_gpu: 200G", ["4:52 stages.train.mem_per_gpu: no node of partition gpu has 8 x 200G of memory; the most is 1000000M"]),
        # Of several partitions one that fits is enough.
        ("partition: cpu", "partition: 'short,cpu'", []),
        ("partition: cpu", "partition: 'short,old'", ["6:17 stages.score.time: 30 is above the limit of partition short, which is 00:10:00"]),
        ("partition: cpu", "partition: 'cpu,cup'", ["6:32 stages.score.partition: there is no partition 'cup' for you; you can use cpu, gpu, old, short; did you mean 'cpu'?"]),
        ("kind: slurm", "kind: slurm\nmax_array_size: 5000", ["2:17 max_array_size: 5000 is above Slurm's MaxArraySize, 1001"]),
    ],
)  # fmt: skip
def test_what_it_asks_and_the_cluster_has_not(old: str, new: str, expected: list[str]):
    assert CLUSTER.count(old) == 1
    assert refused(CLUSTER.replace(old, new)) == expected


def test_one_line_for_what_several_stages_share():
    assert len(refused(CLUSTER.replace("partition: gpu", "partition: gup"))) == 1


def test_without_a_partition_it_is_the_default_one():
    text = CLUSTER.replace("partition: gpu\n", "")
    assert refused(text) == []
    assert refused(text.replace("time: 60", "time: 8-0"))[0].startswith(
        "3:17 stages.train.time: 8-0 is above the limit of partition gpu"
    )
    assert refused(text, sinfo=SINFO.replace("*", "")) == [
        "1:1 partition: missing, and this cluster has no default; there are cpu, gpu, old, short"
    ]


# --------------------------------------------------------------------------------------------- how many at once


def limit(associations: str, qos: str = "normal||\n", text: str = CLUSTER) -> int | None:
    slurm = Fake(**{"show user": associations, "show qos": qos})
    found = limits.submit_limit(slurm, "me", cluster_of(text))
    assert len(slurm.asked) == 2
    return found


@pytest.mark.parametrize(
    ("associations", "qos", "line", "expected"),
    [
        ("lab|lab||50|\n", "normal||\n", "", 50),
        ("lab|lab|||\n", "normal||\n", "", None),
        ("", "", "", None),
        # The account in the file counts, else the default one, else any.
        ("lab|lab||50|\nlab|other||7|\n", "", "", 50),
        ("lab|lab||50|\nlab|other||7|\n", "", "account: other", 7),
        ("|lab||50|\n|other||7|\n", "", "", 7),
        # An association of one partition goes before that of all, for its partition.
        ("lab|lab||50|\nlab|lab|gpu|9|\n", "", "", 9),
        ("lab|lab||50|\nlab|lab|fast|9|\n", "", "", 50),
        # A limit of the QOS goes before that of the association.
        ("lab|lab||50|high\n", "normal||\nhigh|80|\n", "", 80),
        ("lab|lab||50|high\n", "normal|70|\nhigh|80|60\n", "qos: normal", 70),
        ("lab|lab||50|high\n", "normal|70|\nhigh|80|60\n", "", 60),
        ("lab|lab||50|\n", "normal|20|\n", "", 20),
    ],
)
def test_the_limit_of_submitted_jobs(associations: str, qos: str, line: str, expected: int | None):
    assert limit(associations, qos, CLUSTER + line + "\n") == expected


def test_no_accounting_is_no_limit_and_none_that_answers_is_for_sbatch_to_tell():
    refusal = Answer(1, "", "You are not running a supported accounting_storage plugin")
    assert limits.submit_limit(Fake(**{"show user": refusal}), "me", cluster_of(CLUSTER)) is None
    assert limits.submit_limit(Fake(**{"show user": NoAnswer("down")}), "me", cluster_of(CLUSTER)) is None


def test_the_room_that_is_left():
    slurm = Fake(**{"show user": f"{ME}|{ME}||5|\n"}, squeue="7_0\n7_1\n9\n")
    assert limits.submit_room(slurm, cluster_of(CLUSTER)) == 2
    assert slurm.asked[-1] == ("squeue", "-h", "-r", "-u", ME, "-o", "%i")
    # The cluster file's own number goes before accounting's, which is then not asked.
    slurm = Fake(squeue="1\n2\n3\n")
    assert limits.submit_room(slurm, cluster_of(CLUSTER + "max_submit: 2\n")) == 0
    assert [command[0] for command in slurm.asked] == ["squeue"]
    assert limits.submit_room(Fake(), cluster_of(CLUSTER)) is None


@pytest.mark.parametrize(
    ("text", "key"),
    [
        # As Slurm 22.05 says it.
        ("sbatch: error: invalid partition specified: nope\nallocation failure: Invalid partition name specified", "partition"),
        ("allocation failure: Invalid account or account/partition combination specified", "account"),
        ("allocation failure: Invalid qos specification", "qos"),
        ("allocation failure: Requested reservation is invalid", "reservation"),
        ("allocation failure: Invalid feature specification", "constraint"),
        ("allocation failure: Invalid node name specified", "nodelist, exclude"),
        ("sbatch: error: Invalid generic resource (gres) specification", "gres, gpus_per_node, mem_per_gpu"),
        ("allocation failure: Requested node configuration is not available", "nodes, gpus_per_node, cpus_per_task, mem"),
        ("sbatch: unrecognized option '--foo=1'", "additional_parameters"),
        ("sbatch: error: Batch job submission failed: Invalid wckey specification", "wckey"),
        ("sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)", "time"),
        ("sbatch: error: Batch job submission failed: Job violates accounting/QOS policy", None),
    ],
)  # fmt: skip
def test_sbatchs_refusals_name_the_key(text: str, key: str | None):
    assert limits.explain_refusal(text) == key
