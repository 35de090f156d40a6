"""From altair's chart to the specification that the page embeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import altair as alt


def values(rows: Iterable[Mapping[str, Any]]) -> alt.Data:
    """Data that stands in the chart itself."""
    return alt.Data(values=list(rows))


def finished(chart: Any, title: str, under: str, height: int | Mapping[str, Any]) -> dict[str, Any]:
    """The specification of `chart`, as wide as its container, with a title and what its numbers are under it.

    It is not checked against Vega-Lite's schema: that costs ten times what building it does, and a test draws every
    chart in a browser.
    """
    text = alt.Title(title, subtitle=under) if under else alt.Title(title)
    made: dict[str, Any] = chart.properties(title=text, width="container", height=height).to_dict(validate=False)
    del made["config"]  # altair's own, the page has one for all charts
    made["autosize"] = {"type": "fit-x", "contains": "padding"}
    return made
