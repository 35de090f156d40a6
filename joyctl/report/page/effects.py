"""Charts of differences: the heat map of left-out sources, and every arm's interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from joyctl.report.deltas import Delta
from joyctl.report.page.blocks import TONES, Chart, Figure
from joyctl.report.page.hover import Counts, amount, label_lines, of_delta, tooltip
from joyctl.report.page.spec import LINES, ZERO, finished, of
from joyctl.report.page.theme import colour
from joyctl.report.report import Report
from joyctl.report.sheet import Column, Row, duration_label
from joyctl.report.worth import DatasetTable, LeftOut

_FEW = 9  # arms that leave the heat map its tall rows
_SHAPES = {"▲": "triangle-up", "△": "triangle-up", "▼": "triangle-down", "▽": "triangle-down", "·": "circle"}
SIGNS = "▲ better, ▼ worse, after Holm's correction; △▽ only the interval by itself says so; · no detectable difference"


def heat_map(report: Report, counts: Counts) -> Figure | None:
    """Left-out sources by benchmarks, the difference printed in each cell; pale where none is detectable."""
    table = report.datasets
    if table is None or not table.arms or not table.columns:
        return None
    labels = _arm_labels(table)
    heads = {column.key: _column_label(column) for column in table.columns}
    lines = max(head.count("\n") for head in heads.values())
    # Labels above the cells grow downwards: all get as many lines, and that much room.
    heads = {key: "\n" * (lines - head.count("\n")) + head for key, head in heads.items()}
    cells = [_cell(counts, table, arm, column, labels, heads) for arm in table.arms for column in table.columns]
    y = alt.Y("arm:N", title=None, sort=list(labels.values())).axis(labelColor=colour("ink"), labelPadding=10, **LINES)
    x = alt.X("benchmark:N", title=None, sort=list(heads.values())).axis(
        orient="top",
        labelExpr=LINES["labelExpr"],
        labelAngle=0,
        domain=False,
        ticks=False,
        labelColor=colour("ink"),
        labelLineHeight=15,
        labelPadding=15 * lines + 8,
    )
    chart = of("cells").encode(x=x, y=y)
    boxes = chart.mark_rect(stroke=colour("paper"), strokeWidth=3, cornerRadius=5).encode(
        fill=alt.Fill("fill:N", scale=None),
        fillOpacity=alt.FillOpacity("strength:Q", scale=None),
        tooltip=tooltip("left out", "benchmark name", "place"),
    )
    numbers = chart.mark_text(fontSize=13).encode(text=alt.Text("text:N"), color=alt.Color("ink:N", scale=None))
    said = "; ".join(f"{c['left out']}, {c['benchmark name']}: {c['text']}" for c in cells)
    title = "What each source is worth"
    made = finished(
        alt.layer(boxes, numbers),
        {"cells": cells},
        title,
        "the phase without the source, minus the phase with it",
        (42 if len(labels) <= _FEW else 26) * len(labels),
    )
    room = 84 + max(62, max(len(line) for head in heads.values() for line in head.split("\n")) * 6) * len(table.columns)
    chart_ = Chart("datasets", made, f"Difference without each source. {said}.", min_width=room)
    caption = f"Each row is an arm that leaves a source out, against the same duration with nothing left out. {SIGNS}."
    return Figure("dataset-map", (chart_,), caption)


def forest(report: Report, counts: Counts) -> Figure | None:
    """Every arm's difference with its interval, one drawing a headline score."""
    charts = []
    for number, column in enumerate(report.columns):
        found = [(row, row.cells[column.key].delta) for row in report.rows if column.key in row.cells]
        there = [(row, delta) for row, delta in found if delta is not None]
        if there:
            charts.append(_forest(counts, number, column, there))
    if not charts:
        return None
    caption = f"Bars: 95 % intervals, paired by item, clustered, not widened for the number of comparisons. {SIGNS}."
    return Figure("differences", tuple(charts), caption, across=min(3, len(charts)))


