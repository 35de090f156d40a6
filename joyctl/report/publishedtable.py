"""Published numbers beside the measured ones as a terminal screen: what `joyctl report --against` adds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
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
        one = self.published
        yield from _texts([f"\nbeside {one.cited}"], options.ascii_only, "bold")
        yield _table(one, options.ascii_only) if one.beside else Text(NOTHING)
        yield Text()
        yield from _texts(notes.published_notes(one), options.ascii_only, "dim")


NOTHING = "no variant that is compared here has published numbers"
"""What stands in place of the table where nothing can be laid beside."""


def verdict_words(one: Beside) -> str:
    """Direction and place of the published difference: `same, outside`."""
    if one.direction == "not detectable":
        return f"none detectable here, {_place(one)}"
    return f"{one.direction}, {_place(one)}"


def _place(one: Beside) -> str:
    return "inside" if one.inside else "outside"


def _table(one: Published, ascii_only: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True)
    for name in ("measured [95 %]", "published", "direction, inside?"):
        table.add_column(name)
    for column in one.columns:
        here = [each for each in one.beside if each.delta.key == column.key]
        if here:
            title = Text(f"{column.label} | {one.benchmarks[column.key]}", "dim")
            table.add_row(_ascii(title, ascii_only))
        for each in here:
            table.add_row(*(_ascii(text, ascii_only) for text in _cells(each, column)))
    return table


def _cells(one: Beside, column: Column) -> tuple[Text, ...]:
    delta = one.delta
    interval = f"[{column.amount(delta.low, '-')}, {column.amount(delta.high, '-')}]"
    measured = Text(f"{column.amount(delta.delta)} {interval} {delta.mark}")
    published = Text(f"{one.difference * 100:+.1f}")
    return Text(f" {delta.run}"), measured, published, Text(verdict_words(one))


def _texts(lines: list[str], ascii_only: bool, style: str) -> Iterator[Text]:
    for line in lines:
        yield _ascii(Text(line, style), ascii_only)


def _ascii(text: Text, ascii_only: bool) -> Text:
    if ascii_only:
        text.plain = text.plain.translate(PLAIN)
    return text
