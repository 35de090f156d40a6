"""Work on data in the jobs of an array: shares of its parts, what is missing submitted once, the end after all."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import counting_work
import pytest
from fake_slurm import FakeSlurm
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from joyctl.data import work as works
from joyctl.data.work import Part
from joyctl.errors import Refused
from joyctl.launch.slurm import dataset, datawatch, share
from joyctl.launch.slurm.campaign import Room
from joyctl.launch.slurm.client import Answer
from joyctl.launch.slurm.dataset import Asked, Share, Submission
from joyctl.launch.slurm.ledger import Element, Ledger, Manifest
from joyctl.recipe.cluster import SlurmCluster

GB = 1_000_000_000
SIZES = (10, 40, 20, 30, 50, 60)


def cluster(**changes: Any) -> SlurmCluster:
    stages = {
        "train": {"time": "01:00:00", "gpus_per_node": 8},
        "eval": {"time": "01:00:00", "gpus_per_node": 1},
        "score": {"time": "00:30:00", "partition": "cpu", "cpus_per_task": 4, "mem": "8G"},
        **changes.pop("stages", {}),
    }
    return SlurmCluster.model_validate({"kind": "slurm", "partition": "gpu", "stages": stages, **changes})


def put(asked: Asked, slurm: Any, *, jobs: int | None = None, number: int = 3, name: str = "") -> Submission | None:
    room = lambda: Room(1001, jobs)  # noqa: E731
    return dataset.put(asked, cluster(), slurm, room, lambda parts: number, slurm_name=name)


def queued(slurm: FakeSlurm, asked: Asked) -> Counter[str]:
    """How often each share, and the end, stands in the queue."""
    manifests = {a.manifest.name: a.manifest for a in Ledger(asked.jobs).read()}
    return Counter(manifests[name].elements[index].folder for name, index in slurm.jobs())


@pytest.fixture(autouse=True)
def snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """No copy of the code for jobs that never run."""
    monkeypatch.setattr("joyctl.launch.slurm.snapshot.take", lambda folder: "0a1b")


ALL = Counter({"share/0/3": 1, "share/1/3": 1, "share/2/3": 1, "finish": 1})


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return counting_work.asked(tmp_path / "data", *SIZES)


@pytest.fixture
def slurm() -> FakeSlurm:
    return FakeSlurm()


# --- shares


@given(st.lists(st.integers(0, 100), min_size=1, max_size=40), st.integers(1, 12))
def test_every_part_is_of_one_share(sizes: list[int], number: int) -> None:
    parts = [Part(f"p{i}", size) for i, size in enumerate(sizes)]
    shared = [part for index in range(number) for part in Share(index, number).of(parts)]
    assert Counter(shared) == Counter(parts)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=40), st.integers(1, 12))
def test_shares_differ_by_no_more_than_the_largest_part(sizes: list[int], number: int) -> None:
    parts = [Part(f"p{i}", size) for i, size in enumerate(sizes)]
    loads = [sum(part.bytes for part in Share(index, number).of(parts)) for index in range(number)]
    assert max(loads) - min(loads) <= max(sizes)


@pytest.mark.parametrize(
    ("sizes", "data", "limits", "number"),
    [
        ([GB] * 100, {"time": "04:00:00", "cpus_per_task": 1}, (1001, None), 56),  # half an hour each
        ([GB] * 100, {"time": "00:20:00", "cpus_per_task": 1}, (1001, None), 100),  # half of its time each
        ([GB] * 100, {"time": "04:00:00", "cpus_per_task": 16}, (1001, None), 4),
        ([100 * GB] * 3, {"time": "04:00:00", "cpus_per_task": 1}, (1001, None), 3),  # no more than parts
        ([GB] * 100, {"time": "04:00:00", "cpus_per_task": 1}, (20, None), 20),
        ([GB] * 100, {"time": "04:00:00", "cpus_per_task": 1}, (1001, 10), 9),  # and the one that finishes
        ([1000], {"time": "04:00:00", "cpus_per_task": 1}, (1001, 1), 1),
        ([0] * 8, {"time": "04:00:00", "cpus_per_task": 1}, (1001, None), 3),  # parts that cannot tell how large
    ],
)
def test_as_many_shares_as_the_bytes_are_worth(
    sizes: list[int], data: dict[str, Any], limits: tuple[int, int | None], number: int
) -> None:
    parts = [Part(f"p{i}", size) for i, size in enumerate(sizes)]
    assert dataset.number_of_shares(parts, cluster(stages={"data": data}), *limits) == number


# --- submitting


def test_an_array_of_shares_then_the_job_that_finishes(asked: Asked, slurm: FakeSlurm) -> None:
    done = put(asked, slurm)
    assert done is not None and queued(slurm, asked) == ALL
    assert [a.dependency for a in slurm.arrays.values()] == [None, "afterok:100"]
    assert not any(a.held for a in slurm.arrays.values())
    assert [call[0] for call in slurm.calls] == ["sbatch", "sbatch", "scontrol"]


def test_the_job_is_told_its_manifest_and_asks_for_processors_only(asked: Asked, slurm: FakeSlurm) -> None:
    put(asked, slurm)
    script = min(
        (asked.jobs / "slurm" / "arrays").glob("*.sh"), key=lambda p: "dependency" in p.read_text()
    ).read_text()
    assert "#SBATCH --partition=cpu\n" in script and "gpu" not in script.replace("partition=gpu", "")
    assert "#SBATCH --cpus-per-task=4\n" in script and "--processes=4" in script
    assert f"-m joyctl.launch.slurm.share --manifest={asked.jobs}/slurm/arrays/data-build-" in script


def test_golden() -> None:
    def never() -> Any:
        raise AssertionError

    mine = Asked("build", Path("/shared/data/mine-0a1b2c3d"), lambda: False, never, never)
    work = counting_work.Counting(Path("/shared/data/.mine-0a1b2c3d.partial"))
    shares = {index: Element(Share(index, 3).folder, (dataset.STAGE,)) for index in range(3)}
    text = dataset.scripts(mine, work, cluster(python="/opt/joy/bin/python", account="nlp"), "0a1b")
    made = text(Manifest("mine-0a1b2c3d-build-1", "data", 1, shares, None), None)
    assert made == (Path(__file__).parent / "golden" / "sbatch-data.sh").read_text()


def test_what_is_queued_is_not_submitted_again(asked: Asked, slurm: FakeSlurm) -> None:
    put(asked, slurm)
    again = put(asked, slurm)
    assert again is not None and (again.arrays, again.drawn.live, again.left) == ([], 4, 0)
    assert queued(slurm, asked) == ALL


def test_a_share_that_died_is_tried_again_and_the_end_waits_for_it(asked: Asked, slurm: FakeSlurm) -> None:
    put(asked, slurm)
    work = counting_work.Counting(asked.target)
    for part in Share(0, 3).of(work.parts()):
        work.do(part, lambda *_: None)
    slurm.arrays["100"].indices = [2]  # 0 is done, 1 died; the end is left waiting for a job that is gone
    put(asked, slurm)
    assert queued(slurm, asked) == Counter({"share/1/3": 1, "share/2/3": 1, "finish": 1})
    assert list(slurm.arrays.values())[-1].dependency == "afterok:102:100_2"


def test_with_all_parts_done_only_the_end_is_left(asked: Asked, slurm: FakeSlurm) -> None:
    work = asked.begin()
    assert work is not None
    for part in work.parts():
        work.do(part, lambda *_: None)
    put(asked, slurm)
    assert queued(slurm, asked) == Counter({"finish": 1})
    assert [a.dependency for a in slurm.arrays.values()] == [None]


def test_while_the_end_is_being_made_parts_that_are_gone_are_not_missing(asked: Asked, slurm: FakeSlurm) -> None:
    put(asked, slurm)
    slurm.arrays["100"].indices.clear()
    (asked.target / "closing").touch()
    for left in (True, False):
        again = put(asked, slurm)
        assert again is not None and (again.arrays, again.left) == ([], 0)
        assert queued(slurm, asked) == Counter({"finish": 1})
        if left:
            (asked.target / "sizes").unlink()


def test_works_on_one_folder_do_not_mix(tmp_path: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(works.WORKS, "overlap", "counting_work:open_work")
    both = []
    for key in ("0a1b", "2c3d"):
        work = counting_work.asked(tmp_path / key, *SIZES).begin()
        assert work is not None
        both.append(dataset.begun("overlap", tmp_path / "data", work, (tmp_path / key / "finished").exists, key))
    for asked in both:
        put(asked, slurm)
    assert {asked.jobs.name for asked in both} == {"data-overlap-0a1b", "data-overlap-2c3d"}
    assert len(slurm.jobs()) == 8
    (tmp_path / "0a1b" / "finished").touch()
    assert [put(asked, slurm) is None for asked in both] == [True, False]


def test_what_is_finished_asks_slurm_nothing(asked: Asked, slurm: FakeSlurm) -> None:
    asked.target.mkdir()
    (asked.target / "finished").touch()
    assert put(asked, slurm) is None and slurm.calls == []


def test_the_users_limit_leaves_the_rest_to_the_next_call(asked: Asked, slurm: FakeSlurm) -> None:
    first = put(asked, slurm, jobs=2)
    assert first is not None and first.left == 2
    assert queued(slurm, asked) == Counter({"share/0/3": 1, "share/1/3": 1})
    put(asked, slurm)
    assert queued(slurm, asked) == ALL
    assert list(slurm.arrays.values())[-1].dependency == "afterok:101:100_0:100_1"


def test_a_limit_that_only_sbatch_knows(asked: Asked, slurm: FakeSlurm) -> None:
    slurm.max_jobs = 3
    first = put(asked, slurm)
    assert first is not None and first.left == 1 and "AssocMaxSubmitJobLimit" in str(first.full)
    slurm.max_jobs = 10
    put(asked, slurm)
    assert queued(slurm, asked) == ALL


def test_while_shares_are_queued_parts_are_cut_as_they_were(asked: Asked, slurm: FakeSlurm) -> None:
    put(asked, slurm)
    slurm.arrays["100"].indices.remove(1)
    again = put(asked, slurm, number=5)
    assert again is not None and again.drawn.number == 3 and queued(slurm, asked) == ALL
    slurm.arrays.clear()
    put(asked, slurm, number=2)
    assert queued(slurm, asked) == Counter({"share/0/2": 1, "share/1/2": 1, "finish": 1})


def test_jobs_on_another_cluster_are_not_doubled(asked: Asked, slurm: FakeSlurm) -> None:
    put(asked, slurm, name="one")
    with pytest.raises(Refused, match="submitted to the Slurm cluster 'one', and this is 'other'"):
        put(asked, FakeSlurm(), name="other")


class Killed(BaseException):
    """Stands for SIGKILL: nobody catches it."""


@pytest.mark.parametrize("at", range(16))
def test_killed_at_any_act_no_job_is_lost_or_doubled(
    asked: Asked, slurm: FakeSlurm, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three calls of Slurm and five lines on disk, and it dies before or after one of them."""
    instants = iter(range(100))

    def mortal(act: Any) -> Any:
        def step(*words: Any, **more: Any) -> Any:
            if next(instants) == at:
                raise Killed
            result = act(*words, **more)
            if next(instants) == at:
                raise Killed
            return result

        return step

    with monkeypatch.context() as patch:
        for name in ("write_manifest", "record", "forget"):
            patch.setattr(Ledger, name, mortal(getattr(Ledger, name)))
        with pytest.raises(Killed):
            put(asked, mortal(slurm))
    put(asked, slurm)
    assert queued(slurm, asked) == ALL
    assert not any(a.held for a in slurm.arrays.values())


