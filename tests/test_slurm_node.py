"""What runs on a node: the decisions of the supervisor, its judgement of causes, and real processes under it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from joyctl.launch.slurm import torchrun
from joyctl.launch.slurm.client import Answer, NoAnswer
from joyctl.launch.slurm.crew import Crew
from joyctl.launch.slurm.failures import Death, Report, bad_nodes, judge
from joyctl.launch.slurm.ledger import Element
from joyctl.launch.slurm.place import Place
from joyctl.launch.slurm.supervisor import Supervisor, supervise
from joyctl.recipe.scaling import Scaling
from joyctl.store import attempts
from joyctl.store.files import append_line, read_lines, write_text

# -- causes


def error(rank: int, exception: str, at: float) -> dict[str, Any]:
    return {"rank": rank, "exception": exception, "time": at}


def report(*deaths: Death, node: str = "n1", memory: bool = False) -> Report:
    return Report(node, 0.0, deaths, memory)


def test_the_first_exception_is_the_cause_and_what_follows_from_it_is_not() -> None:
    errors = [
        error(0, "RuntimeError: [gloo] Connection closed by peer", 4.0),
        error(3, "ValueError: bad row", 5.0),  # its clock is behind
        error(2, "RuntimeError: something else", 6.0),
    ]
    deaths = report(Death(3, 1, 5.0), Death(2, -signal.SIGTERM, 5.0), node="n2")
    cause = judge([report(Death(0, 1, 4.0)), deaths], errors, ["n1", "n2"], 2)
    assert (cause.kind, cause.text, cause.own) == ("own", "ValueError: bad row", True)


def test_a_signal_is_named_with_its_node_and_rank_though_others_complain_of_lost_contact() -> None:
    errors = [error(0, "DistBackendError: NCCL error: remote process exited", 4.0)]
    deaths = [
        report(Death(0, 1, 4.0)),
        report(Death(3, -signal.SIGSEGV, 3.0), Death(2, -signal.SIGKILL, 33.0), node="n2"),
    ]
    cause = judge(deaths, errors, ["n1", "n2"], 2)
    assert (cause.text, cause.key, cause.node) == ("killed by SIGSEGV on n2 (rank 3)", "SIGSEGV", "n2")
    assert not cause.own


def test_an_abort_by_the_watchdog_of_a_companion_is_not_the_cause() -> None:
    deaths = report(Death(0, -signal.SIGABRT, 1.0), Death(1, -signal.SIGBUS, 2.0))
    assert judge([deaths], [], ["n1"], 2).key == "SIGBUS"
    assert judge([report(Death(0, -signal.SIGABRT, 1.0))], [], ["n1"], 1).key == "SIGABRT"


def test_sigkill_is_out_of_memory_if_the_kernel_says_so() -> None:
    killed = Death(0, -signal.SIGKILL, 1.0)
    known = judge([report(killed, memory=True)], [], ["n1"], 1)
    assert (known.kind, known.text, known.own) == ("memory", "out of memory on n1", True)
    guessed = judge([report(killed)], [], ["n1"], 1)
    assert (guessed.text, guessed.own) == ("killed by SIGKILL on n1, perhaps out of memory", False)


def test_lost_contact_alone_is_nobodys_fault_and_broken_hardware_the_nodes() -> None:
    lost = judge([report(Death(0, 1, 1.0))], [error(0, "RuntimeError: Connection reset by peer", 1.0)], ["n1", "n2"], 1)
    assert (lost.kind, lost.node, lost.own) == ("contact", None, False)
    # A single process has no companion to lose: this is a matter of its own.
    assert judge([], [error(0, "ConnectionError: Connection refused", 1.0)], ["n1"], 1).own
    broken = judge(
        [], [error(5, "AcceleratorError: CUDA error: uncorrectable ECC error encountered", 1.0)], ["n1", "n2"], 4
    )
    assert (broken.kind, broken.node, broken.own) == ("death", "n2", False)


def test_an_exit_code_without_a_word_is_told_as_it_is() -> None:
    assert judge([report(Death(0, 3, 1.0))], [], ["n1"], 1).text == "ended with exit code 3 on n1, without a word"
    started = judge([report(Death(None, 1, 1.0))], [], ["n1"], 2)
    assert (started.text, started.own) == ("torchrun ended with exit code 1 on n1", False)


# -- nodes


def ended(folder: Path, outcome: str, node: str | None = None, **facts: Any) -> None:
    line = {"stage": "train", "start": time.time() - 9, "pid": 1, "host": "h", "job": "202_0", "restart": 0}
    line |= {"nodes": [node or "n1"], "part": 1, "node": node, "cause": "SIGSEGV"}
    append_line(folder / "attempts.jsonl", {**line, "end": time.time(), "outcome": outcome, "error": "x", **facts})


def test_a_node_is_bad_after_two_deaths_of_the_same_stage_that_were_not_the_runs_fault(tmp_path: Path) -> None:
    assert bad_nodes(tmp_path, "train") == ()
    ended(tmp_path, "killed", "n1")
    ended(tmp_path, "killed", "n2", stage="eval")
    ended(tmp_path, "interrupted", "n1")
    ended(tmp_path, "killed", None)  # out of memory: no node is to blame
    assert bad_nodes(tmp_path, "train") == ()
    ended(tmp_path, "lost", "n1")
    assert bad_nodes(tmp_path, "train") == ("n1",)
    ended(tmp_path, "lost", "n3", nodes=["n3", "n4"])  # which of the two?
    ended(tmp_path, "lost", "n3", nodes=["n3", "n4"])
    assert bad_nodes(tmp_path, "train") == ("n1",)
    ended(tmp_path, "failed")  # the run was at fault after all
    assert bad_nodes(tmp_path, "train") == ()


# -- decisions; the processes are played


SHOWN = (
    "JobId=202 ArrayTaskId=0 JobState={state} Reason=None Restarts={restarts} TimeLimit=01:00:00 "
    "StartTime={start} EndTime={start} Partition=gpu ExcNodeList={excluded}"
)


class FakeSlurm:
    """Answers the supervisor, and remembers what it was told."""

    """`minutes` are left of its hour."""

    def __init__(
        self, *, state: str = "RUNNING", restarts: int = 0, minutes: float = 60, excluded: str = "(null)"
    ) -> None:
        start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + (minutes - 60) * 60))
        self.job = SHOWN.format(state=state, restarts=restarts, start=start, excluded=excluded)
        self.nodes = ["n1", "n2", "n3", "n9"]
        self.told: list[str] = []
        self.silent = 0
        """How many calls are not answered."""

    def __call__(self, *command: str, **rest: object) -> Answer:
        if self.silent:
            self.silent -= 1
            raise NoAnswer("slurmctld does not answer")
        if command[:3] == ("scontrol", "show", "job"):
            assert command[-1] == "202_0"
            return Answer(0, self.job, "")
        if command[:3] == ("scontrol", "show", "hostnames"):
            return Answer(0, command[3].replace(",", "\n"), "")
        if command[0] == "sinfo":
            return Answer(0, "\n".join(self.nodes), "")
        self.told.append(" ".join(command))
        return Answer(0, "", "")


class Played(Crew):
    """Processes that only pretend."""

    def work(self, stages: Any) -> Report:
        self.calls.append(stages)  # type: ignore[attr-defined]
        return self.plays(Report(self.place.node, time.time(), (), False))  # type: ignore[attr-defined]


@pytest.fixture
def node(tmp_path: Path) -> Callable[..., Any]:
    """A supervisor whose processes do what `plays` does."""

    def make(plays: Callable[[Report], Report], slurm: FakeSlurm, **changes: Any) -> Any:
        options = {"requeue": True, "max_requeues": 5, "signal_grace": 120} | changes
        received = options.pop("received", [])
        element = options.pop("element", Element("trunk/s0/x", ("train",)))
        place = options.pop("place", Place("202_0", 202, options.pop("restart", 0), ("n1",), 0))
        crew = Played(tmp_path, place, element.part, 1, 30, None, received)
        object.__setattr__(crew, "plays", plays)
        object.__setattr__(crew, "calls", [])
        return Supervisor(argparse.Namespace(**options), tmp_path, element, place, crew, received, slurm)

    return make


def stops(folder: Path, received: list[tuple[int, float]], number: int = signal.SIGUSR2, *, step: int | None = 5):
    """A training that is asked to stop and saves step `step`, if any."""

    def play(seen: Report) -> Report:
        received.append((number, time.time()))
        os.environ[attempts.PLACE] = json.dumps({"job": "202_0", "restart": 0, "nodes": ["n1"], "part": 1})
        try:
            started = attempts.begin(folder, "train", 1)
        finally:
            del os.environ[attempts.PLACE]
        if step is not None:
            write_text(folder / f"checkpoint/step-{step}/.metadata", "")
            attempts.finish(folder, started, "interrupted", "all saved")
        return seen

    return play


def dies(code: int = -signal.SIGSEGV, node: str = "n1"):
    return lambda seen: Report(node, seen.began, (Death(0, code, time.time()),), False)


def outcomes(folder: Path) -> list[tuple[str, str | None]]:
    return [(line["outcome"], line["error"]) for line in read_lines(folder / "attempts.jsonl") if "end" in line]


REQUEUED = ["scontrol requeue 202_0"]


def test_saved_when_its_time_is_over_a_job_queues_itself_again(node: Any, tmp_path: Path) -> None:
    slurm, got = FakeSlurm(minutes=2), []
    assert node(stops(tmp_path, got), slurm, received=got).run() == 1
    assert slurm.told == REQUEUED


def test_a_job_that_got_nowhere_in_its_time_is_not_queued_again(node: Any, tmp_path: Path, capsys: Any) -> None:
    slurm, got = FakeSlurm(minutes=2), []
    assert node(stops(tmp_path, got, step=None), slurm, received=got).run() == 1
    assert slurm.told == [] and "give it more" in capsys.readouterr().out
    assert outcomes(tmp_path) == [("interrupted", "asked to stop (SIGUSR2), and ended before it had saved")]


def test_making_room_for_another_job_it_is_queued_again_even_so(node: Any, tmp_path: Path) -> None:
    slurm, got = FakeSlurm(minutes=60), []
    assert node(stops(tmp_path, got, step=None), slurm, received=got).run() == 1
    assert slurm.told == REQUEUED


def test_a_part_that_is_not_the_last_hands_over_when_its_time_is_over(node: Any, tmp_path: Path) -> None:
    element = Element("trunk/s0/x", ("train",), part=1, parts=2)
    slurm, got = FakeSlurm(minutes=2), []
    assert node(stops(tmp_path, got), slurm, received=got, element=element).run() == 0
    assert slurm.told == []
    slurm, got = FakeSlurm(minutes=60), []  # but not when it is preempted
    assert node(stops(tmp_path, got, step=9), slurm, received=got, element=element).run() == 1
    assert slurm.told == REQUEUED
    slurm, got = FakeSlurm(minutes=60), []  # unless it cannot go on itself
    assert node(stops(tmp_path, got, step=12), slurm, received=got, element=element, requeue=False).run() == 0


@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETING", "PREEMPTED", "TIMEOUT"])
def test_a_job_that_slurm_is_ending_does_not_come_back_by_itself(node: Any, tmp_path: Path, state: str) -> None:
    slurm, got = FakeSlurm(state=state), []
    assert node(stops(tmp_path, got, signal.SIGTERM), slurm, received=got).run() == 1
    assert slurm.told == []


def test_a_job_that_was_started_again_meanwhile_is_not_queued_by_its_earlier_start(node: Any, tmp_path: Path) -> None:
    slurm, got = FakeSlurm(restarts=1), []
    assert node(stops(tmp_path, got, signal.SIGTERM), slurm, received=got).run() == 1
    assert slurm.told == []


def test_scancel_s_term_to_a_running_job_saves_and_queues_it_again(node: Any, tmp_path: Path) -> None:
    slurm, got = FakeSlurm(), []
    assert node(stops(tmp_path, got, signal.SIGTERM), slurm, received=got).run() == 1
    assert slurm.told == REQUEUED


@pytest.mark.parametrize("changes", [{"requeue": False}, {"restart": 5}, {"max_requeues": 0}])
def test_requeues_can_be_off_or_used_up(node: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    slurm = FakeSlurm()
    assert node(dies(), slurm, **changes).run() == 1
    assert slurm.told == []
    assert outcomes(tmp_path) == [("killed", "killed by SIGSEGV on n1")]


def test_a_death_is_tried_again_and_the_second_on_a_node_elsewhere(node: Any, tmp_path: Path) -> None:
    slurm = FakeSlurm(excluded="n9")
    assert node(dies(), slurm).run() == 1
    assert slurm.told == REQUEUED
    slurm = FakeSlurm(excluded="n9", restarts=1)
    assert node(dies(), slurm, restart=1).run() == 1
    assert slurm.told == [*REQUEUED, "scontrol update JobId=202_0 ExcNodeList=n9,n1"]


def test_a_job_put_onto_a_bad_node_moves_away_before_it_does_anything(node: Any, tmp_path: Path) -> None:
    ended(tmp_path, "lost", "n1")
    ended(tmp_path, "lost", "n1")
    slurm = FakeSlurm(restarts=2)
    supervisor = node(dies(), slurm, restart=2)
    assert supervisor.run() == 1
    assert slurm.told == [*REQUEUED, "scontrol update JobId=202_0 ExcNodeList=n1"]
    assert supervisor.crew.calls == []
    assert node(dies(), FakeSlurm(), place=Place("202_0", 202, 2, ("n2",), 0)).run() == 1
    # Where it cannot move, it works there.
    supervisor = node(dies(), FakeSlurm(), requeue=False)
    supervisor.run()
    assert supervisor.crew.calls == [("train",)]


def test_without_another_node_it_is_not_queued_to_wait_for_ever(node: Any, tmp_path: Path, capsys: Any) -> None:
    ended(tmp_path, "killed", "n1")
    slurm = FakeSlurm()
    slurm.nodes = ["n1"]
    assert node(dies(), slurm).run() == 1
    assert slurm.told == [] and "has no other nodes than those to avoid (n1)" in capsys.readouterr().out


def test_the_same_death_on_two_nodes_is_the_runs_own_fault(node: Any, tmp_path: Path) -> None:
    ended(tmp_path, "killed", "n2")
    slurm = FakeSlurm()
    assert node(dies(), slurm).run() == 1
    assert slurm.told == []
    blame = "killed by SIGSEGV on n1, and before on n2: the fault of the run, not of a node"
    assert outcomes(tmp_path)[-1] == ("failed", blame)
    assert node(dies(-signal.SIGBUS), slurm).run() == 1  # another one: a matter of its own
    assert slurm.told == REQUEUED


def test_a_controller_that_is_being_restarted_is_waited_for(node: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("joyctl.launch.slurm.requeue._PAUSE_SECONDS", 0.0)
    slurm = FakeSlurm()
    slurm.silent = 3
    assert node(dies(), slurm).run() == 1
    assert slurm.told == REQUEUED


def test_a_signal_that_came_before_anything_started_starts_nothing(node: Any, tmp_path: Path) -> None:
    slurm = FakeSlurm()
    supervisor = node(dies(), slurm, received=[(signal.SIGUSR2, time.time())])
    assert supervisor.run() == 1
    assert supervisor.crew.calls == [] and slurm.told == REQUEUED
    second = Place("202_0", 202, 0, ("n1", "n2"), 1)  # one node of a job speaks for it
    assert node(dies(), slurm, received=[(signal.SIGUSR2, time.time())], place=second).run() == 1
    assert slurm.told == REQUEUED


# -- attempts


def test_a_start_closes_one_that_ended_without_a_word(tmp_path: Path) -> None:
    before = attempts.begin(tmp_path, "train", 1)
    attempts.begin(tmp_path, "train", 1)
    node = before["nodes"][0]
    assert outcomes(tmp_path) == [("lost", f"ended without a word on {node}")]
    assert [("end" in line) for line in read_lines(tmp_path / "attempts.jsonl")] == [False, True, False]


def test_who_was_asked_to_stop_and_killed_before_it_saved_is_no_strike_against_a_node(tmp_path: Path) -> None:
    before = attempts.begin(tmp_path, "train", 1)
    attempts.note_asked(tmp_path, attempts.place(), "SIGTERM")
    attempts.begin(tmp_path, "train", 1)
    assert outcomes(tmp_path) == [("interrupted", "asked to stop (SIGTERM), and killed before it had saved")]
    assert before["job"] is None


def test_an_exception_that_nobody_wrote_down_is_found_by_the_next_start(tmp_path: Path) -> None:
    attempts.begin(tmp_path, "train", 1)
    attempts.record_error(tmp_path, "train", ValueError("bad row"))
    attempts.begin(tmp_path, "train", 1)
    assert outcomes(tmp_path) == [("failed", "ValueError: bad row")]


# -- what a job holds


@pytest.mark.parametrize(
    ("cores", "gpus", "held"),
    [
        ("96(x2)", "8", {"cores": 192, "gpus": 16}),
        ("72(x2),36", None, {"cores": 180, "gpus": 0}),
        ("12", "1", {"cores": 12, "gpus": 2}),
        (None, None, {}),
    ],
)
def test_an_attempt_keeps_what_its_job_holds(
    cores: str | None, gpus: str | None, held: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NODEID": "0"}
    for name, value in {**given, "SLURM_JOB_CPUS_PER_NODE": cores, "SLURM_GPUS_ON_NODE": gpus}.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    crew = Crew(tmp_path, Place.find(), 1, 8, 30, None, [])
    assert crew.lines() == {"job": "7", "restart": 0, "nodes": ["n1", "n2"], "part": 1, **held}
    monkeypatch.setenv(attempts.PLACE, json.dumps(crew.lines()))
    line = attempts.begin(tmp_path, "train", 3)
    assert line["threads"] == 3 and line["cores"] == held.get("cores", 3) and line.get("gpus") == held.get("gpus")


@pytest.mark.parametrize(("gpus", "price"), [("8", 2.5), (None, 0.04)])
def test_a_job_costs_by_its_gpus_or_by_its_cores(
    gpus: str | None, price: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n1")
    monkeypatch.setenv("SLURM_NODEID", "0")
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "64")
    monkeypatch.delenv("SLURM_GPUS_ON_NODE", raising=False)
    if gpus is not None:
        monkeypatch.setenv("SLURM_GPUS_ON_NODE", gpus)
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(Supervisor, "run", lambda self: seen.append(self.crew.lines()) or 0)
    monkeypatch.setattr("joyctl.launch.slurm.processes.adopt_orphans", lambda: None)
    prices = ["--price-per-gpu-hour=2.5", "--price-per-core-hour=0.04", "--currency=EUR"]
    assert supervise(["--folder", str(tmp_path), "train", *prices], []) == 0
    assert supervise(["--folder", str(tmp_path), "train"], []) == 0
    assert [(line.get("price"), line.get("currency")) for line in seen] == [(price, "EUR"), (None, None)]


def test_a_lost_scoring_ends_with_the_last_answer_that_it_kept(tmp_path: Path) -> None:
    begun = attempts.begin(tmp_path, "eval", 1)
    write_text(tmp_path / "eval/mmlu/answers.jsonl", "{}\n")
    os.utime(tmp_path / "eval/mmlu/answers.jsonl", (begun["start"] + 60, begun["start"] + 60))
    attempts.begin(tmp_path, "eval", 1)
    lost = next(line for line in read_lines(tmp_path / "attempts.jsonl") if "end" in line)
    assert lost["outcome"] == "lost" and lost["seconds"] == pytest.approx(60)


# -- the processes


def test_every_start_of_every_job_meets_at_a_port_of_its_own() -> None:
    ports = [torchrun.port_of(job, restart) for job in range(5000, 6900) for restart in range(8)]
    assert len(set(ports)) == len(ports)
    assert min(ports) >= 1024 and max(ports) < 32_768


def test_scoring_is_one_process_that_starts_the_others_itself(tmp_path: Path, monkeypatch: Any) -> None:
    seen = tmp_path / "seen"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" > {seen}\nenv >> {seen}\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.setenv(name, "1")
    crew = Crew(tmp_path, Place("202_0", 202, 1, ("n1",), 0), 1, 8, 30, "ib0", [])
    assert crew.work(("export", "eval")).deaths == ()
    command, *environment = seen.read_text().splitlines()
    assert command == f"-m joyctl.worker {tmp_path} export eval --threads=1 --to-log --processes=8"
    assert not [line for line in environment if line.startswith(("RANK=", "WORLD_SIZE=", "MASTER_ADDR="))]
    assert {"NCCL_SOCKET_IFNAME=ib0", "GLOO_SOCKET_IFNAME=ib0"} <= set(environment)
    place = '{"job": "202_0", "restart": 1, "nodes": ["n1"], "part": 1}'
    assert f"JOYCTL_PLACE={place}" in environment


@pytest.mark.parametrize(
    ("stages", "processes", "told"),
    [(("eval",), 1, False), (("export", "eval"), 4, True), (("score",), 4, False), (("export",), 4, False)],
)
def test_only_scoring_a_model_shares_its_work(
    stages: Any, processes: int, told: bool, tmp_path: Path, monkeypatch: Any
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/seen\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    crew = Crew(tmp_path, Place("202_0", 202, 1, ("n1",), 0), 1, processes, 30, None, [])
    assert crew.work(stages).deaths == ()
    assert (f"--processes={processes}" in (tmp_path / "seen").read_text()) == told


def test_a_worker_that_does_not_stop_in_time_is_killed(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\ntrap '' TERM\nsleep 60\nsleep 60\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    crew = Crew(tmp_path, Place("202_0", 202, 0, ("n1",), 0), 1, 1, 0, None, [(signal.SIGUSR2, time.time())])
    assert crew.work(("train",)).deaths == ()  # none that says anything about the run or the node
    assert "kills what has not ended by now" in capsys.readouterr().out


def test_the_supervisor_needs_no_torch() -> None:
    code = "import sys, joyctl.launch.slurm.supervisor as s; s.Place.find(); print('torch' in sys.modules)"
    environment = {**os.environ, "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NODEID": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_words_say_what_is_behind_torchs_checkpoint_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.distributed.checkpoint.api import CheckpointException

    from joyctl.store import attempts

    error = CheckpointException("save", {0: (RuntimeError("unexpected pos 704 vs 598"), None)})
    said = "CheckpointException: RuntimeError: unexpected pos 704 vs 598"
    assert attempts.words(error, tmp_path) == said
    monkeypatch.setattr(attempts, "_FULL_BYTES", 2**62)
    assert attempts.words(error, tmp_path) == f"{said}; no space is left on the disk"


def test_the_worker_of_training_is_told_how_the_cluster_file_has_it(tmp_path: Path) -> None:
    scaling = Scaling(trackers=("tensorboard",))
    word = scaling.argument()
    crew = Crew(tmp_path, Place("202_0", 202, 0, ("n1",), 0), 1, 2, 30, None, [], scaling=word)
    for together in (False, True):
        command = crew._command(("train",), tmp_path / "told", together=together)
        [told] = [each for each in command if each.startswith("--scaling=")]
        assert Scaling.model_validate_json(told.removeprefix("--scaling=")) == scaling
    assert not any(each.startswith("--scaling") for each in crew._command(("eval",), tmp_path, together=False))
