"""Per-item values of one task's samples.jsonl, in columns."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from joyctl.report.bulk import Bulk, read_bulk
from joyctl.report.estimate import Estimate, Floats, Ints, ratio

BITS_PER_BYTE = "bits_per_byte"
GOLD_BITS = "gold_bits_per_byte"
RATIOS: Mapping[str, tuple[str, str]] = {BITS_PER_BYTE: ("nll", "bytes"), GOLD_BITS: ("gold_nll", "gold_bytes")}
"""Metrics that are total bits over total bytes: the columns of an item's nats and bytes. All others are means."""
_NAMES = ("doc_id", "task", "filter", "cluster", "hash")
_TOLERANCE = 1e-4


class TornItems(ValueError):
    """A samples.jsonl that cannot be used; the message says why."""


@dataclass(frozen=True, eq=False)
class Items:
    """Items of one task under one filter, in the order of the file; every column has shape (items,)."""

    keys: tuple[tuple[str, str], ...]
    """(leaf task, document id), distinct."""
    hashes: tuple[str, ...]
    """Digest of document, prompt and target."""
    clusters: Ints
    """Number of the cluster each item belongs to, from 0, in the order in which clusters first stand in the file."""
    columns: Mapping[str, Floats]
    """Metric values by name; a metric of RATIOS has its nats and its bytes instead."""

    def __len__(self) -> int:
        return len(self.keys)

    def has(self, metric: str) -> bool:
        """Whether the items hold what `metric` is computed from."""
        if metric not in RATIOS:
            return metric in self.columns
        return set(RATIOS[metric]) <= self.columns.keys() and float(self.denominator(metric).sum()) > 0

    def numerator(self, metric: str) -> Floats:
        """What is summed over items above the fraction: the metric's values, or bits."""
        return self.columns[RATIOS[metric][0]] / math.log(2) if metric in RATIOS else self.columns[metric]

    def denominator(self, metric: str) -> Floats:
        """What is summed over items below the fraction: ones, or bytes."""
        return self.columns[RATIOS[metric][1]] if metric in RATIOS else np.ones(len(self))

    def only(self, kept: npt.NDArray[np.bool_]) -> Items:
        """Those for which `kept`, shape (items,), is true; clusters without any of them are gone."""
        keys, hashes = tuple(compress(self.keys, kept)), tuple(compress(self.hashes, kept))
        clusters = np.unique(self.clusters[kept], return_inverse=True)[1].astype(np.int64)
        return Items(keys, hashes, clusters, self.columns_of(kept))

    def columns_of(self, kept: npt.NDArray[np.bool_]) -> dict[str, Floats]:
        """The columns of those items alone."""
        return {name: column[kept] for name, column in self.columns.items()}

    def estimate(self, metric: str) -> Estimate:
        """The score itself, with its clustered standard error."""
        return ratio(self.numerator(metric), self.denominator(metric), self.clusters)

    def agrees(self, metric: str, value: float) -> bool:
        """Whether `value` is what the items give, to 1e-4."""
        mine = float(self.numerator(metric).sum() / self.denominator(metric).sum())
        return math.isclose(mine, value, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)


@dataclass(frozen=True, eq=False)
class _Names:
    """What runs share of the items of one task and filter: all but the values."""

    table: Any
    """As Arrow read them: `Bulk.names`."""
    keys: tuple[tuple[str, str], ...]
    hashes: tuple[str, ...]
    clusters: Ints


