"""Tables of which no name and no number is cut, however narrow the terminal: a line that is too long goes round."""

from __future__ import annotations

import sys
from collections.abc import Collection

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_PIPE_WIDTH = 240


def console_for(table: Table, words: Collection[int] = ()) -> Console:
    """The console to print a table on, which is filled already; the columns `words` may be broken between words.

    Where the output goes into a pipe a line stays a line.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    unbounded = console.options.update(max_width=10_000)
    for i, column in enumerate(table.columns):
        column.no_wrap = i not in words
        found = [Measurement.get(console, unbounded, each) for each in (column.header, *column.cells)]
        column.min_width = max(each.maximum if column.no_wrap else each.minimum for each in found)
    console.width = max(console.width, Measurement.get(console, unbounded, table).minimum)
    return console
