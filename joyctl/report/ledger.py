"""What every run has seen of its sources: as planned, as its metrics.jsonl says, and where these differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from joyctl.campaign.spec import RunSpec, SegmentSpec
from joyctl.data.ledger import SourceUse, source_use, use_until
from joyctl.store import layout
from joyctl.store.files import last_object


@dataclass(frozen=True)
class Realised:
    """What a run has been shown of one source so far, by the rows in metrics.jsonl, counted as they were read."""

    tokens: int
    """In all, what a base from elsewhere has seen included."""
    trunk: int | None
    """Of these in the trunk; None where the trunk's own metrics.jsonl is not there."""
    phase: int | None
    """Of these after the branch; None likewise."""
    epochs: float
    repeated: int
    """Tokens of rows that had been shown before."""


@dataclass(frozen=True)
class SourceLine:
    """One source in one run."""

    source: str
    planned: SourceUse
    """By the end of the run."""
    realised: Realised | None
    """None before anything is trained."""


@dataclass(frozen=True)
class RunLedger:
    """All sources of one run."""

    run: str
    step: int
    """The last that its metrics.jsonl has, or its trunk's; 0 before anything is trained."""
    end_step: int
    sources: tuple[SourceLine, ...]
    differs: tuple[str, ...]
    """In what the log is not as planned, in words."""

    @property
    def planned(self) -> Mapping[str, SourceUse]:
        """The planned use by source."""
        return {line.source: line.planned for line in self.sources}


class Segments:
    """The segment.json of a campaign's folder, each read once."""

    def __init__(self, campaign: Path) -> None:
        self.campaign = campaign
        self._read: dict[str, SegmentSpec | None] = {}

    def get(self, identifier: str) -> SegmentSpec | None:
        """A segment's spec; None where there is none that can be read."""
        if identifier not in self._read:
            try:
                text = (self.campaign / identifier / layout.SEGMENT).read_bytes()
                self._read[identifier] = SegmentSpec.model_validate_json(text)
            except (OSError, ValidationError):
                self._read[identifier] = None
        return self._read[identifier]

    def of(self, runs: Iterable[RunSpec]) -> list[SegmentSpec]:
        """Those that runs export, as far as they can be read."""
        return [spec for run in runs if run.segment and (spec := self.get(run.segment)) is not None]


def read_ledger(segments: Segments, runs: Iterable[RunSpec]) -> tuple[RunLedger, ...]:
    """The ledger of every run whose segment.json can be read; references have none."""
    found = ((run, segments.get(run.segment)) for run in runs if run.segment)
    return tuple(_of_run(segments, run, spec) for run, spec in found if spec is not None)


@dataclass(frozen=True)
class _Log:
    """The last line of one segment's metrics.jsonl."""

    segment: SegmentSpec
    step: int
    tokens: int | None
    rows: Mapping[str, int]


def _of_run(segments: Segments, run: RunSpec, spec: SegmentSpec) -> RunLedger:
    logs = list(_logs(segments, spec))
    last = logs[0] if logs else None
    at_branch = next((log for log in logs if log.step == run.branch_step), None)
    planned = source_use(spec, run.branch_step)
    before = {name: use.seen_before - use.trunk for name, use in planned.items()}  # a base's from elsewhere
    lines = tuple(
        SourceLine(name, use, _realised(spec, run, name, before[name], last, at_branch) if last else None)
        for name, use in planned.items()
    )
    return RunLedger(run.id, last.step if last else 0, run.end_step, lines, tuple(_differences(segments, spec, logs)))


def _logs(segments: Segments, spec: SegmentSpec) -> Iterator[_Log]:
    """Last lines of the segment and of those before it, as far as they are trained, the last first."""
    here: SegmentSpec | None = spec
    while here is not None:
        line = last_object(segments.campaign / here.id / layout.METRICS)
        if line is not None and isinstance(line.get("step"), int):
            yield _Log(here, line["step"], line.get("tokens"), _counts(line.get("rows")))
        here = segments.get(here.parent) if here.parent else None


def _counts(rows: Any) -> dict[str, int]:
    return {name: n for name, n in rows.items() if isinstance(n, int)} if isinstance(rows, dict) else {}


def _realised(spec: SegmentSpec, run: RunSpec, name: str, before: int, last: _Log, at_branch: _Log | None) -> Realised:
    length, there = spec.training.seq_len, spec.order.rows[name]
    shown = last.rows.get(name, before // length)
    if run.branch_step is None or last.step <= run.branch_step:
        trunk: int | None = shown * length - before
    else:
        trunk = None if at_branch is None else at_branch.rows.get(name, before // length) * length - before
    return Realised(
        tokens=shown * length,
        trunk=trunk,
        phase=None if trunk is None else shown * length - before - trunk,
        epochs=shown / there,
        repeated=max(0, shown - there) * length,
    )


def _differences(segments: Segments, spec: SegmentSpec, logs: list[_Log]) -> Iterator[str]:
    for log in logs:
        mine, length, path = log.segment, spec.training.seq_len, f"{log.segment.id}/{layout.METRICS}"
        # Where the next stretch has begun its parent is at its end.
        done = log is not logs[0] or layout.marker(segments.campaign / mine.id, "train").exists()
        if log.step > mine.end_step or (done and log.step != mine.end_step):
            yield f"{path} ends at step {log.step:,}; planned are {mine.end_step:,}"
        if log.step * mine.training.batch_size < (spec.order.start_row or 0):
            continue  # which the line above says: the order of rows has nothing there
        due = use_until(spec, None, log.step)
        tokens = log.step * spec.training.tokens_per_step
        if log.tokens != tokens:
            yield f"{path}: {log.tokens} tokens by step {log.step:,}; planned are {tokens:,}"
        for name, use in due.items():
            base = use.seen_before - use.trunk
            planned, seen = use.tokens // length, log.rows.get(name, base // length)
            if seen != planned:
                yield f"{path}: {name} {seen:,} rows by step {log.step:,}; planned are {planned:,}"
        for name in sorted(log.rows.keys() - due.keys()):
            if log.rows[name]:
                yield f"{path}: {name} {log.rows[name]:,} rows by step {log.step:,}; planned are none"
