"""What a cluster offers, and what a cluster file asks beyond it, found before anything is submitted.

Slurm takes some jobs that it can never start (a time above the partition's, on some sites more nodes than there are),
and they wait for ever. Here they are refused, each at its line of the cluster file.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from joyctl.errors import Missing, RecipeError
from joyctl.launch.slurm.client import Slurm, SlurmFailed
from joyctl.launch.slurm.fit import Nodes, Partition, misfit, parse_gres
from joyctl.launch.slurm.ledger import JobKind
from joyctl.recipe.cluster import Resources, SlurmCluster
from joyctl.recipe.load import load_cluster_file
from joyctl.recipe.rules import Finding, Loc, did_you_mean
from joyctl.recipe.validate import place

KINDS: tuple[JobKind, ...] = ("train", "eval", "score")
"""Of a campaign's jobs."""


@dataclass(frozen=True)
class Limits:
    """What a cluster offers to its user."""

    partitions: dict[str, Partition]
    max_array_size: int
    """The least array index that is refused."""
    kill_wait_s: int
    """Seconds between Slurm's SIGTERM and its SIGKILL."""
    version: str
    name: str = ""
    """Slurm's name of the cluster."""


def read_limits(slurm: Slurm) -> Limits:
    """Ask sinfo and scontrol, once each.

    Raises NoAnswer when the controller is down, Missing where there is no Slurm.
    """
    sinfo = slurm("sinfo", "-h", "-o", "%P|%a|%l|%D|%G|%f|%m|%c")
    config = slurm("scontrol", "show", "config")
    for name, answer in (("sinfo", sinfo), ("scontrol show config", config)):
        if answer.code:
            raise SlurmFailed(f"{name}: {answer.reason}")
    settings = dict(re.findall(r"^(\w+)\s*= (.*?)\s*$", config.out, re.MULTILINE))
    return Limits(
        partitions=parse_sinfo(sinfo.out),
        max_array_size=_number(settings.get("MaxArraySize", "1001")),
        kill_wait_s=_number(settings.get("KillWait", "30 sec")),
        version=settings.get("SLURM_VERSION", "unknown"),
        name=settings.get("ClusterName", ""),
    )


def parse_sinfo(text: str) -> dict[str, Partition]:
    """The partitions by name; a line of sinfo is a group of equal nodes of one of them."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        cells = line.strip().split("|")
        if len(cells) != 8:  # a heading, where several clusters answer
            continue
        name, state, limit, count, gres, features, memory, cpus = cells
        default, name = name.endswith("*"), name.removesuffix("*")
        nodes = Nodes(
            _number(count),
            parse_gres("" if gres == "(null)" else gres),
            frozenset() if features == "(null)" else frozenset(features.split(",")),
            _number(memory),
            _number(cpus),
        )
        before = found[name].nodes if name in found else ()
        found[name] = Partition(name, state, default, _limit_minutes(limit), (*before, nodes))
    return found


def _number(text: str) -> int:
    """The number a cell begins with; `64+` stands for nodes of 64 or more."""
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0


def _limit_minutes(limit: str) -> int | None:
    """A time limit as sinfo prints it (`10:00` is minutes and seconds); None for no limit."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)
    if found is None:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in found.groups())
    return (days * 24 + hours) * 60 + minutes


def check(cluster: SlurmCluster, limits: Limits) -> list[Finding]:
    """Everything that a cluster file asks and the cluster does not have."""
    kinds: tuple[JobKind, ...] = KINDS if cluster.stages.data is None else (*KINDS, "data")
    found = [finding for kind in kinds for finding in _check_stage(cluster, kind, limits)]
    most = limits.max_array_size
    if cluster.max_array_size is not None and cluster.max_array_size > most:
        found.append(Finding(("max_array_size",), f"{cluster.max_array_size} is above Slurm's MaxArraySize, {most}"))
    return list({(f.loc, f.message): f for f in found}.values())  # stages share the file's partition


def require(name_or_path: str, cluster: SlurmCluster, limits: Limits) -> None:
    """Raise RecipeError, each problem at its line of the cluster file, when `check` finds any."""
    findings = check(cluster, limits)
    if findings:
        problem = load_cluster_file(name_or_path).problem
        hint = "That is what sinfo shows now. Slurm may take such jobs, and would never start them."
        raise RecipeError(sorted(map(problem, findings), key=place), hint=hint)


