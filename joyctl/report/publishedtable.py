"""Published numbers beside the measured ones as a terminal screen: what `joyctl report --against` adds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from joyctl.report import notes
from joyctl.report.published import Beside, Published
from joyctl.report.sheet import Column
from joyctl.report.tables import PLAIN


def render_published(one: Published) -> RenderableType:
    """The differences that one source has published, score by score, beside the measured ones.

    It fits itself to the width it is printed at: the last columns wrap. Nothing is said by colour alone.
    """
    return _Screen(one)


@dataclass(frozen=True)
class _Screen:
    published: Published

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for part in _screen(self.published, console, options):
            if options.ascii_only and isinstance(part, Text):
                part.plain = part.plain.translate(PLAIN)
            yield part


def _screen(one: Published, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
    yield Text(f"\nbeside {one.cited}", "bold")
    if not one.beside:
        yield Text(NOTHING)
    for column in one.columns:
        here = [each for each in one.beside if each.delta.key == column.key]
        if here:
            yield Text(f"\n{column.label} | their {one.benchmarks[column.key]}", "dim")
            widest = max(len(each.delta.run) for each in one.beside)
            yield _fitting(here, column, widest, console, options)
    yield Text()
    for line in notes.published_notes(one):
        yield Text(line, "dim")


NOTHING = "no variant that is compared here has published numbers"
"""What stands in place of the table where nothing can be laid beside."""


def _fitting(found: Sequence[Beside], column: Column, widest: int, console: Console, options: ConsoleOptions) -> Table:
    """One line a variant, or where that is too wide two: below stand the interval and whether theirs is inside."""
    table = _table(found, column, widest, options.ascii_only, stacked=False)
    if Measurement.get(console, options.update(width=1_000), table).maximum <= options.max_width:
        return table
    return _table(found, column, widest, options.ascii_only, stacked=True)


def _table(found: Sequence[Beside], column: Column, widest: int, ascii_only: bool, *, stacked: bool) -> Table:
    """`widest` is the length of the longest name in any of the tables, so that their columns stand under each other."""
    table = Table(box=None, padding=(0, 1 if stacked else 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True, min_width=widest)
    table.add_column("measured", min_width=_STACKED if stacked else _WIDE)
    table.add_column("published", justify="right")
    table.add_column("direction", min_width=len("opposite"))
    if not stacked:
        table.add_column("inside")
    for one in found:
        delta = one.delta
        value = f"{column.amount(delta.delta):>5}"
        interval = f"[{column.amount(delta.low, '-'):>5}, {column.amount(delta.high, '-'):>5}]"
        measured = f"{value} {delta.mark}\n{interval}" if stacked else f"{value} {interval} {delta.mark}"
        direction = "–" if one.direction == "not detectable" else one.direction
        cells = [delta.run, measured, f"{one.difference * 100:+.1f}"]
        if stacked:
            cells.append(f"{direction}\n{'inside' if one.inside else 'outside'}")
        else:
            cells += [direction, "yes" if one.inside else "no"]
        table.add_row(*(cell.translate(PLAIN) if ascii_only else cell for cell in cells))
    return table


_WIDE, _STACKED = len("+10.0 [-10.0, -10.0] ."), len("[-10.0, -10.0]")