# --- what a person is told


def test_how_far_it_is(asked: Asked, slurm: FakeSlurm) -> None:
    put(asked, slurm)
    work = counting_work.Counting(asked.target)
    for part in Share(0, 3).of(work.parts()):
        work.do(part, lambda *_: None)
    failed = "{}|FAILED|6:0|6:0|None|2026-01-01T10:00:00|2026-01-01T10:05:00|00:30:00|n1\n"
    rows = "100_2|data|RUNNING|0|2026-01-01T10:00:00|n1|None|\n101_0|data|PENDING|0|N/A||Dependency|\n"
    (asked.jobs / "slurm/log/100_1_0_log.out").write_text("p0 cannot be read\nMend it.\njoyctl: p0 cannot be read\n")

    def said(*command: str, text: str | None = None, keep: Sequence[int] = ()) -> Answer:
        return Answer(0, rows if command[0] == "squeue" else failed.format("100_1"), "")

    reach = datawatch.look(asked, said)
    assert (reach.parts, reach.parts_done, reach.bytes, reach.bytes_done) == (6, 2, 210, 90)
    assert [(job.id, job.current.state, job.current.cause) for job in reach.jobs] == [
        ("share/0/3", "done", None),
        ("share/1/3", "failed", "p0 cannot be read"),
        ("share/2/3", "running", None),
        ("finish", "blocked", "share/1/3 failed"),
    ]
    assert [job.id for job in reach.failed] == ["share/1/3"] and reach.under_way and not reach.finished


