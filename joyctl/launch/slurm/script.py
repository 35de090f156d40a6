"""The text of sbatch scripts: pure functions of the cluster file and what is to run.

submitit writes the body, so its spelling of Slurm's options is what its many users run.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from submitit.slurm.slurm import _make_sbatch_string  # the pure function behind its executor

from joyctl.launch.slurm.ledger import JobKind
from joyctl.recipe.cluster import Container, Resources, SlurmCluster

# joyctl's program on the node.
NODE = "joyctl.launch.slurm.node"
# srun waits that long for the other nodes of a job when one has ended, beyond what stopping takes.
_WAIT_SECONDS = 120


@dataclass(frozen=True)
class Place:
    """Where a campaign's job files lie and what runs its jobs."""

    log: Path
    """Folder of Slurm's output files."""
    code: Path
    """Folder of the code snapshot, which holds the package joyctl."""
    python: str
    """The interpreter."""


def sbatch_text(
    cluster: SlurmCluster,
    kind: JobKind,
    place: Place,
    *,
    name: str,
    program: Sequence[str],
    indices: Iterable[int] | None = None,
    dependency: str | None = None,
    exclude: Sequence[str] = (),
) -> str:
    """An sbatch script that runs Python with the arguments `program` and the resources of `kind`.

    `indices` makes it an array; `dependency` is Slurm's own text (`afterok:202_3`).
    """
    need = cluster.stages.of(kind)
    array = sorted(indices) if indices is not None else None
    further: dict[str, str | int | bool] = {
        "requeue" if cluster.requeue else "no-requeue": True,
        **({"reservation": cluster.reservation} if cluster.reservation else {}),
        **({"kill-on-invalid-dep": "yes"} if cluster.kill_on_invalid_dep and dependency else {}),
        **({"array": _array(array, cluster.array_parallelism)} if array is not None else {}),
        **cluster.additional_parameters,
    }
    command = [*_container(cluster.container), place.python, *program]
    text: str = _make_sbatch_string(
        command=shlex.join(command),
        folder=place.log,
        job_name=name,
        partition=need.partition or cluster.partition,
        time=need.minutes,
        nodes=need.nodes,
        ntasks_per_node=1,
        cpus_per_task=need.cpus_per_task,
        gpus_per_node=need.gpus_per_node or None,
        gres=need.gres,
        mem=need.mem,
        mem_per_cpu=need.mem_per_cpu,
        mem_per_gpu=need.mem_per_gpu,
        qos=need.qos or cluster.qos,
        constraint=need.constraint or cluster.constraint,
        account=cluster.account,
        wckey=cluster.wckey,  # None leaves it out
        nodelist=cluster.nodelist,
        exclude=",".join([*([cluster.exclude] if cluster.exclude else []), *exclude]) or None,
        exclusive=True if cluster.exclusive and kind == "train" else None,
        dependency=dependency,
        signal_delay_s=cluster.signal_grace_s,
        setup=[*cluster.setup, *_exports(cluster, place)],
        srun_args=_srun(cluster, need),
        stderr_to_stdout=True,
        map_count=None if array is None else len(array),
        additional_parameters=further,
    )
    return text


def by_hand_text(cluster: SlurmCluster, place: Place, folder: Path, stages: Sequence[str], name: str) -> str:
    """An sbatch script that does all stages of one folder, with the resources of training, if its folder trains."""
    kind: JobKind = "train" if "train" in stages else "eval"
    program = node_program(cluster, kind, ["--folder", str(folder), *stages])
    text = sbatch_text(cluster, kind, place, name=name, program=program)
    shebang, _, rest = text.partition("\n")
    about = f"# Does {', '.join(stages)} of {folder.name} again or for the first time: sbatch submit.sh"
    return f"{shebang}\n{about}\n# What it branches from must be trained; what is done already is left as it is.{rest}"


def _array(indices: Sequence[int], at_once: int | None) -> str:
    """Slurm's spelling of array indices: `0-3,7%2`."""
    ranges: list[list[int]] = []
    for index in indices:
        if ranges and index == ranges[-1][1] + 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    text = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)
    return text if at_once is None else f"{text}%{at_once}"


def _exports(cluster: SlurmCluster, place: Place) -> list[str]:
    return [
        *(f"export {name}={shlex.quote(value)}" for name, value in cluster.env.items()),
        # The snapshot, and never a joyctl that lies in the folder the job was submitted from.
        f"export PYTHONPATH={shlex.quote(str(place.code))}${{PYTHONPATH:+:$PYTHONPATH}} PYTHONSAFEPATH=1",
    ]


def _srun(cluster: SlurmCluster, need: Resources) -> list[str]:
    # Since Slurm 22.05 srun does not take over what sbatch was told of cores. When one node's process fails, the
    # others must live on to write down why.
    given = [f"--cpus-per-task={need.cpus_per_task}"] if need.cpus_per_task else []
    given += ["--open-mode=append", "--kill-on-bad-exit=0", f"--wait={cluster.shutdown_timeout_s + _WAIT_SECONDS}"]
    container = cluster.container
    if container is not None and container.runtime == "pyxis":
        given.append(f"--container-image={container.image}")
        given += [f"--container-mounts={','.join(container.mounts)}"] if container.mounts else []
        given += [f"--container-workdir={container.workdir}"] if container.workdir else []
    return [*given, *cluster.srun_args]


def _container(container: Container | None) -> list[str]:
    if container is None or container.runtime != "apptainer":
        return []
    binds = [word for mount in container.mounts for word in ("--bind", mount)]
    workdir = ["--pwd", container.workdir] if container.workdir else []
    return ["apptainer", "exec", "--nv", *binds, *workdir, container.image]


def node_program(cluster: SlurmCluster, kind: JobKind, arguments: Sequence[str]) -> list[str]:
    """Python's arguments that run joyctl's node program, with what it must know of the cluster file."""
    need = cluster.stages.of(kind)
    options = [
        "-m",
        NODE,
        *arguments,
        f"--processes-per-node={need.processes // need.nodes}",
        f"--max-requeues={cluster.max_requeues}",
        f"--shutdown-timeout={cluster.shutdown_timeout_s}",
        f"--signal-grace={cluster.signal_grace_s}",
    ]
    options += [] if cluster.requeue else ["--no-requeue"]
    for key in ("price_per_gpu_hour", "price_per_core_hour", "currency"):
        value = getattr(cluster, key)
        options += [] if value is None else [f"--{key.replace('_', '-')}={value}"]
    scaling = cluster.scaling.argument() if kind == "train" else None
    options += [] if scaling is None else [f"--scaling={scaling}"]
    return options + ([f"--rdzv-ifname={cluster.rdzv_ifname}"] if cluster.rdzv_ifname else [])
