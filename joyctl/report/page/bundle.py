"""The JavaScript that draws charts: Vega, Vega-Lite and Vega-Embed in one script, from vl-convert."""

from __future__ import annotations

import os
from pathlib import Path

from joyctl.store.files import write_text


def javascript() -> str:
    """The script, kept in the user's cache folder between calls: putting it together takes more than a second.

    Where that folder cannot be written, it is put together every time.
    """
    import vl_convert

    path = _cache_folder() / f"vega-{vl_convert.__version__}.js"
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        pass
    except OSError:
        return vl_convert.javascript_bundle()
    text = vl_convert.javascript_bundle()
    try:
        write_text(path, text)
    except OSError:
        return text
    return text


def _cache_folder() -> Path:
    named = os.environ.get("XDG_CACHE_HOME")
    return (Path(named) if named else Path.home() / ".cache") / "joyctl"
