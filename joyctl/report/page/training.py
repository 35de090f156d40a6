"""Charts of the training: mixes, learning rate and loss of every arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from joyctl.campaign.spec import RunSpec
from joyctl.report import notes
from joyctl.report.history import Curve, Point
from joyctl.report.page.blocks import Chart, Figure
from joyctl.report.page.hover import label_lines
from joyctl.report.page.spec import LINES, ZERO, finished, of
from joyctl.report.page.theme import ARMS, SOURCES, colour
from joyctl.report.report import Report
from joyctl.report.sheet import duration_label, is_upsampling, large_sources

_LR_POINTS = {True: 200, False: 40}  # of a trunk, of a run: it is smooth
_SMOOTH = 80  # windows of a whole training, within which losses are averaged
_HEIGHT = 240
_NAMED = 0.075  # share of a bar that has room for its number


def mixes_figure(report: Report) -> Figure | None:
    """Stacked bars of every mix that any arm was trained on."""
    sources, groups = notes.mixes(report)
    if not groups:
        return None
    inks = source_colours(report, sources)
    labels = [label_lines(names, 26) for names, _ in groups]
    data = []
    for (names, shares), label in zip(groups, labels, strict=True):
        start = 0.0
        for source, share in zip(sources, shares, strict=True):
            if share > 0:
                text = f"{share * 100:.0f}" if share >= _NAMED else ""
                bar = {"arm": label, "source": source, "from": start * 100, "to": (start + share) * 100, "text": text}
                data.append(
                    {
                        **bar,
                        "middle": (start + share / 2) * 100,
                        "arms": names,
                        "share": f"{share * 100:.1f} %",
                        "ink": _on(inks[source]),
                    }
                )
            start += share
    lines = max(label.count("\n") + 1 for label in labels)
    y = alt.Y("arm:N", title=None, sort=labels).axis(labelColor=colour("ink"), **LINES)
    scale = alt.Scale(domain=list(inks), range=list(inks.values()))
    chart = of("bars").encode(y=y)
    tips = [alt.Tooltip(f"{name}:N", title=name) for name in ("arms", "source", "share")]
    bars = chart.mark_bar(stroke=colour("paper"), strokeWidth=1.5, height=alt.RelativeBandSize(band=0.78)).encode(
        x=alt.X("from:Q", title="% of tokens", scale=alt.Scale(domain=[0, 100], nice=False)).axis(
            tickCount=5, grid=False
        ),
        x2=alt.X2("to"),
        color=alt.Color("source:N", scale=scale, title=None, sort=list(inks)).legend(columns=4),
        tooltip=tips,
    )
    numbers = chart.mark_text(fontSize=12, opacity=1).encode(
        x=alt.X("middle:Q"), text=alt.Text("text:N"), color=alt.Color("ink:N", scale=None)
    )
    made = finished(
        alt.layer(bars, numbers),
        {"bars": data},
        "What each arm was trained on",
        "",
        max(32, 14 * lines + 10) * len(groups),
    )
    said = "; ".join(
        f"{names}: " + ", ".join(f"{s} {v * 100:.1f} %" for s, v in zip(sources, shares, strict=True) if v)
        for names, shares in groups
    )
    return Figure("mixes", (Chart("mixes", made, f"Shares of tokens. {said}."),), "Arms of one mix share a bar.")


def source_colours(report: Report, sources: Sequence[str]) -> dict[str, str]:
    """A colour for every source: the quiet one for large crawls, the others in turn."""
    large = large_sources(report.results.recipe)
    others = [source for source in sources if source not in large]
    inks = {source: colour(f"source-{1 + i % SOURCES}") for i, source in enumerate(others)}
    return {source: inks.get(source, colour("source-0")) for source in sources}


def _on(ink: str) -> str:
    """What is read on a source's colour: only the first is dark."""
    return colour("on-source-1" if ink == colour("source-1") else "on-source")


