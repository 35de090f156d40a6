"""A whole campaign onto Slurm: what is missing becomes arrays, and this process may then go."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from joyctl.campaign.compare import Job
from joyctl.launch.prepare import Prepared
from joyctl.launch.slurm import groups, snapshot, submit
from joyctl.launch.slurm.client import Slurm
from joyctl.launch.slurm.failures import bad_nodes
from joyctl.launch.slurm.ledger import REST, Element, Ledger, Manifest
from joyctl.launch.slurm.script import Place, by_hand_text, node_program, sbatch_text
from joyctl.launch.speed import measured_speed
from joyctl.recipe.cluster import SlurmCluster
from joyctl.store import layout
from joyctl.store.fingerprint import fingerprint

_REST_KEY: groups.Key = (REST, "score")


@dataclass(frozen=True)
class Room:
    """What the cluster takes."""

    max_array_size: int
    """The least array index that is refused."""
    jobs: int | None = None
    """How many more jobs this user may have in the queue; None for no limit."""


@dataclass(frozen=True)
class Drawn:
    """What would be submitted."""

    manifests: list[Manifest]
    live: int
    """Stages of this campaign that the queue has already."""
    left: int
    """Jobs beyond the user's limit, for the next wave."""
    resting: bool
    """Whether a small job that will submit them is in the queue already."""


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

    @property
    def follows(self) -> bool:
        """Whether a small job will submit what is left."""
        return self.drawn.resting or any(e.folder == REST for m, _ in self.arrays for e in m.elements.values())


def draw(prepared: Prepared, cluster: SlurmCluster, queue: submit.Queue, room: Room, code: str) -> Drawn:
    """The arrays that the missing jobs of a campaign make; `code` is the digest of the snapshot that they run."""
    live = submit.places(queue)
    resting = (pending := queue.live.get(_REST_KEY)) is not None and pending.state == "PENDING"
    live.pop(_REST_KEY, None)
    wanted = groups.wants(
        prepared.work.jobs,
        live,
        parts=_parts(prepared, cluster),
        exclude=lambda key: bad_nodes(prepared.folder / key[0], key[1]),
    )
    chosen = groups.affordable(wanted, room.jobs)
    follows = cluster.rest == "job" and len(chosen) < len(wanted)
    if follows and not resting and room.jobs is not None:
        # Room for itself, but never instead of the last job: it would do nothing but submit itself again.
        chosen = groups.affordable(wanted, max(min(1, room.jobs), room.jobs - 1))
    identity = {"folder": str(prepared.folder.absolute())}
    wave = submit.next_wave(queue.arrays)
    made = groups.arrays(
        chosen,
        live,
        campaign=prepared.plan.campaign,
        identity=identity,
        wave=wave,
        code=code,
        max_size=room.max_array_size,
    )
    waits = [m.name for m in made] or [queue.live[key].array.manifest.name for key in live]
    if follows and not resting and waits and (room.jobs is None or room.jobs > len(chosen)):
        name = f"{prepared.plan.campaign}-{fingerprint({**identity, 'rest': wave})[:12]}"
        dependency = ":".join(["afterany", *dict.fromkeys(waits)])
        made.append(Manifest(name, "score", wave, {0: Element(REST, ("score",))}, dependency, (), code))
    return Drawn(made, len(live), len(wanted) - len(chosen), resting)


def scripts(
    campaign: Path, cluster: SlurmCluster, code: str, again: Sequence[str]
) -> Callable[[Manifest, str | None], str]:
    """Gives the sbatch text of a manifest whose dependency stands in job ids.

    `again` are the words of the command that submits the rest, to be run where this process runs.
    """
    ledger, place = Ledger(campaign), _place(campaign, cluster, code)

    def text(manifest: Manifest, dependency: str | None) -> str:
        if manifest.elements[min(manifest.elements)].folder == REST:
            program = ["-m", "joyctl", *again]
        else:
            program = node_program(cluster, manifest.kind, ["--manifest", str(ledger.manifest_path(manifest.name))])
        return sbatch_text(
            cluster, manifest.kind, place, name=manifest.name, program=program,
            indices=manifest.elements, dependency=dependency, exclude=manifest.exclude,
        )  # fmt: skip

    return text


