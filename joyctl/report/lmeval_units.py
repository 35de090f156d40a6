"""Which tasks and groups two outputs of lm-eval have in common, and which of them stand for a benchmark (PURE)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from joyctl.errors import Refused
from joyctl.report.lmeval_files import Side


@dataclass(frozen=True)
class Unit:
    """A task or group that both outputs scored."""

    task: str
    leaves: tuple[str, ...]
    """The tasks whose items are its own, the same on both sides; itself where it is no group."""
    part_of: str | None
    """The outermost group it is a part of; None where it stands for a benchmark of its own."""

    @property
    def is_group(self) -> bool:
        """Whether its score is aggregated over other tasks."""
        return self.leaves != (self.task,)


def common_units(a: Side, b: Side, wanted: Sequence[str] | None = None) -> tuple[tuple[Unit, ...], list[str]]:
    """Units that both scored, of all or of those `wanted` with their parts; and remarks on what is left out.

    Raises Refused, with what both sides have, where nothing is in common or something wanted is not.
    """
    shared = [task for task in a.scores if task in b.scores]
    other = [task for task in shared if set(a.leaves(task)) != set(b.leaves(task))]
    usable = [task for task in shared if task not in other]
    sides = f"\n  A: {_listed(list(a.scores))}\n  B: {_listed(list(b.scores))}"
    if not usable:
        raise Refused(f"A and B have no task in common{sides}", hint="Score both on the same tasks.")
    unknown = [task for task in wanted or () if task not in usable]
    if unknown:
        one = unknown[0]
        why = "is not made of the same tasks in A and in B" if one in other else "was not scored in both"
        raise Refused(f"{one} {why}{sides}", hint=f"Both have: {_listed(usable)}")
    below = {task: set(a.below(task)) for task in usable}
    if wanted is not None:
        usable = [task for task in usable if any(task == one or task in below[one] for one in wanted)]
    within = set().union(*(below[task] for task in usable))
    outer = [task for task in usable if task not in within]
    groups = {task: next((one for one in outer if task in below[one]), None) for task in usable}
    units = tuple(Unit(task, a.leaves(task), groups[task]) for task in usable)
    notes = []
    if wanted is None:
        notes += [
            f"{task} is not made of the same tasks ({len(a.leaves(task))} in A, {len(b.leaves(task))} in B): left out"
            for task in other
        ]
        for name, mine, others in (("A", a, b), ("B", b, a)):
            alone = [task for task in mine.scores if task not in others.scores]
            if alone:
                notes.append(f"only in {name}: {_listed(_outermost(mine, alone))}")
    return units, notes


def _outermost(side: Side, tasks: Sequence[str]) -> list[str]:
    within = {name for task in tasks for name in side.below(task)}
    return [task for task in tasks if task not in within]


def _listed(tasks: Sequence[str], most: int = 12) -> str:
    return ", ".join(tasks[:most]) + (f" and {len(tasks) - most} more" if len(tasks) > most else "")
