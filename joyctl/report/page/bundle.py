"""The JavaScript that draws charts: Vega, Vega-Lite and Vega-Embed in one script, from vl-convert."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

from joyctl.store.files import write_text


def javascript() -> str:
    """The script, kept in the user's cache folder between calls: putting it together takes more than a second.

    Where that folder cannot be written, it is put together every time.
    """
    path = _cache_folder() / f"vega-{version('vl-convert-python')}.js"
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        pass
    except OSError:
        return _bundled()
    text = _bundled()
    try:
        write_text(path, text)
    except OSError:
        return text
    return text


def _bundled() -> str:
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def _cache_folder() -> Path:
    named = os.environ.get("XDG_CACHE_HOME")
    return (Path(named) if named else Path.home() / ".cache") / "joyctl"
