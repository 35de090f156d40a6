"""`joyctl doctor` tells what a campaign would trip over, each thing with its remedy, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recipes_for_tests import recipe
from slurm.cluster import Cluster

from joyctl.launch.slurm import checks, probe
from joyctl.launch.slurm.checks import Check, campaign_bytes, exit_code
from joyctl.launch.slurm.client import Answer, NoAnswer
from joyctl.launch.slurm.doctor import on_cluster, on_this_machine
from joyctl.launch.slurm.onsite import Case, small_jobs
from joyctl.launch.slurm.visit import Visit, visit
from joyctl.recipe.cluster import LocalCluster, SlurmCluster
from joyctl.recipe.load import load_cluster, load_cluster_file

CLUSTER = """\
kind: slurm
partition: gpu
account: lab
stages:
  train: {time: 60, nodes: 2, gpus_per_node: 8}
  eval: {time: 30, gpus_per_node: 1}
  score: {time: 30}
"""
SINFO = "gpu*|up|7-00:00:00|4|gpu:h100:8|h100|1000000|64\n"
CONFIG = "KillWait = 30 sec\nMaxArraySize = 1001\nSLURM_VERSION = 23.02.7\n"
START = "sbatch: Job 7 to start at 2020-01-01T13:35:25 using 1 processors on nodes n1 in partition gpu\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    Path("c.yaml").write_text(CLUSTER)
    return tmp_path


def facts(**changes: Any) -> probe.Facts:
    """What a node of the H100 site sees."""
    return {
        "node": "n1",
        "python": "3.12.3",
        "executable": "/env/bin/python",
        "joyctl": "0.1.0",
        "joyctl_file": "/code/joyctl/__init__.py",
        "packages": probe.packages(),
        "cores": 96,
        "driver": True,
        "cuda_visible": "0,1,2,3,4,5,6,7",
        "sbatch": True,
        "hub": {"path": "/hf", "there": True},
        "torch": {"version": "2.13.0+cu128", "gpus": 8, "names": ["NVIDIA H100"], "built_for_gpus": True},
        "sandbox": None,
        "folders": {},
        **changes,
    }


class Site:
    """A cluster whose jobs do, each in one step of its clock, what `node` says."""

    def __init__(
        self, node: Callable[[Site, dict[str, Any]], str] | None = None, **answers: Answer | Exception
    ) -> None:
        self.node = node or run_probe
        self.answers = {
            "sinfo": Answer(0, SINFO, ""),
            "scontrol": Answer(0, CONFIG, ""),
            "sbatch --test-only": Answer(0, "", START),
            **answers,
        }
        self.jobs: dict[str, dict[str, Any]] = {}
        self.cancelled: list[str] = []
        self.now = 0.0

    def __call__(self, *command: str, text: str | None = None, keep: Sequence[int] = ()) -> Answer:
        key = " ".join(command[:2]) if command[0] == "sbatch" else command[0]
        answer = self.answers.get(key, self.answers.get(command[0], Answer(0, "", "")))
        if isinstance(answer, Exception):
            raise answer
        if key == "sbatch --parsable":
            return self._submit(text or "")
        if command[0] == "squeue" and "-j" in command:
            return self._queue(command[command.index("-j") + 1].split(","))
        if command[0] == "scancel" and command[1] != "--version":
            self.cancelled += command[1:]
        return answer

    def _submit(self, script: str) -> Answer:
        line = next(line for line in script.splitlines() if line.startswith("srun"))
        words = shlex.split(line)
        given = words[words.index("joyctl.launch.slurm.probe") + 1 :]
        folders = [Path(given[i + 1]) for i, word in enumerate(given) if word == "--folder"]
        job = str(100 + len(self.jobs))
        code = re.search(r"PYTHONPATH=(\S+?)\$", script)
        assert code is not None
        self.jobs[job] = {
            "id": job, "folders": folders, "name": given[given.index("--name") + 1], "state": "PENDING",
            "code": Path(code[1]), "script": script,
        }  # fmt: skip
        return Answer(0, job + "\n", "")

    def _queue(self, ids: list[str]) -> Answer:
        rows = []
        for job in (self.jobs[i] for i in ids):
            if job["state"] == "PENDING":
                job["state"] = self.node(self, job)
            reason, node = ("Resources", "") if job["state"] == "PENDING" else ("None", "n1")
            rows.append(f"{job['id']}|{job['state']}|{reason}|{node}")
        return Answer(0, "\n".join(rows), "")

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now


def run_probe(site: Site, job: dict[str, Any], **changes: Any) -> str:
    """A node on which all is well."""
    first, name = job["folders"][0], job["name"]
    found = facts(joyctl_file=str(job["code"] / "joyctl/__init__.py"), **changes)
    found["folders"] = {str(folder): probe.visit(folder, name) for folder in job["folders"]}
    probe.facts_file(first, name).write_text(json.dumps(found))
    return "COMPLETED"


def examine(site: Site, *, quick: bool = False, overrides: Sequence[str] = (), **changes: Any) -> dict[str, Check]:
    """The checks of that cluster, by name."""
    loaded = load_cluster_file("./c.yaml", overrides)
    case = Case(Path("results"), changes.get("recipe"), quick, wait_s=60)
    found = list(on_cluster(loaded, site, case, sleep=site.sleep, clock=site.clock))
    by_name = {check.name: check for check in found}
    assert len(by_name) == len(found)
    return by_name


def failed(found: dict[str, Check]) -> list[str]:
    return [name for name, check in found.items() if check.state == "failed"]


# ------------------------------------------------------------------------------------------------- asking Slurm


def test_a_sound_cluster_passes_everything_and_nothing_is_left_of_it():
    site = Site()
    found = examine(site)
    assert {check.state for check in found.values()} == {"ok"}, found
    assert list(found) == [
        "slurm", "accounting", "limits", "train sbatch", "eval sbatch", "score sbatch", "queue", "space",
        "train job", "train folder", "train python", "train gpus",
        "eval job", "eval folder", "eval python", "eval gpus", "eval hub",
        "score job", "score folder", "score python", "score sandbox",
    ]  # fmt: skip
    assert found["train sbatch"].seen == "sbatch would take it, to start at once on n1 of partition gpu"
    assert found["queue"].seen == "arrays of up to 1,001 jobs; no limit of queued jobs known"
    assert found["train gpus"].seen == "8 (NVIDIA H100)"
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["c.yaml"]
    assert site.cancelled == []


def test_quick_sends_no_jobs():
    site = Site()
    assert "train job" not in examine(site, quick=True)
    assert site.jobs == {}


def test_no_slurm_here():
    from joyctl.errors import Missing

    missing = Missing("sbatch is not on this machine")
    found = examine(Site(**{"sbatch --version": missing}))
    assert list(found) == ["slurm"]
    assert (found["slurm"].state, found["slurm"].seen) == ("failed", "sbatch: not on this machine")
    assert "login node" in str(found["slurm"].remedy)
    assert exit_code(list(found.values())) == 6


def test_a_controller_that_does_not_answer_ends_the_examination():
    found = examine(Site(sinfo=NoAnswer("sinfo: Unable to contact slurm controller")))
    assert failed(found) == list(found) == ["slurm"]


def test_accounting_that_is_down_is_told_and_the_rest_goes_on():
    down = NoAnswer("sacct: could not connect; Problem talking to the database: Connection refused")
    found = examine(Site(sacct=down))
    assert failed(found) == ["accounting"]
    assert found["accounting"].seen == "Problem talking to the database: Connection refused"
    none = Answer(1, "", "Slurm accounting storage is disabled")
    assert examine(Site(sacct=none))["accounting"].state == "skipped"


def test_a_limit_of_the_cluster_is_told_at_its_line_and_means_exit_code_3():
    found = examine(Site(), quick=True, overrides=["stages.eval.gpus_per_node=9"])
    assert found["limits"].where == "override 'stages.eval.gpus_per_node=9':"
    Path("c.yaml").write_text(CLUSTER.replace("time: 60", "time: 8-0"))
    found = examine(Site(), quick=True)
    assert found["limits"].where == "./c.yaml:5:17"
    assert found["limits"].seen.startswith("stages.train.time: 8-0 is above the limit of partition gpu")
    assert exit_code(list(found.values())) == 3


@pytest.mark.parametrize(
    ("text", "where", "remedy"),
    [
        ("Invalid account or account/partition combination specified", "./c.yaml:3:10", "Change account; sacctmgr"),
        ("Invalid qos specification", "./c.yaml:1:1", "Change qos; sacctmgr"),
        ("Requested node configuration is not available", "./c.yaml:5:10", "Change nodes or gpus_per_node or"),
    ],
)
def test_what_sbatch_refuses_is_told_in_its_words_at_the_key(text: str, where: str, remedy: str):
    refusal = Answer(1, "", f"allocation failure: {text}\n")
    found = examine(Site(**{"sbatch --test-only": refusal}))
    check = found["train sbatch"]
    assert (check.state, check.where) == ("failed", where)
    assert text in check.seen
    assert str(check.remedy).startswith(remedy)
    assert "train job" not in found, "what sbatch refuses is not sent"
    assert exit_code(list(found.values())) == 3


def test_a_full_queue_is_told():
    found = examine(Site(squeue=Answer(0, "1\n2\n", "")), quick=True, overrides=["max_submit=2"])
    assert failed(found) == ["queue"]
    found = examine(Site(squeue=Answer(0, "1\n", "")), quick=True, overrides=["max_submit=2", "max_array_size=5"])
    assert found["queue"].seen == "arrays of up to 5 jobs; 1 more jobs may be queued"


# ------------------------------------------------------------------------------------------------- on the nodes


def test_the_small_jobs_ask_for_what_the_stages_do_on_one_node_for_minutes():
    cluster = load_cluster("./c.yaml")
    assert isinstance(cluster, SlurmCluster)
    small = small_jobs(cluster)
    assert (small.stages.train.nodes, small.stages.train.gpus_per_node, small.stages.train.minutes) == (1, 8, 5)
    site = Site()
    examine(site)
    scripts = {job["name"]: job["script"] for job in site.jobs.values()}
    assert "#SBATCH --gpus-per-node=8" in scripts["train"] and "#SBATCH --no-requeue" in scripts["train"]
    assert "--torch" in scripts["eval"] and "--sandbox" not in scripts["eval"]
    assert "--sandbox" in scripts["score"] and "--torch" not in scripts["score"]


def test_jobs_that_do_not_start_are_taken_back_and_are_nobodys_fault():
    site = Site(lambda site, job: "PENDING" if job["name"] != "score" else run_probe(site, job))
    found = examine(site)
    assert [check.state for name, check in found.items() if name.endswith("job")] == ["ok", "skipped", "skipped"]
    assert found["train job"].seen == "queued: Resources: waiting for free nodes; taken back"
    assert site.cancelled == ["100", "101"]
    assert 60 <= site.now < 70
    assert exit_code(list(found.values())) == 0


def test_a_folder_that_the_node_does_not_see():
    found = examine(Site(lambda site, job: "FAILED"))
    check = found["train job"]
    assert check.state == "failed"
    assert check.seen == f"ended on n1, and nothing of it is seen here in {Path.cwd() / 'results'}"
    assert "shared_root" in str(check.remedy)


def test_the_last_words_of_a_job_that_failed():
    def node(site: Site, job: dict[str, Any]) -> str:
        log = "module: not found\nsrun: error: n1: task 0: Exited with exit code 3\n"
        (job["folders"][0] / f"{job['id']}_0_log.out").write_text(log)
        return "FAILED"

    found = examine(Site(node))
    assert found["score job"].seen == "failed on n1: module: not found"


def test_a_job_that_does_not_end_is_waited_for_no_longer_than_its_time():
    site = Site(lambda site, job: "RUNNING")
    found = examine(site)
    assert failed(found) == ["train job", "eval job", "score job"]
    assert site.cancelled == ["100", "101", "102"]
    assert 360 <= site.now < 370


def test_a_folder_of_the_same_name_that_is_another_one():
    def node(site: Site, job: dict[str, Any]) -> str:
        (job["folders"][0] / probe.HERE).write_text("another word")
        return run_probe(site, job)

    found = examine(Site(node))
    assert found["train folder"].seen == f"{Path.cwd() / 'results'} on n1 is another folder than here"


def test_the_shared_root_is_looked_at_as_well(tmp_path: Path):
    def node(site: Site, job: dict[str, Any]) -> str:
        job["folders"][1] = tmp_path / "not-mounted"
        return run_probe(site, job)

    root = tmp_path / "shared"
    found = examine(Site(), overrides=[f"shared_root={root}"])
    assert found["train folder"].seen == f"{root} and {tmp_path / 'results'}: written on n1, seen here"
    assert failed(examine(Site(node), overrides=[f"shared_root={root}"])) == [
        "train folder", "eval folder", "score folder"
    ]  # fmt: skip


def test_a_folder_that_cannot_be_written_here():
    Path("results").write_text("a file")
    found = examine(Site())
    assert failed(found) == ["folder"]
    assert "train job" not in found


def test_no_sbatch_on_a_node_that_has_to_submit_the_rest():
    site = Site(lambda site, job: run_probe(site, job, sbatch=False))
    assert failed(examine(site)) == []
    assert failed(examine(site, overrides=["rest=job"])) == ["score submit"]


class Stop(Exception):
    """Ctrl-C, as it were."""


def test_whatever_happens_no_job_is_left_in_the_queue():
    site = Site(lambda site, job: "PENDING")

    def sleep(seconds: float) -> None:
        raise Stop

    case = Case(Path("results"), None, False, wait_s=60)
    with pytest.raises(Stop):
        list(on_cluster(load_cluster_file("./c.yaml"), site, case, sleep=sleep, clock=site.clock))
    assert site.cancelled == ["100", "101", "102"]
    assert not Path("results").exists()


def test_a_job_that_sbatch_refuses_at_last_leaves_the_others_alone(tmp_path: Path):
    refused = Site(**{"sbatch --parsable": NoAnswer("down")})
    with pytest.raises(NoAnswer):
        list(visit(refused, {"train": "", "eval": ""}, tmp_path, 10, sleep=refused.sleep, clock=refused.clock))

    def slurm(*command: str, text: str | None = None, keep: Sequence[int] = ()) -> Answer:
        return Answer(1, "", "sbatch: error: AssocMaxSubmitJobLimit\n")

    assert list(visit(slurm, {"train": ""}, tmp_path, 10)) == [Visit("train", "refused", why="AssocMaxSubmitJobLimit")]


# ------------------------------------------------------------------------------------------- what it makes of it


def gpus(asked: int, **torch: Any) -> Check:
    node = {key: torch.pop(key) for key in ("cuda_visible", "driver") if key in torch}
    found = facts(**node)
    return checks.gpu_check("gpus", {**found, "torch": {**found["torch"], **torch}}, asked)


def test_gpus_that_slurm_gives_and_torch_sees():
    assert gpus(8).seen == "8 (NVIDIA H100)"
    check = gpus(8, gpus=0, names=[])
    assert (check.state, check.seen) == ("failed", "8 asked for; torch 2.13.0+cu128 sees 0")
    check = gpus(8, cuda_visible="0,1")
    assert (check.state, check.seen) == ("failed", "8 asked for; CUDA_VISIBLE_DEVICES has 2")
    assert gpus(8, cuda_visible=None).state == "failed"
    assert gpus(0, gpus=0, names=[], cuda_visible=None).seen == "none, none asked for; 96 cores"


def test_a_torch_for_processors_is_a_fault_only_where_there_are_real_gpus():
    cpu = {"gpus": 0, "names": [], "version": "2.13.0+cpu", "built_for_gpus": False}
    assert gpus(8, **cpu).state == "failed"
    check = gpus(8, driver=False, **cpu)
    assert check.state == "skipped"
    assert check.seen == "8 given by Slurm; torch 2.13.0+cpu there is for processors only and uses none"


def test_a_torch_that_cannot_be_imported():
    check = checks.gpu_check("gpus", facts(torch={"error": "OSError: libcudart.so.12: no such file"}), 8)
    assert check.state == "failed" and "libcudart" in check.seen


def test_python_there_must_be_as_here():
    here = {"torch": "2.13.0", "numpy": "2.1.0"}
    code = Path("/code")
    assert checks.python_check("python", facts(packages=here), here, code).state == "ok"
    check = checks.python_check("python", facts(packages={**here, "torch": "2.12.0"}), here, code)
    assert (check.state, check.seen) == ("failed", "torch 2.12.0 there, 2.13.0 here")
    check = checks.python_check("python", facts(packages={**here, "torch": None}), here, code)
    assert (check.state, check.seen) == ("failed", "/env/bin/python has no torch")
    check = checks.python_check("python", facts(packages=here), here, Path("/other"))
    assert (check.state, check.seen) == ("failed", "joyctl comes from /code/joyctl, not from the snapshot /other")


def test_builds_of_one_version_are_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(probe, "version", lambda name: "2.13.0+cu128")
    assert probe.packages()["torch"] == "2.13.0"


def test_the_cache_of_downloads_is_a_fault_only_where_it_is_here_and_not_there(tmp_path: Path):
    gone = facts(hub={"path": "/root/hf", "there": False})
    assert checks.hub_check("hub", facts(), tmp_path, here_exists=False).state == "ok"
    assert checks.hub_check("hub", gone, tmp_path, here_exists=True).state == "failed"
    assert checks.hub_check("hub", gone, tmp_path, here_exists=False).state == "skipped"
    assert probe.hub_cache({"HF_HOME": "/shared/hf"}) == Path("/shared/hf")
    assert probe.hub_cache({"XDG_CACHE_HOME": "/cache"}) == Path("/cache/huggingface")


def test_a_sandbox_that_does_not_hold_is_told_with_its_own_remedy():
    why = "bubblewrap is not installed; apt-get install bubblewrap"
    check = checks.sandbox_check("sandbox", facts(sandbox=why))
    assert (check.state, check.remedy) == ("failed", "apt-get install bubblewrap")
    assert check.seen == "bubblewrap is not installed: code would not be scored"


def test_the_space_that_a_campaign_takes(monkeypatch: pytest.MonkeyPatch):
    small = recipe()
    one = campaign_bytes(small)
    assert campaign_bytes(recipe(seeds={"trunk": 3})) == 3 * one
    # Trunk stretches 0-700, 700-800, 800-900, 900-1000 and phases of 100, 200, 300 steps, each a checkpoint and
    # one more while it writes; four models exported. 26,720 parameters.
    assert one == 4 * 26_720 * (6 * 7 + 4)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=one + 1))
    assert checks.space_check(Path("results"), small).state == "ok"
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=one - 1))
    check = checks.space_check(Path("results"), small)
    assert check.state == "failed"
    assert re.fullmatch(r"\d\.\d MB free in results; small needs about \d\.\d MB", check.seen)
    assert checks.space_check(Path("results"), None).state == "ok"


@pytest.mark.parametrize(
    ("count", "text"), [(7, "7 B"), (999, "999 B"), (1500, "1.5 kB"), (72 * 10**9, "72 GB"), (12 * 10**15, "12,000 TB")]
)
def test_sizes(count: int, text: str):
    assert checks.size(count) == text


# --------------------------------------------------------------------------------------- this machine, for real


def test_this_machine():
    found = {check.name: check for check in on_this_machine(LocalCluster(), Case(Path("results"), recipe(), False, 0))}
    assert list(found) == ["cores", "python", "gpus", "sandbox", "space"]
    assert found["python"].state == "ok", found["python"]
    assert found["cores"].state == "ok"
    assert not Path("results").exists()


def test_more_cores_than_this_machine_has():
    checks_ = on_this_machine(LocalCluster(cores=10_000), Case(Path("results"), None, False, 0))
    assert next(checks_).state == "failed"
    checks_.close()


# ------------------------------------------------------------------------------------------- a real Slurm


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(clean_slurm: Cluster) -> Command:
    """Runs `joyctl doctor` on the login node of the test cluster."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        joyctl = (sys.executable, "-m", "joyctl", "doctor", *words, "--results", str(Path("results").absolute()))
        return clean_slurm.run(*joyctl, check=False, cwd=Path.cwd())

    return run


