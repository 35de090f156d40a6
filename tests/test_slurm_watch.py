"""A campaign on Slurm as it is looked at: which calls are made, what they miss, and a real Slurm's real states."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from joyctl.campaign.spec import Stage
from joyctl.errors import Missing
from joyctl.launch.slurm.cancel import cancel
from joyctl.launch.slurm.client import Answer, NoAnswer, call
from joyctl.launch.slurm.ledger import Element, Ledger, Manifest
from joyctl.launch.slurm.watch import Look, look
from joyctl.report.status import StageStatus

if TYPE_CHECKING:
    from slurm.cluster import Cluster

RUNS = ("a/s0", "b/s0", "c/s0")
TRUNK = "trunk/s0/0-80"


class Campaign:
    """A campaign with a trunk and three runs, put into the ledger by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        segments = [TRUNK, *(f"runs/{run}" for run in RUNS)]
        put(folder / "campaign.json", {"campaign": folder.name, "segments": segments, "runs": list(RUNS)})
        for run in RUNS:
            put(folder / "runs" / run / "run.json", {"branch_step": 80, "end_step": 100, "eval": {"runs_code": False}})
        (folder / TRUNK).mkdir(parents=True)
        self.ledger = Ledger(folder)

    def submit(
        self,
        name: str,
        folders: Sequence[str],
        job: str | None,
        *,
        stages: tuple[Stage, ...] = ("train",),
        dependency: str | None = None,
        age: float = 0.0,
    ) -> None:
        """Write an array down as submitted under the number `job`, `age` seconds ago."""
        self.ledger.place(None, self.folder)
        elements = {i: Element(f, stages) for i, f in enumerate(folders)}
        self.ledger.write_manifest(Manifest(name, "train", 1, elements, dependency))
        if job is not None:
            line = {"event": "submitted", "name": name, "job": job, "time": time.time() - age}
            with (self.folder / "slurm/ledger.jsonl").open("a") as f:
                f.write(json.dumps(line) + "\n")
            self.ledger.record("released", names=[name])

    def done(self, folder: str, stage: str) -> None:
        put(self.folder / folder / f"DONE.{stage}.json", {})

    def attempt(self, folder: str, **facts: Any) -> None:
        line = {"stage": "train", "start": time.time(), "pid": 1, "host": "elsewhere", **facts}
        with (self.folder / folder / "attempts.jsonl").open("a") as f:
            f.write(json.dumps(line) + "\n")


def put(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def of(seen: Look, folder: str, stage: Stage = "train") -> StageStatus:
    name = folder.removeprefix("runs/")
    return next(s for status in seen.statuses if status.id == name for s in status.stages if s.stage == stage)


@dataclass
class Said:
    """A Slurm that gives these answers, or raises them, and remembers what it was asked."""

    squeue: str | Exception = ""
    sacct: str | Exception = ""
    steps: str | Exception = ""
    """What sacct says when it is asked for steps as well."""
    asked: list[tuple[str, ...]] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None
    """Done while squeue is being asked."""

    def __call__(self, *command: str, text: str | None = None, keep: Sequence[int] = ()) -> Answer:
        self.asked.append(command)
        self.meanwhile()
        answer = self.squeue if command[0] == "squeue" else self.sacct if "-X" in command else self.steps
        if isinstance(answer, Exception):
            raise answer
        return Answer(0, answer, "")


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path / "camp")


RUNNING = "202_0|w|RUNNING|0|2026-01-01T10:00:00|n1|None|\n"
ENDED = "202_1|FAILED|3:0|3:0|None|2026-01-01T10:00:00|2026-01-01T10:05:00|01:00:00|n1\n"


def test_a_campaign_of_this_machine_asks_slurm_nothing(campaign: Campaign) -> None:
    said = Said()
    seen = look(campaign.folder, said)
    assert not said.asked and not seen.on_cluster
    assert of(seen, "runs/a/s0").state == "pending"
    assert seen.read_from.startswith("read from files at ")


