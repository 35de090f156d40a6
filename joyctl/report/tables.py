"""The report as a terminal screen: what `joyctl report` prints, at any width, with or without colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from joyctl.report import findings, notes
from joyctl.report.costwords import cost_line
from joyctl.report.deltas import Delta
from joyctl.report.report import Report
from joyctl.report.sheet import Cell, Column, Row
from joyctl.report.worth import ProbeTable

STYLES = {"▲": "green", "▼": "red"}
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
PLAIN = str.maketrans("▲▼△▽·±–→…⁰¹²³⁴⁵⁶⁷⁸⁹", "AV^v.~->.0123456789")
"""For terminals without Unicode: a character for a character, so that styles stay where they are."""


def render_table(report: Report, *, proxies: bool = False) -> RenderableType:
    """The screen of `joyctl report`; it fits itself to the width it is printed at.

    Below the main table: the categories behind an average, and the proxies of benchmarks that the control answers at
    chance; of all of them where `proxies` is set.

    Wide: a difference and its interval on one line. Narrow: the interval below. Narrower still: the last columns
    stand in a table of their own below. Colours repeat what the signs say.
    """
    return _Screen(report, proxies)


@dataclass(frozen=True)
class _Screen:
    report: Report
    proxies: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for part in _screen(self.report, self.proxies, console, options):
            if options.ascii_only and isinstance(part, Text):
                part.plain = part.plain.translate(PLAIN)
            yield part


def _screen(report: Report, all_proxies: bool, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
    results = report.results
    yield Text.assemble((results.campaign, "bold"), " · ", report.conclusion)
    if results.hypothesis:
        yield Text(f"asked: {results.hypothesis}", style="dim")
    for line in (*notes.claim_line(report), notes.protocol_line(report)):
        yield Text(line, style="dim")
    yield Text()
    yield from _tables(report, report.columns, console, options)
    proxies = report.further_proxies if all_proxies else report.proxies
    for title, columns in ((_CATEGORIES, report.categories), (_PROXIES, proxies)):
        if columns:
            yield Text(f"\n{title}", style="dim")
            yield from _tables(report, columns, console, options)
    yield from _findings(report, options.ascii_only)
    yield Text()
    yield from _remarks(report)
    if report.cost is not None:
        yield Text()
        yield Text(cost_line(report.cost))
    sources, groups = notes.mixes(report)
    if groups:
        yield Text()
        yield _mixes(sources, groups, options.ascii_only)
    lacking = notes.missing(report)
    if lacking:
        yield Text()
        yield _missing(lacking, options.ascii_only)


_CATEGORIES = "the categories behind the average"
_PROXIES = "proxies: bits per byte of the gold answer (lower is better), and its probability"


@dataclass(frozen=True)
class _Form:
    """One way to set the table."""

    stacked: bool
    """The interval stands below its difference."""
    loss_intervals: bool
    gap: int
    """Blanks between columns."""


# From the roomiest to the tightest; the first that fits is taken.
_FORMS = (
    _Form(stacked=False, loss_intervals=True, gap=3),
    _Form(stacked=False, loss_intervals=True, gap=2),
    _Form(stacked=False, loss_intervals=False, gap=2),
    _Form(stacked=False, loss_intervals=False, gap=1),
    _Form(stacked=True, loss_intervals=True, gap=2),
    _Form(stacked=True, loss_intervals=False, gap=2),
    _Form(stacked=True, loss_intervals=False, gap=1),
)


def _tables(
    report: Report, columns: Sequence[Column], console: Console, options: ConsoleOptions
) -> Iterator[RenderableType]:
    """These columns, in several tables where one would be too wide."""
    table, shown = _fitting(report, columns, console, options)
    yield table
    if left := columns[len(shown) :]:
        yield Text()
        yield from _tables(report, left, console, options)


def _fitting(
    report: Report, columns: Sequence[Column], console: Console, options: ConsoleOptions
) -> tuple[Table, Sequence[Column]]:
    """The roomiest form of the table that fits, and the columns it shows: the last ones are left over if need be."""
    endless = options.update(width=1_000)
    for count in range(len(columns), 0, -1):
        shown = columns[:count]
        for form in _FORMS:
            table = _comparison(report, shown, form, options.ascii_only)
            if Measurement.get(console, endless, table).maximum <= options.max_width:
                return table, shown
    shown = columns[:1]
    return _comparison(report, shown, _FORMS[-1], options.ascii_only), shown


def _comparison(report: Report, shown: Sequence[Column], form: _Form, ascii_only: bool) -> Table:
    table = _plain_table(form.gap)
    table.add_column(Text("run", style="bold"), no_wrap=True)
    for column in shown:
        table.add_column(Text.assemble((column.label, "bold"), "\n", (column.under, "dim")), no_wrap=True)
    marked = notes.footnotes(report.rows)
    widths = {column.key: _Widths.of(report.rows, column) for column in shown}
    under_references = False
    for row in report.rows:
        name = Text(row.variant)
        if row.variant in marked:
            name.append(f" {marked[row.variant][0]}".translate(_SUPERSCRIPTS))
        if row.scored and row.scored < row.expected:
            name.append(f" ({row.scored}/{row.expected} seeds)", style="dim")
        if row.is_reference and not under_references:
            under_references = True
            table.add_row(Text("references", style="dim"))
        cells = [_cell(row, c, row.cells[c.key], widths[c.key], form) for c in shown]
        table.add_row(*(_ascii(text, ascii_only) for text in (name, *cells)))
    return table


@dataclass(frozen=True)
class _Widths:
    """Characters that the numbers of one column take, so that they stand under each other."""

    value: int
    low: int
    high: int

    @staticmethod
    def of(rows: Sequence[Row], column: Column) -> _Widths:
        cells = [row.cells[column.key] for row in rows]
        deltas = [cell.delta for cell in cells if cell.delta is not None]
        plain = [cell.absolute.value for cell in cells if cell.absolute is not None and cell.delta is None]
        values = [column.amount(d.delta) for d in deltas] + [column.amount(v, "-") for v in plain]
        return _Widths(
            max(map(len, values), default=0),
            max((len(column.amount(d.low, "-")) for d in deltas), default=0),
            max((len(column.amount(d.high, "-")) for d in deltas), default=0),
        )


def _cell(row: Row, column: Column, cell: Cell, widths: _Widths, form: _Form) -> Text:
    if cell.delta is not None:
        return _difference(column, cell.delta, widths, form)
    if cell.absolute is None:
        return Text(f"{'–':>{widths.value}}", style="dim")
    value = f"{column.amount(cell.absolute.value, '-'):>{widths.value}}"
    if not column.higher_is_better and not form.loss_intervals:
        text = value
    else:
        text = f"{value} ± {column.amount(cell.absolute.stderr, '-')}"
    return Text(text) if row.is_control else Text(f"{text} (alone)", style="dim")


def _difference(column: Column, delta: Delta, widths: _Widths, form: _Form) -> Text:
    mark = delta.mark
    style = STYLES.get(mark, "")
    value = f"{column.amount(delta.delta):>{widths.value}}"
    low, high = column.amount(delta.low, "-"), column.amount(delta.high, "-")
    if not column.higher_is_better and not form.loss_intervals:
        return Text(f"{value} {mark}", style)
    if form.stacked:
        return Text.assemble((f"{value} {mark}", style), (f"\n[{low}, {high}]", "dim"))
    interval = f" [{low:>{widths.low}}, {high:>{widths.high}}] "
    return Text.assemble((value, style), (interval, "dim"), (mark, style))


def _findings(report: Report, ascii_only: bool) -> Iterator[RenderableType]:
    first, *others = findings.duration_lines(report.curve, report.columns) or [""]
    if first:
        yield Text.assemble("\n", (first, "bold"))
    for line in others:
        yield Text(line, style="dim")
    left_out = findings.ranked_group(report.datasets)
    if report.datasets is not None and left_out is not None:
        yield Text(f"\nwhat leaving a source out of {left_out[0]} does, {left_out[1]}", style="dim")
        table = _plain_table(2)
        for head in findings.RANK_HEAD:
            table.add_column(Text(head, style="bold"))
        for cells in findings.rank_lines(report.datasets):
            table.add_row(*(_ascii(Text(cell), ascii_only) for cell in cells))
        yield table
        yield Text(findings.RANK_NOTE, style="dim")
    if report.probes is not None:
        yield from _probes(report.probes, ascii_only)


def _probes(probes: ProbeTable, ascii_only: bool) -> Iterator[RenderableType]:
    """What the added datasets are worth, in order where several were added alike; nothing for a single one."""
    group = findings.probed_group(probes)
    if group is None:
        return
    yield Text(f"\nwhat adding a dataset does: {group}", style="dim")
    table = _plain_table(2)
    for head in findings.PROBE_RANK_HEAD:
        table.add_column(Text(head, style="bold"))
    for cells in findings.rank_lines(probes):
        table.add_row(*(_ascii(Text(cell), ascii_only) for cell in cells))
    yield table
    yield Text(findings.RANK_NOTE, style="dim")


def _remarks(report: Report) -> Iterator[Text]:
    lines = [*notes.holm_notes(report), *notes.reference_notes(report), *notes.detectable_notes(report)]
    lines.append(notes.interval_note())
    lines += notes.aggregate_notes(report)
    lines += [
        f"{str(number).translate(_SUPERSCRIPTS)} {text}"
        for number, text in sorted(set(notes.footnotes(report.rows).values()))
    ]
    lines += [*notes.chance_notes(report), *notes.cluster_notes(report), *notes.alone_note(report)]
    lines += notes.scoring_notes(report)
    seeds = notes.seed_note(report)
    lines += [*([seeds] if seeds else []), *notes.noise_notes(report)]
    for line in lines:
        yield Text(line, style="dim")


def _mixes(sources: Sequence[str], groups: Sequence[tuple[str, tuple[float, ...]]], ascii_only: bool) -> Table:
    table = _plain_table(2)
    table.add_column(Text("mix, % of tokens", style="bold"))
    for source in sources:
        table.add_column(Text(source, style="bold"), justify="right", no_wrap=True)
    for variants, shares in groups:
        cells = [Text(f"{share * 100:.1f}") if share else Text("–", style="dim") for share in shares]
        table.add_row(*(_ascii(text, ascii_only) for text in (Text(variants), *cells)))
    return table


def _missing(lacking: Sequence[tuple[str, str]], ascii_only: bool) -> Table:
    table = _plain_table(2)
    table.add_column(Text("missing", style="bold"))
    table.add_column(Text("why", style="bold"))
    for what, why in lacking:
        table.add_row(_ascii(Text(what), ascii_only), _ascii(Text(why), ascii_only))
    return table


def _plain_table(gap: int) -> Table:
    return Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="")


def _ascii(text: Text, ascii_only: bool) -> Text:
    if ascii_only:
        text.plain = text.plain.translate(PLAIN)
    return text
