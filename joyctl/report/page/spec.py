"""From altair's chart to the specification that the page embeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt

Rows = Sequence[Mapping[str, Any]]
ZERO = "datum.value == 0 ? '0' : datum.label"
"""Labels of an axis as its format gives them, but for a plain zero; an expression."""

LINES: Final[Mapping[str, Any]] = {
    "labelExpr": "split(datum.label, '\\n')",
    "labelOffset": {"expr": "-7 * (length(split(datum.value, '\\n')) - 1)"},
}
"""A vertical axis of names, broken into lines where their text says so, in the middle of their place."""
ROOMY: Final = alt.Scale(nice=False, padding=10)
"""A vertical scale without a label at its very ends, so that drawings beside each other have their titles level."""


def of(name: str) -> alt.Chart:
    """A chart of the rows that `finished` gets under that name."""
    return alt.Chart(alt.NamedData(name))


def finished(chart: Any, rows: Mapping[str, Rows], title: str, under: str, height: int) -> dict[str, Any]:
    """The specification of `chart`, as wide as its container, with a title and what its numbers are under it.

    The rows are put in last, and nothing is checked against Vega-Lite's schema: altair would copy every row several
    times, and the check costs ten times what the chart does. A test draws every chart in a browser.
    """
    text = alt.Title(title, subtitle=under) if under else alt.Title(title)
    made: dict[str, Any] = chart.properties(title=text, width="container", height=height).to_dict(validate=False)
    del made["config"]  # altair's own, the page has one for all charts
    made["autosize"] = {"type": "fit-x", "contains": "padding"}
    for part in (made, *made.get("layer", ())):
        if "data" in part:
            part["data"] = {"values": list(rows[part["data"]["name"]])}
    return made
