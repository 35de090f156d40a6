"""Submitting: held, written down, released. Killed anywhere and called again, every job exists exactly once."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_slurm import FakeSlurm

from joyctl.campaign.compare import Job
from joyctl.errors import Refused
from joyctl.launch.slurm import campaign, submit
from joyctl.launch.slurm.campaign import Room, put
from joyctl.launch.slurm.client import Answer, NoAnswer, scrubbed
from joyctl.launch.slurm.ledger import Ledger
from joyctl.recipe.cluster import SlurmCluster
from joyctl.store import layout

RUNS = ("up-10/s0", "up-20/s0", "drop/s0")
NEVER = 10**9


def cluster(**changes: Any) -> SlurmCluster:
    stage = {"time": "01:00:00"}
    stages = {"train": {**stage, "gpus_per_node": 8}, "eval": {**stage, "gpus_per_node": 1}, "score": stage}
    return SlurmCluster.model_validate({"kind": "slurm", "partition": "gpu", "stages": stages, **changes})


def prepared(folder: Path, done: Sequence[tuple[str, str]] = ()) -> Any:
    """What a plan of one trunk and three branches leaves to be done."""
    jobs = [Job("trunk/s0/0-80", "train", (), 80)]
    for name in RUNS:
        here = f"runs/{name}"
        jobs.append(Job(here, "train", (("trunk/s0/0-80", "train"),), 20))
        jobs.append(Job(here, "export", ((here, "train"),), 0))
        jobs.append(Job(here, "eval", ((here, "export"),), 0))
        jobs.append(Job(here, "score", ((here, "eval"),), 0))
    left = [
        Job(j.folder, j.stage, tuple(n for n in j.needs if n not in done), j.steps)
        for j in jobs
        if (j.folder, j.stage) not in done
    ]
    for job in jobs:
        (folder / job.folder).mkdir(parents=True, exist_ok=True)
    for name, stage in done:
        layout.marker(folder / name, stage).write_text("{}")
    segments = [SimpleNamespace(id=j.folder, training=SimpleNamespace(tokens_per_step=1024)) for j in jobs]
    plan = SimpleNamespace(campaign="small", segments=segments)
    return SimpleNamespace(folder=folder, plan=plan, work=SimpleNamespace(jobs=tuple(left)))


def room(jobs: int | None = None) -> Any:
    return lambda: Room(1001, jobs)


def everything(slurm: FakeSlurm, folder: Path) -> Counter[tuple[str, str]]:
    """How often each (folder, stage) stands in the queue."""
    manifests = {a.manifest.name: a.manifest for a in Ledger(folder).read()}
    return Counter(
        (manifests[name].elements[index].folder, stage)
        for name, index in slurm.jobs()
        for stage in manifests[name].elements[index].stages
    )


ALL = {("trunk/s0/0-80", "train")} | {
    (f"runs/{name}", stage) for name in RUNS for stage in ("train", "export", "eval", "score")
}


def test_a_campaign_is_queued_once_and_released(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    done = put(prepared(tmp_path), cluster(), slurm, room(), [])
    assert everything(slurm, tmp_path) == Counter(dict.fromkeys(ALL, 1))
    assert not any(a.held for a in slurm.arrays.values())
    assert [len(m.elements) for m, _ in done.arrays] == [1, 3, 3, 3]
    calls = Counter(call[0] for call in slurm.calls)
    assert calls == {"sbatch": 4, "scontrol": 1}, "a call for each array and one to release them"


def test_dependencies_are_slurms_job_ids(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    put(prepared(tmp_path), cluster(), slurm, room(), [])
    assert [a.dependency for a in slurm.arrays.values()] == [None, "afterok:100_0", "aftercorr:101", "aftercorr:102"]


def test_the_same_call_again_submits_nothing(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    put(prepared(tmp_path), cluster(), slurm, room(), [])
    again = put(prepared(tmp_path), cluster(), slurm, room(), [])
    assert again.arrays == [] and again.drawn.live == len(ALL)
    assert everything(slurm, tmp_path) == Counter(dict.fromkeys(ALL, 1))


def test_what_left_the_queue_unfinished_is_submitted_again_and_only_that(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    put(prepared(tmp_path), cluster(), slurm, room(), [])
    done = [("trunk/s0/0-80", "train"), ("runs/up-10/s0", "train"), ("runs/up-10/s0", "export")]
    slurm.arrays.clear()  # the branches failed, and their children with them
    again = put(prepared(tmp_path, done), cluster(), slurm, room(), [])
    assert set(everything(slurm, tmp_path)) == ALL - set(done)
    free = [m for m, _ in again.arrays if m.dependency is None]
    assert {(m.kind, e.folder, e.stages) for m in free for e in m.elements.values()} == {
        ("eval", "runs/up-10/s0", ("eval",)),
        ("train", "runs/up-20/s0", ("train",)),
        ("train", "runs/drop/s0", ("train",)),
    }


def test_what_waits_for_a_job_that_is_gone_is_submitted_again_with_it(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    put(prepared(tmp_path), cluster(), slurm, room(), [])
    slurm.arrays["101"].indices.remove(1)  # scancel of one pending element, which leaves its children waiting
    again = put(prepared(tmp_path), cluster(), slurm, room(), [])
    assert [(m.kind, [e.folder for e in m.elements.values()]) for m, _ in again.arrays] == [
        (kind, ["runs/up-20/s0"]) for kind in ("train", "eval", "score")
    ]
    assert everything(slurm, tmp_path) == Counter(dict.fromkeys(ALL, 1))


def test_jobs_on_another_cluster_are_not_doubled(tmp_path: Path) -> None:
    one, other = FakeSlurm(), FakeSlurm()
    put(prepared(tmp_path), cluster(), one, room(), [], slurm_name="one")
    with pytest.raises(Refused, match="submitted to the Slurm cluster 'one', and this is 'other'"):
        put(prepared(tmp_path), cluster(), other, room(), [], slurm_name="other")
    assert other.arrays == {}
    for array in Ledger(tmp_path).read():  # what joyctl cancel writes, there
        Ledger(tmp_path).record("cancelled", name=array.manifest.name, indices=list(array.manifest.elements))
    put(prepared(tmp_path), cluster(), other, room(), [], slurm_name="other")
    assert len(other.jobs()) == len(one.jobs())


def test_a_cancelling_that_was_interrupted_is_finished_and_the_jobs_come_anew(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    put(prepared(tmp_path), cluster(), slurm, room(), [])
    for array in Ledger(tmp_path).read():
        Ledger(tmp_path).record("cancelled", name=array.manifest.name, indices=list(array.manifest.elements))
    put(prepared(tmp_path), cluster(), slurm, room(), [])
    assert everything(slurm, tmp_path) == Counter(dict.fromkeys(ALL, 1))
    assert not any(a.held for a in slurm.arrays.values())


class Killed(BaseException):
    """Stands for SIGKILL: nobody catches it."""


class Mortal:
    """Counts what a submission does to the world and dies before or after one of these acts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slurm: FakeSlurm, at: int) -> None:
        self.slurm, self.at, self.count = slurm, at, 0
        for name in ("write_manifest", "record", "forget"):
            act = getattr(Ledger, name)
            monkeypatch.setattr(Ledger, name, lambda *a, act=act, **k: self.step(lambda: act(*a, **k)))

    def step(self, act: Any) -> Any:
        self._may_die()
        result = act()
        self._may_die()
        return result

    def __call__(self, *command: str, text: str | None = None, keep: Sequence[int] = ()) -> Answer:
        answer: Answer = self.step(lambda: self.slurm(*command, text=text, keep=keep))
        return answer

    def _may_die(self) -> None:
        self.count += 1
        if self.count == self.at:
            raise Killed