def _check_stage(cluster: SlurmCluster, kind: JobKind, limits: Limits) -> Iterator[Finding]:
    need = _stage(cluster, kind)
    at = partial(place_of, cluster, kind)
    named = need.partition or cluster.partition
    if named is None:
        names = [p.name for p in limits.partitions.values() if p.default]
        if not names:
            message = f"missing, and this cluster has no default; there are {', '.join(sorted(limits.partitions))}"
            yield Finding(at("partition"), message)
    else:
        names = named.split(",")
    known = [limits.partitions[name] for name in names if name in limits.partitions]
    for name in names:
        if name not in limits.partitions:
            there = f"you can use {', '.join(sorted(limits.partitions))}"
            message = f"there is no partition '{name}' for you; {there}{did_you_mean(name, limits.partitions)}"
            yield Finding(at("partition"), message)
    # Of several partitions Slurm takes the first that can start the job, so one that fits will do.
    misfits = [misfit(need, need.constraint or cluster.constraint, partition) for partition in known]
    if misfits and all(misfits):
        key, message = next(filter(None, misfits))
        yield Finding(at(key), message, () if key == "partition" else (at("partition"),))


def submit_limit(slurm: Slurm, user: str, cluster: SlurmCluster) -> int | None:
    """Most jobs that accounting lets a user have in the queue; None for no limit, or where nobody can tell.

    As in Slurm, a limit of the QOS goes before that of the association.
    """
    try:
        associations = slurm(
            "sacctmgr", "-nP", "show", "user", user, "withassoc",
            "format=DefaultAccount,Account,Partition,MaxSubmitJobs,DefaultQOS",
        )  # fmt: skip
        qos = slurm("sacctmgr", "-nP", "show", "qos", "format=Name,MaxSubmitJobsPerUser,GrpSubmitJobs")
    except Missing:  # without accounting there are no such limits; while it is down, sbatch knows them
        return None
    if associations.code or qos.code:
        return None
    rows = [row for line in associations.out.splitlines() if len(row := line.split("|")) == 5]
    paying = {cluster.account} if cluster.account else {row[0] for row in rows if row[0]} or {row[1] for row in rows}
    by_qos = {
        row[0]: min((int(cell) for cell in row[1:] if cell.isdigit()), default=None)
        for row in (line.split("|") for line in qos.out.splitlines())
    }
    found: list[int] = []
    for kind in KINDS:
        need = _stage(cluster, kind)
        for account in paying:
            mine = [row for row in rows if row[1] == account]
            partitions = (need.partition or cluster.partition or "").split(",")
            mine = [row for row in mine if row[2] and row[2] in partitions] or [row for row in mine if not row[2]]
            for _, _, _, most, default in mine:
                limit = by_qos.get(need.qos or cluster.qos or default or "normal")
                found += [limit] if limit is not None else [int(most)] if most.isdigit() else []
    return min(found, default=None)


def submit_room(slurm: Slurm, cluster: SlurmCluster) -> int | None:
    """How many more jobs this user may put into the queue; None for no limit.

    Raises NoAnswer when the controller is down.
    """
    user = pwd.getpwuid(os.geteuid()).pw_name
    most = cluster.max_submit if cluster.max_submit is not None else submit_limit(slurm, user, cluster)
    if most is None:
        return None
    queued = slurm("squeue", "-h", "-r", "-u", user, "-o", "%i")
    if queued.code:
        raise SlurmFailed(f"squeue: {queued.reason}")
    return max(0, most - len(queued.out.split()))


_REFUSALS = (
    (r"invalid partition|partition configuration", "partition"),
    (r"invalid account", "account"),
    (r"invalid qos", "qos"),
    (r"wckey", "wckey"),
    (r"reservation", "reservation"),
    (r"invalid feature", "constraint"),
    (r"node name specified", "nodelist, exclude"),
    (r"generic resource|request any gpu", "gres, gpus_per_node, mem_per_gpu"),
    (r"memory required|--mem", "mem"),
    (r"cpu count|more processors", "cpus_per_task"),
    (r"time limit", "time"),
    (r"node count", "nodes"),
    (r"requested node configuration", "nodes, gpus_per_node, cpus_per_task, mem"),
    (r"unrecognized option", "additional_parameters"),
    (r"array specification", "max_array_size"),
)


def place_of(cluster: SlurmCluster, kind: JobKind, keys: str) -> Loc:
    """Where the value stands that counts for a stage; for several keys (`nodes, mem`) the stage itself."""
    if ", " in keys:
        return ("nodelist",) if keys.startswith("nodelist") else ("stages", kind)
    if keys in Resources.model_fields and (
        keys not in SlurmCluster.model_fields or getattr(_stage(cluster, kind), keys)
    ):
        return ("stages", kind, keys)
    return (keys,)


def _stage(cluster: SlurmCluster, kind: JobKind) -> Resources:
    return cluster.stages.of(kind)


def explain_refusal(text: str) -> str | None:
    """The key of the cluster file that sbatch's refusal is about, or several; None for another reason."""
    return next((key for pattern, key in _REFUSALS if re.search(pattern, text, re.IGNORECASE)), None)
