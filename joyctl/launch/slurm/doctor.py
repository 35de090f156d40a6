"""`joyctl doctor`: looks at a cluster, or this machine, before a campaign does; each check as soon as it is known."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from joyctl.errors import JoyctlError, Missing
from joyctl.launch.slurm import checks, limits, probe
from joyctl.launch.slurm.checks import Check
from joyctl.launch.slurm.client import NoAnswer, Slurm
from joyctl.launch.slurm.ledger import JobKind
from joyctl.launch.slurm.onsite import PROBE, Case, look_at_nodes, meeting_place
from joyctl.launch.slurm.script import Place, sbatch_text
from joyctl.recipe.cluster import LocalCluster, SlurmCluster
from joyctl.recipe.load import LoadedCluster
from joyctl.recipe.rules import Finding

_COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
_ASSOCIATIONS = "sacctmgr show assoc user=$USER format=account,partition,qos"


def on_this_machine(cluster: LocalCluster, case: Case) -> Iterator[Check]:
    """Check what jobs need that run here."""
    cores = len(os.sched_getaffinity(0))
    if cluster.cores is not None and cluster.cores > cores:
        remedy = "Lower 'cores' in the cluster file, or leave it out."
        yield Check("cores", "failed", f"{cluster.cores} asked for, {cores} there", remedy)
    else:
        yield Check("cores", "ok", f"{cluster.cores or cores} of {cores}")
    with meeting_place([case.results]) as found:
        if isinstance(found, Check):
            yield found
            return
        folder = next(iter(found))
        words = [sys.executable, "-m", PROBE, "--folder", str(folder), "--name", "here", "--torch", "--sandbox"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        facts = probe.read_facts(folder, "here")
    if facts is None:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        yield Check("python", "failed", f"joyctl does not start: {last}", "Install joyctl again.")
        return
    yield checks.python_check("python", facts, probe.packages())
    yield checks.gpu_check("gpus", facts, 0)
    yield checks.sandbox_check("sandbox", facts)
    yield checks.space_check(case.results, case.recipe)


def on_cluster(
    loaded: LoadedCluster,
    slurm: Slurm,
    case: Case,
    *,
    notify: Callable[[str], None] = lambda text: None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Check]:
    """Check what a campaign needs of a Slurm cluster, first by asking, then by small jobs on its nodes."""
    cluster = loaded.value
    assert isinstance(cluster, SlurmCluster)
    found = _controller(slurm)
    yield found[0]
    if found[1] is None:
        return
    yield _accounting(slurm)
    misfits = [loaded.problem(f) for f in limits.check(cluster, found[1])]
    for problem in dict.fromkeys(misfits):
        message = f"{problem.key}: {problem.message}" if problem.key else problem.message
        remedy = "Change it: Slurm may take such a job, and would never start it."
        yield Check("limits", "failed", message, remedy, problem.where)
    if not misfits:
        yield Check("limits", "ok", "partitions are up; time, nodes, GPUs, cores and memory are within them")
    welcome: list[JobKind] = []
    for kind in limits.KINDS:
        tried = _try(loaded, cluster, kind, slurm)
        if tried.state == "ok":
            welcome.append(kind)
        yield tried
    yield _queue(cluster, slurm, found[1])
    yield checks.space_check(case.results, case.recipe)
    if not case.quick and welcome:
        yield from look_at_nodes(cluster, slurm, case, welcome, notify, sleep, clock)


def _controller(slurm: Slurm) -> tuple[Check, limits.Limits | None]:
    """Whether Slurm is here and answers, and then what it offers."""
    missing = []
    for command in _COMMANDS:
        try:
            slurm(command, "--version")
        except NoAnswer:
            pass
        except Missing:
            missing.append(command)
    if missing:
        remedy = "Run joyctl on a login node of the cluster; some sites need `module load slurm` first."
        return Check("slurm", "failed", f"{', '.join(missing)}: not on this machine", remedy), None
    try:
        offered = limits.read_limits(slurm)
    except JoyctlError as error:
        remedy = "Is the cluster down for maintenance? Does SLURM_CONF name the right one?"
        return Check("slurm", "failed", error.message, remedy), None
    return Check("slurm", "ok", f"Slurm {offered.version} answers; {len(offered.partitions)} partitions"), offered


def _accounting(slurm: Slurm) -> Check:
    remedy = "Campaigns run without it; `joyctl status` then knows less of why a job ended."
    try:
        answer = slurm("sacct", "-n", "-X", "-S", "now", "-o", "jobid")
    except JoyctlError as error:
        return Check("accounting", "failed", error.message.rpartition("; ")[2], remedy)
    if answer.code:
        return Check("accounting", "skipped", answer.reason, remedy)
    return Check("accounting", "ok", "answers")


def _try(loaded: LoadedCluster, cluster: SlurmCluster, kind: JobKind, slurm: Slurm) -> Check:
    """Whether sbatch would take a job with the resources of `kind`."""
    name = f"{kind} sbatch"
    place = Place(Path("/dev"), Path("/dev"), cluster.python or sys.executable)  # nothing will run
    answer = slurm("sbatch", "--test-only", text=sbatch_text(cluster, kind, place, name="doctor", program=["-V"]))
    if answer.code == 0:
        return Check(name, "ok", _start(f"{answer.err} {answer.out}"))
    keys = limits.explain_refusal(f"{answer.err} {answer.out}")
    seen = f"sbatch says: {answer.reason}"
    if keys is None:
        return Check(name, "failed", seen, "Ask the site's support what this means, or try again later.")
    problem = loaded.problem(Finding(limits.place_of(cluster, kind, keys), seen))
    look = {"partition": "sinfo", "account": _ASSOCIATIONS, "qos": _ASSOCIATIONS, "reservation": "scontrol show res"}
    remedy = f"Change {' or '.join(keys.split(', '))}" + (f"; {look[keys]} lists yours." if keys in look else ".")
    return Check(name, "failed", seen, remedy, problem.where)


def _start(text: str) -> str:
    """sbatch's estimate in fewer words."""
    found = re.search(r"to start at (\S+) using \d+ processors on (?:nodes )?(\S+)(?: in partition (\S+))?", text)
    if found is None:
        return "sbatch would take it"
    partition = f" of partition {found[3]}" if found[3] else ""
    start = datetime.fromisoformat(found[1])
    when = "at once" if start < datetime.now() + timedelta(minutes=1) else f"about {start:%Y-%m-%d %H:%M}"
    return f"sbatch would take it, to start {when} on {found[2]}{partition}"


def _queue(cluster: SlurmCluster, slurm: Slurm, offered: limits.Limits) -> Check:
    """How much may be queued at once."""
    size = min(cluster.max_array_size or offered.max_array_size, offered.max_array_size)
    arrays = f"arrays of up to {size:,} jobs"
    room = limits.submit_room(slurm, cluster)
    if room is None:
        return Check("queue", "ok", f"{arrays}; no limit of queued jobs known")
    if not room:
        return Check("queue", "failed", "you have as many jobs in the queue as you may", "Wait until some have ended.")
    return Check("queue", "ok", f"{arrays}; {room:,} more jobs may be queued")
