"""The ledger: how much of every source a run sees, before and after its branch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from joyctl.campaign.spec import OrderSpec, SegmentSpec
from joyctl.data.order import Order


@dataclass(frozen=True)
class SourceUse:
    """What one run sees of one source."""

    tokens: int
    """Tokens shown in all, trunk and phase together."""
    epochs: float
    """How many times over the source was shown by the end."""
    seen_before: int
    """Tokens shown before the branch."""
    repeated: int
    """Tokens of rows that had been shown before."""


def source_use(segment: SegmentSpec, branch_step: int | None) -> Mapping[str, SourceUse]:
    """The ledger of the run that ends where `segment` ends; `branch_step` is None for the control.

    Exact, from the closed form of the order of rows. Raises ValueError when the segment has no rows.
    """
    batch = segment.training.batch_size
    branch = segment.end_step if branch_step is None else branch_step
    return _use(_Dealt(segment.order), segment.training.seq_len, segment.end_step * batch, branch * batch)


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
def _use(dealt: _Dealt, length: int, end: int, branch: int) -> dict[str, SourceUse]:
    """Of rows of `length` tokens before the global row `end`, and before the one where the branch is."""
    order, rows = Order(dealt.spec), dealt.spec.rows
    shown, before = order.counts(end), order.counts(branch)
    return {
        name: SourceUse(
            tokens=shown[name] * length,
            epochs=shown[name] / rows[name],
            seen_before=before[name] * length,
            repeated=max(0, shown[name] - rows[name]) * length,
        )
        for name in order.names
    }
