"""Every state a stage on Slurm can be in, from what squeue, sacct and the files say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from joyctl.campaign.spec import Stage
from joyctl.launch.slurm.ledger import Element, Manifest, Submitted
from joyctl.launch.slurm.rows import expanded, queue_rows, records
from joyctl.launch.slurm.states import Seen, judge
from joyctl.report.facts import Facts, Progress
from joyctl.report.status import RunStatus, StageStatus, State

NOW = 1_000_000.0
SUBMITTED = NOW - 3_600
RUN: tuple[Stage, ...] = ("train", "export", "eval", "score")


def array(
    name: str, job: str | None, elements: Sequence[Element], dependency: str | None = None, **more: Any
) -> Submitted:
    """An array in the ledger; what it holds in the order of its indices."""
    at = {"time": SUBMITTED, "released": True, "cancelled": frozenset(), "wave": 1, "exclude": ()} | more
    manifest = Manifest(name, "train", at["wave"], dict(enumerate(elements)), dependency, at["exclude"])
    return Submitted(manifest, job, at["time"], at["released"], at["cancelled"])


TRUNK = array("t", "201", [Element("trunk/s0/0-80", ("train",))])
TRAIN = array("a", "202", [Element("runs/x/s0", ("train",)), Element("runs/y/s0", ("train",))], "afterok:t_0")
EVAL = array("e", "203", [Element(f"runs/{run}/s0", ("export", "eval")) for run in "xy"], "aftercorr:a")
SCORE = array("s", "204", [Element(f"runs/{run}/s0", ("score",)) for run in "xy"], "aftercorr:e")
LEDGER = (TRUNK, TRAIN, EVAL, SCORE)


def facts(
    *,
    done: Mapping[str, Sequence[str]] | None = None,
    attempts: Sequence[Mapping[str, Any]] = (),
    seconds_left: float | None = None,
) -> list[Facts]:
    """A trunk, of which two runs branch; `done` by id, `attempts` are of the run x."""
    there = {"trunk/s0/0-80": ("train",), **(done or {})}
    lines = tuple({"start": NOW - 600, "host": "n1", "pid": 1, **attempt} for attempt in attempts)
    return [
        Facts("trunk/s0/0-80", "trunk/s0/0-80", ("train",), frozenset(there["trunk/s0/0-80"]),
              progress=Progress(40, 80, 2.0, seconds_left)),
        Facts("x/s0", "runs/x/s0", RUN, frozenset(there.get("x/s0", ())), lines),
        Facts("y/s0", "runs/y/s0", RUN, frozenset(there.get("y/s0", ()))),
    ]  # fmt: skip


def seen(squeue: str | None = "", sacct: str | None = "", **more: Any) -> Seen:
    """What these commands said; None for one that did not answer."""
    queue = None if squeue is None else {row.job: row for row in queue_rows(squeue)}
    return Seen(NOW, queue, None if sacct is None else records(sacct), **more)


def of(name: str, stage: Stage, found: Sequence[RunStatus]) -> StageStatus:
    return next(s for status in found if status.id == name for s in status.stages if s.stage == stage)


def squeue(job: str, state: str, reason: str = "None", restarts: int = 0, start: str = "N/A", nodes: str = "") -> str:
    """A line of squeue as Slurm 22.05 prints it."""
    return f"{job}|name|{state}|{restarts}|{start}|{nodes}|{reason}|\n"


def sacct(
    job: str, state: str, code: str = "0:0", derived: str = "0:0", reason: str = "None", nodes: str = "n1"
) -> str:
    """A line of sacct as Slurm 22.05 prints it."""
    return f"{job}|{state}|{code}|{derived}|{reason}|2026-01-01T10:00:00|2026-01-01T11:00:00|01:00:00|{nodes}\n"


FAILED = {"stage": "train", "job": "202_0", "end": NOW - 60, "outcome": "failed", "error": "loss became NaN at step 7"}
KILLED = FAILED | {"outcome": "killed", "error": "killed by SIGSEGV on n3 (rank 1)"}
OPEN = {"stage": "train", "job": "202_0"}

# Of the training of run x, job 202_0: id, squeue, sacct, its attempts, then its state and cause.
TABLE: list[tuple[str, str, str, list[Mapping[str, Any]], State, str | None]] = [
    # --- in the queue
    ("priority", squeue("202_0", "PENDING", "Priority"), "", [], "queued", "Priority: other jobs go first"),
    ("resources", squeue("202_0", "PENDING", "Resources"), "", [], "queued", "Resources: waiting for free nodes"),
    ("array limit", squeue("202_0", "PENDING", "JobArrayTaskLimit"), "", [], "queued",
     "as many of its array run as may at once"),
    ("qos limit", squeue("202_0", "PENDING", "QOSMaxJobsPerUserLimit"), "", [], "queued",
     "a limit of its quality of service is reached (QOSMaxJobsPerUserLimit)"),
    ("account limit", squeue("202_0", "PENDING", "AssocGrpGRES"), "", [], "queued",
     "a limit of its account is reached (AssocGrpGRES)"),
    ("node away", squeue("202_0", "PENDING", "ReqNodeNotAvail, UnavailableNodes:n[1-2]"), "", [], "queued",
     "nodes that it needs are down, drained or reserved"),
    ("held by its user", squeue("202_0", "PENDING", "JobHeldUser"), "", [], "queued",
     "held by its user; scontrol release lets it go"),
    ("too long for the partition", squeue("202_0", "PENDING", "PartitionTimeLimit"), "", [], "queued",
     "can never start: it asks for more time than its partition gives (PartitionTimeLimit)"),
    ("too many nodes for the partition", squeue("202_0", "PENDING", "PartitionNodeLimit"), "", [], "queued",
     "can never start: it asks for more nodes than its partition gives (PartitionNodeLimit)"),
    ("a reason of its own", squeue("202_0", "PENDING", "BurstBufferResources"), "", [], "queued",
     "BurstBufferResources"),
    ("nodes boot", squeue("202_0", "CONFIGURING"), "", [], "queued", "its nodes are being made ready"),
    ("running", squeue("202_0", "RUNNING", start="2026-01-01T10:00:00", nodes="n1"), "", [OPEN], "running", None),
    ("suspended", squeue("202_0", "SUSPENDED"), "", [OPEN], "running", "suspended by Slurm"),
    ("ending", squeue("202_0", "COMPLETING"), "", [OPEN], "running", "ending"),
    # --- back in the queue; accounting trails it
    ("scontrol requeue, going back", squeue("202_0", "COMPLETING", restarts=1), "",
     [OPEN, OPEN | {"end": NOW, "outcome": "interrupted", "error": "stopped as asked"}], "retrying",
     "stopped as asked; attempt 2 of 6"),
    ("scontrol requeue, waiting", squeue("202_0", "PENDING", "BeginTime", 1), sacct("202_0", "REQUEUED"), [],
     "retrying", "put back into the queue; attempt 2 of 6"),
    ("scontrol requeue, running", squeue("202_0", "RUNNING", restarts=1), "",
     [OPEN, OPEN | {"end": NOW, "outcome": "interrupted", "error": "stopped as asked"}, OPEN | {"start": NOW}],
     "running", "stopped as asked; attempt 2 of 6"),
    ("preempted", squeue("202_0", "PENDING", "BeginTime", 1), sacct("202_0", "PREEMPTED"), [OPEN], "retrying",
     "ended without a word on n1; attempt 2 of 6"),
    ("its node died", squeue("202_0", "PENDING", "BeginTime", 1), sacct("202_0", "NODE_FAIL"), [OPEN], "retrying",
     "ended without a word on n1; attempt 2 of 6"),
    ("queued again by its program", squeue("202_0", "PENDING", "Resources", 2), "", [OPEN, KILLED], "retrying",
     "killed by SIGSEGV on n3 (rank 1); attempt 3 of 6"),
    ("node down, then resumed", squeue("202_0", "PENDING", "launch failed requeued held", 1), "", [], "retrying",
     "put back into the queue; attempt 2 of 6; its node failed to start it, so Slurm holds it; "
     "joyctl sweep releases it"),
    ("retried by a later sweep", squeue("202_0", "PENDING", "Priority"), "",
     [FAILED | {"start": SUBMITTED - 900, "job": "150_0"}], "retrying", "loss became NaN at step 7; submitted again"),
    # --- gone from the queue
    ("exception", "", sacct("202_0", "FAILED", "1:0", "1:0"), [OPEN, FAILED], "failed", "loss became NaN at step 7"),
    ("os._exit(3)", "", sacct("202_0", "FAILED", "3:0", "3:0"), [], "failed", "ended with exit code 3 on n1"),
    ("SIGSEGV", "", sacct("202_0", "FAILED", "11:0", "0:11"), [OPEN], "failed",
     "killed by SIGSEGV on n1"),
    ("SIGSEGV of its script", "", sacct("202_0", "FAILED", "0:11"), [OPEN], "failed", "killed by SIGSEGV on n1"),
    ("SIGSEGV, by the shell's code", "", sacct("202_0", "FAILED", "139:0", "139:0"), [OPEN], "failed",
     "killed by SIGSEGV on n1"),
    ("SIGSEGV that its program saw", "", sacct("202_0", "FAILED", "1:0"), [OPEN, KILLED], "failed",
     "killed by SIGSEGV on n3 (rank 1)"),
    ("out of memory, as the worst of its steps", "", sacct("202_0", "FAILED", "1:0", "0:125"), [OPEN, KILLED], "failed",
     "out of memory on n1"),
    ("out of memory, as the job", "", sacct("202_0", "OUT_OF_MEMORY", "0:125"), [OPEN], "failed",
     "out of memory on n1"),
    ("time limit", "", sacct("202_0", "TIMEOUT"), [OPEN], "failed", "time limit of 01:00:00 reached"),
    ("node failure without requeue", "", sacct("202_0", "NODE_FAIL", reason="NodeDown", nodes="n3"), [OPEN], "failed",
     "node n3 failed"),
    ("preempted without requeue", "", sacct("202_0", "PREEMPTED"), [OPEN], "failed",
     "preempted, and not put back into the queue on n1"),
    ("ended well without a result", "", sacct("202_0", "COMPLETED"), [], "failed",
     "its job ended well, but left no result"),
    ("its marker was removed", "", sacct("202_0", "COMPLETED"), [FAILED | {"outcome": "done", "error": None}],
     "pending", "its marker is gone"),
    ("scancel of a running one that had waited for its parent", "",
     sacct("202_0", "CANCELLED by 0", reason="Dependency"), [OPEN], "cancelled", "by root with scancel"),
    ("scancel of a running one", "", sacct("202_0", "CANCELLED by 0"), [OPEN], "cancelled", "by root with scancel"),
    ("scancel of a waiting one", "", "", [], "lost",
     "Slurm knows it no more (cancelled while it waited?); joyctl sweep submits it again"),
    ("accounting trails, it ran", "", sacct("202_0", "RUNNING"), [OPEN], "running",
     "leaving the queue; accounting still says RUNNING"),
    ("accounting trails, it waited", "", sacct("202_0", "PENDING"), [], "queued",
     "leaving the queue; accounting still says PENDING"),
    ("accounting knows nothing yet, it ran", "", "", [OPEN | {"start": NOW - 5}], "running", "ending"),
]  # fmt: skip


@pytest.mark.parametrize(("squeue_", "sacct_", "attempts", "state", "cause"), [row[1:] for row in TABLE],
                         ids=[row[0] for row in TABLE])  # fmt: skip
def test_state_of_a_job(
    squeue_: str, sacct_: str, attempts: list[Mapping[str, Any]], state: State, cause: str | None
) -> None:
    found = judge(facts(attempts=attempts), LEDGER, seen(squeue_, sacct_, starts_allowed=6))
    now = of("x/s0", "train", found)
    assert (now.state, now.cause) == (state, cause)
    assert now.job == "202_0"


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_a_marker_decides_whatever_slurm_says(row: Any) -> None:
    found = judge(facts(done={"x/s0": ["train"]}, attempts=row[3]), LEDGER, seen(row[1], row[2]))
    assert of("x/s0", "train", found).state == "done"


def test_a_job_that_died_without_a_word_is_explained_by_slurms_output() -> None:
    def cause(words: str, attempts: Sequence[Mapping[str, Any]] = (OPEN,), **more: Any) -> str | None:
        what = seen("", sacct("202_0", "FAILED", "9:0"), last_words={"202_0": words}, **more)
        return of("x/s0", "train", judge(facts(attempts=attempts), LEDGER, what)).cause

    # Without cgroups Slurm itself kills what uses too much memory, and says so there alone.
    killed = "slurmstepd: error: Job 7 exceeded memory limit (9 > 1), being killed\n"
    assert cause(killed) == "out of memory on n1"
    assert cause("ModuleNotFoundError: No module named 'x'\nsrun: error: n1: task 0: Exited with exit code 1\n") == (
        "ModuleNotFoundError: No module named 'x'"
    )
    no_more = "killed by SIGSEGV on n3; not queued again: it was queued again 5 times already (max_requeues)"
    assert cause(f"joyctl: {no_more}\nsrun: error: n1\n", [OPEN, KILLED]) == no_more
    assert cause("", exceptions={"202_0": "RuntimeError: boom\nmore"}) == "RuntimeError: boom"


def test_what_a_job_waits_for_is_named_with_the_time_it_takes() -> None:
    waits = (
        squeue("201_0", "RUNNING") + squeue("202_0", "PENDING", "Dependency") + squeue("203_0", "PENDING", "Dependency")
    )
    found = judge(facts(done={"trunk/s0/0-80": []}, seconds_left=180.0), LEDGER, seen(waits))
    train, evaluation = of("x/s0", "train", found), of("x/s0", "eval", found)
    assert (train.state, train.cause) == ("queued", "waiting for trunk/s0/0-80 (done in 3 min)")
    assert train.parent == "trunk/s0/0-80"
    assert (evaluation.state, evaluation.cause, evaluation.parent) == ("queued", "waiting for train", None)


@pytest.mark.parametrize(
    ("what", "parent"),
    [
        # kill-on-invalid-dep took them out of the queue
        (seen("", sacct("201_0", "FAILED", "1:0") + sacct("202_0", "CANCELLED", reason="Dependency")), "failed"),
        # without it they wait for ever
        (seen(squeue("202_0", "PENDING", "DependencyNeverSatisfied"), sacct("201_0", "TIMEOUT")), "failed"),
        # Slurm has not looked yet
        (seen(squeue("202_0", "PENDING", "Dependency"), sacct("201_0", "FAILED", "1:0")), "failed"),
        # accounting is not there to say why it left the queue
        (seen("", None), "failed"),
        (seen(squeue("202_0", "PENDING", "Dependency"), sacct("201_0", "CANCELLED by 0")), "was cancelled"),
        (seen(squeue("202_0", "PENDING", "Dependency"), ""), "is lost"),
    ],
    ids=["killed", "never satisfied", "not looked yet", "no accounting", "cancelled", "lost"],
)  # fmt: skip
def test_what_waits_for_something_that_failed_is_blocked_and_so_is_all_after_it(what: Seen, parent: str) -> None:
    rest = "".join(squeue(f"{job}_0", "PENDING", "Dependency") for job in (203, 204))
    what = Seen(what.now, {**what.queue, **{row.job: row for row in queue_rows(rest)}}, what.records)  # type: ignore[dict-item]
    found = judge(facts(done={"trunk/s0/0-80": []}), LEDGER, what)
    blocked = [of("x/s0", stage, found) for stage in RUN]
    assert [s.state for s in blocked] == ["blocked"] * 4
    assert blocked[0].cause == f"trunk/s0/0-80 {parent}" and blocked[0].parent == "trunk/s0/0-80"
    assert blocked[1].cause == "train is blocked"


def test_aftercorr_blocks_only_the_run_whose_training_failed() -> None:
    rows = squeue("203_1", "PENDING", "Dependency") + squeue("202_1", "RUNNING")
    gone = sacct("202_0", "FAILED", "1:0") + sacct("203_0", "CANCELLED", reason="Dependency")
    found = judge(facts(), LEDGER, seen(rows, gone))
    assert of("x/s0", "eval", found).state == "blocked"
    assert (of("y/s0", "eval", found).state, of("y/s0", "eval", found).cause) == ("queued", "waiting for train")


def test_after_its_parent_was_mended_a_blocked_job_only_needs_submitting_again() -> None:
    gone = sacct("202_0", "CANCELLED", reason="Dependency")
    now = of("x/s0", "train", judge(facts(), LEDGER, seen("", gone)))
    assert (now.state, now.cause) == ("blocked", "trunk/s0/0-80 had failed; joyctl sweep submits this again")


def test_stages_that_one_job_does_follow_each_other() -> None:
    trained = {"x/s0": ["train"]}
    running = seen(squeue("203_0", "RUNNING"))
    found = judge(facts(done=trained), LEDGER, running)
    assert of("x/s0", "export", found).state == "running"
    assert (of("x/s0", "eval", found).state, of("x/s0", "eval", found).cause) == (
        "queued",
        "after export, in the same job",
    )
    found = judge(facts(done={"x/s0": ["train", "export"]}), LEDGER, running)
    assert of("x/s0", "eval", found).state == "running"
    failed = judge(facts(done=trained), LEDGER, seen("", sacct("203_0", "FAILED", "1:0")))
    assert of("x/s0", "export", failed).state == "failed"
    assert (of("x/s0", "eval", failed).state, of("x/s0", "eval", failed).cause) == ("blocked", "export failed")


# --- chained parts of one training


PARTS = [
    array("p1", "301", [Element("runs/x/s0", ("train",), 1, 3)]),
    array("p2", "302", [Element("runs/x/s0", ("train",), 2, 3)], "afterok:p1_0"),
    array("p3", "303", [Element("runs/x/s0", ("train",), 3, 3)], "afterok:p2_0"),
]


@pytest.mark.parametrize(
    ("squeue_", "sacct_", "state", "cause", "job"),
    [
        (squeue("301_0", "RUNNING") + squeue("302_0", "PENDING", "Dependency"), "", "running", "part 1 of 3", "301_0"),
        (squeue("302_0", "PENDING", "Priority") + squeue("303_0", "PENDING", "Dependency"), sacct("301_0", "COMPLETED"),
         "queued", "Priority: other jobs go first", "302_0"),
        (squeue("302_0", "PENDING", "Dependency") + squeue("303_0", "PENDING", "Dependency"),
         sacct("301_0", "COMPLETED"), "queued", "waiting for part 1 of 3", "302_0"),
        # part 1 must have ended well, though accounting cannot say so
        (squeue("302_0", "RUNNING"), None, "running", "part 2 of 3", "302_0"),
        (squeue("302_0", "PENDING", "Dependency"), sacct("301_0", "TIMEOUT"), "failed",
         "time limit of 01:00:00 reached", "301_0"),
        ("", sacct("301_0", "COMPLETED") + sacct("302_0", "COMPLETED") + sacct("303_0", "COMPLETED"), "failed",
         "its job ended well, but left no result", "303_0"),
    ],
    ids=["first runs", "second waits", "second about to", "no accounting", "first failed", "not enough parts"],
)  # fmt: skip
def test_a_training_in_parts_is_as_its_parts_are(
    squeue_: str, sacct_: str | None, state: State, cause: str, job: str
) -> None:
    now = of("x/s0", "train", judge(facts(), PARTS, seen(squeue_, sacct_)))
    assert (now.state, now.cause, now.job) == (state, cause, job)


# --- what the ledger knows


def test_what_was_never_submitted_is_pending() -> None:
    now = of("x/s0", "train", judge(facts(), [TRUNK], seen()))
    assert (now.state, now.cause, now.job) == ("pending", "not submitted", None)


def test_lost_only_after_a_grace() -> None:
    def state(age: float) -> State:
        return of("x/s0", "train", judge(facts(), [array("a", "202", TRAIN.manifest.elements.values(), time=NOW - age)],
                                         seen())).state  # type: ignore[arg-type]  # fmt: skip

    assert (state(59.0), state(61.0)) == ("queued", "lost")


def test_an_interrupted_submission_is_told() -> None:
    held = array("a", "202", [Element("runs/x/s0", ("train",))], released=False)
    now = of("x/s0", "train", judge(facts(), [held], seen(squeue("202_0", "PENDING", "JobHeldUser"))))
    assert (now.state, now.cause) == (
        "queued",
        "held: its submission was interrupted; joyctl sweep goes on with it",
    )
    unknown = array("a", None, [Element("runs/x/s0", ("train",))], released=False)
    rows = squeue("202_0", "PENDING", "JobHeldUser").replace("name", "a")
    assert of("x/s0", "train", judge(facts(), [unknown], seen(rows))).state == "queued"
    assert of("x/s0", "train", judge(facts(), [unknown], seen())).state == "pending"


def test_what_joyctl_cancelled_is_cancelled_unless_slurm_still_has_it() -> None:
    back = array("a", "202", [Element("runs/x/s0", ("train",))], cancelled=frozenset({0}))

    def state(what: Seen) -> tuple[State, str | None]:
        now = of("x/s0", "train", judge(facts(), [back], what))
        return now.state, now.cause

    assert state(seen()) == ("cancelled", "by joyctl cancel")
    assert state(seen(squeue("202_0", "COMPLETING"))) == ("cancelled", "by joyctl cancel; ending")
    assert state(seen(squeue("202_0", "RUNNING")))[0] == "running"


def test_a_later_wave_counts() -> None:
    again = array("b", "400", [Element("runs/x/s0", ("train",))], wave=2, exclude=("n17",))
    lines = [KILLED | {"start": SUBMITTED - 10, "error": "node n17 failed"}]
    now = of("x/s0", "train", judge(facts(attempts=lines), [*LEDGER, again], seen(squeue("400_0", "PENDING"))))
    assert (now.state, now.cause, now.job) == ("retrying", "node n17 failed; submitted again, n17 excluded", "400_0")


def test_nodes_that_a_job_struck_out_are_named() -> None:
    what = seen(squeue("202_0", "PENDING", "BeginTime", 2), avoided={"202_0": ("n3",)}, starts_allowed=3)
    now = of("x/s0", "train", judge(facts(attempts=[OPEN, KILLED]), LEDGER, what))
    assert now.cause == "killed by SIGSEGV on n3 (rank 1); attempt 3 of 3, n3 excluded"


def test_work_by_hand_after_the_submission_counts() -> None:
    by_hand = {"stage": "train", "job": None, "start": NOW - 5, "end": NOW, "outcome": "failed", "error": "boom"}
    now = of("x/s0", "train", judge(facts(attempts=[by_hand]), LEDGER, seen("", sacct("202_0", "TIMEOUT"))))
    assert (now.state, now.cause) == ("failed", "boom")


# --- who does not answer


def test_without_the_controller_accounting_tells_what_waits_and_runs() -> None:
    def state(rows: str | None, attempts: Sequence[Mapping[str, Any]] = ()) -> tuple[State, str | None]:
        now = of("x/s0", "train", judge(facts(attempts=attempts), LEDGER, seen(None, rows)))
        return now.state, now.cause

    assert state(sacct("202_0", "RUNNING"), [OPEN]) == ("running", None)
    assert state(sacct("202_[0-1%1]", "PENDING", reason="Priority")) == ("queued", "Priority: other jobs go first")
    assert state(sacct("202_0", "TIMEOUT"), [OPEN]) == ("failed", "time limit of 01:00:00 reached")
    assert state(None) == ("queued", "submitted; Slurm does not answer")
    assert state(None, [OPEN | {"host": "elsewhere"}]) == ("running", None)
    assert state(None, [OPEN, FAILED]) == ("failed", "loss became NaN at step 7")


def test_without_accounting_the_files_tell_why_a_job_ended() -> None:
    def state(attempts: Sequence[Mapping[str, Any]]) -> tuple[State, str | None]:
        now = of("x/s0", "train", judge(facts(attempts=attempts), LEDGER, seen("", None)))
        return now.state, now.cause

    assert state([OPEN, FAILED]) == ("failed", "loss became NaN at step 7")
    assert state([OPEN]) == (
        "failed",
        "left the queue without a result; accounting, which knows why, does not answer",
    )


def test_elements_that_wait_together_are_one_row_of_accounting() -> None:
    assert expanded("21_[0-2,5%1]") == ["21_0", "21_1", "21_2", "21_5"]
    assert expanded("21_7") == ["21_7"]
    assert expanded("21") == ["21"]
