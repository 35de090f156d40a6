"""Looks at a campaign: its files, one squeue, and one sacct for what has left the queue.

A second sacct asks for the steps of jobs that failed without a word of them, once for each.

A campaign of which nothing was ever submitted is read from its files alone, and Slurm is not asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from joyctl.errors import Missing
from joyctl.launch.logs import outputs, tail
from joyctl.launch.slurm.client import Answer, NoAnswer, Slurm, call
from joyctl.launch.slurm.failures import bad_nodes
from joyctl.launch.slurm.ledger import REST, Ledger, Submitted, newest
from joyctl.launch.slurm.rows import SACCT, SACCT_STEPS, SQUEUE, Record, Row, queue_rows, records, with_steps
from joyctl.launch.slurm.states import Seen, judge, row_of
from joyctl.report.facts import Facts, read_facts, run_facts, segment_facts
from joyctl.report.status import UNDER_WAY, RunStatus, is_open, status_of
from joyctl.store.attempts import errors

Place = tuple[Submitted, int]


@dataclass(frozen=True)
class Look:
    """A campaign as it was seen at one moment."""

    statuses: list[RunStatus]
    read_from: str
    """What it was read from, and when."""
    on_cluster: bool
    """Whether anything of it was ever submitted."""
    notes: tuple[str, ...] = ()
    """What could not be asked."""
    queue_known: bool = True
    """Whether the controller answered."""
    live: dict[str, Place] = field(default_factory=dict)
    """By job, `202_3`: what was in the queue."""
    records: dict[str, Record] = field(default_factory=dict)
    """What accounting said of jobs that have ended; it does not change any more."""

    @property
    def under_way(self) -> bool:
        """Whether anything will still happen by itself."""
        return any(stage.state in UNDER_WAY for status in self.statuses for stage in status.stages)


def look(campaign: Path, slurm: Slurm = call, before: Look | None = None) -> Look:
    """The state of every stage of a campaign; `before` is an earlier look, which saves asking again.

    Raises Missing when `campaign` is no campaign's folder. That Slurm does not answer is only noted.
    """
    return look_at(campaign, read_facts(campaign), partial(_again, campaign), slurm, before)


def look_at(
    campaign: Path, facts: Sequence[Facts], again: Callable[[Facts], Facts], slurm: Slurm, before: Look | None = None
) -> Look:
    """As `look`, of what `facts` are about; `again` reads one of them anew. The ledger is `campaign`'s."""
    ledger, now = Ledger(campaign), time.time()
    clock = time.strftime("%H:%M:%S", time.localtime(now))
    if not ledger.exists:
        return Look([status_of(f) for f in facts], f"read from files at {clock}", on_cluster=False)
    arrays = ledger.read()
    done = {(f.folder, stage) for f in facts for stage in f.done}
    everything = _distinct(place for key, places in newest(arrays).items() if key not in done for place in places)
    notes: list[str] = []
    queue = _queue(everything, slurm, notes) if everything else {}
    # The job that submits what did not fit stands for no stage.
    open_ = [(a, i) for a, i in everything if a.manifest.elements[i].folder != REST]
    gone = _left(open_, queue, now)
    # What left the queue may have written its marker since the files were read.
    left = {array.manifest.elements[index].folder for array, index in gone}
    facts = [again(f) if f.folder in left else f for f in facts]
    done = {(f.folder, stage) for f in facts for stage in f.done}
    gone = [(a, i) for a, i in gone if a.manifest.elements[i].key not in done]
    known = {job: r for job, r in (before.records if before is not None else {}).items() if job not in (queue or {})}
    asked = [(a, i) for a, i in gone if a.job_id(i) not in known]
    found = _records(asked, slurm, notes) if asked else {}
    seen = Seen(
        now=now,
        queue=queue,
        records=None if found is None else known | found,
        exceptions=_exceptions(campaign, facts, gone),
        last_words=_last_words(ledger, gone),
        starts_allowed=_starts_allowed(ledger),
        avoided=_avoided(campaign, open_, queue or {}),
    )
    sources = ["files", *(["one squeue"] if everything and queue is not None else [])]
    sources += ["one sacct"] if asked and found is not None else []
    return Look(
        statuses=judge(facts, arrays, seen),
        read_from=f"read from {_listed(sources)} at {clock}",
        on_cluster=True,
        notes=tuple(notes),
        queue_known=queue is not None,
        live=_live(everything, seen) if queue is not None else {},
        records=known
        | {j: r for j, r in (found or {}).items() if queue is not None and r.end is not None and r.settled},
    )


