"""The texts of files, one document after the other: lines of JSON, Parquet, plain text, packed or not."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from joyctl.data.remote import failures
from joyctl.data.tokenise.inputs import Piece, filesystem
from joyctl.errors import Missing

_HINT = "Mend the file, or leave it out. What is done is kept; the same command goes on."
_PACKED = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_BUFFER = 1 << 20  # bytes
_ROWS = 256  # of a Parquet file at once


def documents(piece: Piece, column: str) -> Iterator[str]:
    """The texts in a file, or a stretch of it, in order.

    Raises Missing with the file's name, and the line or row where there is one, for what is not what its name says.
    """
    name, packed = _kind(piece.path)
    if packed and not piece.size and "://" not in piece.path:  # of a store the size may not be known
        raise Missing(f"{piece.path} cannot be read: it is empty, so nothing is packed in it", hint=_HINT)
    if name.endswith(".parquet"):
        yield from _parquet(piece, column)
    elif name.endswith(".txt"):
        yield _text(piece, packed)
    else:
        yield from _lines(piece, packed, column)


def row_groups(path: str) -> int:
    """How many row groups a Parquet file has. Raises Missing where it is none."""
    with _parquet_file(path) as file:
        return int(file.metadata.num_row_groups)


def _kind(path: str) -> tuple[str, str | None]:
    for ending, packed in _PACKED.items():
        if path.endswith(ending):
            return path.removesuffix(ending), packed
    return path, None


def _open(path: str) -> Any:
    """The bytes of a local file or a URL."""
    if "://" not in path:
        return open(path, "rb", buffering=_BUFFER)  # noqa: PTH123 - closed by who asked
    system, inner = filesystem(path)
    return system.open(inner, "rb")


@contextmanager
def _stream(path: str, packed: str | None) -> Iterator[Any]:
    """A file's bytes, unpacked."""
    with _readable(path), _open(path) as raw:
        if packed is None:
            yield raw
            return
        import pyarrow

        yield io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, "r"), packed), _BUFFER)


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """What goes wrong in reading is the file's fault, or its store's."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, failures() if "://" in path else OSError):
            raise
        why = (isinstance(error, OSError) and error.strerror) or error
        raise Missing(f"{path} cannot be read: {why}", hint=_HINT) from error


def _lines(piece: Piece, packed: str | None, column: str) -> Iterator[str]:
    """Texts of the lines that begin within the stretch."""
    with _stream(piece.path, packed) as file:
        at = piece.start
        if at:  # a line belongs to the stretch in which its first byte lies
            file.seek(at - 1)
            at += len(file.readline()) - 1
        number = 0
        while piece.stop is None or at < piece.stop:
            line = file.readline()
            if not line:
                return
            number += 1
            if line.strip():
                try:
                    text = _field(line, column)
                except _Wrong as wrong:
                    where = _line_number(piece, number, packed)
                    raise Missing(f"{piece.path}: line {where:,} {wrong}", hint=_HINT) from wrong
                yield text
            at += len(line)


class _Wrong(Exception):
    """What is wrong with a line, in words that follow its number."""


def _field(line: bytes, column: str) -> str:
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _Wrong(f"is not UTF-8: {error.reason} at byte {error.start:,} of the line") from error
    except ValueError as error:
        raise _Wrong(f"is not JSON: {error}") from error
    except RecursionError as error:
        raise _Wrong("is JSON too deep to read") from error
    if not isinstance(value, dict):
        raise _Wrong(f"is no JSON object but {type(value).__name__}")
    if column not in value:
        raise _Wrong(f"has no '{column}', only {', '.join(value) or 'nothing'}; set text.column")
    return _checked(value[column], column)


def _checked(text: object, column: str) -> str:
    if not isinstance(text, str):
        raise _Wrong(f"has no text in '{column}' but {type(text).__name__}; set text.column")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise _Wrong(f"has half of a surrogate pair in '{column}', which is no text") from error
    return text


def _line_number(piece: Piece, number: int, packed: str | None) -> int:
    """A line's number in the whole file; the lines before the stretch are counted only now."""
    if not piece.start:
        return number
    before, left = 0, piece.start - 1
    with _stream(piece.path, packed) as file:
        while left > 0 and (block := file.read(min(left, _BUFFER))):
            before += block.count(b"\n")
            left -= len(block)
        if file.readline():
            before += 1
    return before + number


def _text(piece: Piece, packed: str | None) -> str:
    with _stream(piece.path, packed) as file:
        content: bytes = file.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        said = f"{piece.path} is not UTF-8: {error.reason} at byte {error.start:,}"
        raise Missing(said, hint=_HINT) from error


@contextmanager
def _parquet_file(path: str) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        with _readable(path), _open(path) as raw, pyarrow.parquet.ParquetFile(raw) as file:
            yield file
    except (pyarrow.ArrowException, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Missing(f"{path} cannot be read as Parquet: {first}", hint=_HINT) from error


def _parquet(piece: Piece, column: str) -> Iterator[str]:
    row = 0
    with _parquet_file(piece.path) as file:
        if column not in file.schema_arrow.names:
            have = ", ".join(file.schema_arrow.names)
            raise Missing(f"{piece.path} has no column '{column}', only {have}", hint="Set text.column.")
        first, last = piece.start, file.num_row_groups if piece.stop is None else piece.stop
        row = sum(file.metadata.row_group(i).num_rows for i in range(first))
        for batch in file.iter_batches(_ROWS, row_groups=range(first, last), columns=[column], use_threads=False):
            for value in batch.column(0).to_pylist():
                row += 1
                try:
                    text = _checked(value, column)
                except _Wrong as wrong:
                    raise Missing(f"{piece.path}: row {row:,} {wrong}", hint=_HINT) from wrong
                yield text
