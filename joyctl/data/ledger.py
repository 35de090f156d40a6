"""The ledger: how much of every source a run sees, before and after its branch."""

from __future__ import annotations

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


def source_use(segment: SegmentSpec, branch_step: int | None) -> dict[str, SourceUse]:
    """The ledger of the run that ends where `segment` ends; `branch_step` is None for the control.

    Exact, from the closed form of the order of rows. Raises ValueError when the segment has no rows.
    """
    batch, length = segment.training.batch_size, segment.training.seq_len
    end, before = _counts(
        _Dealt(segment.order),
        segment.end_step * batch,
        (segment.end_step if branch_step is None else branch_step) * batch,
    )
    return {
        name: SourceUse(
            tokens=end[name] * length,
            epochs=end[name] / segment.order.rows[name],
            seen_before=before[name] * length,
            repeated=max(0, end[name] - segment.order.rows[name]) * length,
        )
        for name in end
    }


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
def _counts(dealt: _Dealt, end: int, before: int) -> tuple[dict[str, int], dict[str, int]]:
    """Rows of every source before two global rows."""
    order = Order(dealt.spec)
    return order.counts(end), order.counts(before)