def rate_figure(report: Report, history: Sequence[Curve]) -> Figure | None:
    """The learning rate of all arms over one another, with the points at which they branch."""
    told = _told(report, history)
    curves = [(curve, tell) for curve, tell in told if any(point.lr is not None for point in curve.points)]
    if not curves:
        return None
    data = [
        {**tell, "s": [p.step for p in thin], "v": [p.lr for p in thin]}
        for curve, tell in curves
        for thin in [_every(curve.points, _LR_POINTS[curve.trunk])]
    ]
    branches = [
        {**tell, "s": first.step, "v": first.lr, "step": f"{first.step:,}", "rate": f"{first.lr:.3g}"}
        for curve, tell in curves
        if not curve.trunk
        for first in [next(point for point in curve.points if point.lr is not None)]
    ]
    lines = _line_layer("learning rate", ".1e", width=2)
    points = (
        of("branches")
        .mark_point(filled=True, size=55, opacity=1, stroke=colour("paper"))
        .encode(
            x=alt.X("s:Q"),
            y=alt.Y("v:Q"),
            fill=alt.Fill("ink:N", scale=None),
            tooltip=[alt.Tooltip(f"{name}:N", title=name) for name in ("run", "step", "rate", "kind")],
        )
    )
    made = finished(
        alt.layer(lines, points),
        {"curves": data, "branches": branches},
        "Learning rate",
        "of every step; points: where arms branch",
        _HEIGHT,
    )
    said = "; ".join(f"{b['run']} from step {b['step']} at {b['rate']}" for b in branches)
    chart = Chart("learning-rate", made, f"Learning rate by step. {said}.")
    return Figure("learning-rate", (chart,), "Every arm goes on along the curve of its base run. " + _KEY)


