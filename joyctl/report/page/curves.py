"""The duration curve: what is gained and what is paid, over the length of the phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from joyctl.report.curve import CurvePoint, DurationCurve
from joyctl.report.findings import cost_words
from joyctl.report.page.blocks import Chart, Figure
from joyctl.report.page.hover import amount
from joyctl.report.page.spec import ROOMY, ZERO, Rows, finished, of
from joyctl.report.page.theme import colour
from joyctl.report.report import Report
from joyctl.report.sheet import Column, duration_label

_HEIGHT = 210
_LINE = 17  # pixels between the names at the ends of lines


def duration_figure(report: Report) -> Figure | None:
    """Two drawings over the same durations: the mean gain with each benchmark behind it, and the general loss."""
    curve = report.curve
    if curve is None or len(curve.points) < 2:
        return None
    targeted = [column for column in report.columns if column.key in curve.targeted]
    general = [report.every[key] for key in curve.general if key in report.every]
    chosen = (
        f"Dashed: the duration chosen, {duration_label(curve.best)}; shaded: where 95 % of resampled campaigns choose. "
        f"Rule: {curve.rule}."
        if curve.kind != "none"
        else f"None is chosen: {curve.rule}."
    )
    losses = " and ".join(column.label for column in general) or "general loss"
    points = ", ".join(
        f"{duration_label(p.duration)}: gain {p.gain * 100:+.1f} pp, cost {cost_words(curve, p)}" for p in curve.points
    )
    room = min(130, max((len(column.label) for column in targeted), default=0) * 7 + 8)
    gain = Chart("duration-gain", _panel(report, curve, targeted, room, gain=True), f"Mean gain by duration. {points}.")
    cost = Chart(
        "duration-loss", _panel(report, curve, general, room, gain=False), f"General loss by duration. {points}."
    )
    caption = (
        f"Bold: mean over {', '.join(c.label for c in targeted) or 'no benchmark'}, and {losses}, with 95 % intervals. "
        f"Filled points: no other duration gains as much for less. {chosen}"
    )
    return Figure("duration-curve", (gain, cost), caption, across=2)


def _panel(report: Report, curve: DurationCurve, columns: Sequence[Column], room: int, *, gain: bool) -> dict[str, Any]:
    tone = colour("better" if gain else "worse")
    data = [_datum(report, curve, columns, point, gain=gain) for point in curve.points]
    # An aggregate's own differences have the other sign: its fall is the cost.
    thin = _lines(report, curve, columns) if gain or (len(columns) > 1 and curve.cost_unit != "pp") else []
    x = alt.X("d:Q", title="duration of the phase, % of all steps", scale=alt.Scale(nice=False, zero=False)).axis(
        values=[round(p.duration * 100, 4) for p in curve.points], format="~r", labelFlush=False, labelOverlap=True
    )
    y = alt.Y("v:Q", title=None, scale=ROOMY).axis(
        tickCount=5, format="+f", labelExpr=ZERO, labelPadding=9, minExtent=44
    )
    chart = of("points")
    last = max(p.duration for p in curve.points) * 100
    chosen = {"from": max(0.0, curve.best_low * 100), "to": min(last, curve.best_high * 100), "best": curve.best * 100}
    shade = of("chosen")
    choice = [
        shade.mark_rect(color=colour("faint"), opacity=0.18).encode(x=alt.X("from:Q"), x2=alt.X2("to")),
        shade.mark_rule(color=colour("soft"), strokeDash=[4, 3]).encode(x=alt.X("best:Q")),
    ]
    layers = [
        *(choice if curve.kind != "none" else []),
        of("zero").mark_rule(color=colour("soft"), strokeWidth=1).encode(y=alt.Y("zero:Q")),
        chart.mark_area(color=tone, opacity=0.16).encode(x=x, y=alt.Y("low:Q", title=None), y2=alt.Y2("high")),
    ]
    if thin:
        several = of("thin")
        layers += [
            several.mark_line(color=colour("soft"), strokeWidth=1, opacity=0.75).encode(
                x=x, y=y, detail=alt.Detail("label:N")
            ),
            of("ends")
            .mark_text(align="left", dx=7, fontSize=11, color=colour("soft"))
            .encode(x=x, y=alt.Y("at:Q"), text=alt.Text("label:N")),
        ]
    hints = ["run", "duration", "difference", "interval", "n", "benchmarks"]
    tips = [alt.Tooltip(f"{name}:N", title=name) for name in hints]
    layers += [
        chart.mark_line(color=tone, strokeWidth=2.5).encode(x=x, y=y),
        chart.mark_point(filled=True, size=58, stroke=tone, strokeWidth=1.8, opacity=1).encode(
            x=x, y=y, fill=alt.Fill("fill:N", scale=None), tooltip=tips
        ),
    ]
    rows: dict[str, Rows] = {
        "points": data,
        "chosen": [chosen],
        "zero": [{"zero": 0}],
        "thin": thin,
        "ends": _ends(thin),
    }
    title, under = _titles(curve, gain=gain)
    made = finished(alt.layer(*layers), rows, title, under, _HEIGHT)
    # Names stand at the ends of lines; the drawing without them leaves the same room, so that durations line up.
    made["padding"] = {"left": 2, "top": 2, "bottom": 2, "right": 2 if gain else room}
    return made


def _titles(curve: DurationCurve, *, gain: bool) -> tuple[str, str]:
    if gain:
        return "What targeted benchmarks gain", "percentage points against the control"
    if curve.cost_unit == "pp":
        return "What general capability pays", "percentage points below the control"
    return "What general loss pays", "bits per byte against the control"


def _datum(
    report: Report, curve: DurationCurve, columns: Sequence[Column], point: CurvePoint, *, gain: bool
) -> Mapping[str, Any]:
    percent = gain or curve.cost_unit == "pp"
    scale = 100 if percent else 1
    value, low, high = (
        (point.gain, point.gain_low, point.gain_high) if gain else (point.cost, point.cost_low, point.cost_high)
    )
    shown = ".1f" if percent else ".3f"
    unit = "pp" if percent else "bits/byte"
    best = " (chosen)" if point.duration == curve.best else ""
    return {
        "d": round(point.duration * 100, 4),
        "v": value * scale,
        "low": low * scale,
        "high": high * scale,
        "fill": colour("better" if gain else "worse") if point.pareto else colour("paper"),
        "run": point.variant,
        "duration": duration_label(point.duration) + best,
        "difference": f"{value * scale:+{shown}} {unit}".replace("-", "−"),
        "interval": f"[{low * scale:+{shown}}, {high * scale:+{shown}}] (95 %)".replace("-", "−"),
        "n": ", ".join(f"{column.label} {column.n:,}" for column in columns),
        "benchmarks": "; ".join(_one(report, column, point.variant) for column in columns) or "–",
    }


def _one(report: Report, column: Column, variant: str) -> str:
    row = next((row for row in report.rows if row.variant == variant), None)
    cell = row.cells.get(column.key) if row else None
    if cell is None or cell.delta is None:
        return f"{column.label} –"
    return f"{column.label} {amount(column, cell.delta.delta)} {column.unit}"


def _lines(report: Report, curve: DurationCurve, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Every benchmark's own differences, from the control's zero on."""
    rows = {row.variant: row for row in report.rows}
    found = []
    for column in columns:
        for point in curve.points:
            cell = rows[point.variant].cells.get(column.key) if point.variant in rows else None
            if point.duration == 0 or (cell is not None and cell.delta is not None):
                value = cell.delta.delta if cell is not None and cell.delta is not None else 0.0
                scaled = value * (100 if column.percent else 1)
                found.append({"d": round(point.duration * 100, 4), "v": scaled, "label": column.label})
    return found


def _ends(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A name for the end of each line, moved apart where they would overlap."""
    last: dict[str, Mapping[str, Any]] = {}
    for one in lines:
        if one["label"] not in last or one["d"] > last[one["label"]]["d"]:
            last[one["label"]] = one
    seen = [one["v"] for one in lines]
    gap = (max(seen, default=0) - min(seen, default=0)) * _LINE / _HEIGHT
    ends: list[dict[str, Any]] = []
    for label, one in sorted(last.items(), key=lambda entry: entry[1]["v"]):
        at = max(one["v"], ends[-1]["at"] + gap) if ends else one["v"]
        ends.append({"d": one["d"], "at": at, "label": label})
    return ends
