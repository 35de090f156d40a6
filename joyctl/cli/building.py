"""Making a recipe's data on this machine while a person watches."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from joyctl.cli.words import interruptible, note

if TYPE_CHECKING:
    from joyctl.data.folder import DataFolder
    from joyctl.data.work import Reached, Watch
    from joyctl.recipe.types import Recipe

_EVERY = 10.0
"""Seconds between lines where there is no terminal."""


def build_here(recipe: Recipe, root: Path, processes: int | None = None) -> DataFolder:
    """Build the recipe's data folder, or open it, with progress on stderr; raises as `joyctl.data.build.build` does.

    Ctrl-C and SIGTERM end it as Interrupted; the same command goes on from the parts that are done.
    """
    from joyctl.data.build import build

    if recipe.data.tokenizer is None:
        return build(recipe, root, progress=note)
    console = Console(stderr=True, highlight=False)
    with interruptible("The same command goes on from the parts that are done."):
        if not console.is_terminal:
            return build(recipe, root, note, processes=processes, watch=plain_lines(note))
        columns = (TextColumn("tokenising"), BarColumn(bar_width=16), TextColumn("{task.description}"))
        with Progress(*columns, console=console, transient=True) as bar:
            return build(recipe, root, bar.console.print, processes=processes, watch=_on(bar))


def plain_lines(say: Callable[[str], None], every: float = _EVERY) -> Watch:
    """A watch that says how far it is now and then, and once when all parts are done."""
    clock = _Clock()
    last = clock.begun

    def watch(reached: Reached) -> None:
        nonlocal last
        now = time.monotonic()
        whole = reached.parts_done == reached.parts
        if now - last >= every or (whole and reached.tokens):
            last = now
            say(f"tokenising: {clock.words(reached, now)}")

    return watch


def _on(bar: Progress) -> Watch:
    clock = _Clock()
    task = bar.add_task("", total=1.0)

    def watch(reached: Reached) -> None:
        bar.update(task, completed=reached.share, description=clock.words(reached, time.monotonic()))

    return watch


class _Clock:
    """Puts how far it is into words, with speed and time left."""

    def __init__(self) -> None:
        self.begun = time.monotonic()

    def words(self, reached: Reached, now: float) -> str:
        seconds = max(now - self.begun, 1e-9)
        parts = [f"{reached.share:4.0%}"]
        if reached.tokens:
            parts.append(f"{_short(reached.tokens)} tokens at {_short(reached.tokens / seconds)}/s")
        gained = reached.share - reached.begun_at
        if gained > 0 and reached.share < 1:
            left = round(seconds / gained * (1 - reached.share))
            parts.append(f"about {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left")
        if reached.tokens:
            parts.append(f"{reached.documents:,} documents")
        parts.append(f"{reached.parts_done:,} of {reached.parts:,} parts")  # last: a narrow terminal cuts it off
        return " · ".join(parts)


def _short(number: float) -> str:
    """1234567 -> 1.23 M."""
    for power, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= power:
            return f"{number / power:.3g} {unit}"
    return f"{number:.0f}"