def loss_figure(report: Report, history: Sequence[Curve]) -> Figure | None:
    """Training loss: the whole of it, and the phases by themselves."""
    last = max((point.step for curve in history for point in curve.points), default=0)
    told = [(_smoothed(curve, last // _SMOOTH), tell) for curve, tell in _told(report, history)]
    told = [(curve, tell) for curve, tell in told if curve.points]
    if not told:
        return None
    charts = [_loss_chart("loss", "Training loss", [one for one in told if one[0].trunk] or told)]
    phases = [one for one in told if not one[0].trunk]
    if phases and len(phases) < len(told):
        start = min(curve.points[0].step for curve, _ in phases)
        tails = [
            (Curve(curve.id, True, tuple(p for p in curve.points if p.step >= start)), tell)
            for curve, tell in told
            if curve.trunk
        ]
        charts.append(_loss_chart("loss-phases", "Training loss in the phases", [*tails, *phases]))
    steps = 2 * (last // _SMOOTH // 2) + 1
    caption = f"Each on its own mix, so levels of different mixes do not compare. Means over {steps:,} steps. {_KEY}"
    return Figure("loss", tuple(charts), caption, across=2)


_KEY = "Grey: base run; blue: upsampling, stronger is longer; orange, dashed: a source left out."


def _loss_chart(name: str, title: str, told: Sequence[tuple[Curve, Mapping[str, str]]]) -> Chart:
    data = [
        {
            **tell,
            "s": [p.step for p in curve.points],
            "v": [None if p.loss is None else round(p.loss, 4) for p in curve.points],
        }
        for curve, tell in told
        if curve.points
    ]
    made = finished(_line_layer("loss", ".3f", width=1.5), {"curves": data}, title, "nats a token", _HEIGHT)
    ends = "; ".join(f"{tell['run']} {_last_loss(curve)}" for curve, tell in told)
    return Chart(name, made, f"{title} by step. At the end: {ends}.")


def _line_layer(what: str, form: str, width: float) -> Any:
    """Lines of curves whose steps `s` and values `v` stand as lists, which saves a page most of their size."""
    nearest = alt.selection_point(on="pointerover", fields=["run"], empty=False, clear="pointerout", name="over")
    return (
        of("curves")
        .mark_line(strokeJoin="round", clip=True)
        .transform_flatten(["s", "v"])
        .add_params(nearest)
        .encode(
            x=alt.X("s:Q", title="step", scale=alt.Scale(nice=False, zero=False)).axis(tickCount=6, format=",d"),
            y=alt.Y("v:Q", title=None, scale=alt.Scale(nice=False, padding=10, zero=what != "loss")).axis(
                tickCount=5, format=",f" if what == "loss" else "e", labelExpr=ZERO, minExtent=44
            ),
            detail=alt.Detail("run:N"),
            order=alt.Order("s:Q"),
            stroke=alt.Stroke("ink:N", scale=None),
            strokeDash=alt.StrokeDash("dash:O", scale=alt.Scale(domain=[0, 1], range=[[1, 0], [5, 2]]), legend=None),
            strokeWidth=alt.condition(nearest, alt.value(width + 1.5), alt.value(width)),
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("kind:N", title="arm"),
                alt.Tooltip("s:Q", title="step", format=",d"),
                alt.Tooltip("v:Q", title=what, format=form if what == "loss" else ".3g"),
            ],
        )
    )


def _told(report: Report, history: Sequence[Curve]) -> list[tuple[Curve, dict[str, str]]]:
    """Curves with what is said of each, and its colour."""
    specs = {run.id: run for run in report.results.runs}
    durations = sorted({run.duration for run in specs.values() if is_upsampling(run)})
    found = []
    for curve in history:
        spec = specs.get(curve.id)
        if curve.trunk:
            found.append((curve, {"run": curve.id, "kind": "base run", "ink": colour("trunk"), "dash": 0}))
        elif spec is not None and spec.dropped:
            kind = f"without {' and '.join(spec.dropped)}, {duration_label(spec.duration)}"
            found.append((curve, {"run": curve.id, "kind": kind, "ink": colour("worse"), "dash": 1}))
        elif spec is not None and not is_upsampling(spec):
            what = f"with {spec.added}" if spec.added else "control" if spec.control is None else spec.variant
            kind = f"{what}, {duration_label(spec.duration)}" if spec.duration else what
            ink = colour("better" if spec.added else "trunk")
            found.append((curve, {"run": curve.id, "kind": kind, "ink": ink, "dash": 1}))
        else:
            kind = duration_label(spec.duration) if spec is not None else "run.json is missing"
            found.append((curve, {"run": curve.id, "kind": kind, "ink": _arm_colour(spec, durations), "dash": 0}))
    return found  # type: ignore[return-value]


def _arm_colour(spec: RunSpec | None, durations: Sequence[float]) -> str:
    if spec is None or spec.duration not in durations:
        return colour("trunk")
    place = durations.index(spec.duration)
    return colour(f"arm-{1 + round(place * (ARMS - 1) / max(1, len(durations) - 1))}")


def _every(points: Sequence[Point], most: int) -> list[Point]:
    """At most about `most` points, the first and the last among them."""
    whole = [point for point in points if point.lr is not None]
    stride = max(1, len(whole) // most)
    return [*whole[:-1:stride], *whole[-1:]]


def _smoothed(curve: Curve, width: int) -> Curve:
    """Losses averaged over `width` steps around each half width; the same for long and short curves."""
    half = max(1, width // 2)
    points: list[Point] = []
    first, last = curve.points[0].step, curve.points[-1].step
    start = end = 0
    for step in [*range(first, last, half), last]:
        while end < len(curve.points) and curve.points[end].step <= step + half:
            end += 1
        while curve.points[start].step < step - half:
            start += 1
        losses = [point.loss for point in curve.points[start:end] if point.loss is not None]
        if losses:
            points.append(Point(step, sum(losses) / len(losses), None))
    return Curve(curve.id, curve.trunk, tuple(points))


def _last_loss(curve: Curve) -> str:
    found = [point.loss for point in curve.points if point.loss is not None]
    return f"{found[-1]:.3f}" if found else "no number"
