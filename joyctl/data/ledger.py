"""The ledger: how much of every source a run sees, before and after its branch, and when rows come again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from joyctl.campaign.spec import OrderSpec, SegmentSpec
from joyctl.data.order import Order


@dataclass(frozen=True)
class SourceUse:
    """What one run sees of one source."""

    tokens: int
    """Tokens shown in all: by a base from elsewhere, in the trunk and in the phase."""
    epochs: float
    """How many times over the source was shown by the end."""
    seen_before: int
    """Tokens shown before the branch: by a base from elsewhere, and in the trunk."""
    repeated: int
    """Tokens of rows that had been shown before."""
    trunk: int
    """Tokens shown in the trunk, a base from elsewhere not counted. The control's phase is its trunk."""
    phase: int
    """Tokens shown after the branch."""
    rows_repeated: int
    """Rows that had been shown before."""
    first_repeat_step: int | None
    """The step, counted as in metrics.jsonl, whose batch is the first with a row shown again; None where none is. After
    a base that has repeated rows itself it is the first step here that shows any of the source."""


def source_use(segment: SegmentSpec, branch_step: int | None) -> Mapping[str, SourceUse]:
    """The ledger of the run that ends where `segment` ends; `branch_step` is None for the control.

    Exact, from the closed form of the order of rows. Raises ValueError when the segment has no rows.
    """
    return use_until(segment, branch_step, segment.end_step)


def use_until(segment: SegmentSpec, branch_step: int | None, step: int) -> Mapping[str, SourceUse]:
    """As `source_use`, of the run's steps up to `step`; before the branch all of them are the trunk's."""
    branch = step if branch_step is None else min(branch_step, step)
    return _use(_Dealt(segment.order), segment.training.seq_len, segment.training.batch_size, step, branch)


class _Dealt:
    """An order, equal to every other that deals the same numbers of rows: seeds only say which rows they are."""

    def __init__(self, spec: OrderSpec) -> None:
        self.spec = spec
        self._key = (
            *spec.rows.items(),
            *((phase.start_row, *phase.weights.items()) for phase in spec.phases),
            spec.start_row,
            spec.seen and tuple(spec.seen.items()),
        )

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Dealt) and self._key == other._key


@lru_cache(maxsize=16_384)
def _use(dealt: _Dealt, length: int, batch: int, end: int, branch: int) -> dict[str, SourceUse]:
    """Of the rows of `length` tokens, `batch` a step, in the steps up to `end`, with a branch after step `branch`."""
    order, rows = Order(dealt.spec), dealt.spec.rows
    shown, before, first = order.counts(end * batch), order.counts(branch * batch), order.counts(order.first)
    return {
        name: SourceUse(
            tokens=shown[name] * length,
            epochs=shown[name] / rows[name],
            seen_before=before[name] * length,
            repeated=max(0, shown[name] - rows[name]) * length,
            trunk=(before[name] - first[name]) * length,
            phase=(shown[name] - before[name]) * length,
            rows_repeated=max(0, shown[name] - rows[name]),
            first_repeat_step=_first_repeat(order, name, max(rows[name], first[name]), batch, end * batch),
        )
        for name in order.names
    }


def _first_repeat(order: Order, name: str, fresh: int, batch: int, end: int) -> int | None:
    """The step with the first row of a source beyond its first `fresh`; None where none comes before row `end`.

    Rows before a row of the order never fall, so the place where they pass `fresh` is found by halving.
    """
    if order.counts(end)[name] <= fresh:
        return None
    before = bisect_right(range(order.first, end), fresh, key=lambda g: order.counts(g + 1)[name])
    return (order.first + before) // batch + 1


def repeat_words(uses: Mapping[str, Mapping[str, SourceUse]]) -> list[str]:
    """A line for every source of which any run shows rows again, the run that shows most of them named."""
    found: dict[str, list[tuple[SourceUse, str]]] = {}
    for run, use in uses.items():
        for name, one in use.items():
            if one.rows_repeated:
                found.setdefault(name, []).append((one, run))
    lines = []
    for name, several in found.items():
        most, run = max(several, key=lambda each: each[0].rows_repeated)
        begins = f" from step {most.first_repeat_step:,} on" if most.first_repeat_step is not None else ""
        others = f", and in {len(several) - 1} more run{'s' if len(several) > 2 else ''}" if len(several) > 1 else ""
        lines.append(f"{name} {most.repeated:,} tokens{begins} in {run} ({most.epochs:.2f} epochs){others}")
    return lines
