"""A long work on a data folder onto Slurm: its parts in shares, an array of them, then one job that finishes.

The ledger lies beside the data folder, in jobs/<its name>-<work>[-<key>]/slurm/, since what is being built is renamed.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from joyctl.campaign.spec import Stage
from joyctl.data.work import Part, Work, longest_first, open_work
from joyctl.errors import Missing
from joyctl.launch.slurm import snapshot, submit
from joyctl.launch.slurm.campaign import Room
from joyctl.launch.slurm.client import Slurm, SlurmFailed
from joyctl.launch.slurm.ledger import Element, Ledger, Manifest, Submitted
from joyctl.launch.slurm.script import Place, sbatch_text
from joyctl.recipe.cluster import SlurmCluster
from joyctl.store.fingerprint import fingerprint

PROGRAM = "joyctl.launch.slurm.share"
FINISH = "finish"
"""Stands for a folder in the manifest of the job that puts the results together."""
STAGE: Stage = "score"
"""The ledger knows jobs by stage, and those of data have but one: it stands for their work."""
BYTES_PER_CORE_SECOND = 1e6
"""What one core is sure to get through: a tokenizer does some 2 to 5 million bytes of text a second."""
USEFUL_SECONDS = 1800.0
"""A job need not be shorter than that, beside the minutes that it may wait in the queue."""
UNKNOWN_BYTES = 500_000_000
"""What a part is taken for that cannot say how much it reads."""


@dataclass(frozen=True)
class Asked:
    """A work on a data folder that a cluster is to do."""

    kind: str
    """Its name in `joyctl.data.work.WORKS`."""
    target: Path
    """The data folder that it makes or adds to."""
    finished: Callable[[], bool]
    """Whether nothing is left to do."""
    begin: Callable[[], Work | None]
    """Writes the work down in its folder, for jobs to share; gives None when it is finished."""
    opened: Callable[[], Work]
    """The work as it was begun. Raises Missing where it was not, or is over."""
    closing: Callable[[], bool] = lambda: False
    """Whether all parts are put together and only its place is being made: from then on its parts tell no more."""
    key: str = ""
    """What tells it from other works of its kind on this folder."""

    @property
    def name(self) -> str:
        """What its jobs are called after."""
        return "-".join(filter(None, (self.target.name, self.kind, self.key)))

    @property
    def jobs(self) -> Path:
        """Folder of what Slurm is told, and says."""
        return self.target.absolute().parent / "jobs" / self.name

    def over(self) -> bool:
        """Whether no part is missing, whatever its parts may tell: to be asked after them."""
        return self.closing() or self.finished()

    def missing(self, work: Work) -> set[str]:
        """Names of the parts that are not done."""
        found = {part.name for part in work.parts() if not work.done(part)}
        return set() if self.over() else found


def begun(kind: str, target: Path, work: Work, finished: Callable[[], bool], key: str = "") -> Asked:
    """A work that is written down already, and whose folder stays what it is at its end."""
    return Asked(
        kind, target, finished, lambda: None if finished() else work, lambda: open_work(work.folder, kind), key=key
    )


@dataclass(frozen=True)
class Share:
    """What one job does: every `number`-th part from the `index`-th on, the largest first."""

    index: int
    number: int

    @property
    def folder(self) -> str:
        """What stands for it in a manifest; index and number as `--share` takes them."""
        return f"share/{self.index}/{self.number}"

    def of(self, parts: Sequence[Part]) -> list[Part]:
        """Its parts among all."""
        return longest_first(parts)[self.index :: self.number]


def share_of(element: Element) -> Share | None:
    """The share that an element of a manifest does; None for the job that finishes."""
    if element.folder == FINISH:
        return None
    _, index, number = element.folder.split("/")
    return Share(int(index), int(number))


@dataclass(frozen=True)
class Drawn:
    """What would be submitted."""

    manifests: list[Manifest]
    number: int
    """Shares that the parts are cut into."""
    live: int
    """Jobs that the queue has already."""
    left: int
    """Jobs beyond the user's limit, for the next call."""


@dataclass(frozen=True)
class Submission:
    """What was submitted."""

    drawn: Drawn
    arrays: list[tuple[Manifest, str]]
    """Each with its array job id."""
    left: int
    """Jobs that are still to be submitted."""
    full: str | None
    """Slurm's words where it refused more jobs of this user."""
    seconds: float


def number_of_shares(parts: Sequence[Part], cluster: SlurmCluster, max_array_size: int, max_jobs: int | None) -> int:
    """How many jobs share the parts: by the bytes of all, whatever is done, so that shares stay what they are.

    A job is to take half its time at most, and no less than `USEFUL_SECONDS` where there is so much to do. `max_jobs`
    is how many jobs the user may have in the queue.
    """
    need = cluster.stages.of("data")
    seconds = sum(part.bytes or UNKNOWN_BYTES for part in parts) / BYTES_PER_CORE_SECOND / (need.cpus_per_task or 1)
    wanted = math.ceil(seconds / min(USEFUL_SECONDS, need.minutes * 30))
    most = [len(parts), max_array_size, *([max_jobs - 1] if max_jobs is not None else [])]
    return max(1, min(wanted, *most))


