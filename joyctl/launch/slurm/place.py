"""Where a supervisor works: which job, started how often, on which nodes, and where its processes meet."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass

from joyctl.launch.slurm import torchrun


@dataclass(frozen=True)
class Place:
    """One node of one start of one job."""

    job: str | None
    """`202_3`; None outside Slurm."""
    number: int
    """Slurm's number of this very job, its own for every element of an array."""
    restart: int
    """How often Slurm has started it before."""
    nodes: tuple[str, ...]
    index: int
    """Which of them this is; rank 0 is on the first."""
    cores: int | None = None
    """Processor cores that the job holds, over all its nodes; None where Slurm does not say."""
    gpus: int = 0
    """GPUs that it holds, over all its nodes."""

    @classmethod
    def find(cls) -> Place:
        """From Slurm's variables; outside Slurm this machine is the only node."""
        if "SLURM_JOB_ID" not in os.environ:
            return cls(None, 0, 0, (socket.gethostname(),), 0)
        from submitit.slurm.slurm import SlurmJobEnvironment

        slurm = SlurmJobEnvironment()
        restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        nodes = tuple(slurm.hostnames)
        gpus = os.environ.get("SLURM_GPUS_ON_NODE", "")
        held = int(gpus) * len(nodes) if gpus.isdigit() else 0  # every node of a job has as many
        return cls(slurm.job_id, int(slurm.raw_job_id), restart, nodes, slurm.node, _cores(), held)

    @property
    def node(self) -> str:
        """Name of this node."""
        return self.nodes[self.index]

    @property
    def is_first(self) -> bool:
        """Whether this is the node that decides."""
        return self.index == 0

    @property
    def others(self) -> list[int]:
        """Indices of the other nodes."""
        return [index for index in range(len(self.nodes)) if index != self.index]

    def meeting(self) -> torchrun.Meeting:
        """Where the processes of a training meet: a free port here, or one that all nodes can work out."""
        name = f"{self.job}-{self.restart}"
        if len(self.nodes) == 1:
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                return torchrun.Meeting("127.0.0.1", s.getsockname()[1], name)
        address = self.nodes[0]
        try:
            socket.getaddrinfo(address, None)
        except OSError:  # a node's name in Slurm need not be a host's; srun was started on the first node
            address = os.environ.get("SLURM_LAUNCH_NODE_IPADDR", address)
        return torchrun.Meeting(address, torchrun.port_of(self.number, self.restart), name)


def _cores() -> int | None:
    """Cores of all nodes, which Slurm gives as `72(x2),36`."""
    text = os.environ.get("SLURM_JOB_CPUS_PER_NODE", "")
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?(?:,|$)", text)
    return sum(int(cores) * int(nodes or 1) for cores, nodes in parts) or None
