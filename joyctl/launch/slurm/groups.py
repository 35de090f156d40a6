"""From jobs to arrays: jobs with equal needs share one, Slurm's dependencies carry the graph. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from joyctl.campaign.compare import Job
from joyctl.campaign.spec import Stage
from joyctl.launch.slurm.ledger import Element, JobKind, Manifest
from joyctl.store.fingerprint import fingerprint

Key = tuple[str, Stage]
"""(folder, stage)."""
Place = tuple[str, int]
"""(name of an array, index)."""


@dataclass(frozen=True)
class Want:
    """One job to be submitted."""

    element: Element
    kind: JobKind
    need: tuple[Key, int] | None
    """What must be done before: (folder, stage) and its part; None when it can start."""
    exclude: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[Key, int]:
        """What it does, and which part of it."""
        return self.element.key, self.element.part


def wants(
    jobs: Sequence[Job],
    live: Mapping[Key, Place],
    *,
    parts: Callable[[Job], int] = lambda job: 1,
    exclude: Callable[[Key], tuple[str, ...]] = lambda key: (),
) -> list[Want]:
    """What of `jobs` is to be submitted, everything after what it needs; what is live in the queue is not.

    Export and scoring of a run are one job. Training of `parts(job)` parts is a chain of jobs.
    """
    todo = {(job.folder, job.stage): job for job in jobs if (job.folder, job.stage) not in live}
    last: dict[Key, int] = {}
    found: list[Want] = []
    for job in todo.values():
        if job.stage == "export" and (job.folder, "eval") in todo:
            continue  # together with eval
        together: tuple[Stage, ...] = (job.stage,)
        needs = job.needs
        if job.stage == "eval" and (export := todo.get((job.folder, "export"))):
            together, needs = ("export", "eval"), export.needs
        kind: JobKind = "eval" if job.stage == "export" else job.stage
        need = (needs[0], last.get(needs[0], 1)) if needs else None
        count = parts(job) if job.stage == "train" else 1
        for part in range(1, count + 1):
            element = Element(job.folder, together, part, count)
            found.append(Want(element, kind, need, exclude((job.folder, job.stage))))
            need = (element.key, part)
        last[(job.folder, job.stage)] = count
    return found


def affordable(wanted: Sequence[Want], most: int | None) -> list[Want]:
    """At most `most` of `wanted`, chosen so that runs are finished one after the other rather than all begun."""
    if most is None or len(wanted) <= most:
        return list(wanted)
    by_key = {want.key: want for want in wanted}
    needed = {want.need for want in wanted}
    chosen: dict[tuple[Key, int], Want] = {}
    for end in (want for want in wanted if want.key not in needed):
        chain: list[Want] = []
        at: Want | None = end
        while at is not None and at.key not in chosen:
            chain.append(at)
            at = by_key.get(at.need) if at.need else None
        for want in reversed(chain[-(most - len(chosen)) :] if most > len(chosen) else []):
            chosen[want.key] = want
    return [want for want in wanted if want.key in chosen]


def arrays(
    wanted: Sequence[Want],
    live: Mapping[Key, Place],
    *,
    campaign: str,
    identity: Mapping[str, object],
    wave: int,
    code: str,
    max_size: int,
) -> list[Manifest]:
    """Group `wanted` into arrays, each after those it depends on.

    An array whose jobs each wait for another job of one array follows it index by index (`aftercorr`), so nobody
    waits for the slowest; jobs that wait for the same one share an array (`afterok`). `identity` is what makes a
    name unlike any other campaign's, `max_size` the least index that Slurm refuses.
    """
    places: dict[tuple[Key, int], Place] = {(key, 1): place for key, place in live.items()}
    depth: dict[tuple[Key, int], int] = {}
    levels: dict[tuple[int, JobKind, tuple[str, ...]], list[Want]] = defaultdict(list)
    for want in wanted:
        depth[want.key] = depth.get(want.need, -1) + 1 if want.need else 0
        levels[(depth[want.key], want.kind, want.exclude)].append(want)
    made: list[Manifest] = []
    for (_, kind, exclude), level in sorted(levels.items(), key=lambda item: item[0]):
        for dependency, group in _by_dependency(level, lambda want: places[_live(want, live)], max_size):
            elements = {index: want.element for index, want in group.items()}
            content = {
                **identity,
                "wave": wave,
                "dependency": dependency,
                "elements": [[i, e.folder, list(e.stages), e.part] for i, e in sorted(elements.items())],
            }
            name = f"{campaign}-{fingerprint(content)[:12]}"
            made.append(Manifest(name, kind, wave, elements, dependency, exclude, code))
            places.update({want.key: (name, index) for index, want in group.items()})
    return made


def _live(want: Want, live: Mapping[Key, Place]) -> tuple[Key, int]:
    assert want.need is not None
    key, part = want.need
    return (key, 1) if key in live else (key, part)


def _by_dependency(
    level: Iterable[Want], place: Callable[[Want], Place], max_size: int
) -> list[tuple[str | None, dict[int, Want]]]:
    """(dependency, jobs by array index) for every array that the jobs of one level make."""
    free: list[Want] = []
    after: dict[str, list[tuple[int, Want]]] = defaultdict(list)
    for want in level:
        if want.need is None:
            free.append(want)
        else:
            name, index = place(want)
            after[name].append((index, want))
    found: list[tuple[str | None, dict[int, Want]]] = [(None, chunk) for chunk in _chunks(free, max_size)]
    for name, waiting in after.items():
        times = Counter(index for index, _ in waiting)
        alone = {index: want for index, want in waiting if times[index] == 1}
        if alone:
            found.append((f"aftercorr:{name}", alone))
        for index in sorted(i for i, n in times.items() if n > 1):
            same = [want for i, want in waiting if i == index]
            found += [(f"afterok:{name}_{index}", chunk) for chunk in _chunks(same, max_size)]
    return found


def _chunks(group: Sequence[Want], size: int) -> list[dict[int, Want]]:
    return [dict(enumerate(group[i : i + size])) for i in range(0, len(group), size)]


def chain_length(seconds: float, limit_minutes: int, grace_s: int) -> int:
    """How many jobs of `limit_minutes` a training of `seconds` takes.

    Each loses twice its grace: saving before the end, and starting and loading again.
    """
    usable = max(60.0, limit_minutes * 60 - 2 * grace_s)
    return max(1, math.ceil(seconds / usable))