def draw(
    asked: Asked, work: Work, cluster: SlurmCluster, queue: submit.Queue, room: Room, code: str, number: int
) -> Drawn:
    """The arrays that the missing parts make, in `number` shares if none are in the queue that cut them otherwise."""
    live = submit.places(queue)
    cut = [share for key in live if (share := share_of(Element(key[0], (STAGE,)))) is not None]
    number = cut[0].number if cut else number
    parts = work.parts()
    missing = asked.missing(work)
    shares = [Share(index, number) for index in range(number)]
    wanted = [s for s in shares if (s.folder, STAGE) not in live and any(p.name in missing for p in s.of(parts))]
    chosen = wanted if room.jobs is None else wanted[: room.jobs]
    ending = (FINISH, STAGE) in live
    finishes = not ending and len(chosen) == len(wanted) and (room.jobs is None or room.jobs > len(chosen))
    made: list[Manifest] = []
    wave = submit.next_wave(queue.arrays)

    def manifest(elements: dict[int, Element], dependency: str | None) -> None:
        content = {
            "folder": str(work.folder.absolute()), "wave": wave, "dependency": dependency,
            "elements": [[index, element.folder] for index, element in sorted(elements.items())],
        }  # fmt: skip
        name = f"{asked.name}-{fingerprint(content)[:12]}"
        made.append(Manifest(name, "data", wave, elements, dependency, (), code))

    if chosen:
        manifest({share.index: Element(share.folder, (STAGE,)) for share in chosen}, None)
    if finishes:
        before = [made[0].name] if made else []
        before += [f"{name}_{index}" for (folder, _), (name, index) in live.items() if folder != FINISH]
        manifest({0: Element(FINISH, (STAGE,))}, ":".join(["afterok", *before]) if before else None)
    left = len(wanted) - len(chosen) + (not ending and not finishes)
    return Drawn(made, number, len(live), left)


def scripts(asked: Asked, work: Work, cluster: SlurmCluster, code: str) -> Callable[[Manifest, str | None], str]:
    """Gives the sbatch text of a manifest whose dependency stands in job ids."""
    ledger = Ledger(asked.jobs)
    place = Place(ledger.folder / "log", ledger.folder / "code" / code, cluster.python or sys.executable)

    def text(manifest: Manifest, dependency: str | None) -> str:
        program = [
            "-m", PROGRAM, f"--manifest={ledger.manifest_path(manifest.name)}", f"--folder={work.folder.absolute()}",
            f"--work={asked.kind}", f"--processes={cluster.stages.of('data').cpus_per_task or 1}",
            f"--max-requeues={cluster.max_requeues}", f"--signal-grace={cluster.signal_grace_s}",
        ]  # fmt: skip
        program += [] if cluster.requeue else ["--no-requeue"]
        return sbatch_text(
            cluster, "data", place, name=manifest.name, program=program, indices=manifest.elements,
            dependency=dependency,
        )  # fmt: skip

    return text


def put(
    asked: Asked,
    cluster: SlurmCluster,
    slurm: Slurm,
    room: Callable[[], Room],
    number: Callable[[Sequence[Part]], int],
    *,
    slurm_name: str = "",
) -> Submission | None:
    """Submit what is missing and not in the queue yet; None when all is finished.

    `number` says how many shares to cut the parts into. Raises SbatchRefused, NoAnswer or Refused; see `submit.send`.
    """
    start = time.monotonic()
    if asked.finished():
        return None
    ledger = Ledger(asked.jobs)
    ledger.place(cluster.shared_root, asked.jobs)
    with submit.submit_lock(ledger) as lock:
        # While jobs are at it the work stays as it was begun.
        queued = is_queued(ledger, slurm)
        work = opened(asked) if queued else asked.begin()
        if work is None:
            ending = queued and not asked.finished()
            return Submission(Drawn([], 0, 1, 0), [], 0, None, time.monotonic() - start) if ending else None
        done = done_in(asked, work)
        submit.refuse_elsewhere(asked.name, ledger, slurm_name, done, f"scancel them, then remove {ledger.folder}")
        ledger.write_cluster({**cluster.model_dump(mode="json"), "slurm_name": slurm_name})
        queue = submit.read_queue(ledger, slurm, done)
        code = snapshot.take(ledger.folder / "code")
        drawn = draw(asked, work, cluster, queue, room(), code, number(work.parts()))
        sent = submit.send(ledger, slurm, drawn.manifests, queue, scripts(asked, work, cluster, code), lock)
    taken = {array.manifest.name for array in sent.arrays}
    left = drawn.left + sum(len(m.elements) for m in drawn.manifests if m.name not in taken)
    arrays = [(array.manifest, array.job) for array in sent.arrays if array.job is not None]
    return Submission(drawn, arrays, left, sent.full, time.monotonic() - start)


def opened(asked: Asked) -> Work | None:
    """The work as it was begun; None where it is over."""
    if asked.over():
        return None
    try:
        return asked.opened()
    except Missing:
        if asked.over():  # just then
            return None
        raise


def done_in(asked: Asked, work: Work) -> Callable[[str, str], bool]:
    """Tells whether a job's work is done, as it is now."""
    parts, missing = work.parts(), asked.missing(work)

    def done(folder: str, _: str) -> bool:
        share = share_of(Element(folder, (STAGE,)))
        return asked.finished() if share is None else not any(part.name in missing for part in share.of(parts))

    return done


def is_queued(ledger: Ledger, slurm: Slurm) -> bool:
    """Whether Slurm has any job of this ledger."""
    arrays: list[Submitted] = ledger.read()
    if not arrays:
        return False
    answer = slurm("squeue", "-h", "-r", "--name", ",".join(a.manifest.name for a in arrays), "-o", "%F|%K|%T|%r|%j")
    if answer.code:
        raise SlurmFailed(f"squeue: {answer.reason}")
    return bool(answer.out.strip())
