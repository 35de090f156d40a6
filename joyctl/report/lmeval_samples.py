"""Items of one `samples_<task>_<date>.jsonl` as lm-eval's command line writes it with --log_samples."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from joyctl.errors import Refused
from joyctl.report.estimate import Floats
from joyctl.report.items import RATIOS

HASHES = {"document": "doc_hash", "prompt": "prompt_hash", "target": "target_hash"}
"""What must agree before two items are a pair, and the field that holds its digest."""
_WORDS = {"true": 1.0, "false": 0.0}
_AGAIN = "Run lm_eval again with --log_samples, or leave the task out (--tasks)."
# A line of full MMLU repeats a long prompt four times; what is wanted stands before and behind all that. A quotation
# mark within a JSON string is escaped, so the tail cannot begin inside one.
_HEAD = re.compile(rb'\{"doc_id": (\d+), ')
_TAIL = b', "filter": "'


@dataclass(frozen=True, eq=False)
class Logged:
    """Items of one leaf task under one filter, in the order of the file; every column has shape (items,)."""

    docs: tuple[str, ...]
    """Document ids, distinct."""
    hashes: Mapping[str, tuple[str, ...]]
    """Digests by what they are of: the keys of HASHES."""
    clusters: tuple[str, ...] | None
    """The documents' own field `cluster`; None where any of them has none."""
    columns: Mapping[str, Floats]
    """Metric values by name, NaN where an item has no number; a metric of RATIOS has its nats and its bytes instead."""

    def taken(self, docs: Collection[str]) -> Logged:
        """These items only, in the order of `docs`, each of which is among them."""
        place = {doc: i for i, doc in enumerate(self.docs)}
        rows = [place[doc] for doc in docs]
        return Logged(
            tuple(docs),
            {name: tuple(digests[i] for i in rows) for name, digests in self.hashes.items()},
            None if self.clusters is None else tuple(self.clusters[i] for i in rows),
            {name: column[rows] for name, column in self.columns.items()},
        )


def number(value: Any) -> float | None:
    """A metric's value as lm-eval writes it: a number, a truth value, or either as text; None for anything else."""
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, str):
        try:
            return _WORDS[value.lower()] if value.lower() in _WORDS else float(value)
        except ValueError:
            return None
    return None


def read_samples(path: Path, metrics: Collection[str]) -> dict[str, Logged]:
    """Items of the file by filter, with the columns of `metrics`.

    Raises Refused, naming file and line, for a torn line, a line without document id, filter or hashes, and for a
    document that stands twice under a filter.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    seen: set[tuple[str, str]] = set()
    for line, record in _records(path):
        lacking = [name for name in ("doc_id", "filter", *HASHES.values()) if name not in record]
        if lacking:
            raise Refused(f"{path} line {line} is no item of lm-eval: it has no {', '.join(lacking)}", hint=_AGAIN)
        key = str(record["filter"]), str(record["doc_id"])
        if key in seen:
            raise Refused(f"{path} line {line}: document {key[1]} stands twice under filter {key[0]}", hint=_AGAIN)
        seen.add(key)
        found.setdefault(key[0], []).append(record)
    return {name: _columns(records, metrics) for name, records in found.items()}


def _records(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(number of the line, its object); without documents and prompts where the documents name no cluster."""
    whole: bool | None = None
    with path.open("rb") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            record = None if whole is not False else _ends(text)
            if record is None:
                try:
                    record = json.loads(text)
                except ValueError:
                    raise Refused(f"{path} line {line} is torn", hint=_AGAIN) from None
                if not isinstance(record, dict):
                    raise Refused(f"{path} line {line} is no item of lm-eval", hint=_AGAIN)
                if whole is None:
                    whole = _cluster(record) is not None
            yield line, record


def _ends(text: bytes) -> dict[str, Any] | None:
    """The fields before the document and from the filter on; None where the line has another shape than lm-eval's."""
    head, at = _HEAD.match(text), text.rfind(_TAIL)
    if head is None or at < 0:
        return None
    try:
        record: dict[str, Any] = json.loads(b"{" + text[at + 2 :])
    except ValueError:
        return None
    if not record.keys() >= set(HASHES.values()):
        return None
    record["doc_id"] = int(head[1])
    return record


def _cluster(record: Mapping[str, Any]) -> str | None:
    doc = record.get("doc")
    found = doc.get("cluster") if isinstance(doc, Mapping) else None
    return None if found is None else str(found)


def _columns(records: list[Mapping[str, Any]], metrics: Collection[str]) -> Logged:
    columns: dict[str, Floats] = {}
    for metric in metrics:
        if metric in RATIOS:
            pairs = [_pair(record.get(metric)) for record in records]
            # lm-eval logs the log-likelihood and the bytes that its aggregation sums up.
            nats, size = RATIOS[metric]
            columns[nats] = np.array([-pair[0] for pair in pairs])
            columns[size] = np.array([pair[1] for pair in pairs])
        else:
            values = [number(record.get(metric)) for record in records]
            columns[metric] = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    clusters = [_cluster(record) for record in records]
    named = tuple(cluster for cluster in clusters if cluster is not None)
    return Logged(
        tuple(str(record["doc_id"]) for record in records),
        {name: tuple(str(record[field]) for record in records) for name, field in HASHES.items()},
        named if len(named) == len(records) else None,
        columns,
    )


def _pair(value: Any) -> tuple[float, float]:
    if isinstance(value, list) and len(value) == 2:
        first, second = number(value[0]), number(value[1])
        if first is not None and second is not None:
            return first, second
    return np.nan, np.nan
