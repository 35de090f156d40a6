"""What became of every stage that was submitted: from the ledger, the files, squeue and sacct. Pure.

The files decide first: a marker is success, whatever Slurm says. Then the queue: accounting trails it by seconds, and
shows NODE_FAIL or PREEMPTED while the job already waits again. Accounting is believed for what has left the queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from joyctl.launch.slurm.ledger import Element, Submitted, newest
from joyctl.launch.slurm.reasons import why_it_ended, why_it_stopped, why_it_waits
from joyctl.launch.slurm.rows import Record, Row
from joyctl.report.facts import Facts
from joyctl.report.status import (
    ENDED_BADLY,
    RunStatus,
    StageStatus,
    State,
    about,
    first_line,
    is_open,
    seconds_spent,
    stage_status,
    with_stages,
)

if TYPE_CHECKING:
    from joyctl.campaign.spec import Stage

GRACE_SECONDS = 60.0
"""How long something submitted may be unknown to Slurm before it counts as lost."""

_WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"})
_RUNNING = {
    "RUNNING": "",
    "COMPLETING": "ending",
    "STAGE_OUT": "ending",
    "SUSPENDED": "suspended by Slurm",
    "STOPPED": "suspended by Slurm",
    "RESIZING": "",
    "SIGNALING": "",
}
# What accounting calls a job that it has not seen end.
_NOT_ENDED = frozenset({*_WAITING, *_RUNNING})


@dataclass(frozen=True)
class Seen:
    """What was seen beside the files."""

    now: float
    queue: Mapping[str, Row] | None
    """By job, `202_3`; None when the controller did not answer."""
    records: Mapping[str, Record] | None
    """By job, of what has left the queue; None when accounting did not answer."""
    exceptions: Mapping[str, str] = field(default_factory=dict)
    """By job: what it wrote down of its failure, where its attempt has no end line."""
    last_words: Mapping[str, str] = field(default_factory=dict)
    """By job: the end of Slurm's own output of it."""
    starts_allowed: int | None = None
    """How often one job may start; None where that is not known."""
    avoided: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By job: nodes on which it has died and that it will not use again."""


def judge(facts: Sequence[Facts], arrays: Sequence[Submitted], seen: Seen) -> list[RunStatus]:
    """The status of every folder, in the order given."""
    judging = _Judging(facts, arrays, seen)
    return [with_stages(f, [judging.of(f.folder, stage) for stage in f.stages]) for f in facts]


def row_of(array: Submitted, index: int, seen: Seen) -> Row | None:
    """An element in the queue; by accounting while the controller is silent. None when it is not in it."""
    if array.job is None:  # whether sbatch took it is not known: its name tells
        rows = (seen.queue or {}).values()
        mine = (r for r in rows if r.name == array.manifest.name and r.job.endswith(f"_{index}"))
        return next(mine, None)
    job = array.job_id(index)
    if seen.queue is not None:
        return seen.queue.get(job)
    record = (seen.records or {}).get(job)
    if record is None or record.state not in _NOT_ENDED:
        return None
    return Row(job, array.manifest.name, record.state, record.reason, 0, record.start, record.nodes)


@dataclass(frozen=True)
class _Job:
    """One element, looked at for one of its stages."""

    facts: Facts
    stage: Stage
    array: Submitted
    index: int

    @property
    def id(self) -> str | None:
        return self.array.job_id(self.index) if self.array.job is not None else None

    @property
    def element(self) -> Element:
        return self.array.manifest.elements[self.index]

    def status(
        self, state: State, cause: str | None = None, *, since: float | None = None, parent: str | None = None
    ) -> StageStatus:
        return StageStatus(self.stage, state, cause or None, job=self.id, since=since, parent=parent)

    @property
    def own(self) -> list[Mapping[str, Any]]:
        """Attempts of this very job."""
        return [a for a in self.facts.of(self.stage) if a.get("job") == self.id]

    @property
    def earlier(self) -> list[Mapping[str, Any]]:
        """Attempts of before it was submitted."""
        return [a for a in self.facts.of(self.stage) if a.get("job") != self.id and a["start"] < self.array.time]


@dataclass(frozen=True)
class _Parent:
    """What a job waits for."""

    name: str
    status: StageStatus | None = None
    """None where it is no other stage of this campaign."""
    id: str | None = None
    """Of the segment or run, where it is another one."""
    when: str = ""

    @property
    def ended_badly(self) -> bool:
        return self.status is not None and self.status.state in ENDED_BADLY

    @property
    def failed(self) -> str:
        """Why what needs it is blocked."""
        if self.status is not None and not self.ended_badly:  # it goes well by now
            return f"{self.name} had failed; joyctl sweep submits this again"
        words = {"blocked": "is blocked", "lost": "is lost", "cancelled": "was cancelled"}
        return f"{self.name} {words.get(self.status.state, 'failed') if self.status is not None else 'failed'}"


class _Judging:
    """States of all stages, each found once: that of a waiting one depends on its parent's."""

    def __init__(self, facts: Sequence[Facts], arrays: Sequence[Submitted], seen: Seen) -> None:
        self._facts = {f.folder: f for f in facts}
        self._arrays = {array.manifest.name: array for array in arrays}
        self._places = newest(arrays)
        self._seen = seen
        self._known: dict[tuple[str, str], StageStatus] = {}

    def of(self, folder: str, stage: Stage) -> StageStatus:
        key = (folder, stage)
        if key not in self._known:
            facts = self._facts.get(folder) or Facts(folder, folder, (stage,))
            jobs = [_Job(facts, stage, array, index) for array, index in self._places.get(key, [])]
            found = self._stage(facts, stage, jobs)
            self._known[key] = replace(found, seconds=seconds_spent(facts.of(stage)))
        return self._known[key]

    def _stage(self, facts: Facts, stage: Stage, jobs: Sequence[_Job]) -> StageStatus:
        if stage in facts.done:
            return jobs[-1].status("done") if jobs else StageStatus(stage, "done")
        if not jobs:
            local = stage_status(facts, stage)
            return replace(local, cause=local.cause or "not submitted") if local.state == "pending" else local
        first = next(s for s in jobs[0].element.stages if s not in facts.done)
        if first != stage:
            return _in_one_job(stage, self.of(facts.folder, first))
        # Of chained parts, one that waits for nothing but its turn says that all before it ended well.
        for job in jobs:
            row = row_of(job.array, job.index, self._seen)
            if row is not None and not row.reason.startswith("Dependency"):
                return self._in_queue(job, row)
        for job in jobs:
            row = row_of(job.array, job.index, self._seen)
            status = self._in_queue(job, row) if row is not None else self._gone(job)
            if status is not None:
                return status
        if facts.of(stage) and facts.of(stage)[-1].get("outcome") == "done":
            return jobs[-1].status("pending", "its marker is gone")
        return jobs[-1].status("failed", "its job ended well, but left no result")

    def _in_queue(self, job: _Job, row: Row) -> StageStatus:
        cancelled = job.index in job.array.cancelled
        attempt = _attempt(job, row, self._seen)
        starts = len({a["start"] for a in job.own})
        if row.state == "COMPLETING" and not cancelled and row.restarts and starts <= row.restarts:  # on its way back
            return job.status("retrying", attempt)
        if row.state in _RUNNING:
            if cancelled and row.state != "RUNNING":
                return job.status("cancelled", "by joyctl cancel; ending")
            part = f"part {job.element.part} of {job.element.parts}" if job.element.parts > 1 else ""
            open_ = job.own and is_open(job.own)
            since = job.own[-1].get("start") if open_ else row.start
            return job.status("running", "; ".join(filter(None, (_RUNNING[row.state], part, attempt))), since=since)
        if row.reason.startswith("Dependency"):
            parent = self._parent(job)
            if row.reason == "DependencyNeverSatisfied" or parent.ended_badly:
                return job.status("blocked", parent.failed, parent=parent.id)
            return job.status("queued", f"waiting for {parent.name}{parent.when}", parent=parent.id)
        if row.reason == "JobHeldUser" and not job.array.released:
            return job.status("queued", "held: its submission was interrupted; joyctl sweep goes on with it")
        if row.state == "CONFIGURING":
            return job.status("queued", "its nodes are being made ready")
        waits = why_it_waits(row.reason)
        if not attempt:
            return job.status("queued", waits)
        # Why it waits is of interest only where that is not the usual.
        usual = row.reason in ("None", "Priority", "Resources", "BeginTime", "Cleaning")
        return job.status("retrying", attempt if usual else f"{attempt}; {waits}")

    def _gone(self, job: _Job) -> StageStatus | None:
        """State of what is not in the queue; None when it ended well."""
        seen = self._seen
        if self._by_hand(job):
            return stage_status(job.facts, job.stage)
        if job.index in job.array.cancelled:
            return job.status("cancelled", "by joyctl cancel")
        if job.id is None:
            return job.status("pending", "its submission was interrupted; joyctl sweep goes on with it")
        record = (seen.records or {}).get(job.id)
        if record is not None and record.state not in _NOT_ENDED:
            return self._ended(job, record)
        own = job.own
        if seen.queue is None:  # neither answers: the files alone
            local = stage_status(job.facts, job.stage)
            known = own and local.state in ("running", "failed")
            return replace(local, job=job.id) if known else job.status("queued", "submitted; Slurm does not answer")
        parent = self._parent(job)
        if not own and parent.ended_badly:
            return job.status("blocked", parent.failed, parent=parent.id)
        signs = [job.array.time, *(a[k] for a in own for k in ("start", "end") if k in a)]
        if record is not None:
            trails = f"leaving the queue; accounting still says {record.state}"
            return job.status("queued" if record.state in _WAITING else "running", trails)
        if own and own[-1].get("outcome") == "failed":
            return job.status("failed", why_it_stopped(own[-1], open_=False))
        if seen.now - max(signs) < GRACE_SECONDS:
            return job.status("running", "ending") if own else job.status("queued", "just submitted")
        if seen.records is None:
            return job.status("failed", "left the queue without a result; accounting, which knows why, does not answer")
        return job.status("lost", "Slurm knows it no more (cancelled while it waited?); joyctl sweep submits it again")

    def _by_hand(self, job: _Job) -> bool:
        """Whether the last attempt is of no job of this campaign, and later than this one's submission."""
        ours = {array.job for array in self._arrays.values()}
        last = next(reversed(job.facts.of(job.stage)), None)
        if last is None or str(last.get("job")).partition("_")[0] in ours:
            return False
        return bool(last["start"] > job.array.time)

    def _ended(self, job: _Job, record: Record) -> StageStatus | None:
        if record.state == "COMPLETED":
            return None
        if record.state == "CANCELLED":
            parent = self._parent(job)
            # Accounting keeps the reason for which a job once waited, long after it has started.
            if not record.by and not job.own and (record.reason == "Dependency" or parent.ended_badly):
                return job.status("blocked", parent.failed, parent=parent.id)
            return job.status("cancelled", f"by {record.by} with scancel" if record.by else "by Slurm")
        own = job.own
        told = own[-1].get("error") if own and own[-1].get("outcome") in ("failed", "killed") else None
        error = first_line(told or self._seen.exceptions.get(record.job))
        final = own[-1].get("outcome") == "failed" if own else False
        words = self._seen.last_words.get(record.job, "")
        return job.status("failed", why_it_ended(record, error, words, final=final))

    def _parent(self, job: _Job) -> _Parent:
        how, *names = (job.array.manifest.dependency or "").split(":")
        if how not in ("afterok", "aftercorr"):
            return _Parent("jobs before it")
        if len(names) > 1 or (how == "afterok" and names[0] in self._arrays):
            return self._of_many(names)
        name, _, index = names[0].rpartition("_") if how == "afterok" else (names[0], "", str(job.index))
        on = self._arrays.get(name)
        element = on.manifest.elements.get(int(index)) if on is not None else None
        if element is None:
            return _Parent(f"job {names[0]}")
        if element.key == job.element.key:
            return _Parent(f"part {element.part} of {element.parts}")
        folder, stage = element.key
        status = self.of(folder, stage)
        if folder == job.element.folder:
            return _Parent(stage, status)
        facts = self._facts.get(folder)
        left = facts.progress.seconds_left if facts is not None and status.state == "running" else None
        name = facts.id if facts is not None else folder
        return _Parent(name, status, name, f" (done in {about(left)})" if left is not None else "")

    def _of_many(self, names: Sequence[str]) -> _Parent:
        """What waits for several jobs is blocked by the first that ended badly."""
        for on in names:
            name, _, index = on.rpartition("_")
            if on in self._arrays:
                elements = list(self._arrays[on].manifest.elements.values())
            else:
                elements = [self._arrays[name].manifest.elements[int(index)]] if name in self._arrays else []
            for element in elements:
                status = self.of(*element.key)
                if status.state in ENDED_BADLY:
                    return _Parent(element.folder, status, element.folder)
        return _Parent("the jobs before it")