def outcome(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    assert done.stdout, done.stderr
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_the_test_cluster_is_sound(command: Command):
    done = command("tiny", "--cluster", "test-slurm", "--json")
    found = outcome(done)
    assert done.returncode == 0, done.stdout
    assert [name for name, check in found.items() if check["state"] == "failed"] == []
    assert found["train job"]["seen"].startswith("ran on n")
    assert found["train gpus"]["seen"].startswith("8 given by Slurm") or found["train gpus"]["state"] == "ok"
    assert "tiny needs about" in found["space"]["seen"]
    assert not list(Path.cwd().glob("results*"))


def built_in() -> str:
    from joyctl.recipe.locate import locate

    return locate("test-slurm", "cluster").read_text()


def test_what_a_real_sbatch_refuses(command: Command):
    text = (
        built_in().replace("account: null", "account: nope").replace("eval: {partition: gpu", "eval: {partition: gup")
    )
    assert text.count("nope") == text.count("gup") == 1
    Path("bad.yaml").write_text(text)
    line = 1 + next(i for i, content in enumerate(text.splitlines()) if "gup" in content)
    done = command("--cluster", "./bad.yaml")
    assert done.returncode == 3
    assert re.search(
        rf"✗ limits +\./bad\.yaml:{line}:21 stages\.eval\.partition: there is no partition 'gup' for you", done.stdout
    )
    assert re.search(rf"✗ eval sbatch +\./bad\.yaml:{line}:21 sbatch says: .*Invalid partition name", done.stdout)
    assert re.search(r"✗ score sbatch +\./bad\.yaml:6:10 sbatch says: .*Invalid account", done.stdout)
    assert "train job" not in done.stdout and "4 of 8 checks failed" in done.stdout


def test_jobs_that_wait_are_taken_back_when_it_is_stopped(clean_slurm: Cluster):
    Path("late.yaml").write_text(built_in() + "additional_parameters: {begin: now+1hour}\n")
    words = (sys.executable, "-m", "joyctl", "doctor", "--cluster", "./late.yaml", "--wait", "100")
    process = subprocess.Popen(words, env={**os.environ, **clean_slurm.env}, stdout=subprocess.PIPE, text=True)
    try:
        for _ in range(300):
            if clean_slurm.run("squeue", "-h", "-o", "%i").stdout.count("\n") == 3:
                break
            time.sleep(0.1)
        else:
            raise AssertionError("no jobs after half a minute")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert clean_slurm.run("squeue", "-h", "-o", "%i %T").stdout == ""
    assert not Path("results").exists()


def test_a_controller_that_is_really_down(clean_slurm: Cluster, command: Command):
    clean_slurm.stop_daemon("slurmctld")
    try:
        done = command("--cluster", "test-slurm")
    finally:
        clean_slurm.start_daemon("slurmctld")
    assert done.returncode == 6
    assert "Unable to contact slurm controller" in done.stdout
