"""The terminal screen of `joyctl status`: every segment and run with its stage, state, step and cause.

Laid out by itself, as rich's tables take the better part of a second for a thousand rows.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions
from rich.text import Text

from joyctl.report.status import RunStatus, State, about, count_states

_STYLES: dict[State, str] = {
    "done": "green",
    "running": "cyan",
    "retrying": "yellow",
    "queued": "dim",
    "pending": "dim",
    "blocked": "red",
    "failed": "red",
    "lost": "red",
    "cancelled": "magenta",
}
# What a person wants to see first where not all fits.
_FIRST: tuple[State, ...] = (
    "failed", "lost", "retrying", "running", "blocked", "cancelled", "queued", "pending", "done",
)  # fmt: skip
_HEADS = ("run", "stage", "state", "step", "loss", "job", "why / since")
_RIGHT = (3, 4)
_STATE = 2
_GAP = 2
# A cause squeezed narrower than this stands on a line of its own.
_NARROW = 28
_INDENT = 4


@dataclass(frozen=True)
class StatusScreen:
    """Something that rich can print."""

    statuses: Sequence[RunStatus]
    now: float
    """Unix time, for how long something has been running."""
    read_from: str = ""
    """What it was read from, and when."""
    notes: Sequence[str] = ()
    fit: bool = False
    """Show only as much as fits the screen's height, the most telling first."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        rows = [_cells(status, self.now) for status in self.statuses]
        used = [i for i in range(len(_HEADS)) if i in (0, 1, _STATE, 6) or any(row[i] for row in rows)]
        widths = {i: max(len(_HEADS[i]), *(len(row[i]) for row in rows)) if rows else len(_HEADS[i]) for i in used[:-1]}
        footer = self._footer(options.max_width, sum(widths.values()) + _GAP * len(widths))
        blocks = [_block(row, widths, options.max_width, status.current.state, one=self.fit)
                  for row, status in zip(rows, self.statuses, strict=True)]  # fmt: skip
        if self.fit:
            blocks = self._fitting(blocks, (options.height or console.height) - len(footer) - 2)
        head = "".join(_padded(i, _HEADS[i], widths[i]) for i in used[:-1]) + (
            _HEADS[6] if _wide(widths, options) else ""
        )
        yield Text(head.rstrip(), style="bold", no_wrap=True)
        yield from blocks
        yield from footer

    def _fitting(self, blocks: list[Text], lines: int) -> list[Text]:
        """As many blocks as `lines` lines hold, and what was left out in one more line."""
        states = [status.current.state for status in self.statuses]
        heights = [block.plain.count("\n") + 1 for block in blocks]
        if sum(heights) <= lines:
            return blocks
        chosen: set[int] = set()
        for i in sorted(range(len(blocks)), key=lambda i: _FIRST.index(states[i])):
            if sum(heights[j] for j in chosen) + heights[i] > lines - 1:
                break
            chosen.add(i)
        left = Counter(state for i, state in enumerate(states) if i not in chosen)
        more = ", ".join(f"{count} {state}" for state in reversed(_FIRST) if (count := left[state]))
        return [*(blocks[i] for i in sorted(chosen)), Text(f"… and {more}", style="dim", no_wrap=True)]

    def _footer(self, width: int, table: int) -> list[Text]:
        counts = count_states(self.statuses)
        parts = [f"{counts['done']} of {counts.total()} stages done"]
        parts += [f"{count} {state}" for state, count in counts.items() if state != "done"]
        text = " · ".join(parts)
        notes = [Text(line, style="yellow") for note in self.notes for line in textwrap.wrap(note, width)]
        if not self.read_from:
            return [Text(text), *notes]
        if len(text) + _GAP + len(self.read_from) > width:
            counted = [Text(line) for line in textwrap.wrap(text, width)]
            return [*counted, Text(self.read_from, style="dim"), *notes]
        gap = max(_GAP, min(width, max(table + _NARROW, 100)) - len(text) - len(self.read_from))
        return [Text.assemble(text, " " * gap, (self.read_from, "dim")), *notes]


def render_status(
    statuses: Sequence[RunStatus],
    now: float = 0.0,
    *,
    read_from: str = "",
    notes: Sequence[str] = (),
    fit: bool = False,
) -> StatusScreen:
    """A line for every segment and run, and the stages counted against those expected."""
    return StatusScreen(statuses, now, read_from, notes, fit)


def _cells(status: RunStatus, now: float) -> tuple[str, ...]:
    stage = status.current
    return (
        status.id,
        "" if stage.state == "done" else stage.stage,
        stage.state.upper(),
        _steps(status),
        "" if status.loss is None else f"{status.loss:.3f}",
        "" if stage.state == "done" else stage.job or "",
        _why(status, now),
    )


def _why(status: RunStatus, now: float) -> str:
    stage = status.current
    if stage.state != "running" or stage.since is None:
        return stage.cause or ""
    left = f", about {about(status.seconds_left)} left" if status.seconds_left is not None else ""
    return f"{about(now - stage.since)}{left}" + (f"; {stage.cause}" if stage.cause else "")


def _steps(status: RunStatus) -> str:
    if status.of_steps is None or (status.step is None and status.stages[0].state != "running"):
        return ""
    return f"{status.step or 0:,}/{status.of_steps:,}"


def _wide(widths: dict[int, int], options: ConsoleOptions) -> bool:
    return options.max_width - sum(widths.values()) - _GAP * len(widths) >= _NARROW


def _block(row: Sequence[str], widths: dict[int, int], width: int, state: State, *, one: bool) -> Text:
    """A row as one line, or several where its cause is long (or cut short, if it is to be `one`)."""
    text = Text(no_wrap=True, overflow="ignore")
    for i, size in widths.items():
        text.append(_padded(i, row[i], size), style=_STYLES[state] if i == _STATE else "")
    room = width - len(text)
    if room >= _NARROW:
        lines = textwrap.wrap(row[6], room) or [""]
        indent = len(text)
    else:
        lines = ["", *textwrap.wrap(row[6], width - _INDENT)]
        indent = _INDENT
    if one and len(lines) > (1 if room >= _NARROW else 2):
        lines = lines[: 1 if room >= _NARROW else 2]
        lines[-1] = lines[-1][: (room if room >= _NARROW else width - _INDENT) - 1] + "…"
    text.append(lines[0])
    text.rstrip()
    for line in lines[1:]:
        text.append(f"\n{' ' * indent}{line}")
    return text


def _padded(column: int, cell: str, size: int) -> str:
    return (cell.rjust(size) if column in _RIGHT else cell.ljust(size)) + " " * _GAP
