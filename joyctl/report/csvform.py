"""The report as CSV: one tall table, a row a score, a difference of a run or an average over seeds."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from typing import Any

from joyctl.campaign.protocol import protocol_words
from joyctl.campaign.spec import RunSpec
from joyctl.report.aggregate import Composite, estimate
from joyctl.report.deltas import Delta
from joyctl.report.report import Report
from joyctl.report.results import Score

COLUMNS = (
    "campaign", "kind", "run", "variant", "control", "task", "metric", "filter", "unit", "value", "stderr", "n",
    "low", "high", "p", "p_adjusted", "q", "p_exact", "bootstrap_low", "bootstrap_high", "detectable", "verdict",
    "better", "family", "clusters", "few_clusters", "seeds", "trunks", "higher_is_better", "seed", "trunk_seed",
    "duration", "dropped", "policy", "changed", "protocol",
    "added", "share", "beside", "phase_protocol",
)  # fmt: skip
"""The header; columns may be added at the end, not renamed."""
Line = dict[str, Any]


def render_csv(report: Report) -> str:
    """CSV by RFC 4180: CRLF, a header, quotes only where needed; an empty cell is a value that there is not.

    `kind` is `score` (a run's own), `delta` (a run minus its control) or `average` (a variant minus its control over
    its seeds: its `run`, `seed` and `trunk_seed` are empty); `value` is the score or the difference. Fractions and
    bits per byte in full precision, never per cent; `unit` says which. Where an average over a suite's categories
    stands, its metric is `rescaled`. A score whose run is missing has no row: `--format json` says why.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    for line in _lines(report):
        writer.writerow({"campaign": report.results.campaign, **{key: _cell(value) for key, value in line.items()}})
    return out.getvalue()


def _lines(report: Report) -> Iterator[Line]:
    specs = {run.id: run for run in report.results.runs}
    variants = {run.variant: run for run in reversed(report.results.runs)}
    protocols = {score.key: score.protocol for score in report.results.scores}
    protocols |= {one.key: one.protocol for one in report.composites}
    for score in report.results.scores:
        yield _score(report, specs[score.run], score, score.items.estimate(score.metric).stderr)
    for one in report.composites:
        yield _score(report, specs[one.run], one, estimate([(specs[one.run], one)]).stderr)
    for delta in report.deltas:
        run = specs[delta.run]
        own = {"kind": "delta", "run": run.id, "seed": run.seed, "trunk_seed": run.trunk_seed}
        yield {**_of_run(run), **_delta(report, delta), **own, "protocol": protocols[delta.key]}
    for delta in report.averages:
        shared = _of_run(variants[delta.run])
        yield {**shared, **_delta(report, delta), "kind": "average", "protocol": protocols[delta.key]}


def _score(report: Report, run: RunSpec, score: Score | Composite, stderr: float) -> Line:
    return {
        **_of_run(run),
        "kind": "score",
        "run": run.id,
        "control": run.control,
        "seed": run.seed,
        "trunk_seed": run.trunk_seed,
        "task": score.task,
        "metric": score.metric,
        "filter": score.filter,
        "unit": _unit(report, score.key),
        "value": score.value,
        "stderr": stderr,
        "n": score.n,
        "higher_is_better": score.higher_is_better,
        "protocol": score.protocol,
    }


def _delta(report: Report, delta: Delta) -> Line:
    same = (
        "control", "task", "metric", "filter", "stderr", "n", "low", "high", "p", "p_adjusted", "q", "p_exact",
        "bootstrap_low", "bootstrap_high", "detectable", "verdict", "better", "family", "clusters", "few_clusters",
        "seeds", "trunks", "higher_is_better",
    )  # fmt: skip
    return {**{name: getattr(delta, name) for name in same}, "value": delta.delta, "unit": _unit(report, delta.key)}


def _of_run(run: RunSpec) -> Line:
    """What a run shares with the other seeds of its variant."""
    return {
        "variant": run.variant,
        "duration": run.duration,
        "dropped": "+".join(run.dropped),
        "policy": run.policy,
        "added": run.added,
        "share": run.share,
        "beside": run.beside,
        "phase_protocol": protocol_words(run.protocol),
        "changed": " ".join(f"{key}={value}" for key, value in sorted(run.changed.items())),
    }


def _unit(report: Report, key: tuple[str, str, str]) -> str:
    column = report.every[key]
    return "fraction" if column.percent else column.unit


def _cell(value: object) -> object:
    """`true` and `false` as spreadsheets and pandas read them; nothing for what is not there or is no number."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return str(value).lower() if isinstance(value, bool) else value
