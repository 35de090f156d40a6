"""The page as text: template, style sheet, script and charts put together into one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from joyctl.report import notes
from joyctl.report.page.bundle import javascript
from joyctl.report.page.sections import sections
from joyctl.report.page.theme import CONFIG, DARK, LIGHT, SANS, variables
from joyctl.report.report import Report


def render_page(report: Report, folders: Sequence[Path]) -> str:
    """The report as one HTML file, which loads nothing from anywhere.

    The folder of its campaign gives what the report does not hold: curves of training, versions, commands. Of several
    campaigns together only the commands are shown. Raises as
    `joyctl.store.campaign.read_campaign_json` does.
    """
    environment = Environment(
        loader=PackageLoader("joyctl.report.page", "."),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        finalize=_unbroken,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made = sections(report, folders)
    drawings = [chart for section in made for figure in section.figures for chart in figure.charts]
    charts = {chart.id: {**chart.spec, "description": chart.description} for chart in drawings}
    results = report.results
    return environment.get_template("page.html.j2").render(
        report=report,
        question=results.hypothesis or results.campaign,
        unscored=sum(row.expected - row.scored for row in report.rows),
        standing=(*notes.claim_line(report), notes.protocol_line(report)),
        sections=made,
        charts=_embedded({"config": CONFIG, "charts": charts}),
        palettes={"light": Markup(variables(LIGHT)), "dark": Markup(variables(DARK)), "sans": Markup(SANS)},
        style=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
        drawing=Markup(javascript().replace("</script", "<\\/script")),
    )


def _unbroken(value: Any) -> Any:
    """Text in which no line ends between a number and its unit."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return value.replace(" %", "\u00a0%").replace(" pp", "\u00a0pp")
    return value


def _embedded(value: Any) -> Markup:
    """JSON that may stand in a script element, whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign, written in (
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        text = text.replace(sign, written)
    return Markup(text)


def _asset(name: str) -> str:
    return files("joyctl.report.page").joinpath(name).read_text(encoding="utf-8")
