"""Tables of which no name and no number is cut, however narrow the terminal: a line that is too long goes round."""

from __future__ import annotations

import sys
from collections.abc import Collection

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

_PIPE_WIDTH = 240


def console_for(table: Table, words: Collection[int] = ()) -> Console:
    """The console to print a table on, which has no lines and is filled already.

    The columns `words` may be broken between words. Where the output goes into a pipe a line stays a line.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    for i, column in enumerate(table.columns):
        column.no_wrap = i not in words
        texts = map(str, (column.header, *column.cells))
        pieces = (piece for text in texts for piece in (text.splitlines() if column.no_wrap else text.split()))
        column.min_width = max(map(cell_len, pieces), default=0)
    _, right, _, left = table.padding
    console.width = max(console.width, sum((column.min_width or 0) + left + right for column in table.columns))
    return console
