"""Tables of the page: the comparison, every difference, epochs, noise and power, what is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from joyctl.report import findings, notes
from joyctl.report.deltas import Delta
from joyctl.report.page.blocks import TONES, Cell, Head, Table
from joyctl.report.page.hover import Counts, amount, interval
from joyctl.report.report import Report
from joyctl.report.sheet import Column, Row
from joyctl.report.worth import Probed, ProbeTable
from joyctl.store import layout
from joyctl.store.files import last_object

_MOST = 1_200
"""Differences that the page lists; more are in report.json and report.md, which weigh nothing while unread."""


def comparison(report: Report, counts: Counts, columns: Sequence[Column], caption: str) -> Table:
    """Arms by scores: the score itself for controls, differences for all others."""
    marked = notes.footnotes(report.rows)
    rows = []
    for row in report.rows:
        number, _ = marked.get(row.variant, (None, ""))
        seeds = f"{row.scored} of {row.expected} scored" if row.scored < row.expected else ""
        name = Cell(row.variant, under=seeds, mark=_raised(number) if number else "")
        rows.append((name, *(_score_cell(counts, row, column) for column in columns)))
    remarks = [f"{_raised(number)} {text}" for number, text in sorted(set(marked.values()))]
    return Table(caption, (Head("run", number=False), *map(_head, columns)), rows, tuple(remarks))


def every_difference(report: Report, counts: Counts) -> Table:
    """One line for each difference, the headline's first."""
    ordered = sorted(report.averages, key=lambda delta: delta.family != "headline")
    heads = (
        Head("run", number=False),
        Head("against", number=False),
        Head("score", number=False),
        Head("difference"),
        Head("95 % interval"),
        Head("n"),
        Head("p, Holm"),
        Head("q, FDR"),
        Head("detectable", "at 80 %"),
        Head("verdict", number=False),
    )
    left = len(ordered) - _MOST
    more = (f"{left:,} further differences are in report.json and report.md beside this page.",) if left > 0 else ()
    lines = [_difference_line(report, counts, delta) for delta in ordered[:_MOST]]
    return Table("Every difference, averaged over seeds", heads, lines, more)


def probes(table: ProbeTable) -> list[Table]:
    """What every added dataset does, and their order where several were added alike."""
    named = [Head(head, number=False) for head in findings.PROBE_HEAD]
    heads = (*named, *(_head(column) for column in table.columns))
    caption = "What adding a dataset does, against the same duration without it"
    lines = [
        (*map(Cell, findings.probe_line(table, arm)[: len(named)]), *_probe_cells(table, arm)) for arm in table.arms
    ]
    made = [Table(caption, heads, lines)]
    group, order = findings.probed_group(table), findings.rank_lines(table)
    if group is not None:
        heads = tuple(Head(head, number=False) for head in findings.PROBE_RANK_HEAD)
        ranked = [tuple(Cell(cell) for cell in line) for line in order]
        made.append(Table(f"Added datasets in order: {group}", heads, ranked, (findings.RANK_NOTE,), sortable=False))
    return made


def _probe_cells(table: ProbeTable, arm: Probed) -> list[Cell]:
    cells = []
    for column in table.columns:
        delta = arm.deltas.get(column.key)
        if delta is None:
            cells.append(Cell("–", hint="no score"))
            continue
        mark = delta.mark
        value, under = amount(column, delta.delta), interval(column, delta)
        cells.append(Cell(value, delta.delta, under, TONES[mark], mark, f"{delta.verdict}; n {delta.n:,}"))
    return cells


def epochs(report: Report, folder: Path) -> Table | None:
    """How often every source had been shown by the end of each run; None before anything is trained."""
    sources = tuple(dict.fromkeys(name for run in report.results.runs for name in run.mix))
    rows = []
    for row in report.rows:
        run = row.runs[0] if row.runs else None
        shown = _shown(folder / run.segment) if run is not None and run.segment is not None else {}
        if run is not None and shown:
            steps = run.end_step - (run.branch_step or 0)
            cells = [_epoch_cell(shown.get(source)) for source in sources]
            rows.append((Cell(row.variant), Cell(f"{steps:,}", steps), *cells))
    if not rows:
        return None
    heads = (Head("run", number=False), Head("steps", "of its own"), *(Head(source, "epochs") for source in sources))
    caption = "Epochs by the end of training, base run included: rows shown over rows there are"
    return Table(caption, heads, rows)


