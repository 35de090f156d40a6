"""The program of a job's task on a node: `python -m joyctl.launch.slurm.node`, once on each node of the job.

    --manifest <campaign>/slurm/arrays/<name>.json     the element that SLURM_ARRAY_TASK_ID says
    --folder <folder> STAGE [STAGE ...]                by hand

Slurm's signals reach this process alone, from its first moment on; so it listens before it imports anything.
"""

from __future__ import annotations

import signal
import sys
import time


def main() -> int:
    """Supervise this node's part of the job; gives the exit code."""
    received: list[tuple[int, float]] = []
    for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: received.append((number, time.time())))
    from joyctl.errors import JoyctlError
    from joyctl.launch.slurm.supervisor import supervise

    try:
        return supervise(sys.argv[1:], received)
    except JoyctlError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
