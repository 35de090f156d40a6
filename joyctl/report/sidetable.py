"""Two outputs of lm-eval as a terminal screen: what `joyctl compare` prints, at any width, with or without colour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from joyctl.report.items import RATIOS
from joyctl.report.judge import ALPHA
from joyctl.report.lmeval_files import Side
from joyctl.report.sheet import Column
from joyctl.report.side_by_side import Line, SideBySide, score_name
from joyctl.report.tables import PLAIN, STYLES


def render_side_by_side(found: SideBySide) -> RenderableType:
    """The screen of `joyctl compare`; it fits itself to the width it is printed at.

    Wide: a score a line. Narrow: the interval below the difference. Narrower still: the metric below the task, and
    neither number of items nor p. Colours repeat what the signs say.
    """
    return _Screen(found)


@dataclass(frozen=True)
class _Screen:
    found: SideBySide

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for part in _screen(self.found, console, options):
            if options.ascii_only and isinstance(part, Text):
                part.plain = part.plain.translate(PLAIN)
            yield part


def _screen(found: SideBySide, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
    for name, side in (("A", found.a), ("B", found.b)):
        yield Text.assemble((f"{name}  {side.model}", "bold"), (f" · {_where(side)}", "dim"), overflow="fold")
    yield Text()
    yield _fitting(found, console, options)
    yield Text()
    for line in notes(found):
        yield Text(line, style="dim")


def _where(side: Side) -> str:
    older = f", the newest of {side.older + 1} results files there" if side.older else ""
    return f"{side.path}{older}"


def notes(found: SideBySide) -> list[str]:
    """What stands below the table: signs, corrections, clusters, and what was left out."""
    lines = [line for line in found.lines if line.delta.family == "headline"]
    count = f"{len(lines)} comparison{'s' if len(lines) != 1 else ''}"
    made = [f"▲▼ B better or worse than A, Holm over {count} at {ALPHA * 100:.0f} %   · no detectable difference"]
    if any(line.delta.uncorrected for line in found.lines):
        made.append("△▽ not detectable either: its own 95 % interval excludes 0, but not after Holm")
    percent = "scores in per cent, B - A in points; " if any(_column(line).percent for line in found.lines) else ""
    made.append(f"{percent}[ ] 95 % interval of B - A, paired by item, clustered")
    if any(line.delta.p_exact is not None for line in found.lines):
        made.append(
            "p: McNemar's exact test where items are passed or failed and independent, else that of the interval"
        )
    others = sum(line.delta.family == "other" and line.part_of is None for line in found.lines)
    if others:
        made.append(f"further scores of a task (dim): corrected apart, over {others}")
    parts = sum(line.part_of is not None for line in found.lines)
    if parts:
        made.append(f"parts of groups (indented): corrected apart, over {parts}")
    return [*made, *_cluster_notes(found), *found.notes]


def _cluster_notes(found: SideBySide) -> list[str]:
    """What the items of each task and group are clustered by, where it is not the item, and where clusters are few."""
    made = []
    for delta in {line.delta.task: line.delta for line in found.lines if line.part_of is None}.values():
        plural = "" if delta.clusters == 1 else "s"
        kind = "task" if delta.task in found.groups else "item" if delta.clusters == delta.n else "cluster"
        counted = f"{delta.clusters:,} {kind}{plural}"
        if delta.few_clusters:
            made.append(
                f"{delta.task}: {counted} only: verdicts hold for {'these' if plural else 'it'}, not for others"
            )
        elif kind == "task":
            made.append(f"{delta.task}: clustered by its {counted}")
        elif kind == "cluster":
            made.append(f"{delta.task}: {counted}, as its documents say")
    return made


@dataclass(frozen=True)
class _Form:
    """One way to set the table."""

    stacked: bool
    """The interval stands below its difference."""
    folded: bool
    """The metric stands below the task; number of items and p are left out."""
    gap: int
    """Blanks between columns."""


# From the roomiest to the tightest; the first that fits is taken, else the last, whose names are broken.
_FORMS = (
    _Form(stacked=False, folded=False, gap=3),
    _Form(stacked=False, folded=False, gap=2),
    _Form(stacked=True, folded=False, gap=2),
    _Form(stacked=False, folded=True, gap=2),
    _Form(stacked=True, folded=True, gap=2),
    _Form(stacked=True, folded=True, gap=1),
)


def _fitting(found: SideBySide, console: Console, options: ConsoleOptions) -> Table:
    endless = options.update(width=1_000)
    for form in _FORMS:
        table = _table(found, form, options.ascii_only, fold=False)
        if Measurement.get(console, endless, table).maximum <= options.max_width:
            return table
    return _table(found, _FORMS[-1], options.ascii_only, fold=True)


def _table(found: SideBySide, form: _Form, ascii_only: bool, *, fold: bool) -> Table:
    table = Table(box=None, padding=(0, form.gap, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("task", no_wrap=not fold, overflow="fold")
    if not form.folded:
        table.add_column("metric", no_wrap=True)
        table.add_column("n", justify="right", no_wrap=True)
    table.add_column("A", justify="right", no_wrap=True)
    table.add_column("B", justify="right", no_wrap=True)
    table.add_column("B - A", no_wrap=True)
    if not form.folded:
        table.add_column("p, Holm", justify="right", no_wrap=True)
    widths = _Widths.of(found)
    before: str | None = None
    for line in found.lines:
        cells = _cells(line, form, widths, first=line.delta.task != before)
        before = line.delta.task
        for cell in cells:
            if ascii_only:
                cell.plain = cell.plain.translate(PLAIN)
        table.add_row(*cells)
    return table


@dataclass(frozen=True)
class _Widths:
    """Characters that the numbers take, so that they stand under each other."""

    value: int
    low: int
    high: int

    @staticmethod
    def of(found: SideBySide) -> _Widths:
        texts = [_texts(line) for line in found.lines]
        return _Widths(*(max(len(text[i]) for text in texts) for i in range(3)))


def _texts(line: Line) -> tuple[str, str, str]:
    """The difference and the ends of its interval."""
    column, delta = _column(line), line.delta
    return column.amount(delta.delta), column.amount(delta.low, "-"), column.amount(delta.high, "-")


def _cells(line: Line, form: _Form, widths: _Widths, *, first: bool) -> list[Text]:
    delta, column = line.delta, _column(line)
    style = "dim" if delta.family == "other" else ""
    task = ("  " if line.part_of else "") + delta.task
    metric = score_name(delta.metric, delta.filter)
    value, low, high = _texts(line)
    value = f"{value:>{widths.value}}"
    sign = STYLES.get(delta.mark, style)
    if form.stacked:
        difference = Text.assemble((f"{value} {delta.mark}", sign), (f"\n[{low}, {high}]", "dim"))
    else:
        interval = f" [{low:>{widths.low}}, {high:>{widths.high}}] "
        difference = Text.assemble((value, sign), (interval, "dim"), (delta.mark, sign))
    numbers = [Text(column.amount(number, "-"), style) for number in (line.a, line.b)]
    if form.folded:
        named = Text.assemble((task, "bold"), "\n") if first and line.part_of is None else Text(f"{task}\n" * first)
        return [named.append(f"  {metric}", "dim"), *_lowered(numbers, first), _lowered([difference], first)[0]]
    name = Text(task if first else "", "bold" if line.part_of is None else style)
    p = "<0.001" if delta.p_adjusted < 0.001 else f"{delta.p_adjusted:.3f}"
    return [name, Text(metric, style), Text(f"{delta.n:,}", style), *numbers, difference, Text(p, style)]


def _lowered(cells: list[Text], down: bool) -> list[Text]:
    """Beside the metric, which stands a line below its task."""
    return [Text("\n").append_text(cell) for cell in cells] if down else cells


def _column(line: Line) -> Column:
    delta = line.delta
    fraction = delta.higher_is_better and all(0 <= value <= 1 for value in (line.a, line.b))
    unit = "pp" if fraction else "bits/byte" if delta.metric in RATIOS else delta.metric
    return Column(delta.key, delta.task, unit, delta.n, delta.higher_is_better)
