r"""The comparison as a LaTeX table: booktabs, plain pdflatex, text escaped; for a paper that inputs it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from joyctl.report import notes
from joyctl.report.judge import ALPHA
from joyctl.report.report import Report
from joyctl.report.sheet import Cell, Column, Row

_ACROSS = 5
"""Columns that fit beside the runs' names into the text of an article; further ones stand in a tabular below."""
_GAP = r"\addlinespace[2pt]"
_MARKS = {"▲": r"$^{\ast}$", "▼": r"$^{\dagger}$", "△": r"$^{(\ast)}$", "▽": r"$^{(\dagger)}$", "·": ""}
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "–": r"\textendash{}", "—": r"\textemdash{}",
    "…": r"\ldots{}", "→": r"$\rightarrow$", "±": r"$\pm$",
    "·": r"$\cdot$", "×": r"$\times$", "≥": r"$\ge$", "≤": r"$\le$", "‘": "`", "’": "'", "“": "``", "”": "''",
    "µ": r"$\mu$", "\N{NO-BREAK SPACE}": "~", "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}",
    "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip


def render_latex(report: Report) -> str:
    r"""A table environment with caption, label, the comparison and its remarks; needs \usepackage{booktabs} only.

    A difference stands above its 95 % interval, in percentage points unless its column says otherwise, with a mark
    for its verdict. The text is ASCII: what has no LaTeX command in the standard fonts stands as U+ and its number.
    """
    results = report.results
    chunks = [report.columns[i : i + _ACROSS] for i in range(0, len(report.columns), _ACROSS)] or [()]
    label = re.sub(r"[^A-Za-z0-9.-]+", "-", unicodedata.normalize("NFKD", results.campaign)).strip("-") or "campaign"
    lines = [
        "% Needs \\usepackage{booktabs}.",
        r"\begin{table}[tbp]",
        r"\centering",
        rf"\caption[{{{escaped(results.campaign)}}}]{{{escaped(f'{results.campaign}: {report.conclusion}')}}}",
        rf"\label{{tab:{label}}}",
        r"\medskip\footnotesize\setlength{\tabcolsep}{3pt}",
    ]
    for number, chunk in enumerate(chunks):
        lines += [r"\par\medskip"] * (number > 0) + _tabular(report, chunk)
    lines += [r"\par\smallskip", r"\begin{minipage}{\linewidth}\footnotesize\raggedright"]
    lines += [f"{line}\\par" for line in _remarks(report)]
    return "\n".join([*lines, r"\end{minipage}", r"\end{table}"]) + "\n"


def escaped(text: str) -> str:
    """`text` so that LaTeX sets it as it stands, in ASCII.

    Accented letters become commands; other characters beyond ASCII stand as `U+4E2D`.
    """
    found = "".join(_character(character) for character in unicodedata.normalize("NFC", text))
    return re.sub("-(?=-)", "-{}", found)  # two hyphens would become a dash


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character.isspace():
        return " "
    if character.isascii() and character.isprintable():
        return character
    parts = unicodedata.normalize("NFD", character)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in _ACCENTS:
        # Without its dot, an i takes the accent where the dot was.
        letter = rf"\{parts[0]}" if parts[0] in "ij" else parts[0]
        return rf"\{_ACCENTS[parts[1]]}{{{letter}}}"
    return f"U+{ord(character):04X}"


def _tabular(report: Report, columns: Sequence[Column]) -> list[str]:
    marked = notes.footnotes(report.rows)
    heads = [escaped(column.label) for column in columns]
    units = [_small(escaped(column.of if column.percent else column.under)) for column in columns]
    counts = [_small(f"n {column.n:,}") for column in columns]
    lines = [rf"\begin{{tabular}}{{@{{}}l{'r' * len(columns)}@{{}}}}", r"\toprule", _line("run", heads)]
    lines += [_line("", units), _line("", counts)] if columns else []
    lines.append(r"\midrule")
    for row in report.rows:
        name = escaped(row.variant)
        if row.variant in marked:
            name += rf"\textsuperscript{{{marked[row.variant][0]}}}"
        if row.scored and row.scored < row.expected:
            name += f" ({row.scored}/{row.expected} seeds)"
        cells = [_cell(row, column, row.cells[column.key]) for column in columns]
        lines.append(_line(name, [value for value, _ in cells]))
        if any(interval for _, interval in cells):
            lines += [_line("", [interval for _, interval in cells]), _GAP]
    return [*lines[: -1 if lines[-1] == _GAP else None], r"\bottomrule", r"\end{tabular}"]


def _line(first: str, cells: Sequence[str]) -> str:
    return " & ".join([first, *cells]) + r" \\"


def _small(text: str) -> str:
    return rf"{{\scriptsize {text}}}"


def _cell(row: Row, column: Column, cell: Cell) -> tuple[str, str]:
    """What stands in a cell, and what below it."""
    if cell.delta is not None:
        delta = cell.delta
        low, high = (column.amount(end, "-") for end in (delta.low, delta.high))
        # \rlap: marks hang out, so that numbers stand under each other.
        mark = rf"\rlap{{{_MARKS[delta.mark]}}}" if _MARKS[delta.mark] else ""
        return f"${column.amount(delta.delta)}${mark}", _small(f"$[{low}, {high}]$")
    if cell.absolute is None:
        return "--", ""
    error = rf"$\pm {column.amount(cell.absolute.stderr, '-')}$"
    return f"${column.amount(cell.absolute.value, '-')}$", _small(error if row.is_control else f"{error} (alone)")


def _remarks(report: Report) -> list[str]:
    headline = [delta for delta in report.averages if delta.family == "headline"]
    lines = []
    if headline:
        level = f"{ALPHA * 100:.0f}\\,\\%"
        comparisons = f"{len(headline)} comparison{'s' if len(headline) > 1 else ''}"
        lines.append(rf"$\ast$ better, $\dagger$ worse than its control after Holm over {comparisons} at {level}.")
        if any(delta.uncorrected for delta in headline):
            lines.append(r"$(\ast)$, $(\dagger)$: only the interval itself excludes 0; not detectable after Holm.")
        of = r"$[\,]$: 95\,\% interval, paired by item, clustered"
        lines.append(f"Differences in percentage points or in the unit given; {of}.")
    cells = [cell for row in report.rows for cell in row.cells.values()]
    if any(cell.absolute is not None and cell.delta is None for cell in cells):
        lines.append(r"$\pm$: one standard error.")
    lines += [
        rf"\textsuperscript{{{number}}} {escaped(text)}."
        for number, text in sorted(set(notes.footnotes(report.rows).values()))
    ]
    unseen = [line.replace("·", "without a sign:", 1) for line in notes.detectable_notes(report)]
    further = [
        *unseen,
        *notes.noise_notes(report),
        *notes.aggregate_notes(report),
        *notes.chance_notes(report),
        *notes.cluster_notes(report),
    ]
    further += [*notes.alone_note(report), *notes.scoring_notes(report)]
    seeds = notes.seed_note(report)
    return lines + [f"{escaped(line)}." for line in [*further, *([seeds] if seeds else [])]]
