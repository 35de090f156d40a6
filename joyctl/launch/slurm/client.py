"""Calls Slurm's commands: the only seam to the cluster, and what tests put a callable fake into."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from joyctl.errors import Missing

_SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """What a command of Slurm said."""

    code: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """Its complaint in one line, without the command's own prefix."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return "; ".join(line.partition("error: ")[2] or line for line in lines) or f"exit code {self.code}"


class Slurm(Protocol):
    """Something that runs a command of Slurm, such as `("squeue", "-h")`, and gives its answer."""

    def __call__(self, *command: str, text: str | None = None, keep: Sequence[int] = ()) -> Answer:
        """Run it; `text` is its standard input, `keep` are file descriptors that it inherits."""
        ...


class SlurmFailed(Missing):
    """A command of Slurm failed for a reason that is not ours."""


class NoAnswer(SlurmFailed):
    """Slurm's controller or its accounting does not answer."""


def call(*command: str, text: str | None = None, keep: Sequence[int] = ()) -> Answer:
    """Run a command of Slurm on this machine.

    Raises Missing when it is not installed, NoAnswer when the service behind it does not answer.
    """
    if shutil.which(command[0]) is None:
        raise Missing(f"{command[0]} is not on this machine", hint="Run joyctl on a login node of the cluster.")
    try:
        done = subprocess.run(
            command, input=text, env=scrubbed(os.environ), capture_output=True, text=True, timeout=_SECONDS,
            pass_fds=keep, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise NoAnswer(
            f"{command[0]} gave no answer in {_SECONDS:.0f} s", hint="Is Slurm up? Try again later."
        ) from error
    answer = Answer(done.returncode, done.stdout, done.stderr)
    if answer.code and any(word in answer.err for word in _DOWN):
        raise NoAnswer(
            f"{command[0]}: {answer.reason}", hint="Nothing is lost; the same command works when it is back."
        )
    return answer


_DOWN = (
    "Unable to contact slurm controller",
    "Could not establish a configuration source",
    "Unable to process configuration file",
    "Connection refused",
    "Problem talking to the database",
    "Socket timed out",
    "Connection timed out",
    "slurm_persist_conn_open",
    "Zero Bytes were transmitted",
)


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what an enclosing allocation left in it: sbatch would take it for options."""
    dropped = ("SLURM_", "SBATCH_", "SRUN_", "SLURMD_", "SQUEUE_", "SACCT_", "SCANCEL_", "SUBMITIT_")
    return {name: value for name, value in environment.items() if not name.startswith(dropped) or name in _KEPT}


# How to reach the cluster, not what a job has.
_KEPT = frozenset({"SLURM_CONF", "SLURM_CLUSTERS"})
