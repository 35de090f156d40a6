"""The ledger: how much of every source a run sees, before and after its branch."""

from __future__ import annotations

from dataclasses import dataclass

from joyctl.campaign.spec import SegmentSpec
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
    order, batch = Order(segment.order), segment.training.batch_size
    length = segment.training.seq_len
    end = order.counts(segment.end_step * batch)
    before = order.counts((segment.end_step if branch_step is None else branch_step) * batch)
    return {
        name: SourceUse(
            tokens=end[name] * length,
            epochs=end[name] / segment.order.rows[name],
            seen_before=before[name] * length,
            repeated=max(0, end[name] - segment.order.rows[name]) * length,
        )
        for name in order.names
    }
