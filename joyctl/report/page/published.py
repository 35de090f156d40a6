"""Published numbers beside the measured ones, as tables of the page."""

from __future__ import annotations

from joyctl.report import notes
from joyctl.report.page.blocks import TONES, Cell, Head, Notes, Part, Table
from joyctl.report.page.hover import amount, interval
from joyctl.report.published import Beside, Published
from joyctl.report.sheet import Column

_HEADS = (
    Head("run", number=False),
    Head("measured", "95 % interval below"),
    Head("published", "another model"),
    Head("direction", number=False),
    Head("inside", "the measured interval", number=False),
)


def published_parts(found: tuple[Published, ...]) -> tuple[Part, ...]:
    """For every source of published numbers a table a benchmark, then what they do and do not say."""
    parts: list[Part] = []
    for one in found:
        for column in one.columns:
            here = [each for each in one.beside if each.delta.key == column.key]
            if here:
                caption = f"{column.label}, beside {one.benchmarks[column.key]} of {one.cited}"
                parts.append(Table(caption, _HEADS, [_line(each, column) for each in here]))
        if one.beside:
            parts.append(Notes(tuple(f"{line}." for line in notes.published_notes(one))))
    return tuple(parts)


def _line(one: Beside, column: Column) -> tuple[Cell, ...]:
    delta = one.delta
    return (
        Cell(delta.run),
        Cell(
            amount(column, delta.delta),
            delta.delta,
            interval(column, delta),
            TONES[delta.mark],
            delta.mark,
            delta.verdict,
        ),
        Cell(f"{one.difference * 100:+.1f}", one.difference),
        Cell(one.direction),
        Cell("yes" if one.inside else "no"),
    )