class Known:
    """Names of items that were read before: files with the same items share them, and are compared at a glance."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str, str], list[_Names]] = {}

    def names(self, table: Any) -> _Names:
        """The names in an Arrow table (`Bulk.names`); the very same object for equal ones."""
        mark = (len(table), table["task"][0].as_py(), table["hash"][0].as_py())
        alike = self._found.setdefault(mark, [])
        for known in alike:
            if known.table.equals(table):
                return known
        tasks, docs, hashes, clusters = (column.to_pylist() for column in table.columns)
        keys = tuple(zip(tasks, map(str, docs), strict=True))
        alike.append(_Names(table, keys, tuple(hashes), _numbered(clusters, keys)))
        return alike[-1]


def read_items(path: Path, known: Known | None = None) -> dict[str, Items]:
    """Items of a samples.jsonl by filter; `known` shares what equal files have in common.

    Raises TornItems for a missing file, a torn line, an item that stands twice, a value that is no finite
    number, or held-out text without bytes.
    """
    try:
        bulks = read_bulk(path)
    except FileNotFoundError:
        raise TornItems("samples.jsonl is missing") from None
    names = known or Known()
    found = {name: _from_bulk(bulk, names) for name, bulk in (bulks or {}).items()}
    whole = {name: items for name, items in found.items() if items is not None}
    # The slow way gives the same, or says what is wrong and where.
    return whole if bulks and len(whole) == len(bulks) else _read_slowly(path)


def _from_bulk(bulk: Bulk, known: Known) -> Items | None:
    """The items, or None where there is anything to complain of."""
    names = known.names(bulk.names)
    finite = all(np.isfinite(column).all() for column in bulk.columns.values())
    empty = "bytes" in bulk.columns and (bulk.columns["bytes"] <= 0).any()
    if not finite or empty or len(set(names.keys)) != len(names.keys):
        return None
    return Items(names.keys, names.hashes, names.clusters, bulk.columns)


def _read_slowly(path: Path) -> dict[str, Items]:
    """As `read_items`, line by line in Python; gives the same, and names the line that is torn."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise TornItems(f"samples.jsonl is not UTF-8 at byte {error.start}") from error
    records: dict[str, list[dict[str, Any]]] = {}
    for number, record in enumerate(_parsed(lines), start=1):
        if not isinstance(record, dict) or "filter" not in record:
            raise TornItems(f"samples.jsonl line {number} is no item")
        records.setdefault(str(record["filter"]), []).append(record)
    return {name: _columns(found) for name, found in records.items()}


def _parsed(lines: Sequence[str]) -> list[Any]:
    """The value of every line; lines are parsed together, which is much faster, and singly to name the torn one."""
    whole = [line for line in lines if line]
    try:
        values: list[Any] = json.loads(f"[{','.join(whole)}]")
    except ValueError:
        values = []
    if len(values) == len(whole):
        return values
    for number, line in enumerate(whole, start=1):
        try:
            values.append(json.loads(line))
        except ValueError as error:
            raise TornItems(f"samples.jsonl line {number} is torn") from error
    raise TornItems("samples.jsonl holds lines that are no JSON objects")


def _columns(records: list[dict[str, Any]]) -> Items:
    try:
        keys = tuple((str(r["task"]), str(r["doc_id"])) for r in records)
        hashes = tuple(str(r["hash"]) for r in records)
        clusters = _numbered((str(r["cluster"]) for r in records), keys)
        columns = {name: np.array([float(r[name]) for r in records]) for name in _numeric(records[0])}
    except (KeyError, TypeError, ValueError) as error:
        raise TornItems(f"samples.jsonl holds an item without a usable value: {error}") from error
    if len(set(keys)) != len(keys):
        raise TornItems("samples.jsonl holds an item twice")
    for name, column in columns.items():
        if not np.isfinite(column).all():
            bad = keys[int(np.flatnonzero(~np.isfinite(column))[0])]
            raise TornItems(f"samples.jsonl: {name} of item {bad[0]}/{bad[1]} is not a finite number")
    if "bytes" in columns and (columns["bytes"] <= 0).any():
        raise TornItems("samples.jsonl holds an item without bytes")
    return Items(keys, hashes, clusters, columns)


def _numeric(record: Mapping[str, Any]) -> list[str]:
    return [k for k, v in record.items() if k not in _NAMES and isinstance(v, int | float)]


def _numbered(labels: Iterable[str], keys: Iterable[tuple[str, str]]) -> Ints:
    """Clusters by number. An item labelled by its own document is a cluster of its own: of its leaf task, too, since
    every leaf task of a group counts its documents from 0."""
    codes: dict[str | tuple[str, str], int] = {}
    own = (key if label == key[1] else label for label, key in zip(labels, keys, strict=True))
    return np.array([codes.setdefault(label, len(codes)) for label in own], dtype=np.int64)
