"""Which items of a campaign's benchmarks stand in the data that its runs are trained on, as an overlap check found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from joyctl.campaign.spec import SegmentSpec
from joyctl.data.overlap.findings import NGRAMS, TaskFindings, known_findings


@dataclass(frozen=True)
class TaskLeaks:
    """One leaf task."""

    n: int
    """Items looked for."""
    found: Mapping[str, tuple[str, ...]]
    """Document ids of those that stand in the training data, as in samples.jsonl, with the sources that have them."""
    too_short: int
    """Items with too few words to tell; they count as clean."""


@dataclass(frozen=True)
class Leaks:
    """What is known of all of a campaign's tasks."""

    tasks: Mapping[str, TaskLeaks] = field(default_factory=dict)
    """By leaf task; a task that is not here was not looked for."""
    sources: tuple[str, ...] = ()
    """What was looked through: the sources that the runs are trained on."""
    ngrams: tuple[int, ...] = ()
    """Lengths of the sequences of words that were looked for."""
    unknown: str | None = None
    """Why nothing is known, in words."""
    limited: bool = False
    """Whether runs are scored on the first items of a task only, so that it may have more than they were asked."""

    def unseen(self, keys: Iterable[tuple[str, str]]) -> list[str]:
        """Leaf tasks of these items, (leaf task, document id), of which it is not known which stand in the data.

        That they are more than were looked for, or fewer and not the first of them, says that they are of another
        version of the task, whose documents have other numbers.
        """
        counts = Counter(task for task, _ in keys)
        return [task for task, n in counts.items() if task not in self.tasks or not self._fits(n, self.tasks[task].n)]

    def _fits(self, scored: int, looked_for: int) -> bool:
        return scored <= looked_for if self.limited else scored == looked_for


def read_leaks(segments: Iterable[SegmentSpec], *, limited: bool) -> Leaks | None:
    """What the data folders of these trainings hold of it; None where there are no trainings.

    `limited` says whether any run was scored on the first items of its tasks only.

    An item counts where it stands in any source that one of them reads, for all runs alike: what is compared must be
    asked the same.
    """
    folders: dict[str, dict[str, str]] = {}
    for spec in segments:
        folders.setdefault(spec.data_folder, {}).update(spec.source_sha256)
    found = [_in_folder(Path(folder), sources) for folder, sources in folders.items()]
    return together([replace(leaks, limited=limited) for leaks in found])


def together(several: Sequence[Leaks | None]) -> Leaks | None:
    """What is known of several as one: an item counts where it stands in the data of any.

    A task counts as looked for where it was in all of them.
    """
    known = [leaks for leaks in several if leaks is not None]
    if len(known) <= 1:
        return known[0] if known else None
    unknown = next((leaks for leaks in known if leaks.unknown is not None), None)
    if unknown is not None:
        return unknown
    tasks = [task for task in known[0].tasks if all(task in leaks.tasks for leaks in known)]
    sources = tuple(sorted({name for leaks in known for name in leaks.sources}))
    joined = {task: _joined([leaks.tasks[task] for leaks in known]) for task in tasks}
    return Leaks(joined, sources, known[0].ngrams, limited=any(leaks.limited for leaks in known))


def _in_folder(folder: Path, sources: Mapping[str, str]) -> Leaks:
    known = known_findings(folder, sources)
    if not known:
        why = "not checked: joyctl data overlap RECIPE" if folder.is_dir() else f"{folder} is not on this machine"
        return Leaks(unknown=why)
    tasks = {task: _of_task(found) for task, found in sorted(known.items())}
    return Leaks(tasks, tuple(sorted(sources)), NGRAMS)


def _of_task(task: TaskFindings) -> TaskLeaks:
    leaked = {str(item.doc_id): tuple(sorted(item.sources)) for item in task.found if item.split == "test"}
    return TaskLeaks(task.n, leaked, len(task.too_short))


def _joined(several: Sequence[TaskLeaks]) -> TaskLeaks:
    found: dict[str, set[str]] = {}
    for one in several:
        for doc, names in one.found.items():
            found.setdefault(doc, set()).update(names)
    in_order = {doc: tuple(sorted(found[doc])) for doc in sorted(found, key=int)}
    return TaskLeaks(several[0].n, in_order, several[0].too_short)
