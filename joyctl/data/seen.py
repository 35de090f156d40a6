"""What a run saw: the rows of a stretch with their sources, and the documents that stand in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from joyctl.data.order import Order
from joyctl.data.shards import SourceTokens

_REACH = 65_536
"""Tokens that are looked through first for the edge of a document; then twice as many, and so on."""
_AT_ONCE = 1 << 24
"""Tokens that are counted through at once, so that memory stays bounded."""
COUNTED = 1 << 31
"""Where no index lists a source's documents, they are numbered as long as no more tokens have to be read for it."""


@dataclass(frozen=True)
class SeenRow:
    """One global row of a run."""

    row: int
    """Global row."""
    step: int
    """The step that trained on it, counted from 1 as in metrics.jsonl."""
    source: str
    source_row: int
    """Row inside that source."""
    epoch: int
    """How many times the source had been used up before; so often had the run shown this row before."""
    start: int
    """Position in the source of its first token."""
    stop: int
    """Position behind its last."""


@dataclass(frozen=True)
class Document:
    """A document that has tokens in a row; positions are the source's."""

    number: int | None
    """Which of the source's documents it is, from 0; None where counting them would take too long."""
    start: int
    stop: int
    """Behind its last token; it may go on far outside the row."""

    def within(self, start: int, stop: int) -> tuple[int, int]:
        """Its part of the positions start..stop-1."""
        return max(self.start, start), min(self.stop, stop)


def rows_seen(order: Order, first: int, last: int, *, batch_size: int, seq_len: int) -> list[SeenRow]:
    """Global rows first..last-1 of a run; rows are of `seq_len` tokens, steps of `batch_size` rows.

    Raises ValueError for a row before the order's first.
    """
    dealt = order.rows(first, last)
    return [
        SeenRow(
            row=first + i,
            step=(first + i) // batch_size + 1,
            source=order.names[source],
            source_row=row,
            epoch=epoch,
            start=row * seq_len,
            stop=(row + 1) * seq_len,
        )
        for i, (source, row, epoch) in enumerate(
            zip(dealt.source.tolist(), dealt.row.tolist(), dealt.epoch.tolist(), strict=True)
        )
    ]


def documents_in(tokens: SourceTokens, spans: Sequence[tuple[int, int]]) -> list[tuple[Document, ...]]:
    """The documents of every span of positions, (start, stop), of a source. Raises ValueError where nothing tells."""
    starts = [_starts(tokens, start, stop) for start, stop in spans]
    numbers = _numbers(tokens, sorted({start for found in starts for start in found}))
    made = []
    for found, (_, stop) in zip(starts, spans, strict=True):
        ends = [*found[1:], _end(tokens, stop)]
        made.append(tuple(Document(numbers.get(a), a, b) for a, b in zip(found, ends, strict=True)))
    return made


def _starts(tokens: SourceTokens, start: int, stop: int) -> list[int]:
    """Where the documents begin that have tokens in start..stop-1."""
    found: list[int] = tokens.document_starts(start, stop).tolist()
    if found and found[0] == start:
        return found
    reach = _REACH
    while start > 0:  # the source's first position begins one
        start, stop, reach = max(0, start - reach), start, 2 * reach
        before = tokens.document_starts(start, stop)
        if len(before):
            return [int(before[-1]), *found]
    return found


def _end(tokens: SourceTokens, start: int) -> int:
    """The first position from `start` on at which a document begins, or the source's end."""
    reach = _REACH
    while start < len(tokens):
        stop = min(len(tokens), start + reach)
        found = tokens.document_starts(start, stop)
        if len(found):
            return int(found[0])
        start, reach = stop, 2 * reach
    return len(tokens)


def _numbers(tokens: SourceTokens, starts: Sequence[int]) -> dict[int, int]:
    """Which document begins at each of these rising positions; empty where that would take too long to find out."""
    edges = tokens.first.tolist()
    shards = range(len(edges) - 1)
    last = max(starts, default=0)
    if sum(min(edges[i + 1], last) - edges[i] for i in shards if edges[i] < last and tokens.ends[i] is None) > COUNTED:
        return {}
    numbers, before = {}, 0
    for i in shards:
        mine = [start for start in starts if edges[i] <= start < edges[i + 1]]
        ends = tokens.ends[i]
        if ends is not None:
            # Every document counts, one without a token too: so its number is the one it has in its own file's index.
            numbers.update({start: before + int(ends.searchsorted(start - edges[i], "right")) for start in mine})
            before += len(ends)
        else:
            for a, b in _cut(edges[i], [*mine, min(edges[i + 1], last)]):
                numbers[a] = before
                before += sum(len(tokens.document_starts(c, min(c + _AT_ONCE, b))) for c in range(a, b, _AT_ONCE))
        if edges[i + 1] > last:
            break
    return {start: numbers[start] for start in starts}


def _cut(first: int, at: Iterable[int]) -> Iterable[tuple[int, int]]:
    """(first, at[0]), (at[0], at[1]), ..."""
    for stop in at:
        yield first, stop
        first = stop
