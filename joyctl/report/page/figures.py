"""The page's figures as files for a paper: SVG and PDF."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joyctl.report.page.blocks import Figure
from joyctl.report.page.sections import sections
from joyctl.report.page.theme import CONFIG, painted
from joyctl.report.report import Report
from joyctl.store.files import atomic_path

_WIDTH = 720
"""Pixels of a figure, at 72 to the inch in PDF; drawings beside each other share them."""
_GAP = 40
_LABELS = 60  # beside the plot itself, where drawings stand together and none can be fitted into its width
_MARGIN = 10


def write_figures(report: Report, folder: Path, into: Path) -> list[Path]:
    """Write every figure of the page as SVG and PDF, in light colours, into the folder `into`; gives their paths.

    Each file is written atomically. Raises as `joyctl.report.page.render.render_page` does.
    """
    import vl_convert

    written = []
    for section in sections(report, [folder]):
        for figure in section.figures:
            spec = figure_spec(figure)
            svg: str = vl_convert.vegalite_to_svg(spec)
            pdf: bytes = vl_convert.vegalite_to_pdf(spec)
            for ending, content in (("svg", svg.encode()), ("pdf", pdf)):
                path = into / f"{figure.name}.{ending}"
                with atomic_path(path) as temporary:
                    temporary.write_bytes(content)
                written.append(path)
    return written


def figure_spec(figure: Figure) -> dict[str, Any]:
    """All drawings of a figure as one Vega-Lite specification of fixed width, painted for white paper."""
    width = (_WIDTH - _GAP * (figure.across - 1)) // figure.across
    drawings = [_fixed(chart.spec, width) for chart in figure.charts]
    together: dict[str, Any]
    if len(drawings) == 1:
        together = {**drawings[0], "width": _WIDTH}
    else:
        for drawing in drawings:
            drawing.pop("autosize", None)
            drawing.pop("padding", None)
        together = {"concat": drawings, "columns": figure.across, "spacing": _GAP}
    together["padding"] = _MARGIN
    schema = figure.charts[0].spec["$schema"]
    return painted({"$schema": schema, **together, "config": {**CONFIG, "background": "white"}})


def _fixed(spec: Mapping[str, Any], width: int) -> dict[str, Any]:
    kept = {key: value for key, value in spec.items() if key != "$schema"}
    return {**kept, "width": width - _LABELS}