def _in_one_job(stage: Stage, before: StageStatus) -> StageStatus:
    """State of a stage that the same job does after `before`, the first of it that is not done."""
    if before.state == "running":
        return StageStatus(stage, "queued", f"after {before.stage}, in the same job", job=before.job)
    if before.state == "failed":
        return StageStatus(stage, "blocked", f"{before.stage} failed", job=before.job)
    return replace(before, stage=stage)


def _attempt(job: _Job, row: Row, seen: Seen) -> str:
    """`killed by SIGSEGV on n3; attempt 2 of 6, n3 excluded`; empty for a first attempt."""
    starts = {a["start"] for a in job.own}
    number = max(row.restarts + 1, len(starts) + (row.state not in _RUNNING))
    past = job.own
    if number == len(starts):  # the last one is the one that runs
        past = [a for a in job.own if a["start"] != job.own[-1]["start"]]
    past = past or job.earlier
    if number == 1 and not past:
        return ""
    why = why_it_stopped(past[-1], open_=is_open(past)) if past else "put back into the queue"
    allowed = seen.starts_allowed
    count = f"attempt {number}" + (f" of {allowed}" if allowed else "") if number > 1 else "submitted again"
    excluded = sorted({*job.array.manifest.exclude, *seen.avoided.get(row.job, ())})
    return f"{why}; {count}" + (f", {', '.join(excluded)} excluded" if excluded else "")
