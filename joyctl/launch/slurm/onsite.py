"""Looks at a node of each kind by a small job, and makes checks of what it saw."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from joyctl.launch.slurm import checks, limits, probe, snapshot
from joyctl.launch.slurm.checks import Check
from joyctl.launch.slurm.client import Slurm
from joyctl.launch.slurm.fit import parse_gres
from joyctl.launch.slurm.ledger import JobKind
from joyctl.launch.slurm.script import Place, sbatch_text
from joyctl.launch.slurm.visit import JOB_MINUTES, Visit, visit
from joyctl.recipe.cluster import Resources, SlurmCluster
from joyctl.recipe.types import Recipe

PROBE = "joyctl.launch.slurm.probe"
_SHARED = "Use a folder that login and compute nodes see: --results, or 'shared_root' in the cluster file."


@dataclass(frozen=True)
class Case:
    """What is looked at."""

    results: Path
    """Folder of campaigns."""
    recipe: Recipe | None
    """What is to be run, if that is known."""
    quick: bool
    """Send no jobs."""
    wait_s: float
    """How long jobs may wait for a node."""


def look_at_nodes(
    cluster: SlurmCluster,
    slurm: Slurm,
    case: Case,
    kinds: list[JobKind],
    notify: Callable[[str], None],
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> Iterator[Check]:
    """Look at a node of each kind by a small job."""
    roots = [*([Path(cluster.shared_root).expanduser()] if cluster.shared_root else []), case.results]
    with meeting_place(roots) as found:
        if isinstance(found, Check):
            yield found
            return
        first = next(iter(found))
        place = Place(first, first / "code" / snapshot.take(first / "code"), cluster.python or sys.executable)
        small = small_jobs(cluster)
        scripts = {
            kind: sbatch_text(small, kind, place, name="joyctl-doctor", program=_words(kind, found)) for kind in kinds
        }
        notify(f"{len(kinds)} small jobs look at nodes; waiting up to {case.wait_s:.0f} s for them to start ...")
        for seen in visit(slurm, scripts, first, case.wait_s, sleep=sleep, clock=clock):
            yield from _judge(seen, cluster, place, found)


def _words(kind: JobKind, folders: Mapping[Path, str]) -> list[str]:
    """Python's arguments on the node: scoring needs the sandbox, the others torch."""
    where = [word for folder in folders for word in ("--folder", str(folder))]
    return ["-m", PROBE, *where, "--name", kind, "--sandbox" if kind == "score" else "--torch"]


def small_jobs(cluster: SlurmCluster) -> SlurmCluster:
    """The same resources on one node, for a few minutes."""
    stages = {}
    for kind in limits.KINDS:
        stage: Resources = getattr(cluster.stages, kind)
        stages[str(kind)] = stage.model_copy(update={"nodes": 1, "time": min(JOB_MINUTES, stage.minutes)})
    return cluster.model_copy(
        update={"stages": cluster.stages.model_copy(update=stages), "requeue": False, "signal_grace_s": 1}
    )


def _judge(seen: Visit, cluster: SlurmCluster, place: Place, words: Mapping[Path, str]) -> Iterator[Check]:
    """What came of one job, and what it saw."""
    name = f"{seen.kind} job"
    if seen.outcome == "refused":
        yield Check(name, "failed", f"sbatch says: {seen.why}", "See above for what it refuses.")
    elif seen.outcome == "queued":
        yield Check(
            name, "skipped", f"queued: {seen.why}; taken back", "Longer: --wait SECONDS. Without jobs: --quick."
        )
    elif seen.outcome == "slow":
        last = f"; its last words: {seen.why}" if seen.why else ""
        yield Check(
            name, "failed", f"did not end in {JOB_MINUTES} minutes on {seen.node}{last}", "Is its file system slow?"
        )
    elif seen.facts is None:
        where = seen.node or "its node"
        if seen.why:
            remedy = "See 'python', 'setup' and 'env' in the cluster file; that Python must start on the node."
            if "out of memory" in seen.why.lower():
                remedy = f"Give it more: 'mem' of stages.{seen.kind} in the cluster file."
            yield Check(name, "failed", f"failed on {where}: {seen.why}", remedy)
        else:
            root = next(iter(words)).parent
            yield Check(name, "failed", f"ended on {where}, and nothing of it is seen here in {root}", _SHARED)
    else:
        yield Check(name, "ok", f"ran on {seen.facts['node']}")
        yield from _judge_facts(seen.kind, seen.facts, cluster, place, words)


def _judge_facts(
    kind: JobKind, facts: probe.Facts, cluster: SlurmCluster, place: Place, words: Mapping[Path, str]
) -> Iterator[Check]:
    back = {folder: probe.read_word(folder, kind) for folder in words}
    yield checks.folder_check(f"{kind} folder", facts, words, back)
    yield checks.python_check(f"{kind} python", facts, probe.packages(), place.code)
    if kind == "score":
        yield checks.sandbox_check("score sandbox", facts)
        if cluster.rest == "job" and not facts["sbatch"]:
            remedy = "Write 'rest: sweep' in the cluster file: the next sweep submits what did not fit."
            yield Check("score submit", "failed", f"{facts['node']} has no sbatch, which 'rest: job' needs", remedy)
    else:
        yield checks.gpu_check(f"{kind} gpus", facts, _gpus(getattr(cluster.stages, kind)))
    if kind == "eval":
        here = probe.hub_cache({**os.environ, **cluster.env})
        yield checks.hub_check("eval hub", facts, here, here_exists=here.is_dir())


def _gpus(need: Resources) -> int:
    gres = parse_gres(need.gres) if need.gres else ()
    return need.gpus_per_node or sum(g.count for g in gres if g.name == "gpu")


@contextmanager
def meeting_place(roots: list[Path]) -> Iterator[dict[Path, str] | Check]:
    """A new folder with a secret word in each of `roots`, gone afterwards; or why there can be none."""
    token = secrets.token_hex(4)
    folders: dict[Path, str] = {}
    made: list[Path] = []
    failed: Check | None = None
    try:
        for root in map(Path.absolute, roots):
            made += [p for p in (root, *root.parents) if not p.exists()]
            folder = root / f".doctor-{token}"
            folder.mkdir(parents=True)
            folders[folder] = secrets.token_hex(16)
            (folder / probe.HERE).write_text(folders[folder], encoding="utf-8")
    except OSError as error:
        seen = f"{error.filename} cannot be written: {error.strerror}"
        failed = Check("folder", "failed", seen, "Give another with --results, or get the right to write there.")
    try:
        yield failed or folders
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
