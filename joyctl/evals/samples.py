"""From lm-eval's results to ours: one row an item, and scores with a standard error for every metric."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]


def rows(task: str, logged: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Rows of samples.jsonl for the logged samples of one leaf task, in lm-eval's order."""
    return [_row(task, sample) for sample in logged]


def _row(task: str, sample: Mapping[str, Any]) -> Row:
    row: Row = {
        "doc_id": sample["doc_id"],
        "task": task,
        "filter": sample["filter"],
        "cluster": cluster(sample),
        "hash": digest(sample["doc_hash"], sample["prompt_hash"], sample["target_hash"]),
    }
    for metric in sample["metrics"]:
        value = sample[metric]
        if metric == "bits_per_byte":  # lm-eval logs the pair it sums up: log-likelihood, bytes
            row["nll"], row["bytes"] = finite(-value[0]), int(value[1])
        else:
            row[metric] = finite(value)
    first = sample["resps"][0][0]
    if isinstance(first, str):
        row["response"] = first
    return row


def finite(value: Any) -> float | None:
    """A number as JSON can hold it: None for the NaN or infinity that a diverged model gives."""
    return float(value) if math.isfinite(value) else None


def cluster(sample: Mapping[str, Any]) -> str:
    """What an item's standard error clusters by: the document's `cluster`, else its `subject`, else itself."""
    doc = sample["doc"]
    return str(doc.get("cluster") or doc.get("subject") or sample["doc_id"])


def digest(*hashes: str) -> str:
    """One hash of several: of document, prompt and target."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def scores(task: str, results: Mapping[str, Any], found: Sequence[Row]) -> list[dict[str, Any]]:
    """Scores of `task` (a leaf or a group) from lm-eval's results, one a metric and filter.

    Standard errors are lm-eval's: the sample deviation over the root of n for means, pooled over subtasks for a group.
    lm-eval has none for bits per byte, a ratio of sums; that one comes from `ratio_stderr`.
    """
    values = results["results"][task]
    made = []
    for key, value in values.items():
        metric, comma, filter_name = key.partition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        stderr = values.get(f"{metric}_stderr,{filter_name}")
        if metric == "bits_per_byte":
            bits = [math.nan if row["nll"] is None else row["nll"] / math.log(2) for row in found]
            stderr = ratio_stderr(bits, [row["bytes"] for row in found])
        made.append(
            {
                "metric": metric,
                "filter": filter_name,
                "value": finite(value),
                "stderr": None if stderr in (None, "N/A") else finite(stderr),
                "n": int(values["sample_len"]),
                "higher_is_better": bool(results["higher_is_better"][task].get(metric, True)),
            }
        )
    return made


def ratio_stderr(numerators: Sequence[float], denominators: Sequence[float]) -> float | None:
    """Standard error of sum(x) / sum(y) over n independent documents; None for fewer than two.

    By the delta method: with r = sum(x) / sum(y), the residuals x_i - r y_i sum to zero and
    se(r) = sqrt(n / (n - 1) * sum((x_i - r y_i)^2)) / sum(y)   (Cochran, Sampling Techniques, 3rd ed., eq. 2.46).
    """
    n, total = len(numerators), math.fsum(denominators)
    if n < 2:
        return None
    ratio = math.fsum(numerators) / total
    squares = math.fsum((x - ratio * y) ** 2 for x, y in zip(numerators, denominators, strict=True))
    return math.sqrt(n / (n - 1) * squares) / total