def test_what_is_done_asks_slurm_nothing(campaign: Campaign) -> None:
    campaign.submit("w", [TRUNK], "202")
    campaign.done(TRUNK, "train")
    said = Said()
    assert of(look(campaign.folder, said), TRUNK).state == "done"
    assert not said.asked


def test_one_squeue_and_one_sacct_for_what_left_the_queue(campaign: Campaign) -> None:
    campaign.submit("w", ["runs/a/s0", "runs/b/s0"], "202")
    campaign.submit("v", ["runs/c/s0"], "203", age=600)
    said = Said(RUNNING, ENDED)
    seen = look(campaign.folder, said)
    assert [command[0] for command in said.asked] == ["squeue", "sacct"]
    assert said.asked[0][-1] == "--name=v,w" and "-r" in said.asked[0]
    assert said.asked[1][said.asked[1].index("-j") + 1] == "202,203"
    assert [of(seen, f"runs/{run}").state for run in RUNS] == ["running", "failed", "lost"]
    assert seen.read_from.startswith("read from files, one squeue and one sacct at ")
    assert set(seen.live) == {"202_0"}


def test_accounting_is_not_asked_again_for_what_has_ended(campaign: Campaign) -> None:
    campaign.submit("w", ["runs/a/s0", "runs/b/s0"], "202")
    first = look(campaign.folder, Said(RUNNING, ENDED))
    said = Said(RUNNING)
    assert of(look(campaign.folder, said, first), "runs/b/s0").state == "failed"
    assert [command[0] for command in said.asked] == ["squeue"]
    back = Said(RUNNING + RUNNING.replace("202_0", "202_1"))
    assert of(look(campaign.folder, back, first), "runs/b/s0").state == "running"  # it was queued again


UNTOLD = "202_1|FAILED|11:0|0:0|None|2026-01-01T10:00:00|2026-01-01T10:05:00|01:00:00|n1\n"
"""Of a job whose step was heard of when it had ended already."""
STEPS = "202_1|11:0|2026-01-01T10:05:00\n202_1.batch|11:0|2026-01-01T10:05:00\n202_1.0|0:11|2026-01-01T10:05:01\n"


def test_steps_are_asked_for_once_where_the_job_does_not_tell_of_them(campaign: Campaign) -> None:
    campaign.submit("w", ["runs/a/s0", "runs/b/s0"], "202")
    said = Said(RUNNING, UNTOLD, STEPS)
    seen = look(campaign.folder, said)
    assert of(seen, "runs/b/s0").cause == "killed by SIGSEGV on n1"
    assert [command[0] for command in said.asked] == ["squeue", "sacct", "sacct"]
    assert of(look(campaign.folder, said, seen), "runs/b/s0").cause == "killed by SIGSEGV on n1"
    assert [command[0] for command in said.asked[3:]] == ["squeue"]


@pytest.mark.parametrize(
    "steps",
    [NoAnswer("sacct: Connection refused"), "202_1.0|0:0|Unknown\n"],
    ids=["accounting went silent", "the step has not ended for accounting"],
)
def test_steps_that_are_not_known_yet_are_asked_for_again(campaign: Campaign, steps: str | Exception) -> None:
    campaign.submit("w", ["runs/a/s0", "runs/b/s0"], "202")
    seen = look(campaign.folder, Said(RUNNING, UNTOLD, steps))
    assert of(seen, "runs/b/s0").cause == "ended with exit code 11 on n1"
    again = look(campaign.folder, Said(RUNNING, UNTOLD, STEPS), seen)
    assert of(again, "runs/b/s0").cause == "killed by SIGSEGV on n1"


def test_what_ends_well_while_slurm_is_asked_is_done(campaign: Campaign) -> None:
    campaign.submit("w", ["runs/a/s0"], "202")
    said = Said("", meanwhile=lambda: campaign.done("runs/a/s0", "train"))
    assert of(look(campaign.folder, said), "runs/a/s0").state == "done"
    assert [command[0] for command in said.asked] == ["squeue"]


