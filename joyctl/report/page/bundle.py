"""The JavaScript that draws charts: Vega, Vega-Lite and Vega-Embed in one script, from vl-convert."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from joyctl.store.files import write_text


def javascript() -> str:
    """The script, kept in the user's cache folder between calls: putting it together takes more than a second.

    Where there is no such folder, or it cannot be written, it is put together every time.
    """
    folder = _cache_folder()
    if folder is None:
        return _bundled()
    path = folder / f"vega-{version('vl-convert-python')}.js"
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        text = _bundled()
    with suppress(OSError):
        write_text(path, text)
    return text


def _bundled() -> str:
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def _cache_folder() -> Path | None:
    named = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(named) if named else Path.home() / ".cache") / "joyctl"
    except RuntimeError:  # a user without a home
        return None
