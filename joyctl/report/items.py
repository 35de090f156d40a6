"""Per-item values of one task's samples.jsonl, in columns."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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
    """Number of the cluster each item belongs to."""
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

    def estimate(self, metric: str) -> Estimate:
        """The score itself, with its clustered standard error."""
        return ratio(self.numerator(metric), self.denominator(metric), self.clusters)

    def agrees(self, metric: str, value: float) -> bool:
        """Whether `value` is what the items give, to 1e-4."""
        mine = float(self.numerator(metric).sum() / self.denominator(metric).sum())
        return math.isclose(mine, value, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)


def read_items(path: Path) -> dict[str, Items]:
    """Items of a samples.jsonl by filter.

    Raises TornItems for a missing file, a torn line, an item that stands twice, a value that is no finite
    number, or held-out text without bytes.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise TornItems("samples.jsonl is missing") from None
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
        clusters = _numbered(str(r["cluster"]) for r in records)
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


def _numbered(labels: Iterable[str]) -> Ints:
    codes: dict[str, int] = {}
    return np.array([codes.setdefault(label, len(codes)) for label in labels], dtype=np.int64)