def test_a_silent_controller_is_noted_and_accounting_asked(campaign: Campaign) -> None:
    campaign.submit("w", ["runs/a/s0", "runs/b/s0"], "202")
    seen = look(campaign.folder, Said(NoAnswer("squeue: Unable to contact slurm controller"), ENDED))
    assert of(seen, "runs/b/s0").state == "failed"
    assert of(seen, "runs/a/s0").state == "queued"
    assert "controller does not answer" in seen.notes[0] and not seen.queue_known
    assert seen.read_from.startswith("read from files and one sacct at ")


def test_silent_accounting_is_noted(campaign: Campaign) -> None:
    campaign.submit("w", ["runs/a/s0", "runs/b/s0"], "202")
    campaign.attempt("runs/b/s0", job="202_1")
    campaign.attempt("runs/b/s0", job="202_1", end=time.time(), outcome="failed", error="boom")
    seen = look(campaign.folder, Said(RUNNING, NoAnswer("sacct: Connection refused")))
    assert (of(seen, "runs/b/s0").state, of(seen, "runs/b/s0").cause) == ("failed", "boom")
    assert "accounting does not answer" in seen.notes[0]


def test_without_slurm_on_this_machine_files_tell_what_they_can(campaign: Campaign) -> None:
    campaign.submit("w", ["runs/a/s0"], "202")
    campaign.attempt("runs/a/s0", job="202_0")
    missing = Missing("squeue is not on this machine")
    seen = look(campaign.folder, Said(missing, missing))
    assert of(seen, "runs/a/s0").state == "running"
    assert len(seen.notes) == 1 and "not on this machine" in seen.notes[0]


def test_an_exception_that_could_not_be_written_down_as_an_end_is_found(campaign: Campaign) -> None:
    campaign.submit("w", ["runs/c/s0", "runs/b/s0"], "202")
    campaign.attempt("runs/b/s0", job="202_1", restart=0, start=1.0)
    for rank, when in ((0, 9.0), (3, 8.0)):
        error = {"time": when, "rank": rank, "host": "n1", "job": "202_1", "restart": 0, "exception": f"of {rank}"}
        put(campaign.folder / f"runs/b/s0/log/error-train-{rank}.json", error)
    assert of(look(campaign.folder, Said("", ENDED)), "runs/b/s0").cause == "of 3"


def test_a_cancelled_run_takes_what_waits_for_it_along(campaign: Campaign) -> None:
    runs = [f"runs/{run}" for run in RUNS]
    campaign.done(TRUNK, "train")
    campaign.done(runs[2], "train")
    campaign.submit("w", runs, "202")
    campaign.submit("e", runs, "203", stages=("export", "eval"), dependency="aftercorr:w")
    rows = "".join(f"{job}|w|PENDING|0|N/A||Priority|\n" for job in ("202_0", "202_1", "203_0", "203_1", "203_2"))
    said = Said(rows)
    assert set(cancel(campaign.folder, runs[0], said).jobs) == {"202_0", "203_0"}
    assert said.asked[-1] == ("scancel", "202_0", "203_0")
    lines = [json.loads(line) for line in (campaign.folder / "slurm/ledger.jsonl").read_text().splitlines()]
    assert [(line["name"], line["indices"]) for line in lines if line["event"] == "cancelled"] == [
        ("w", [0]),
        ("e", [0]),
    ]
    said = Said(rows.replace("202_0", "999_0").replace("203_0", "999_1"))
    assert set(cancel(campaign.folder, None, said).jobs) == {"202_1", "203_1", "203_2"}


def test_nothing_is_cancelled_while_the_controller_is_silent(campaign: Campaign) -> None:
    campaign.submit("w", ["runs/a/s0"], "202")
    with pytest.raises(NoAnswer):
        cancel(campaign.folder, None, Said(NoAnswer("squeue: Unable to contact slurm controller")))
    assert "cancelled" not in (campaign.folder / "slurm/ledger.jsonl").read_text()


# --- on a real Slurm


