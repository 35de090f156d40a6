"""How fast every trunk and phase was trained."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from joyctl.report.costwords import amount
from joyctl.report.history import Curve
from joyctl.report.page.blocks import Cell, Folded, Head, Table


def speeds(history: Sequence[Curve]) -> Folded | None:
    """Median tokens a second, and share of the GPUs' peak where it is known; None where no step tells of them."""
    rows = []
    shares = any(point.mfu is not None for curve in history for point in curve.points)
    for curve in history:
        found = [point.tokens_per_second for point in curve.points if point.tokens_per_second is not None]
        if not found:
            continue
        row = [Cell(curve.id), Cell(amount(median(found)), median(found))]
        if shares:
            used = [point.mfu for point in curve.points if point.mfu is not None]
            row.append(Cell(f"{median(used) * 100:.1f} %", median(used)) if used else Cell("–"))
        rows.append(tuple(row))
    if not rows:
        return None
    heads = (Head("trunk or run", number=False), Head("tokens/s"), *([Head("MFU")] if shares else []))
    return Folded("Speed of training", Table("Median of the steps, over all ranks", heads, rows))
