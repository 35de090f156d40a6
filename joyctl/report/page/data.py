"""The page's part about the data: items found in it, and what every run sees of every source."""

from __future__ import annotations

from collections.abc import Sequence

from joyctl.report import datawords
from joyctl.report.page.blocks import Cell, Folded, Head, Notes, Part, Table
from joyctl.report.report import Report

_MOST = 1_200
"""Lines of the ledger that the page lists; more are in report.json and report.md."""


def data_parts(report: Report) -> tuple[Part, ...]:
    """Tables of found items and of clean scores, the ledger folded; nothing where neither is known."""
    parts: list[Part] = []
    if items := datawords.items_lines(report.results):
        parts.append(_table("Items found in the training data", datawords.ITEMS_HEAD, items, left=1))
    if clean := datawords.clean_lines(report):
        caption = f"Scores and differences without these items; {datawords.VERDICTS}"
        parts.append(_table(caption, datawords.CLEAN_HEAD, clean, left=2))
    ledger = report.results.ledger
    if ledger:
        lines = datawords.ledger_lines(ledger)
        more = (f"{len(lines) - _MOST:,} further lines are in report.md beside this page.",)
        caption = "Tokens of every source by the end of each run, as planned, and what its log says"
        table = _table(caption, datawords.LEDGER_HEAD, lines[:_MOST], 2, more if len(lines) > _MOST else ())
        parts.append(Folded(f"The ledger of {len(ledger):,} runs", table))
    if differs := tuple(f"{one.run}: {said}." for one in ledger for said in one.differs):
        parts.append(Notes(differs))
    return tuple(parts)


def _table(
    caption: str, head: Sequence[str], lines: Sequence[Sequence[str]], left: int, notes: tuple[str, ...] = ()
) -> Table:
    heads = tuple(Head(label, number=i >= left) for i, label in enumerate(head))
    return Table(caption, heads, [tuple(map(_cell, line)) for line in lines], notes)


def _cell(text: str) -> Cell:
    number = text.replace(",", "")
    return Cell(text, float(number) if number.replace(".", "", 1).isdigit() else None)
