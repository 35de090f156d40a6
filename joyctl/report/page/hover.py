"""What is said of one difference: on hover, and in cells."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np

from joyctl.report.deltas import Delta
from joyctl.report.report import Report
from joyctl.report.results import Key, Score
from joyctl.report.sheet import Column

_FIELDS = ("run", "against", "difference", "interval", "verdict", "n", "right", "control right")


def tooltip(*more: str) -> list[alt.Tooltip]:
    """The tooltip over a mark whose datum holds the fields of `of_delta`, and `more` before them."""
    return [alt.Tooltip(f"{name}:N", title=name) for name in (*more, *_FIELDS)]


def of_delta(report: Report, column: Column, delta: Delta) -> dict[str, str]:
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
        "right": counted(report, delta.run, delta.key) or "–",
        "control right": counted(report, delta.control, delta.key) or "–",
    }


def amount(column: Column, value: float, sign: str = "+") -> str:
    """A value as its column shows it, with a true minus sign."""
    return column.amount(value, sign).replace("-", "−")


def interval(column: Column, delta: Delta) -> str:
    """The 95 % interval as a column shows it."""
    return f"[{amount(column, delta.low)}, {amount(column, delta.high)}]"


def counted(report: Report, variant: str, key: Key) -> str | None:
    """How many items a variant got right, seed by seed: `172 of 400`; None where items are not right or wrong."""
    members = {run.id for run in report.results.runs if run.variant == variant}
    scores = [score for score in report.results.scores if score.run in members and score.key == key]
    found = [_right(score) for score in scores]
    whole = [number for number in found if number is not None]
    if not scores or len(whole) < len(found):
        return None
    return f"{', '.join(f'{number:,}' for number in whole)} of {scores[0].n:,}"


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
