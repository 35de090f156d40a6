"""samples.jsonl in columns by Arrow, on all cores: for whole files; what is wrong with one is not told here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TEXTS = ("task", "filter", "cluster", "hash", "response")
_BLOCK = 1 << 20  # bytes that one thread parses at a time


@dataclass(frozen=True, eq=False)
class Bulk:
    """Rows of one filter; every column has as many values, none of them missing."""

    names: Any
    """Arrow table of `task`, `doc_id` (text or whole number), `hash` and `cluster`."""
    columns: Mapping[str, npt.NDArray[np.float64]]
    """Every field that is a number in the filter's first row."""


def read_bulk(path: Path) -> dict[str, Bulk] | None:
    """Rows by filter, as many as the file has lines; None where any of them is not plainly an item.

    What it gives is what Python's own parser gives, bit for bit. It refuses rather than guesses: a field that is a
    number in one row and something else or nothing in another of the same filter, a line that is torn or empty, bytes
    that are not UTF-8. Raises FileNotFoundError.
    """
    import pyarrow as pa
    import pyarrow.json

    data = path.read_bytes()
    schema = _schema(data)
    if schema is None:
        return None
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(data),
            read_options=pyarrow.json.ReadOptions(block_size=_BLOCK),
            parse_options=pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer"),
        )
        table.validate(full=True)  # all texts are UTF-8
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    if len(table) != data.count(b"\n") + (not data.endswith(b"\n")):  # it also takes several objects in a line
        return None
    if table["filter"].null_count:
        return None
    found = {}
    for name, rows in _by_filter(table).items():
        bulk = _bulk(rows)
        if bulk is None:
            return None
        found[name] = bulk
    return found


def _schema(data: bytes) -> Any:
    """Types of the fields of the first and the last line, which spare Arrow guessing; None where one is no object.

    Fields of other lines alone are left to Arrow.
    """
    import pyarrow as pa

    types = dict.fromkeys(TEXTS, pa.string())
    for line in (data[: data.find(b"\n") + 1 or None], data[data.rfind(b"\n", 0, -1) + 1 :]):
        try:
            record = json.loads(line)
        except ValueError:
            return None
        if not isinstance(record, dict):
            return None
        for name, value in record.items():
            if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool)):
                types.setdefault(name, pa.int64() if name == "doc_id" else pa.float64())
    return pa.schema(list(types.items()))


def _by_filter(table: Any) -> dict[str, Any]:
    """Tables by filter, in the order in which they first stand in the file."""
    import pyarrow as pa

    encoded = table["filter"].combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    if len(names) == 1:
        return {names[0]: table}
    numbers = np.frombuffer(encoded.indices.buffers()[1], np.int32, len(encoded))
    found = {}
    for number, name in enumerate(names):
        places = np.flatnonzero(numbers == number)
        # Of a NumPy array, as of a list, pyarrow makes its own only after it has imported pandas.
        found[name] = table.take(pa.Array.from_buffers(pa.int64(), len(places), [None, pa.py_buffer(places)]))
    return found


def _bulk(rows: Any) -> Bulk | None:
    import pyarrow as pa

    if {"task", "doc_id", "hash", "cluster"} - set(rows.column_names):
        return None
    names = rows.select(["task", "doc_id", "hash", "cluster"])
    if names["doc_id"].type not in (pa.int64(), pa.string()) or any(column.null_count for column in names.columns):
        return None
    columns = {}
    for name in set(rows.column_names) - {*names.column_names, *TEXTS}:
        column = rows[name]
        kind = column.type
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        if not number or not column[0].is_valid:
            continue
        if column.null_count:
            return None
        columns[name] = np.concatenate([_values(chunk) for chunk in column.chunks])
    return Bulk(names, columns)


def _values(chunk: Any) -> npt.NDArray[np.float64]:
    """The numbers of an Arrow array without gaps. (Its own way to NumPy imports pandas.)"""
    import pyarrow as pa

    floats = chunk.cast(pa.float64(), safe=False)  # as Python makes a float of a whole number: the nearest
    return np.frombuffer(floats.buffers()[1], np.float64, len(floats), floats.offset * 8)
