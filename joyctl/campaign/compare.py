"""Plan against disk: for every stage of every segment and run, is it to run, resume, skip or refuse?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from joyctl.campaign.plan import Plan
from joyctl.campaign.spec import RunSpec, SegmentSpec, Stage
from joyctl.store.fingerprint import changed_keys

Action = Literal["run", "resume", "skip", "share", "refuse"]
"""`share`: another campaign has trained it, and it is taken over."""

_MISSING = {"export": "export missing", "eval": "scores missing", "score": "generated code not executed"}


@dataclass(frozen=True)
class Found:
    """What lies in one folder of a campaign."""

    segment: SegmentSpec | None = None
    run: RunSpec | None = None
    done: frozenset[Stage] = frozenset()
    step: int | None = None
    """Last step that metrics.jsonl tells of."""


@dataclass(frozen=True)
class Job:
    """One stage still to be done."""

    folder: str
    """Below the campaign's: a segment id, or `runs/<run id>`."""
    stage: Stage
    needs: tuple[tuple[str, Stage], ...]
    """Jobs that must end first; those already done are left out."""
    steps: int
    """Optimizer steps to train; 0 for other stages."""
    reference: bool = False
    """Whether it scores a reference: nothing waits for that."""


@dataclass(frozen=True)
class Decision:
    """What happens to one run or segment, and why."""

    action: Action
    reason: str
    changes: tuple[tuple[str, str, str], ...] = ()
    """(key, on disk, now) where the action is refuse."""


@dataclass(frozen=True)
class Work:
    """A plan compared with what is on disk."""

    segments: dict[str, Decision]
    runs: dict[str, Decision]
    jobs: tuple[Job, ...]
    """In an order in which every job stands after what it needs."""

    @property
    def refused(self) -> dict[str, Decision]:
        """What may not be done, by folder."""
        runs = {f"runs/{name}": d for name, d in self.runs.items() if d.action == "refuse"}
        return {name: d for name, d in self.segments.items() if d.action == "refuse"} | runs


_NOTHING = Found()
_NEW = Decision("run", "new")


def compare(plan: Plan, found: Mapping[str, Found], shared: Mapping[str, str] | None = None) -> Work:
    """Decide about every segment and run of `plan`, given what lies in each folder.

    `shared` are segments that another campaign has trained, each with the reason to show.
    """
    elsewhere = shared or {}
    segments = {s.id: _decide_segment(s, found.get(s.id, _NOTHING), elsewhere.get(s.id)) for s in plan.segments}
    runs: dict[str, Decision] = {}
    jobs: list[Job] = []
    waiting: set[tuple[str, Stage]] = set()

    def add(
        folder: str, stage: Stage, needs: list[tuple[str, Stage]], steps: int = 0, *, reference: bool = False
    ) -> None:
        jobs.append(Job(folder, stage, tuple(n for n in needs if n in waiting), steps, reference))
        waiting.add((folder, stage))

    for spec in plan.segments:
        if segments[spec.id].action in ("run", "resume"):
            parents: list[tuple[str, Stage]] = [(spec.parent, "train")] if spec.parent else []
            add(spec.id, "train", parents, spec.end_step - spec.start_step)
    for run in plan.runs:
        folder = f"runs/{run.id}"
        here = found.get(folder, _NOTHING)
        trained = None if run.segment is None else segments[run.segment]
        runs[run.id] = _decide_reference(run, here) if trained is None else _decide_run(run, here, trained)
        if runs[run.id].action not in ("run", "resume"):
            continue
        needs: list[tuple[str, Stage]] = [] if run.segment is None else [(run.segment, "train")]
        for stage in run.stages:
            # What another evaluation generates is executed anew.
            if stage not in here.done or (stage == "score" and "eval" not in here.done):
                add(folder, stage, needs, reference=run.reference is not None)
            needs = [(folder, stage)]
    return Work(segments, runs, tuple(jobs))


def _decide_segment(spec: SegmentSpec, here: Found, shared: str | None) -> Decision:
    if here.segment is None:
        return _NEW if shared is None else Decision("share", shared)
    changes = tuple(changed_keys(here.segment.identity(), spec.identity()))
    if changes:
        return Decision("refuse", "was trained with other settings", changes)
    if "train" in here.done:
        return Decision("skip", "trained")
    if here.step is not None and here.step > spec.start_step:
        return Decision("resume", f"stopped near step {here.step:,} of {spec.end_step:,}")
    return Decision("run", "not started")


def _decide_reference(run: RunSpec, here: Found) -> Decision:
    if here.run is not None:
        changes = tuple(changed_keys(_of_reference(here.run), _of_reference(run)))
        if changes:
            return Decision("refuse", "is another model, or was scored with other settings", changes)
    left = [stage for stage in run.stages if stage not in here.done]
    if not left:
        return Decision("skip", "complete")
    if "eval" in here.done:
        return Decision("resume", _MISSING[left[0]])
    return Decision("run", "new" if here.run is None else "not scored yet")


def _of_reference(run: RunSpec) -> dict[str, object]:
    model = run.reference.identity() if run.reference else {"fingerprint": run.fingerprint}
    return {"model": model, "eval": run.eval.identity()}


def _decide_run(run: RunSpec, here: Found, segment: Decision) -> Decision:
    if segment.action == "refuse":
        return Decision("refuse", segment.reason, segment.changes)
    if here.run is not None:
        old = {"weights": here.run.fingerprint, "eval": here.run.eval.identity()}
        new = {"weights": run.fingerprint, "eval": run.eval.identity()}
        changes = tuple(changed_keys(old, new))
        if changes:
            return Decision("refuse", "was trained or scored with other settings", changes)
    left = [stage for stage in run.stages if stage not in here.done]
    if not left and segment.action == "skip":
        return Decision("skip", "complete")
    if segment.action == "resume":
        return Decision("resume", segment.reason)
    if segment.action == "skip":
        return Decision("resume", f"trained; {_MISSING[left[0]]}")
    if segment.action == "share" and left:
        return Decision("resume", f"trunk {segment.reason}; {_MISSING[left[0]]}")
    if segment.action == "share":
        return Decision("skip", "complete")
    return _NEW if here.run is None else Decision("run", "not trained yet")
