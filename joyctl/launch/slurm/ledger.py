"""What was submitted: one manifest for each array, written before sbatch, and a ledger of what became of it.

<campaign>/slurm/            a folder, or a link into the cluster file's `shared_root`
  arrays/<name>.json         the manifest: which array index is which stages of which folder
  arrays/<name>.sh           the sbatch script
  ledger.jsonl               {event: submitted|released|cancelled, name, job, time}
  cluster.json               the cluster file as it was last used, and what its Slurm calls itself
  log/<array job>_<index>_<node>_log.out
  code/<digest>/             what runs
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from joyctl.campaign.spec import Stage
from joyctl.store.files import append_line, read_lines, write_json

JobKind = Literal["train", "eval", "score", "data"]
"""What a job asks resources for; an `eval` job exports as well, a `data` job builds or searches sources."""
Event = Literal["submitted", "released", "cancelled"]


REST = "slurm/rest"
"""Stands for a folder in the manifest of the small job that submits what did not fit."""


@dataclass(frozen=True)
class Element:
    """One job: an index of an array."""

    folder: str
    """Below the campaign's: a segment id, or `runs/<run id>`."""
    stages: tuple[Stage, ...]
    """Done one after the other."""
    part: int = 1
    parts: int = 1
    """Training that needs longer than a job's time is `parts` jobs, each going on where the one before stopped."""

    @property
    def key(self) -> tuple[str, Stage]:
        """(folder, last stage): what is done when the job is."""
        return self.folder, self.stages[-1]


@dataclass(frozen=True)
class Manifest:
    """One array as it was, or is to be, submitted."""

    name: str
    """Job name: campaign and fingerprint; the key by which Slurm is asked for it."""
    kind: JobKind
    wave: int
    """Which call of `sweep` submitted it, counted from 1."""
    elements: dict[int, Element]
    """By array index."""
    dependency: str | None
    """`afterok:<name>_<index>`, `aftercorr:<name>` or `afterany:<name>:<name>...`, of other manifests; None when it
    can start at once. `afterok` may name several, and whole arrays too."""
    exclude: tuple[str, ...] = ()
    """Nodes that its jobs must not use."""
    code: str = ""
    """Digest of the code that it runs."""


@dataclass(frozen=True)
class Submitted:
    """A manifest with its place in Slurm."""

    manifest: Manifest
    job: str | None
    """Array job id; None when it is not known that sbatch took it."""
    time: float
    """When it was submitted, or its manifest written."""
    released: bool
    cancelled: frozenset[int]
    """Indices that `joyctl cancel` took back."""

    def job_id(self, index: int) -> str:
        """`202_3`."""
        return f"{self.job}_{index}"


class Ledger:
    """The slurm/ folder of one campaign."""

    def __init__(self, campaign: Path) -> None:
        self.folder = campaign / "slurm"

    @property
    def exists(self) -> bool:
        """Whether anything of this campaign was ever submitted."""
        return (self.folder / "arrays").is_dir()

    def place(self, shared_root: str | None, campaign: Path) -> None:
        """Make the folder, in `shared_root` if the cluster file names one."""
        if shared_root is not None and not self.folder.exists():
            real = Path(shared_root).expanduser().absolute() / f"{campaign.name}-{os.getpid()}-{time.time_ns()}"
            real.mkdir(parents=True)
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.folder.symlink_to(real)
        (self.folder / "arrays").mkdir(parents=True, exist_ok=True)
        (self.folder / "log").mkdir(exist_ok=True)

    def manifest_path(self, name: str) -> Path:
        """Where an array's manifest lies."""
        return self.folder / "arrays" / f"{name}.json"

    def script_path(self, name: str) -> Path:
        """Where an array's sbatch script lies."""
        return self.folder / "arrays" / f"{name}.sh"

    def write_manifest(self, manifest: Manifest) -> None:
        """Write it down; before sbatch."""
        write_json(self.manifest_path(manifest.name), asdict(manifest))

    def write_cluster(self, cluster: object) -> None:
        """Write down the cluster file that is used."""
        write_json(self.folder / "cluster.json", cluster)

    def cluster(self) -> dict[str, Any]:
        """The cluster file as it was last used; empty when that is not known."""
        try:
            value: dict[str, Any] = json.loads((self.folder / "cluster.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return value

    def forget(self, names: Iterable[str]) -> None:
        """Remove manifests that Slurm never took."""
        for name in names:
            self.manifest_path(name).unlink(missing_ok=True)
            self.script_path(name).unlink(missing_ok=True)

    def record(self, event: Event, **facts: object) -> None:
        """Append a line to the ledger, durably."""
        append_line(self.folder / "ledger.jsonl", {"event": event, "time": time.time(), **facts})

    def read(self) -> list[Submitted]:
        """Every array with what became of it, oldest first."""
        jobs: dict[str, tuple[str, float]] = {}
        released: set[str] = set()
        cancelled: dict[str, set[int]] = {}
        for line in cast("list[dict[str, Any]]", read_lines(self.folder / "ledger.jsonl")):
            if line.get("event") == "submitted":
                jobs[line["name"]] = (line["job"], line["time"])
            elif line.get("event") == "released":
                released |= set(line["names"])
            elif line.get("event") == "cancelled":
                cancelled.setdefault(line["name"], set()).update(line["indices"])
        found = []
        for path in (self.folder / "arrays").glob("*.json"):
            try:
                manifest = read_manifest(path)
            except FileNotFoundError:  # forgotten meanwhile
                continue
            job, at = jobs.get(manifest.name, (None, path.stat().st_mtime))
            gone = frozenset(cancelled.get(manifest.name, ()))
            found.append(Submitted(manifest, job, at, manifest.name in released, gone))
        return sorted(found, key=lambda s: (s.time, s.manifest.name))


def read_manifest(path: Path) -> Manifest:
    """An array's manifest."""
    value = json.loads(path.read_bytes())
    elements = {
        int(index): Element(e["folder"], tuple(e["stages"]), e["part"], e["parts"])
        for index, e in value["elements"].items()
    }
    return Manifest(
        name=value["name"],
        kind=value["kind"],
        wave=value["wave"],
        elements=elements,
        dependency=value["dependency"],
        exclude=tuple(value["exclude"]),
        code=value["code"],
    )


def newest(submitted: Iterable[Submitted]) -> dict[tuple[str, Stage], list[tuple[Submitted, int]]]:
    """For each (folder, stage) the arrays and indices that stand for it: those of its newest wave, by part."""
    found: dict[tuple[str, Stage], list[tuple[Submitted, int]]] = {}
    for array in submitted:
        for index, element in array.manifest.elements.items():
            for stage in element.stages:
                known = found.setdefault((element.folder, stage), [])
                if known and known[0][0].manifest.wave < array.manifest.wave:
                    known.clear()
                if not known or known[0][0].manifest.wave == array.manifest.wave:
                    known.append((array, index))
    for known in found.values():
        known.sort(key=lambda place: place[0].manifest.elements[place[1]].part)
    return found