def _queue(places: Sequence[Place], slurm: Slurm, notes: list[str]) -> dict[str, Row] | None:
    """What is in the queue, by job; None, with a note, when the controller does not answer."""
    names = ",".join(sorted({array.manifest.name for array, _ in places}))
    try:
        answer = slurm(*SQUEUE, f"--name={names}")
    except NoAnswer as error:
        notes.append(f"Slurm's controller does not answer, so what waits or runs is as files and accounting have it"
                     f" ({error.message})")  # fmt: skip
        return None
    except Missing as error:
        notes.append(f"{error.message}: only files were read, and they do not tell what waits")
        return None
    if answer.code:
        notes.append(f"squeue: {answer.reason}")
        return None
    return {row.job: row for row in queue_rows(answer.out)}


def _distinct(places: Iterable[Place]) -> list[Place]:
    """Each job once, though it stands for several stages."""
    return list({(array.manifest.name, index): (array, index) for array, index in places}.values())


def _live(places: Sequence[Place], seen: Seen) -> dict[str, Place]:
    """By job: what is in the queue, except what was cancelled and is ending."""
    rows = [(row, a, i) for a, i in places if (row := row_of(a, i, seen)) is not None]
    return {row.job: (a, i) for row, a, i in rows if i not in a.cancelled or row.state in ("PENDING", "RUNNING")}


def _left(places: Sequence[Place], queue: dict[str, Row] | None, now: float) -> list[Place]:
    """Those that are not in the queue, as far as they have a job number and were not taken back."""
    seen = Seen(now, queue, None)
    return [(a, i) for a, i in places if a.job is not None and i not in a.cancelled and row_of(a, i, seen) is None]


def _records(places: Sequence[Place], slurm: Slurm, notes: list[str]) -> dict[str, Record] | None:
    """What accounting knows of jobs; None, with a note, when it does not answer."""
    wanted = {array.job_id(index) for array, index in places}
    # By array: a command line holds only so many words, and an array's rows are few beside what they cost to ask for.
    jobs = ",".join(sorted({str(array.job) for array, _ in places}))
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(min(array.time for array, _ in places) - 3600))
    try:
        answer = slurm(*SACCT, "-j", jobs, "-S", since)
    except NoAnswer as error:
        notes.append(f"Slurm's accounting does not answer, so why jobs ended is as files have it ({error.message})")
        return None
    except Missing:
        return None  # squeue said so already
    if answer.code:
        notes.append(f"sacct: {answer.reason}")
        return None
    found = {job: record for job, record in records(answer.out).items() if job in wanted}
    arrays = {job.partition("_")[0] for job, record in found.items() if record.lacks_steps}
    if not arrays:
        return found
    try:
        answer = slurm(*SACCT_STEPS, "-j", ",".join(sorted(arrays)), "-S", since)
    except NoAnswer as error:
        answer = Answer(1, "", error.message)
    if answer.code:  # accounting answered a moment ago: the next look asks again
        return {job: replace(record, settled=not record.lacks_steps) for job, record in found.items()}
    return with_steps(found, answer.out)


def _again(campaign: Path, facts: Facts) -> Facts:
    if facts.folder.startswith("runs/"):
        return run_facts(campaign, facts.id, trains="train" in facts.stages)
    return segment_facts(campaign, facts.folder)


def _exceptions(campaign: Path, facts: Sequence[Facts], gone: Sequence[Place]) -> dict[str, str]:
    """By job: the first exception of jobs that could not write down how they ended."""
    jobs = {array.manifest.elements[index].folder: array.job_id(index) for array, index in gone}
    broken = [f for f in facts if f.folder in jobs and is_open(f.attempts)]
    found = {jobs[f.folder]: errors(campaign / f.folder, dict(f.attempts[-1])) for f in broken}
    return {job: str(errors_[0]["exception"]) for job, errors_ in found.items() if errors_}


def _last_words(ledger: Ledger, gone: Sequence[Place]) -> dict[str, str]:
    """By job: the end of Slurm's own output, where a job says what its files cannot."""
    written = outputs(ledger) if gone else {}
    jobs = {array.job_id(index) for array, index in gone}
    return {job: tail(paths[-1]) for job, paths in written.items() if job in jobs}


def _avoided(campaign: Path, places: Sequence[Place], queue: dict[str, Row]) -> dict[str, tuple[str, ...]]:
    """By job: nodes that jobs which were put back into the queue have struck out."""
    again = [(a, i) for a, i in places if a.job is not None and (r := queue.get(a.job_id(i))) and r.restarts]
    found = {}
    for array, index in again:
        element = array.manifest.elements[index]
        found[array.job_id(index)] = tuple(n for s in element.stages for n in bad_nodes(campaign / element.folder, s))
    return found


def _starts_allowed(ledger: Ledger) -> int | None:
    """How often one job may start, by the cluster file."""
    most = ledger.cluster().get("max_requeues")
    return None if most is None else most + 1


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
