"""A Slurm in memory: takes sbatch, squeue, scancel and scontrol release, and remembers what was asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from joyctl.launch.slurm.client import Answer


@dataclass
class FakeArray:
    name: str
    indices: list[int]
    held: bool
    dependency: str | None
    exclude: str | None


@dataclass
class FakeSlurm:
    """Jobs stay pending for ever; `refuse` maps a text in a script to sbatch's complaint."""

    arrays: dict[str, FakeArray] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    max_jobs: int = 10**9
    next_id: int = 100

    def __call__(self, *command: str, text: str | None = None, keep: Sequence[int] = ()) -> Answer:
        self.calls.append(command)
        answer: Answer = getattr(self, f"_{command[0]}")(*command[1:])
        return answer

    def jobs(self) -> list[tuple[str, int]]:
        """(array name, index) of all jobs."""
        return [(a.name, index) for a in self.arrays.values() for index in a.indices]

    def _sbatch(self, *options: str) -> Answer:
        script = Path(options[-1]).read_text(encoding="utf-8")
        for word, complaint in self.refuse.items():
            if word in script:
                return Answer(1, "", f"sbatch: error: {complaint}\n")
        indices = _indices(_option(script, "array") or "0")
        if len(self.jobs()) + len(indices) > self.max_jobs:
            complaint = "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, ...)"
            return Answer(1, "", f"sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: {complaint}\n")
        name = _option(script, "job-name") or ""
        job, self.next_id = str(self.next_id), self.next_id + 1
        self.arrays[job] = FakeArray(
            name, indices, "--hold" in options, _option(script, "dependency"), _option(script, "exclude")
        )
        return Answer(0, f"{job}\n", "")

    def _squeue(self, *options: str) -> Answer:
        names = options[options.index("--name") + 1].split(",")
        rows = [
            f"{job}|{index}|PENDING|{'JobHeldUser' if a.held else 'Priority'}|{a.name}"
            for job, a in self.arrays.items()
            for index in a.indices
            if a.name in names
        ]
        return Answer(0, "".join(f"{row}\n" for row in rows), "")

    def _scancel(self, *jobs: str) -> Answer:
        for job in jobs:
            array, _, index = job.partition("_")
            if not index:
                self.arrays.pop(array, None)
            elif array in self.arrays:
                self.arrays[array].indices.remove(int(index))
        return Answer(0, "", "")

    def _scontrol(self, *words: str) -> Answer:
        if words[0] == "release":
            for job in words[1].split(","):
                self.arrays[job].held = False
        return Answer(0, "", "")


def _option(script: str, name: str) -> str | None:
    found = re.search(rf"^#SBATCH --{name}=(.*)$", script, re.MULTILINE)
    return found[1].strip("'") if found else None


def _indices(text: str) -> list[int]:
    found: list[int] = []
    for part in text.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found