def instants(tmp_path: Path) -> int:
    """Instants at which a submission can be killed."""
    with pytest.MonkeyPatch.context() as patch:
        mortal = Mortal(patch, FakeSlurm(), NEVER)
        put(prepared(tmp_path / "count"), cluster(), mortal, room(), [])
        return mortal.count


def test_killed_at_every_instant_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    last = instants(tmp_path)
    assert last >= 2 * (4 * 3 + 2)
    for at in range(1, last + 1):
        folder, slurm = tmp_path / str(at), FakeSlurm()
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            put(prepared(folder), cluster(), Mortal(patch, slurm, at), room(), [])
        held = {a.held for a in slurm.arrays.values()}
        assert len(held) <= 1, "nothing starts before all is written down"
        put(prepared(folder), cluster(), slurm, room(), [])
        assert everything(slurm, folder) == Counter(dict.fromkeys(ALL, 1)), f"killed at instant {at}"
        assert not any(a.held for a in slurm.arrays.values()), f"killed at instant {at}"


def test_killed_twice_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    last = instants(tmp_path)
    for first in range(1, last + 1, 3):
        for second in range(1, last + 1, 4):
            folder, slurm = tmp_path / f"{first}-{second}", FakeSlurm()
            for at in (first, second):
                with pytest.MonkeyPatch.context() as patch:
                    try:
                        put(prepared(folder), cluster(), Mortal(patch, slurm, at), room(), [])
                    except Killed:
                        continue
            put(prepared(folder), cluster(), slurm, room(), [])
            assert everything(slurm, folder) == Counter(dict.fromkeys(ALL, 1)), (first, second)
            assert not any(a.held for a in slurm.arrays.values()), (first, second)


