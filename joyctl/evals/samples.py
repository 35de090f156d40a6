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
        elif isinstance(value, int | float):  # other metrics log what only their aggregation understands
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
        # lm-eval leaves it out for a group of groups, such as mmlu.
        directions = results["higher_is_better"].get(task) or next(
            each for each in results["higher_is_better"].values() if metric in each
        )
        better = bool(directions.get(metric, True))
        error = None if stderr in (None, "N/A") else float(stderr)
        made.append(_score(metric, filter_name, value, error, int(values["sample_len"]), higher_is_better=better))
    return made


def mean_score(metric: str, filter_name: str, found: Sequence[Row]) -> dict[str, Any]:
    """The mean of a column of rows as a score, with the sample deviation over the root of n as its error."""
    values = [math.nan if row[metric] is None else float(row[metric]) for row in found]
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
    stderr = math.sqrt(variance / len(values)) if len(values) > 1 else None
    return _score(metric, filter_name, mean, stderr, len(values), higher_is_better=True)


def ratio_score(metric: str, filter_name: str, found: Sequence[Row], nats: str, size: str) -> dict[str, Any]:
    """Bits per byte over rows as a score: sum(nats) / (ln 2 * sum(bytes)), lower being better."""
    bits = [math.nan if row[nats] is None else row[nats] / math.log(2) for row in found]
    sizes = [row[size] for row in found]
    value = math.fsum(bits) / math.fsum(sizes)
    return _score(metric, filter_name, value, ratio_stderr(bits, sizes), len(found), higher_is_better=False)


def _score(
    metric: str, filter_name: str, value: float, stderr: float | None, n: int, *, higher_is_better: bool
) -> dict[str, Any]:
    return {
        "metric": metric,
        "filter": filter_name,
        "value": finite(value),
        "stderr": None if stderr is None else finite(stderr),
        "n": n,
        "higher_is_better": higher_is_better,
    }


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