def test_the_end_waits_while_no_share_has_failed(asked: Asked, slurm: FakeSlurm) -> None:
    put(asked, slurm)
    rows = [f"100_{i}|data|RUNNING|0|2026-01-01T10:00:00|n1|None|" for i in range(3)]
    rows.append("101_0|data|PENDING|0|N/A||Dependency|")

    def said(*command: str, text: str | None = None, keep: Sequence[int] = ()) -> Answer:
        return Answer(0, "\n".join(rows), "")

    finish = datawatch.look(asked, said).jobs[-1].current
    assert (finish.state, finish.cause) == ("queued", "waiting for the jobs before it")


def test_a_finished_work_needs_no_slurm(asked: Asked, slurm: FakeSlurm) -> None:
    put(asked, slurm)
    (asked.target / "finished").touch()
    called: list[str] = []

    def nobody(*command: str, text: str | None = None, keep: Sequence[int] = ()) -> Answer:
        called.append(command[0])
        return Answer(0, "", "")

    reach = datawatch.look(asked, nobody)
    assert reach.finished and not reach.under_way and called == []
    assert {job.current.state for job in reach.jobs} == {"done"}


# --- on a node


@pytest.fixture
def node(asked: Asked, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the program of an element as its job would; a Slurm of one running job answers it."""
    monkeypatch.setitem(works.WORKS, "build", "counting_work:open_work")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)}
    put(asked, slurm)
    names = {a.job: a.manifest.name for a in Ledger(asked.jobs).read()}
    asked_of: list[tuple[str, ...]] = []

    def running(*command: str, text: str | None = None, keep: Sequence[int] = ()) -> Answer:
        asked_of.append(command)
        start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() - running.minutes * 60))  # type: ignore[attr-defined]
        facts = f"JobState=RUNNING Restarts=0 StartTime={start} TimeLimit=00:30:00 Partition=cpu ExcNodeList=(null)"
        return Answer(0, facts if command[:2] == ("scontrol", "show") else "", "")

    def run(array: str, index: int, *options: str, minutes: float = 1) -> int:
        running.minutes = minutes  # type: ignore[attr-defined]
        for name, value in {
            "SLURM_ARRAY_TASK_ID": str(index), "SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": array,
            "SLURM_JOB_NODELIST": "n1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0", "SLURM_NTASKS": "1",
            "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("joyctl.launch.slurm.place.Place.find", lambda: _place(array, index))
        words = [f"--manifest={Ledger(asked.jobs).manifest_path(names[array])}", f"--folder={asked.target}"]
        return share.main([*words, "--work=build", *options], running)

    run.asked = asked_of  # type: ignore[attr-defined]
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _place(array: str, index: int) -> Any:
    from joyctl.launch.slurm.place import Place

    return Place(f"{array}_{index}", 7, 0, ("n1",), 0)


def test_shares_then_the_end(node: Any, asked: Asked) -> None:
    assert [node("100", index) for index in range(3)] == [0, 0, 0]
    assert node("101", 0) == 0 and asked.finished()


def test_a_part_that_cannot_be_done_is_named_in_the_last_line(
    node: Any, asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    (asked.target / "broken-p0").touch()
    codes = [node("100", index) for index in range(3)]
    assert sorted(codes) == [0, 0, 6]
    assert "joyctl: p0 cannot be read\n" in capsys.readouterr().out
    assert node("101", 0) == 4 and not asked.finished()
    (asked.target / "broken-p0").unlink()
    assert node("100", codes.index(6)) == 0 and node("101", 0) == 0 and asked.finished()


@pytest.mark.parametrize(
    ("minutes", "options", "said"),
    [
        (1, (), "asked to stop (SIGUSR2); queued again"),
        (29, (), "its time was over before it had done a single part"),
        (1, ("--no-requeue",), "not queued again: the cluster file has requeue off"),
        (1, ("--max-requeues=0",), "not queued again: that was done 0 times (max_requeues)"),
    ],
    ids=["preempted", "out of time without a part", "no requeue", "often enough"],
)
def test_a_job_that_is_told_to_stop(
    node: Any, asked: Asked, minutes: float, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (asked.target / "slow").touch()
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGUSR2))
    timer.start()
    assert node("100", 0, *options, minutes=minutes) == 1
    timer.join()
    assert said in capsys.readouterr().out
    assert (("scontrol", "requeue", "100_0") in node.asked) == ("; queued again" in said)
    assert not any((asked.target / f"p{i}").exists() for i in range(6)), "half a part is no part"


# --- the cluster file


def test_data_jobs_ask_for_what_score_does_unless_told() -> None:
    assert cluster().stages.of("data") == cluster().stages.score
    own = cluster(stages={"data": {"time": "08:00:00", "cpus_per_task": 32}})
    assert own.stages.of("data").cpus_per_task == 32 and own.stages.of("score").cpus_per_task == 4


@pytest.mark.parametrize("wrong", [{"gpus_per_node": 1}, {"gres": "gpu:1"}, {"nodes": 2}, {"processes_per_node": 2}])
def test_data_jobs_take_one_node_and_no_gpu(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"no GPU|only training"):
        cluster(stages={"data": {"time": 30, **wrong}})
