"""The rows that a run saw, as a person reads them and as scripts do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from joyctl.data.seen import Document, SeenRow

_LINE = 100


@dataclass(frozen=True)
class Shown:
    """One row with what was looked up in the data for it."""

    row: SeenRow
    documents: tuple[Document, ...] | None
    """None where nothing tells where they begin, or the data is not here."""
    texts: tuple[str, ...] | None
    """The decoded part of every document in the row, or the row's text as one where the documents are unknown."""


def as_json(shown: Shown) -> dict[str, object]:
    """One element of `data order --json`; `tokens` are positions in the source, the last not included."""
    row = asdict(shown.row)
    start, stop = row.pop("start"), row.pop("stop")
    found: dict[str, object] = {**row, "shown_before": shown.row.epoch, "tokens": [start, stop], "documents": None}
    if shown.documents is not None:
        parts = [document.within(start, stop) for document in shown.documents]
        found["documents"] = [
            {"document": d.number, "tokens": [d.start, d.stop], "here": b - a}
            for d, (a, b) in zip(shown.documents, parts, strict=True)
        ]
    if shown.texts is not None:
        found["text"] = "".join(shown.texts)
    return found


def lines(rows: Sequence[Shown], *, full: bool) -> Iterator[str]:
    """What a person reads: a line a row; with texts a line a document too, or with `full` all of them."""
    width = max((len(each.row.source) for each in rows), default=0)
    step = None
    for shown in rows:
        if shown.row.step != step:
            step = shown.row.step
            yield f"step {step:,}"
        yield _row_line(shown, width)
        if shown.texts is not None:
            yield from _texts(shown, full=full)


def _row_line(shown: Shown, width: int) -> str:
    row = shown.row
    again = f"shown {row.epoch:,} {'time' if row.epoch == 1 else 'times'} before" if row.epoch else "first time"
    line = f"{row.row:>10,}  {row.source:<{width}}  row {row.source_row:>10,}  epoch {row.epoch}  {again}"
    documents = shown.documents
    if documents is None or shown.texts is not None:
        return line
    if len(documents) == 1:
        return f"{line}  document {_name(documents[0])}"
    return f"{line}  documents {_name(documents[0])} to {_name(documents[-1])}"


def _name(document: Document) -> str:
    return f"at token {document.start:,}" if document.number is None else f"{document.number:,}"


def _texts(shown: Shown, *, full: bool) -> Iterator[str]:
    row, texts = shown.row, shown.texts or ()
    documents: Sequence[Document | None] = shown.documents or [None]
    for document, text in zip(documents, texts, strict=True):
        head = ""
        if document is not None:
            a, b = document.within(row.start, row.stop)
            length = document.stop - document.start
            part = f"all {length:,} tokens" if b - a == length else f"{b - a:,} of {length:,} tokens"
            head = f"{'':>12}document {_name(document)}, {part}"
        if full:
            yield from [head] if head else []
            yield from (f"{'':>14}{plain(line)}" for line in text.split("\n"))
        else:
            head = f"{head}  " if head else f"{'':>12}"
            yield f"{head}{_excerpt(text, max(30, _LINE - len(head)))}"


def _excerpt(text: str, width: int) -> str:
    """The beginning of a text on one line, white space shortened."""
    line = plain(" ".join(text[: 4 * width].split()))
    return line if len(line) <= width and len(text) <= 4 * width else f"{line[: width - 1].rstrip()}…"


def plain(text: str) -> str:
    """A line that moves no cursor and changes no colour, whatever stands in the data."""
    return "".join(c if c.isprintable() or c == "\t" else f"\\x{ord(c):02x}" for c in text)
