"""What is said of one difference: on hover, and in cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np

from joyctl.report.deltas import Delta
from joyctl.report.report import Report
from joyctl.report.results import Key, Score
from joyctl.report.sheet import Column

Counts = Mapping[tuple[str, Key], str]
"""By variant and score: how many items were right, seed by seed (`172, 180 of 400`)."""
_FIELDS = ("run", "against", "difference", "interval", "verdict", "n", "right", "control right")


def tooltip(*more: str) -> list[alt.Tooltip]:
    """The tooltip over a mark whose datum holds the fields of `of_delta`, and `more` before them."""
    return [alt.Tooltip(f"{name}:N", title=name) for name in (*more, *_FIELDS)]


def of_delta(counts: Counts, column: Column, delta: Delta) -> dict[str, str]:
    """The texts that a tooltip shows: the difference, its interval and verdict, items, and what was counted."""
    clusters = f" in {delta.clusters:,} clusters" if delta.clusters != delta.n else ""
    seeds = f", {delta.seeds} seeds" if delta.seeds > 1 else ""
    return {
        "run": delta.run,
        "against": delta.control,
        "difference": f"{amount(column, delta.delta)} {column.unit}",
        "interval": f"{interval(column, delta)} (95 %)",
        "verdict": f"{delta.mark} {delta.verdict}" + (f", p {delta.p_adjusted:.2g} after Holm" if delta.p < 1 else ""),
        "n": f"{delta.n:,} items{clusters}{seeds}",
        "right": counts.get((delta.run, delta.key), "–"),
        "control right": counts.get((delta.control, delta.key), "–"),
    }


def amount(column: Column, value: float, sign: str = "+") -> str:
    """A value as its column shows it, with a true minus sign."""
    return column.amount(value, sign).replace("-", "−")


def interval(column: Column, delta: Delta) -> str:
    """The 95 % interval as a column shows it."""
    return f"[{amount(column, delta.low)}, {amount(column, delta.high)}]"


def counted(report: Report) -> Counts:
    """What was counted, where items are right or wrong."""
    variants = {run.id: run.variant for run in report.results.runs}
    found: dict[tuple[str, Key], list[int | None]] = {}
    asked: dict[Key, int] = {}
    for score in report.results.scores:
        found.setdefault((variants[score.run], score.key), []).append(_right(score))
        asked[score.key] = score.n
    return {
        (variant, key): f"{', '.join(f'{number:,}' for number in numbers)} of {asked[key]:,}"
        for (variant, key), numbers in found.items()
        if None not in numbers
    }


def label_lines(text: str, width: int) -> str:
    """A name broken after `_`, `-`, `/` or a space into lines of about `width` characters, for an axis label."""
    lines, line = [], ""
    for piece in _pieces(text):
        if line and len(line) + len(piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += piece
    return "\n".join([*lines, line.rstrip()])


def _pieces(text: str) -> Sequence[str]:
    pieces = [""]
    for letter in text.replace("\n", " "):
        pieces[-1] += letter
        if letter in "_-/ ," or len(pieces[-1]) >= 24:
            pieces.append("")
    return [piece for piece in pieces if piece]


def _right(score: Score) -> int | None:
    values = score.items.numerator(score.metric)
    if not score.higher_is_better or not bool(np.isin(values, (0.0, 1.0)).all()):
        return None
    return int(values.sum())