def noise_and_power(report: Report) -> Table | None:
    """What the control scatters by, and the smallest true difference that would have been seen."""
    floors = {floor.key: floor for floor in report.floors}
    rows = []
    for column in report.columns:
        deltas = [row.cells[column.key].delta for row in report.rows if column.key in row.cells]
        seen = sorted(delta.detectable for delta in deltas if delta is not None and delta.detectable > 0)
        floor = floors.get(column.key)
        if not seen and floor is None:
            continue
        rows.append(
            (
                Cell(column.label, under=column.unit),
                Cell(column.size(median(seen)), median(seen)) if seen else Cell("–"),
                Cell(f"{column.size(seen[0])}–{column.size(seen[-1])}" if seen else "–"),
                _value(column, floor.phase_sd if floor else None, f"{floor.phase_df} df" if floor else ""),
                _value(column, floor.trunk_sd if floor else None, f"{floor.trunk_df} df" if floor else ""),
            )
        )
    if not rows:
        return None
    heads = (
        Head("score", number=False),
        Head("detectable", "median over arms"),
        Head("detectable", "from–to"),
        Head("orders of data", "standard deviation"),
        Head("base runs", "standard deviation"),
    )
    return Table("Smallest detectable difference (80 % power, after Holm), and the control's own scatter", heads, rows)


def missing(report: Report) -> Table | None:
    """What is not there and why."""
    lines = [(Cell(what), Cell(why)) for what, why in notes.missing(report)]
    return (
        Table("Not there yet, or not to be had", (Head("what", number=False), Head("why", number=False)), lines)
        if lines
        else None
    )


def protocols(report: Report) -> Table | None:
    """How every task was scored; the parts in full are in report.json."""
    tasks = {score.task: score.protocol for score in report.results.scores}
    tasks |= {one.task: one.protocol for one in report.composites}
    rows = [
        (Cell(task), Cell(digest[:12]), Cell(_parts(report.results.protocols.get(digest, {}))))
        for task, digest in tasks.items()
    ]
    heads = (Head("task", number=False), Head("protocol", number=False), Head("parts", number=False))
    return Table("Scores of one task compare only within one protocol", heads, rows, sortable=False) if rows else None


def versions(campaign: Mapping[str, Any]) -> Table | None:
    """Versions of what trained and scored."""
    found = campaign.get("versions")
    if not isinstance(found, dict) or not found:
        return None
    rows = [(Cell(str(name)), Cell(str(version))) for name, version in found.items()]
    return Table("Environment", (Head("library", number=False), Head("version", number=False)), rows, sortable=False)


def _raised(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _head(column: Column) -> Head:
    return Head(column.label, column.under)


def _score_cell(counts: Counts, row: Row, column: Column) -> Cell:
    cell = row.cells[column.key]
    right = counts.get((row.variant, column.key))
    if cell.delta is not None:
        delta = cell.delta
        hint = f"{delta.verdict}; n {delta.n:,}" + (f"; right {right}" if right else "")
        if delta.verdict == "no detectable difference" and delta.detectable > 0:
            hint += f"; {column.size(delta.detectable)} {column.unit} would have been seen"
        tone = TONES[delta.mark]
        return Cell(amount(column, delta.delta), delta.delta, interval(column, delta), tone, delta.mark, hint)
    if cell.absolute is None:
        return Cell("–", hint="no score")
    value, error = amount(column, cell.absolute.value, "-"), amount(column, cell.absolute.stderr, "-")
    # A score is no difference: it is left where it is, below, whichever way the column is sorted.
    return Cell(f"{value} ± {error}", under="" if row.is_control else "alone", hint=f"right {right}" if right else "")


def _difference_line(report: Report, counts: Counts, delta: Delta) -> tuple[Cell, ...]:
    column = report.every[delta.key]
    metric = ", ".join(part for part in (delta.metric, delta.filter) if part != "none")
    right = counts.get((delta.run, delta.key))
    found = delta.detectable
    return (
        Cell(delta.run),
        Cell(delta.control),
        Cell(delta.task, under=metric),
        Cell(amount(column, delta.delta), delta.delta, column.unit, TONES[delta.mark], delta.mark),
        Cell(interval(column, delta), delta.high - delta.low),
        Cell(f"{delta.n:,}", delta.n, hint=f"right {right}" if right else ""),
        Cell(f"{delta.p_adjusted:.2g}", delta.p_adjusted),
        Cell(f"{delta.q:.2g}", delta.q),
        Cell(f"±{column.size(found)}", found) if found > 0 else Cell("–"),
        Cell(delta.verdict, under=delta.family),
    )


def _value(column: Column, value: float | None, under: str = "") -> Cell:
    return Cell("–") if value is None else Cell(amount(column, value, "-"), value, under)


def _epoch_cell(value: float | None) -> Cell:
    return Cell("–") if value is None else Cell(f"{value:.2f}", value)


def _shown(segment: Path) -> dict[str, float]:
    """Epochs of every source at the last step that a segment wrote."""
    try:
        spec = json.loads((segment / layout.SEGMENT).read_bytes())
        there, shown = spec["order"]["rows"], (last_object(segment / layout.METRICS) or {})["rows"]
        return {source: shown.get(source, 0) / rows for source, rows in there.items() if rows}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _parts(parts: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in parts.items() if isinstance(value, str | int | float) or value is None}
    return "; ".join(f"{key} {str(value)[:12] if len(str(value)) == 64 else value}" for key, value in plain.items())