@dataclass
class Real:
    """A campaign whose jobs are shell scripts on a real Slurm."""

    cluster: Cluster
    campaign: Campaign

    def submit(
        self,
        name: str,
        folders: Sequence[str],
        body: str,
        *options: str,
        stages: tuple[Stage, ...] = ("train",),
        dependency: str | None = None,
    ) -> str:
        """Submit an array whose elements run `body`; gives its id."""
        script = self.campaign.folder / f"{name}.sh"
        script.write_text(f"#!/bin/bash\ncd {self.campaign.folder}\n{body}\n")
        log = self.campaign.folder / "slurm/log/%A_%a_0_log.out"
        done = self.cluster.run(
            "sbatch", "--parsable", f"--array=0-{len(folders) - 1}", f"--job-name={name}", f"--output={log}",
            "--open-mode=append", "--kill-on-invalid-dep=yes", *options, str(script),
        )  # fmt: skip
        job = done.stdout.strip()
        self.campaign.submit(name, folders, job, stages=stages, dependency=dependency)
        return job

    def look(self) -> Look:
        return look(self.campaign.folder, call)

    def until(
        self, folder: str, state: str, stage: Stage = "train", *, because: str = "", seconds: float = 40
    ) -> StageStatus:
        """Look until a stage is in this state, and its cause begins with `because`."""
        give_up = time.monotonic() + seconds
        while True:
            now = of(self.look(), folder, stage)
            if now.state == state and (now.cause or "").startswith(because):
                return now
            assert time.monotonic() < give_up, now
            time.sleep(0.3)


