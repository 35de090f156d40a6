"""The terminal screen of `joyctl status`: every segment and run with its stage, step and cause."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from joyctl.report.status import RunStatus, count_states

_STYLES = {"done": "green", "running": "cyan", "failed": "red", "pending": "dim"}


def render_status(statuses: Sequence[RunStatus]) -> RenderableType:
    """A line for every segment and run, and the stages counted against those expected."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True)
    table.add_column("stage", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("step", justify="right", no_wrap=True)
    table.add_column("loss", justify="right", no_wrap=True)
    table.add_column("why")
    for status in statuses:
        now = status.current
        complete = now.state == "done"
        table.add_row(
            Text(status.id),
            "" if complete else now.stage,
            Text(now.state, style=_STYLES[now.state]),
            _steps(status),
            "" if status.loss is None else f"{status.loss:.3f}",
            Text(now.cause or ""),
        )
    counts = count_states(statuses)
    expected = sum(counts.values())
    parts = [f"{counts['done']} of {expected} stages done"]
    parts += [f"{count} {state}" for state, count in counts.items() if state != "done" and count]
    return Group(table, Text(" · ".join(parts)))


def _steps(status: RunStatus) -> str:
    if status.of_steps is None or (status.step is None and status.stages[0].state != "running"):
        return ""
    return f"{status.step or 0:,}/{status.of_steps:,}"
