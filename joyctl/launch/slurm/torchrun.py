"""torchrun's command line, and torchrun itself with one thing added: it writes down how each process died.

torchrun tells only its log which rank ended first and by which signal; `python -m joyctl.launch.slurm.torchrun FILE
ARGUMENT...` runs it with these arguments and leaves [{rank, code, time}] in FILE when a process failed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from joyctl.store.files import write_json

# Below the range from which Linux takes ports by itself.
_FIRST_PORT, _PORTS = 16_000, 16_000


@dataclass(frozen=True)
class Meeting:
    """Where and under which name the processes of a training find each other."""

    address: str
    """Of the first node; rank 0 is there."""
    port: int
    name: str
    """`<job>-<restart>`: processes of an earlier start of this job are strangers."""


def port_of(job: int, restart: int) -> int:
    """A port that all nodes of a job know without asking, another one for every job and start of it nearby."""
    return _FIRST_PORT + (job * 8 + restart) % _PORTS


def arguments(
    meeting: Meeting, *, nodes: int, index: int, processes: int, shutdown_seconds: int, program: Sequence[str]
) -> list[str]:
    """Arguments of torchrun that start `processes` times `python -m <program>` on node `index` of `nodes`.

    The static way of meeting gives ranks in the order of the nodes; the dynamic one (c10d) sorts nodes by name, and
    rank 0, which writes the results, could be anywhere. Nothing is restarted in place: Slurm starts the job again.
    """
    return [
        f"--nnodes={nodes}",
        f"--node-rank={index}",
        f"--nproc-per-node={processes}",
        f"--master-addr={meeting.address}",
        f"--master-port={meeting.port}",
        f"--rdzv-id={meeting.name}",
        "--max-restarts=0",
        f"--shutdown-timeout={shutdown_seconds}",
        "-m",
        *program,
    ]


def main(given: Sequence[str]) -> int:
    """Run torchrun; gives the exit code."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    try:
        run(parse_args(list(given[1:])))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        deaths = [{"rank": rank, "code": f.exitcode, "time": f.timestamp} for rank, f in error.failures.items()]
        write_json(Path(given[0]), deaths)
        return 1
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
