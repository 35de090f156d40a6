"""Submits a campaign: hold, write down, release. Killed at any instant and called again, every job exists once.

A manifest is written before its sbatch, a line of the ledger after it, and nothing is released before all is
written down. So a manifest without a line is either in the queue under its name, held, or was never taken.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from joyctl.errors import JoyctlError, Refused
from joyctl.launch.slurm.client import Slurm, SlurmFailed
from joyctl.launch.slurm.groups import Key
from joyctl.launch.slurm.ledger import REST, Ledger, Manifest, Submitted

_LOCK_SECONDS = 90.0
SUBMIT_LIMITS = ("SubmitJobLimit", "MaxSubmitJobs", "SubmitJobsPerUserLimit", "MaxJobCount", "SubmitLimit")


class SbatchRefused(JoyctlError):
    """sbatch said no; nothing of this call is left in the queue."""

    exit_code = 3


@dataclass(frozen=True)
class Live:
    """An array index that Slurm still has."""

    array: Submitted
    index: int
    state: str
    reason: str

    @property
    def job(self) -> str:
        """`202_3`."""
        return self.array.job_id(self.index)


@dataclass
class Queue:
    """What of a campaign is in Slurm's queue."""

    arrays: list[Submitted]
    live: dict[Key, Live] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    """Array ids that were never released, or that Slurm holds since a launch failed."""


