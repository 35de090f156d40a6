"""Colours and type of the page and its charts, for light and for dark.

Charts name colours as CSS variables, so that a change of scheme, and printing, recolours them without drawing again.
Better and worse are the blue and the vermilion of Okabe and Ito (jfly.uni-koeln.de/color), which people with any of
the common colour deficiencies tell apart; signs say the same. Sources take the rest of their palette.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

SANS = (
    "Inter, 'Helvetica Neue', 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', 'DejaVu Sans Condensed', "
    "system-ui, sans-serif"
)
LIGHT: Mapping[str, str] = {
    "paper": "#fdfdfc",
    "raised": "#f5f5f2",
    "ink": "#1b1f24",
    "soft": "#5b636d",
    "faint": "#a3a9b0",
    "rule": "#e2e3df",
    "better": "#0a66a8",
    "worse": "#c2500f",
    "on-strong": "#ffffff",
    "trunk": "#a9aeb5",
    "arm-1": "#8fc3e6",
    "arm-2": "#5fa7d6",
    "arm-3": "#3689c2",
    "arm-4": "#176ca6",
    "arm-5": "#0c4f80",
    "arm-6": "#08365a",
    "source-0": "#b4b9be",
    "source-1": "#0072b2",
    "source-2": "#e69f00",
    "source-3": "#009e73",
    "source-4": "#cc79a7",
    "source-5": "#56b4e9",
    "source-6": "#d55e00",
    "source-7": "#f0e442",
    "on-source": "#15181c",
    "on-source-1": "#ffffff",
}
DARK: Mapping[str, str] = {
    "paper": "#15181c",
    "raised": "#1d2126",
    "ink": "#e7e9ec",
    "soft": "#a4adb7",
    "faint": "#6d7680",
    "rule": "#2d3238",
    "better": "#5cb3f0",
    "worse": "#f2935a",
    "on-strong": "#101316",
    "trunk": "#6d7680",
    "arm-1": "#2f5c80",
    "arm-2": "#3d78a6",
    "arm-3": "#4f95cb",
    "arm-4": "#6fb2e4",
    "arm-5": "#9acdf2",
    "arm-6": "#cbe6fa",
    "source-0": "#7d858e",
    "source-1": "#3f9fdc",
    "source-2": "#e9a820",
    "source-3": "#1fb58a",
    "source-4": "#d68fb6",
    "source-5": "#7cc6f0",
    "source-6": "#ea7a2a",
    "source-7": "#d9cf45",
    "on-source": "#101316",
    "on-source-1": "#101316",
}
ARMS = 6
"""Steps of the ramp that tells durations apart, short to long."""
SOURCES = 7
"""Colours of sources; `source-0` is for large crawls, which stand for everything in general."""


def colour(name: str) -> str:
    """A colour by its role, as charts and style sheet write it."""
    return f"var(--{name})"


def variables(palette: Mapping[str, str]) -> str:
    """The palette as CSS declarations."""
    return "".join(f"--{name}:{value};" for name, value in palette.items())


def painted(spec: Mapping[str, Any], palette: Mapping[str, str] = LIGHT) -> dict[str, Any]:
    """A chart with the palette's colours in place of variables, for a file that no style sheet reaches."""
    text = json.dumps(spec)
    found: dict[str, Any] = json.loads(re.sub(r"var\(--([a-z0-9-]+)\)", lambda match: palette[match[1]], text))
    return found


CONFIG: Mapping[str, Any] = {
    "background": None,
    "font": SANS,
    "padding": 2,
    "view": {"stroke": None},
    "axis": {
        "domainColor": colour("faint"),
        "tickColor": colour("faint"),
        "gridColor": colour("rule"),
        "labelColor": colour("soft"),
        "titleColor": colour("soft"),
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "tickSize": 4,
        "labelPadding": 5,
        "titlePadding": 8,
        "labelLimit": 260,
    },
    "axisY": {"domain": False, "ticks": False},
    "axisX": {"grid": False},
    "title": {
        "color": colour("ink"),
        "subtitleColor": colour("soft"),
        "fontSize": 13,
        "fontWeight": 600,
        "subtitleFontSize": 12,
        "anchor": "start",
        "frame": "bounds",
        "offset": 10,
        "subtitlePadding": 4,
    },
    "legend": {
        "labelColor": colour("ink"),
        "titleColor": colour("soft"),
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "symbolSize": 90,
        "orient": "top",
        "direction": "horizontal",
        "labelLimit": 200,
        "offset": 6,
    },
    "text": {"color": colour("ink"), "fontSize": 12},
    "rule": {"color": colour("faint")},
}
"""What all charts share, in Vega-Lite's `config`."""
