"""What the overlap check found, as a person reads it: a line, a table, texts side by side, JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table
from rich.text import Text

from joyctl.cli.seenscreen import plain
from joyctl.cli.wholetable import console_for
from joyctl.data.overlap.findings import Findings
from joyctl.data.overlap.items import TaskItems

_NAMED = 3
_IN = 4
"""Column of the table that names sources."""


@dataclass
class _Row:
    """A suite's entry: a task, or a group with all its leaf tasks together."""

    items: int = 0
    found: int = 0
    too_short: int = 0
    sources: dict[str, int] = field(default_factory=dict)
    train: int = 0
    train_found: int = 0


def _rows(findings: Findings, entries: Iterable[str]) -> dict[str, _Row]:
    """By entry of the suite."""
    known = sorted(entries, key=len, reverse=True)
    rows: dict[str, _Row] = {}
    for leaf, task in findings.items.items():
        entry = leaf if leaf in known else next((name for name in known if _is_part(leaf, name)), leaf)
        row = rows.setdefault(entry, _Row())
        row.items += task.n
        row.found += len(task.found)
        row.too_short += len(task.too_short)
        row.train += task.train.n
        row.train_found += len(task.train.found)
        for item in task.found:
            for source in item.sources:
                row.sources[source] = row.sources.get(source, 0) + 1
    return rows


def _is_part(leaf: str, group: str) -> bool:
    """Whether a leaf task is a group's, by its name: `mmlu_anatomy` of mmlu, `mmlu_anatomy_continuation` of
    mmlu_continuation."""
    words = group.split("_")
    around = (("_".join(words[:i]), "_".join(words[i:])) for i in range(1, len(words)))
    return leaf.startswith(f"{group}_") or any(
        leaf.startswith(f"{head}_") and leaf.endswith(f"_{tail}") for head, tail in around
    )


def summary(findings: Findings, entries: Iterable[str], next_command: str) -> list[str]:
    """One line where nothing was found, a few where something was."""
    names = ", ".join(findings.sources)
    line = f"overlap: {findings.found:,} of {findings.n:,} test items found in {names}"
    if not findings.found:
        return [line]
    rows = sorted(_rows(findings, entries).items(), key=lambda row: -row[1].found)
    rows = [row for row in rows if row[1].found]
    lines = [f"  ! {name}: {row.found:,} of {row.items:,} in {_counts(row.sources)}" for name, row in rows[:_NAMED]]
    more = f", and of {len(rows) - _NAMED} more tasks" if len(rows) > _NAMED else ""
    return [line, *lines, f"  the report shows scores without them as well{more}; which they are: {next_command}"]


def _counts(sources: dict[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(sources.items(), key=lambda each: -each[1]))


def print_table(findings: Findings, entries: Iterable[str]) -> None:
    """A row for each entry of the suite, on stdout."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("task")
    for head in ("items", "found", "share"):
        table.add_column(head, justify="right")
    table.add_column("in")
    table.add_column("too short\nto tell", justify="right")
    table.add_column("training\nsplit found", justify="right")
    for name, row in _rows(findings, entries).items():
        table.add_row(
            name,
            f"{row.items:,}",
            Text(f"{row.found:,}", style="yellow" if row.found else ""),
            f"{row.found / row.items:.1%}" if row.items else "-",
            _counts(row.sources) or "-",
            f"{row.too_short:,}" if row.too_short else "-",
            f"{row.train_found:,} of {row.train:,}" if row.train else "-",
        )
    console = console_for(table, words=(_IN,))
    console.print(table)
    whole = ", ".join(findings.sources)
    console.print(f"\n{findings.found:,} of {findings.n:,} test items found in {whole}", soft_wrap=True)


def print_items(findings: Findings, items: dict[str, TaskItems], number: int) -> None:
    """The found test items, those with the largest share first: the item beside the passage of the source."""
    console = Console(highlight=False)
    every = [(leaf, item) for leaf, task in findings.items.items() for item in task.found]
    every.sort(key=lambda each: (-max(match.share for match in each[1].sources.values()), each[0], each[1].doc_id))
    for leaf, item in every[:number]:
        text = items[leaf].test[item.doc_id][0]
        for source, match in item.sources.items():
            more = f", {match.hits:,} passages" if match.hits > 1 else ""
            console.print(
                f"\n[bold]{leaf} {item.doc_id}[/bold] in {source}: {match.n} words in a row, {match.share:.0%} of the "
                f"item; document {match.document:,}, token {match.position:,}{more}",
                soft_wrap=True,
            )
            both = Table(box=None, pad_edge=False, header_style="dim", expand=True, padding=(0, 2, 0, 0))
            both.add_column("item", ratio=1)
            both.add_column(source, ratio=1)
            both.add_row(Text(plain(_short(" ".join(text.split())))), Text(plain(match.text)))
            console.print(both)
    if len(every) > number:
        console.print(f"\nand {len(every) - number:,} more; --show {len(every)} or --json")


def _short(text: str, size: int = 400) -> str:
    return text if len(text) <= size else f"{text[: size - 1]}…"


def as_json(findings: Findings, path: str, seconds: float) -> dict[str, object]:
    """The findings with where they stand and how many there are."""
    return {"path": path, "seconds": seconds, "n": findings.n, "found": findings.found, **asdict(findings)}
