"""Finds what a run said: the traceback of the rank that failed first, its logs, Slurm's own output."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joyctl.launch.slurm.ledger import Ledger
from joyctl.report.facts import Facts
from joyctl.store.attempts import errors

if TYPE_CHECKING:
    from joyctl.campaign.spec import Stage

_END = 16_384  # bytes


@dataclass(frozen=True)
class Said:
    """One thing that a run left behind."""

    title: str
    path: Path
    text: str
    """All of it, or its end."""


def outputs(ledger: Ledger) -> dict[str, list[Path]]:
    """Slurm's own output by job, `202_3`, the last written last."""
    found: dict[str, list[tuple[float, Path]]] = {}
    try:
        with os.scandir(ledger.folder / "log") as entries:
            for entry in entries:
                parts = entry.name.split("_")
                if len(parts) > 2 and entry.name.endswith(".out"):
                    found.setdefault("_".join(parts[:2]), []).append((entry.stat().st_mtime, Path(entry.path)))
    except FileNotFoundError:
        pass
    return {job: [path for _, path in sorted(paths)] for job, paths in found.items()}


def tail(path: Path, size: int = 4_096) -> str:
    """The end of a text file, in whole lines; empty when there is none."""
    try:
        with path.open("rb") as f:
            start = max(0, f.seek(0, os.SEEK_END) - size)
            f.seek(start)
            text = f.read().decode(errors="replace")
    except OSError:
        return ""
    return text.partition("\n")[2] if start else text


def logs(campaign: Path, facts: Facts, stage: Stage | None = None) -> list[Path]:
    """The logs of a stage (of the one last written to when none is given), the last written last."""
    folder = campaign / facts.folder / "log"
    stages = [stage] if stage is not None else list(facts.stages)
    found = sorted((p for s in stages for p in folder.glob(f"{s}*.log")), key=lambda p: p.stat().st_mtime)
    if stage is None and found:
        newest = found[-1].name.removesuffix(".log").partition("-")[0]
        found = [p for p in found if p.name.removesuffix(".log").partition("-")[0] == newest]
    return found


def failure(campaign: Path, facts: Facts, stage: Stage, job: str | None) -> list[Said]:
    """What tells why a stage's last attempt ended, the likeliest cause first; empty when nothing does.

    Of several processes that failed the first is the cause, the others fail because of it. What was killed without a
    word may have left one in its log, or Slurm in the output of `job`.
    """
    attempts = facts.of(stage)
    folder = campaign / facts.folder
    if attempts and (broke := errors(folder, dict(attempts[-1]))):
        first = broke[0]
        path = folder / "log" / f"error-{stage}-{first['rank']}.json"
        others = f", the first of {len(broke)} that failed" if len(broke) > 1 else ""
        return [Said(f"{_whence(first)}{others}", path, str(first["traceback"]).rstrip())]
    found = [Said("the end of its log", path, tail(path, _END).rstrip()) for path in logs(campaign, facts, stage)[-1:]]
    if job is None and attempts:
        job = attempts[-1].get("job")
    written = outputs(Ledger(campaign)).get(job or "", [])
    found += [Said("the end of Slurm's output", path, tail(path, _END).rstrip()) for path in written[-1:]]
    return [said for said in found if said.text]


def _whence(error: Mapping[str, Any]) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(error["time"]))
    job = f", job {error['job']}" if error.get("job") else ""
    return f"rank {error['rank']} on {error['host']}{job}, {at}"
