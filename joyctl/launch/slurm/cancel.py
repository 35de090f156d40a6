"""Takes jobs of a campaign back: from the ledger first, then from Slurm, all by one scancel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from joyctl.launch.slurm.client import NoAnswer, Slurm, SlurmFailed, call
from joyctl.launch.slurm.ledger import Ledger
from joyctl.launch.slurm.submit import submit_lock
from joyctl.launch.slurm.watch import Place, look


@dataclass(frozen=True)
class Cancelled:
    """What was taken back."""

    jobs: dict[str, Place]
    """By job, `202_3`."""

    @property
    def folders(self) -> list[str]:
        """Folders whose work will not be done, each once."""
        return list(dict.fromkeys(array.manifest.elements[index].folder for array, index in self.jobs.values()))


def cancel(campaign: Path, folder: str | None, slurm: Slurm = call) -> Cancelled:
    """Cancel all jobs of a campaign, or those of one folder and whatever waits for them; ended ones are left alone.

    The ledger says so before Slurm is told: killed in between, the next call finds them in the queue and goes on.
    Raises NoAnswer when the controller is down: nothing was cancelled then.
    """
    ledger = Ledger(campaign)
    with submit_lock(ledger):
        seen = look(campaign, slurm)
        if not seen.queue_known:
            raise NoAnswer("; ".join(seen.notes), hint="Nothing was cancelled. Try again when Slurm is back.")
        jobs = seen.live if folder is None else _with_dependants(seen.live, folder)
        by_array: dict[str, list[int]] = {}
        for array, index in jobs.values():
            by_array.setdefault(array.manifest.name, []).append(index)
        for name, indices in by_array.items():
            ledger.record("cancelled", name=name, indices=sorted(indices))
        if jobs:
            answer = slurm("scancel", *_in_few_words(jobs, seen.live))
            if answer.code:
                raise SlurmFailed(f"scancel: {answer.reason}", hint="joyctl cancel again tries again what is left.")
    return Cancelled(jobs)


def _in_few_words(jobs: Mapping[str, Place], live: Mapping[str, Place]) -> list[str]:
    """Ids for scancel: an array's own where all that is left of it goes, since each id costs a round trip."""
    left = Counter(array.manifest.name for array, _ in live.values())
    going = Counter(array.manifest.name for array, _ in jobs.values())
    return list(
        dict.fromkeys(
            str(array.job) if going[array.manifest.name] == left[array.manifest.name] else job
            for job, (array, _) in jobs.items()
        )
    )


def _with_dependants(live: Mapping[str, Place], folder: str) -> dict[str, Place]:
    """Jobs of a folder, then all that wait for one of them, however indirectly."""
    chosen = {job: place for job, place in live.items() if _folder(place) == folder}
    while True:
        names = {(array.manifest.name, index) for array, index in chosen.values()}
        more = {job: place for job, place in live.items() if job not in chosen and _waits_for(place) in names}
        if not more:
            return chosen
        chosen |= more


def _folder(place: Place) -> str:
    array, index = place
    return array.manifest.elements[index].folder


def _waits_for(place: Place) -> tuple[str, int] | None:
    """(array name, index) of what a job depends on."""
    array, index = place
    how, _, on = (array.manifest.dependency or "").partition(":")
    if how == "aftercorr":
        return on, index
    name, _, number = on.rpartition("_")
    return (name, int(number)) if how == "afterok" else None
