"""What a test cluster needs, what may differ between two of them, and their configuration files."""

from __future__ import annotations

import os
import random
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Literal

PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # an ordinary user's has no daemons
NEEDED = {
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "sbatch": "slurm-wlm",
    "sacctmgr": "slurm-wlm",
    "munged": "munge",
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
}


def missing() -> str | None:
    """What is not installed here and how to install it; None when nothing is missing."""
    lacking = [name for name in NEEDED if shutil.which(name, path=PATH) is None]
    if not lacking:
        return None
    return (
        f"needs slurm: not installed: {', '.join(lacking)}; apt-get install {' '.join(dict.fromkeys(NEEDED.values()))}"
    )


@dataclass(frozen=True)
class Options:
    """What may differ between clusters."""

    port: int | None = None
    """The first of two ports and one for each node; None: any that are free."""
    nodes: int = 4
    max_array_size: int = 1001
    grace: int = 0
    """Seconds that a preempted job of partition spot gets to save its state."""
    proctrack: Literal["auto", "cgroup", "linuxproc"] = "auto"
    """`cgroup`: the kernel kills a job that outgrows its memory and Slurm calls it OUT_OF_MEMORY; needs cgroup v1 and
    root. `linuxproc`: Slurm looks at its memory once a second and kills it."""
    kill_wait: int = 3
    """Seconds between SIGTERM and SIGKILL."""
    min_job_age: int = 300
    """Seconds for which squeue still knows a job that has ended."""


def write(folder: Path, options: Options, user: str) -> None:
    """Make the folders and files that the daemons expect."""
    for name in ("etc", "state", "spool", "log", "pid", "munge", "mysql", "dev"):
        (folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    for number in range(8):
        device = folder / f"dev/nvidia{number}"
        device.unlink(missing_ok=True)
        device.symlink_to("/dev/null")
    key = folder / "munge/key"
    if not key.exists():
        key.touch(0o600)
        key.write_bytes(random.randbytes(128))
    values = _values(folder, options, user)
    for template in Path(__file__).parent.glob("*.conf"):
        target = folder / "etc" / template.name
        target.touch()
        target.chmod(0o600 if target.name == "slurmdbd.conf" else 0o644)  # slurmdbd insists
        target.write_text(Template(template.read_text()).substitute(values))
    (folder / "etc/database.sql").write_text(
        "create database if not exists slurm_acct_db;\n"
        "create user if not exists slurm@localhost identified by 'x';\n"
        "grant all on slurm_acct_db.* to slurm@localhost;\n"
    )


def _values(folder: Path, options: Options, user: str) -> dict[str, object]:
    """What the templates beside this file have blanks for."""
    port = options.port or _free_ports(2 + options.nodes)
    cgroup = options.proctrack == "cgroup" or (options.proctrack == "auto" and _cgroups())
    return {
        "folder": folder,
        "host": socket.gethostname().partition(".")[0],
        "user": user,
        "port": port,
        "port_dbd": port + 1,
        "ports": f"[{port + 2}-{port + 1 + options.nodes}]",
        "nodes": f"n[1-{options.nodes}]",
        "max_array_size": options.max_array_size,
        "grace": options.grace,
        "kill_wait": options.kill_wait,
        "min_job_age": options.min_job_age,
        "proctrack": "cgroup" if cgroup else "linuxproc",
        "task": "task/cgroup" if cgroup else "task/none",
        "gather": "NoOverMemoryKill" if cgroup else "OverMemoryKill",
        "cgroup": "cgroup/v1" if cgroup else "autodetect",
        "constrain": "yes" if cgroup else "no",
    }


def _free_ports(count: int) -> int:
    """The first of `count` free ports in a row, below those that connections get by themselves."""
    for _ in range(100):
        first = random.randrange(17_008, 32_000, 16)
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise RuntimeError("no free ports between 17008 and 32000")


def _cgroups() -> bool:
    """Whether Slurm can track jobs by cgroup v1 here: it looks for release_agent, which only the real root has."""
    probe = f"joyctl-probe-{os.getpid()}"
    for controller in ("freezer", "memory"):
        at = Path("/sys/fs/cgroup") / controller
        try:
            (at / "release_agent").read_bytes()
            (at / probe).mkdir()
            (at / probe).rmdir()
        except OSError:
            return False
    return True