def _forest(counts: Counts, number: int, column: Column, found: Sequence[tuple[Row, Delta]]) -> Chart:
    scale = 100 if column.percent else 1
    data: list[dict[str, Any]] = [
        {
            **of_delta(counts, column, delta),
            "arm": label_lines(row.variant, 22),
            "v": delta.delta * scale,
            "low": delta.low * scale,
            "high": delta.high * scale,
            "shape": _SHAPES[delta.mark],
            "ink": _ink(delta),
            "fill": _ink(delta) if delta.mark in "▲▼·" else colour("paper"),
        }
        for row, delta in found
    ]
    lines = max(datum["arm"].count("\n") + 1 for datum in data)
    y = alt.Y("arm:N", title=None, sort=[datum["arm"] for datum in data]).axis(grid=True, **LINES)
    x = alt.X("v:Q", title=None).axis(tickCount=4, format="+f", labelExpr=ZERO, labelSeparation=8, grid=False)
    chart = of("arms").encode(y=y, color=alt.Color("ink:N", scale=None))
    layers = (
        of("zero").mark_rule(color=colour("soft")).encode(x=alt.X("zero:Q")),
        chart.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=None), x2=alt.X2("high")),
        chart.mark_point(size=70, opacity=1, strokeWidth=1.6).encode(
            x=x, shape=alt.Shape("shape:N", scale=None), fill=alt.Fill("fill:N", scale=None), tooltip=tooltip()
        ),
    )
    arrow = "higher" if column.higher_is_better else "lower"
    under = f"{column.unit}, n {column.n:,}, {arrow} is better"
    made = finished(
        alt.layer(*layers),
        {"arms": data, "zero": [{"zero": 0}]},
        column.label,
        under,
        max(22, 14 * lines + 6) * len(data),
    )
    said = "; ".join(f"{d['run']} {d['difference']} {d['interval']}" for d in data)
    return Chart(f"difference-{number}", made, f"{column.label}: {said}.")


def _cell(
    counts: Counts,
    table: DatasetTable,
    arm: LeftOut,
    column: Column,
    labels: Mapping[str, str],
    heads: Mapping[Any, str],
) -> dict[str, Any]:
    delta = arm.deltas.get(column.key)
    place = next((rank.place for rank in table.ranks.get(column.key, ()) if rank.variant == arm.variant), None)
    found = {
        "arm": labels[arm.variant],
        "benchmark": heads[column.key],
        "left out": f"{' and '.join(arm.dropped)}, {arm.share * 100:.1f} % of the phase",
        "benchmark name": column.label,
        "place": f"{place} of {len(table.ranks[column.key])} by what it costs to leave it out" if place else "–",
    }
    if delta is None:
        return {**found, "text": "–", "fill": colour("raised"), "strength": 1.0, "ink": colour("faint")}
    found |= of_delta(counts, column, delta)
    tone, strength = TONES[delta.mark], _strength(table, column, delta)
    ink = colour("on-strong") if strength > 0.55 else colour("soft" if tone == "none" else "ink")
    fill = colour("faint") if tone == "none" else _ink(delta)
    text = f"{amount(column, delta.delta)} {delta.mark}"
    return {**found, "text": text, "fill": fill, "strength": strength, "ink": ink}


def _strength(table: DatasetTable, column: Column, delta: Delta) -> float:
    """Opacity of a cell: pale where nothing is detectable, stronger with the size among columns of one unit."""
    if delta.mark == "·":
        return 0.1
    if delta.uncorrected:
        return 0.2
    alike = [c.key for c in table.columns if c.unit == column.unit]
    largest = max(abs(arm.deltas[key].delta) for arm in table.arms for key in alike if key in arm.deltas)
    size = float((abs(delta.delta) / largest) ** 0.5)
    # Between the two, neither dark nor light ink can be read well.
    return round(0.3 + 0.15 * size if size < 0.45 else 0.68 + 0.3 * size, 3) if size < 0.999 else 0.98


def _ink(delta: Delta) -> str:
    if delta.mark == "·":
        return colour("faint")
    return colour("better" if delta.mark in "▲△" else "worse")


def _arm_labels(table: DatasetTable) -> dict[str, str]:
    """A label for every arm: its sources, and what else tells it from the others."""
    durations = {arm.duration for arm in table.arms}
    plain = {
        arm.variant: " + ".join(arm.dropped) + (f" at {duration_label(arm.duration)}" if len(durations) > 1 else "")
        for arm in table.arms
    }
    taken = list(plain.values())
    return {
        variant: label_lines(f"without {label}", 24) if taken.count(label) == 1 else label_lines(variant, 22)
        for variant, label in plain.items()
    }


def _column_label(column: Column) -> str:
    return f"{label_lines(column.label, 13)}\n{column.unit}\nn {column.n:,}"