def put(
    prepared: Prepared,
    cluster: SlurmCluster,
    slurm: Slurm,
    room: Callable[[], Room],
    again: Sequence[str],
    *,
    slurm_name: str = "",
) -> Submission:
    """Submit what is missing and not in the queue yet; `slurm_name` is what this Slurm calls itself.

    Raises SbatchRefused, NoAnswer or Refused; see `submit.send`.
    """
    begin = time.monotonic()
    ledger = Ledger(prepared.folder)
    ledger.place(cluster.shared_root, prepared.folder)
    with submit.submit_lock(ledger) as lock:
        take_back = f"joyctl cancel --campaign {prepared.plan.campaign}"
        submit.refuse_elsewhere(prepared.plan.campaign, ledger, slurm_name, done_in(prepared.folder), take_back)
        ledger.write_cluster({**cluster.model_dump(mode="json"), "slurm_name": slurm_name})
        queue = submit.read_queue(ledger, slurm, done_in(prepared.folder))
        code = snapshot.take(ledger.folder / "code")
        drawn = draw(prepared, cluster, queue, room(), code)
        _make_ready(prepared, cluster, drawn.manifests, code)
        sent = submit.send(
            ledger, slurm, drawn.manifests, queue, scripts(prepared.folder.absolute(), cluster, code, again), lock
        )
    taken = {a.manifest.name for a in sent.arrays}
    refused = [
        m for m in drawn.manifests if m.name not in taken and REST not in {e.folder for e in m.elements.values()}
    ]
    left = drawn.left + sum(len(m.elements) for m in refused)
    arrays = [(a.manifest, a.job) for a in sent.arrays if a.job is not None]
    return Submission(drawn, arrays, left, sent.full, time.monotonic() - begin)


def live_stages(campaign: Path, slurm: Slurm) -> dict[groups.Key, submit.Live]:
    """What of a campaign is in Slurm's queue; asks nobody when nothing of it was ever submitted."""
    ledger = Ledger(campaign)
    if not ledger.exists:
        return {}
    with submit.submit_lock(ledger):
        return submit.read_queue(ledger, slurm, done_in(campaign)).live


def done_in(campaign: Path) -> Callable[[str, str], bool]:
    """Tells whether a stage of a folder below `campaign` has its marker."""
    return lambda folder, stage: layout.marker(campaign / folder, stage).exists()


def _place(campaign: Path, cluster: SlurmCluster, code: str) -> Place:
    slurm = Ledger(campaign).folder
    return Place(slurm / "log", slurm / "code" / code, cluster.python or sys.executable)


def _make_ready(prepared: Prepared, cluster: SlurmCluster, manifests: Sequence[Manifest], code: str) -> None:
    """In every folder that gets a job: no marker of what is to be done again, and a script to run by hand."""
    campaign = prepared.folder.absolute()
    stages: dict[str, list[str]] = {}
    for manifest in manifests:
        for element in manifest.elements.values():
            stages.setdefault(element.folder, []).extend(s for s in element.stages if element.part == 1)
    stages.pop(REST, None)
    for folder, names in stages.items():
        for name in names:
            layout.marker(campaign / folder, name).unlink(missing_ok=True)
        path = campaign / folder / layout.SUBMIT
        text = by_hand_text(cluster, _place(campaign, cluster, code), campaign / folder, names, path.parent.name)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            path.chmod(0o755)


def _parts(prepared: Prepared, cluster: SlurmCluster) -> Callable[[Job], int]:
    """How many chained jobs the training of a segment takes, by the speed given or measured."""
    stage = cluster.stages.train
    speed = cluster.tokens_per_second or measured_speed(prepared.folder, prepared.plan)
    if speed is None:
        return lambda job: 1
    per_step = {s.id: s.training.tokens_per_step for s in prepared.plan.segments}
    return lambda job: groups.chain_length(
        job.steps * per_step[job.folder] / speed, stage.minutes, cluster.signal_grace_s
    )
