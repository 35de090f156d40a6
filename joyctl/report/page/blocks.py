"""What a page is made of: sections of charts, tables, figures in words and commands, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

Tone = Literal["better", "worse", "leans-better", "leans-worse", "none", ""]
"""What a number's sign says, for its colour: ▲, ▼, △, ▽, ·, or nothing compared."""
TONES: Mapping[str, Tone] = {"▲": "better", "▼": "worse", "△": "leans-better", "▽": "leans-worse", "·": "none"}


@dataclass(frozen=True)
class Chart:
    """One drawing."""

    id: str
    """Unique on the page; letters, digits and dashes."""
    spec: Mapping[str, Any]
    """Vega-Lite, its width `container`."""
    description: str
    """What is seen, for those who do not see it."""
    min_width: int = 0
    """Pixels below which its box scrolls rather than shrink it further."""


@dataclass(frozen=True)
class Figure:
    """Drawings that belong together, with one caption."""

    kind: ClassVar[str] = "figure"
    name: str
    """Name of the file it is written to."""
    charts: tuple[Chart, ...]
    caption: str
    across: int = 1
    """Drawings beside each other where there is room."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    sort: float | str | None = None
    """What its column is sorted by; the text where it is None and `text` is not empty."""
    under: str = ""
    """Smaller, below the text."""
    tone: Tone = ""
    mark: str = ""
    """Sign after the text."""
    hint: str = ""
    """Shown on hover."""


@dataclass(frozen=True)
class Head:
    """One column's head."""

    label: str
    under: str = ""
    number: bool = True
    """Numbers stand right, text left."""


@dataclass(frozen=True)
class Table:
    """A table; the first cell of each row is its head."""

    kind: ClassVar[str] = "table"
    caption: str
    heads: tuple[Head, ...]
    rows: Sequence[tuple[Cell, ...]]
    notes: tuple[str, ...] = ()
    sortable: bool = True


@dataclass(frozen=True)
class Fact:
    """One number in large type."""

    label: str
    value: str
    under: str = ""


@dataclass(frozen=True)
class Facts:
    """Numbers beside each other."""

    kind: ClassVar[str] = "facts"
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Commands:
    """Lines for a shell."""

    kind: ClassVar[str] = "commands"
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Notes:
    """Remarks."""

    kind: ClassVar[str] = "notes"
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Folded:
    """A table that is opened by who wants it."""

    kind: ClassVar[str] = "folded"
    summary: str
    table: Table


Part = Figure | Table | Facts | Commands | Notes | Folded


@dataclass(frozen=True)
class Section:
    """One section of the page; one without parts is not shown."""

    id: str
    title: str
    parts: tuple[Part, ...]
    lead: str = ""
    figures: tuple[Figure, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "figures", tuple(part for part in self.parts if isinstance(part, Figure)))