@contextmanager
def submit_lock(ledger: Ledger) -> Iterator[int]:
    """Hold the right to submit for this campaign; gives the lock's file descriptor.

    sbatch inherits it: if this process is killed, the next one waits until that sbatch has ended, and then sees
    what came of it.
    """
    descriptor = os.open(ledger.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        give_up = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > give_up:
                    raise Refused(f"another process is submitting {ledger.folder.parent.name}") from error
                time.sleep(0.1)
        yield descriptor
    finally:
        os.close(descriptor)


def read_queue(ledger: Ledger, slurm: Slurm, done: Callable[[str, str], bool]) -> Queue:
    """What of this campaign Slurm has now, by one squeue; mends what an interrupted submission left.

    `done(folder, stage)` says whether a marker is there. Raises NoAnswer when the controller is down.
    """
    arrays = ledger.read()
    open_ = [a for a in arrays if _open(a, done)]
    if not open_:
        return Queue(arrays)
    names = ",".join(a.manifest.name for a in open_)
    # COMPLETING as well: what is on its way out, or back into the queue, is not to be submitted again.
    answer = slurm("squeue", "-h", "-r", "--name", names, "-o", "%F|%K|%T|%r|%j")
    if answer.code:
        raise SlurmFailed(f"squeue: {answer.reason}")
    rows: dict[str, dict[str, list[tuple[int, str, str]]]] = {}
    for line in answer.out.splitlines():
        job, index, state, reason, name = line.split("|", 4)
        if index.isdigit():
            rows.setdefault(name, {}).setdefault(job, []).append((int(index), state, reason))
    queue = Queue([])
    extra: list[str] = []
    never: list[str] = []
    for array in arrays:
        name = array.manifest.name
        found = rows.get(name, {})
        if array.job is None and array in open_:
            if not found:
                never.append(name)
                continue
            job = min(found, key=int)
            ledger.record("submitted", name=name, job=job)
            array = Submitted(array.manifest, job, array.time, array.released, array.cancelled)
        extra += [job for job in found if job != array.job]
        queue.arrays.append(array)
        if array.job is not None and array.job in found:
            extra += _note_live(queue, array, found[array.job])
    extra += _drop_orphans(queue, done)
    if extra:  # sbatch ran twice for one manifest, of which only the one in the ledger may start; or can never start
        slurm("scancel", *dict.fromkeys(extra))
    ledger.forget(never)
    return queue


def _drop_orphans(queue: Queue, done: Callable[[str, str], bool]) -> list[str]:
    """Forget live jobs that wait for one that is neither live nor done; returns their ids.

    Slurm leaves them: an array element that is cancelled while it waits does not count as failed.
    """
    manifests = {a.manifest.name: a.manifest for a in queue.arrays}
    gone: list[str] = []
    while True:
        standing = {(live.array.manifest.name, live.index) for live in queue.live.values()}
        orphans = [key for key, live in queue.live.items() if _is_orphan(live, manifests, standing, done)]
        if not orphans:
            return gone
        gone += [queue.live.pop(key).job for key in orphans]


def _is_orphan(
    live: Live, manifests: Mapping[str, Manifest], standing: set[tuple[str, int]], done: Callable[[str, str], bool]
) -> bool:
    if live.state != "PENDING":
        return False
    own = live.array.manifest.elements[live.index].key
    for name, index in _parents(live, manifests):
        parent = manifests[name].elements[index]
        # An earlier part of a chain may be over and its marker still to come.
        if parent.key != own and (name, index) not in standing and not done(*parent.key):
            return True
    return False


def _parents(live: Live, manifests: Mapping[str, Manifest]) -> Iterator[tuple[str, int]]:
    """(array name, index) of what must end well before it, as far as it is known here."""
    how, *names = (live.array.manifest.dependency or "").split(":")
    for on in names if how in ("afterok", "aftercorr") else ():
        if how == "afterok" and on in manifests:
            yield from ((on, index) for index in manifests[on].elements)
            continue
        name, index = (on, live.index) if how == "aftercorr" else (on.rpartition("_")[0], int(on.rpartition("_")[2]))
        if name in manifests and index in manifests[name].elements:
            yield name, index


def _open(array: Submitted, done: Callable[[str, str], bool]) -> bool:
    return any(not done(element.folder, element.stages[-1]) for element in array.manifest.elements.values())


def _note_live(queue: Queue, array: Submitted, rows: Sequence[tuple[int, str, str]]) -> list[str]:
    """Note the live ones; returns the ids of those that can never start."""
    dead: list[str] = []
    held = not array.released
    for index, state, reason in rows:
        if reason == "DependencyNeverSatisfied" or index not in array.manifest.elements:
            dead.append(array.job_id(index))
            continue
        if index in array.cancelled:  # on its way out, unless the cancelling was interrupted
            dead += [array.job_id(index)] if state != "COMPLETING" else []
            continue
        if array.released and state == "PENDING" and reason in ("JobHeldUser", "launch_failed_requeued_held"):
            held = True
        element = array.manifest.elements[index]
        for stage in element.stages:
            before = queue.live.get((element.folder, stage))
            # Of chained parts the last stands for all: what depends on the training waits for it.
            if before is None or before.array.manifest.elements[before.index].part < element.part:
                queue.live[(element.folder, stage)] = Live(array, index, state, reason)
    if held and array.job is not None:
        queue.held.append(array.job)
    return dead


def refuse_elsewhere(
    name: str, ledger: Ledger, slurm_name: str, done: Callable[[str, str], bool], take_back: str
) -> None:
    """Raise Refused while jobs may wait on another cluster that sees the same folders: nobody here knows of them.

    `take_back` is the command that cancels them there.
    """
    before = ledger.cluster().get("slurm_name")
    if not before or before == slurm_name:
        return
    for array in ledger.read():
        for index, element in array.manifest.elements.items():
            if element.folder == REST or index in array.cancelled or done(element.folder, element.stages[-1]):
                continue
            raise Refused(
                f"jobs of {name} were submitted to the Slurm cluster '{before}', and this is '{slurm_name}'",
                hint=f"Take them back there first: {take_back}",
            )


@dataclass(frozen=True)
class Sent:
    """What a call submitted."""

    arrays: list[Submitted]
    full: str | None
    """Slurm's words when the user's limit of submitted jobs was reached before all were taken."""


def send(
    ledger: Ledger,
    slurm: Slurm,
    manifests: Sequence[Manifest],
    queue: Queue,
    script: Callable[[Manifest, str | None], str],
    lock: int,
) -> Sent:
    """Submit every array held, write each down, then release all, with what an earlier call left held.

    `script(manifest, dependency)` gives the sbatch text, the dependency in job ids. Raises SbatchRefused, with
    nothing of this call left behind, when sbatch refuses; NoAnswer when the controller went away: what was
    submitted till then waits held for the next call.
    """
    ids = {a.manifest.name: a.job for a in queue.arrays if a.job is not None}
    sent: list[Submitted] = []
    full: str | None = None
    for manifest in manifests:
        text = script(manifest, resolve(manifest.dependency, ids))
        ledger.write_manifest(manifest)
        path = ledger.script_path(manifest.name)
        path.write_text(text, encoding="utf-8")
        answer = slurm("sbatch", "--hold", "--parsable", str(path), keep=(lock,))
        if answer.code:
            ledger.forget([manifest.name])
            if any(word in answer.err for word in SUBMIT_LIMITS):
                full = answer.reason
                break  # what follows may depend on what was not taken
            _take_back(ledger, slurm, sent)
            raise SbatchRefused(f"sbatch: {answer.reason}", hint="Nothing was submitted.")
        job = answer.out.strip().partition(";")[0]
        ledger.record("submitted", name=manifest.name, job=job)
        ids[manifest.name] = job
        sent.append(Submitted(manifest, job, time.time(), False, frozenset()))
    _release(ledger, slurm, [*queue.arrays, *sent], [*queue.held, *(a.job for a in sent if a.job)])
    return Sent(sent, full)


def resolve(dependency: str | None, ids: dict[str, str]) -> str | None:
    """A manifest's dependency in Slurm's job ids; a name that has none stands as it is."""
    if dependency is None:
        return None
    how, *names = dependency.split(":")
    found = []
    for on in names:
        name, _, index = on.rpartition("_") if how == "afterok" and on not in ids else (on, "", "")
        found.append(ids.get(name, name) + (f"_{index}" if index else ""))
    return ":".join([how, *found])


def _release(ledger: Ledger, slurm: Slurm, arrays: Sequence[Submitted], held: Sequence[str]) -> None:
    if not held:
        return
    answer = slurm("scontrol", "release", ",".join(held))
    # What has left the queue meanwhile cannot be released, and need not be.
    if answer.code and not re.search(r"[Ii]nvalid job|not pending|already finished", answer.err):
        raise SlurmFailed(
            f"scontrol release: {answer.reason}", hint="The jobs wait held; the same command releases them."
        )
    ledger.record("released", names=[a.manifest.name for a in arrays if a.job in set(held)])


def _take_back(ledger: Ledger, slurm: Slurm, sent: Sequence[Submitted]) -> None:
    if sent:
        slurm("scancel", *(a.job for a in sent if a.job))
    ledger.forget(a.manifest.name for a in sent)


def places(queue: Queue) -> dict[Key, tuple[str, int]]:
    """(array name, index) of everything live."""
    return {key: (live.array.manifest.name, live.index) for key, live in queue.live.items()}


def next_wave(arrays: Sequence[Submitted]) -> int:
    """Number of the next submission."""
    return 1 + max((a.manifest.wave for a in arrays), default=0)