def test_a_second_array_of_one_name_is_taken_out(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    put(prepared(tmp_path), cluster(), slurm, room(), [])
    slurm.arrays["900"] = slurm.arrays["101"]  # an sbatch that came through after all
    put(prepared(tmp_path), cluster(), slurm, room(), [])
    assert everything(slurm, tmp_path) == Counter(dict.fromkeys(ALL, 1)) and "101" in slurm.arrays


def test_refused_by_sbatch_nothing_is_left_behind(tmp_path: Path) -> None:
    slurm = FakeSlurm(refuse={"gpus-per-node=1": "Batch job submission failed: Requested node configuration ..."})
    with pytest.raises(submit.SbatchRefused, match="Requested node configuration") as caught:
        put(prepared(tmp_path), cluster(), slurm, room(), [])
    assert caught.value.exit_code == 3
    assert slurm.arrays == {} and list((tmp_path / "slurm" / "arrays").iterdir()) == []
    slurm.refuse.clear()
    put(prepared(tmp_path), cluster(), slurm, room(), [])
    assert everything(slurm, tmp_path) == Counter(dict.fromkeys(ALL, 1))


def test_the_users_limit_leaves_the_rest_for_later(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    done = put(prepared(tmp_path), cluster(), slurm, room(5), [])
    assert len(slurm.jobs()) == 5 and done.left == 5
    again = put(prepared(tmp_path), cluster(), slurm, room(), [])
    assert again.left == 0 and everything(slurm, tmp_path) == Counter(dict.fromkeys(ALL, 1))


def test_a_limit_that_only_sbatch_knows_keeps_what_was_taken(tmp_path: Path) -> None:
    slurm = FakeSlurm(max_jobs=5)
    done = put(prepared(tmp_path), cluster(), slurm, room(), [])
    assert len(slurm.jobs()) == 4 and done.left == 6 and "AssocMaxSubmitJobLimit" in (done.full or "")
    assert not any(a.held for a in slurm.arrays.values())


def test_a_small_last_job_submits_the_rest(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    done = put(prepared(tmp_path), cluster(rest="job"), slurm, room(6), ["sweep", "small.yaml", "--cluster", "x"])
    assert len(slurm.jobs()) == 6 and done.left == 5 and done.follows
    *work, (last, job) = done.arrays
    assert slurm.arrays[job].dependency == "afterany:" + ":".join(number for _, number in work)
    assert "-m joyctl sweep small.yaml --cluster x" in Ledger(tmp_path).script_path(last.name).read_text()
    put(prepared(tmp_path), cluster(rest="job"), slurm, room(0), ["sweep"])
    assert len(slurm.jobs()) == 6, "there is one already"


def test_the_small_job_never_submits_itself_alone(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    done = put(prepared(tmp_path), cluster(rest="job"), slurm, room(1), ["sweep"])
    assert [e.folder for m, _ in done.arrays for e in m.elements.values()] == ["trunk/s0/0-80"] and done.left == 9
    assert not done.follows, "the next sweep must"


def test_the_controller_going_away_leaves_nothing_running(tmp_path: Path) -> None:
    slurm = FakeSlurm()

    def down_after_two(*command: str, text: str | None = None, keep: Sequence[int] = ()) -> Answer:
        if len(slurm.calls) >= 2:
            raise NoAnswer("sbatch: Unable to contact slurm controller")
        return slurm(*command, text=text, keep=keep)

    with pytest.raises(NoAnswer):
        put(prepared(tmp_path), cluster(), down_after_two, room(), [])
    assert all(a.held for a in slurm.arrays.values()) and len(slurm.arrays) == 2
    put(prepared(tmp_path), cluster(), slurm, room(), [])
    assert everything(slurm, tmp_path) == Counter(dict.fromkeys(ALL, 1))
    assert not any(a.held for a in slurm.arrays.values())


def test_every_folder_keeps_a_script_for_plain_sbatch(tmp_path: Path) -> None:
    put(prepared(tmp_path), cluster(), FakeSlurm(), room(), [])
    script = tmp_path / "runs/up-20/s0" / layout.SUBMIT
    text = script.read_text()
    assert script.stat().st_mode & stat.S_IXUSR
    assert f"--folder {tmp_path / 'runs/up-20/s0'} train export eval score" in text
    assert "--array" not in text and "--dependency" not in text and text.startswith("#!/bin/bash\n")


def test_the_code_that_runs_is_a_copy(tmp_path: Path) -> None:
    put(prepared(tmp_path), cluster(), FakeSlurm(), room(), [])
    (snapshot,) = (tmp_path / "slurm" / "code").iterdir()
    assert (snapshot / "joyctl" / "worker.py").exists() and (snapshot / "recipes" / "tiny.yaml").exists()
    assert (snapshot / "recipes" / "suites" / "micro.yaml").exists()
    assert (snapshot / "recipes" / "published" / "paper.yaml").exists()  # recipes take it in
    assert (snapshot / "joyctl" / "report" / "page" / "page.html.j2").exists()
    assert {"SNAPSHOT.json", "packages.txt"} <= {p.name for p in snapshot.iterdir()}
    scripts = [p.read_text() for p in (tmp_path / "slurm" / "arrays").glob("*.sh")]
    assert scripts and all(f"export PYTHONPATH={snapshot}" in text for text in scripts)


def test_a_shared_root_holds_the_job_files(tmp_path: Path) -> None:
    put(prepared(tmp_path / "c"), cluster(shared_root=str(tmp_path / "shared")), FakeSlurm(), room(), [])
    assert (tmp_path / "c" / "slurm").is_symlink()
    assert list((tmp_path / "shared").rglob("ledger.jsonl"))


def test_an_enclosing_allocation_is_not_taken_for_options() -> None:
    inside = {"SLURM_JOB_ID": "7", "SBATCH_PARTITION": "x", "SRUN_DEBUG": "1", "SLURM_CONF": "/etc/s", "PATH": "/bin"}
    assert scrubbed(inside) == {"SLURM_CONF": "/etc/s", "PATH": "/bin"}


def test_long_training_is_chained_by_the_speed_given(tmp_path: Path) -> None:
    slow = cluster(tokens_per_second=10.0, signal_grace_s=60)  # 80 steps x 1,024 tokens: 8,192 s in jobs of 3,600 s
    done = put(prepared(tmp_path), slow, FakeSlurm(), room(), [])
    parts = [(e.folder, e.part, e.parts) for m, _ in done.arrays for e in m.elements.values() if e.parts > 1]
    assert parts == [("trunk/s0/0-80", 1, 3), ("trunk/s0/0-80", 2, 3), ("trunk/s0/0-80", 3, 3)]


def test_a_campaign_never_submitted_asks_slurm_nothing(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    assert campaign.live_stages(tmp_path, slurm) == {} and slurm.calls == []