@pytest.fixture
def real(clean_slurm: Cluster, campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> Real:
    for name, value in clean_slurm.env.items():
        monkeypatch.setenv(name, value)
    campaign.ledger.place(None, campaign.folder)
    return Real(clean_slurm, campaign)


A, B, C = (f"runs/{run}" for run in RUNS)


def test_queued_running_and_waiting_for_a_parent_then_blocked_by_it(real: Real) -> None:
    trunk = real.submit("r-trunk", [TRUNK], "sleep 8; exit 3", "--gres=gpu:8", "-w", "n1")
    real.submit("r-busy", [A], "sleep 20", "--gres=gpu:8", "-w", "n1")
    real.submit("r-train", [B, C], "sleep 20", "-d", f"afterok:{trunk}_0", dependency="afterok:r-trunk_0")
    running = real.until(TRUNK, "running")
    assert running.job == f"{trunk}_0" and running.since is not None and abs(running.since - time.time()) < 10
    real.until(A, "queued", because="Resources: waiting for free nodes")
    seen = real.look()
    assert (of(seen, B).state, of(seen, B).cause) == ("queued", f"waiting for {TRUNK}")
    assert real.until(TRUNK, "failed").cause == "ended with exit code 3 on n1"
    # By the array's last element: Slurm gives that one the array's own number.
    assert real.until(C, "blocked").cause == f"{TRUNK} failed"
    assert (of(real.look(), C, "export").state, of(real.look(), C, "export").cause) == ("pending", "not submitted")


def test_a_marker_is_success_though_the_job_ended_badly(real: Real) -> None:
    real.submit("r-done", [A, B], "touch runs/{a,b}/s0/DONE.train.json; exit 1")
    real.until(A, "done")
    seen = real.look()
    assert of(seen, B).state == "done" and "sacct" not in seen.read_from


def test_scancel_of_a_waiting_and_of_a_running_element(real: Real) -> None:
    job = real.submit("r-cancel", [A, B, C], "sleep 60", "--gres=gpu:8", "-w", "n1")
    real.until(A, "running")
    real.cluster.run("scancel", f"{job}_0", f"{job}_1")
    assert real.until(A, "cancelled").cause == f"by {real.cluster.user} with scancel"
    # Of an element that never started Slurm keeps nothing; within the grace it could still be on its way.
    real.until(B, "queued", because="just submitted")
    manifest = next(a for a in real.campaign.ledger.read() if a.manifest.name == "r-cancel")
    real.campaign.submit("r-cancel", [A, B, C], manifest.job, age=120)
    assert of(real.look(), B).state == "lost"
    assert real.until(C, "running").job == f"{job}_2"


def test_cancel_stops_what_runs_and_takes_out_what_waits_for_it(real: Real) -> None:
    train = real.submit("r-train", [A, B], "sleep 60")
    real.submit("r-eval", [A, B], "sleep 60", "-d", f"aftercorr:{train}", stages=("export", "eval"),
                dependency="aftercorr:r-train")  # fmt: skip
    real.until(A, "running")
    real.until(B, "running")
    assert len(cancel(real.campaign.folder, A, call).jobs) == 2
    assert real.until(A, "cancelled").cause in ("by joyctl cancel", "by joyctl cancel; ending")
    assert real.until(A, "cancelled", "eval").cause == "by joyctl cancel"
    seen = real.look()
    assert (of(seen, B).state, of(seen, B, "eval").state) == ("running", "queued")
    assert cancel(real.campaign.folder, A, call).jobs == {}


def test_requeue_is_a_retry_and_then_runs_again(real: Real) -> None:
    job = real.submit("r-requeue", [A], "sleep 60")
    (real.campaign.folder / "slurm/cluster.json").write_text('{"max_requeues": 5}')
    real.until(A, "running")
    real.cluster.run("scontrol", "requeue", f"{job}_0")
    assert real.until(A, "retrying").cause == "put back into the queue; attempt 2 of 6"
    assert real.until(A, "running").cause == "put back into the queue; attempt 2 of 6"


def test_what_can_never_start_says_so(real: Real) -> None:
    real.submit("r-never", [A], "true", "-p", "short", "-t", "60")
    real.until(A, "queued", because="can never start: it asks for more time than its partition gives")


def test_out_of_memory_is_told_from_other_deaths(real: Real) -> None:
    eats = "python3 -c 'import time; x = [b\"x\" * (1 << 20) for _ in range(600)]; time.sleep(30)'"
    real.submit("r-memory", [A], f"srun {eats}", "--mem=100M", "-n", "1")
    real.submit("r-signal", [B], "srun sh -c 'kill -SEGV $$'")
    assert (real.until(A, "failed").cause or "").startswith("out of memory on n")
    assert (real.until(B, "failed").cause or "").startswith("killed by SIGSEGV on n")


@pytest.mark.slow
def test_time_limit(real: Real) -> None:
    real.submit("r-time", [A], "sleep 200", "-t", "1")
    assert real.until(A, "failed", seconds=150).cause == "time limit of 00:01:00 reached"


@pytest.mark.slow
def test_a_node_that_dies_costs_an_attempt_or_the_job(real: Real) -> None:
    real.submit("r-again", [A], "sleep 300", "-w", "n4")
    real.submit("r-once", [B], "sleep 300", "-w", "n4", "--no-requeue")
    real.until(A, "running")
    real.until(B, "running")
    real.cluster.kill_node("n4")
    # Accounting says NODE_FAIL of both for a while; the queue knows better of the one that waits again.
    assert real.until(B, "failed", seconds=120).cause == "node n4 failed"
    real.until(A, "retrying", because="put back into the queue; attempt 2", seconds=60)


def test_a_job_that_slurm_never_heard_of_is_lost(real: Real) -> None:
    real.campaign.submit("r-lost", [A], "987654", age=120)
    seen = real.look()
    assert of(seen, A).state == "lost" and not seen.notes


def test_daemons_that_are_down_are_noted(real: Real) -> None:
    real.submit("r-run", [A], "sleep 120")
    real.submit("r-exit", [B], "exit 3")
    real.until(A, "running")
    real.until(B, "failed")
    real.cluster.stop_daemon("slurmdbd")
    seen = real.look()
    assert of(seen, A).state == "running"
    assert "accounting does not answer" in seen.notes[0]
    real.cluster.start_daemon("slurmdbd")
    real.cluster.stop_daemon("slurmctld")
    seen = real.look()
    assert (of(seen, A).state, of(seen, B).state) == ("running", "failed")
    assert "controller does not answer" in seen.notes[0]
    real.cluster.start_daemon("slurmctld")
    assert real.until(A, "running").job is not None and not real.look().notes
