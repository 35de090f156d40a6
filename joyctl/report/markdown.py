"""The report as Markdown: the comparison, every delta, every score, mixes, what is missing, protocols."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from joyctl.report import datawords, findings, notes
from joyctl.report.aggregate import Composite, estimate
from joyctl.report.cost import Cost
from joyctl.report.costwords import cost_notes, cost_rows
from joyctl.report.curve import DurationCurve
from joyctl.report.deltas import Delta
from joyctl.report.published import Published
from joyctl.report.references import without_references
from joyctl.report.report import Report
from joyctl.report.results import Score
from joyctl.report.sheet import PROXY_UNITS, Cell, Column, Row, duration_label
from joyctl.report.worth import DatasetTable, ProbeTable
from joyctl.store.fingerprint import fingerprint

_DIGEST = 64
"""Characters of a SHA-256."""
_REFERENCES = "*references*"


def render_markdown(report: Report, against: Published | None = None) -> str:
    """The whole report; differences in percentage points unless their column says otherwise.

    Below the comparison stand the published numbers `against`, where they are asked for.
    """
    results = report.results
    parts = [f"# {results.campaign}", f"**{report.conclusion}**"]
    if results.hypothesis:
        parts.append(f"Question: {results.hypothesis}")
    parts.append(_list(f"{line}." for line in (*notes.claim_line(report), notes.protocol_line(report))))
    parts += [_comparison(report, report.columns), _remarks(report)]
    if report.categories:
        parts += ["## Categories", "The average is their plain mean. 0 is guessing, 100 all right."]
        parts += [_comparison(report, report.categories)]
    if report.proxies:
        parts += ["## At chance", "Bits per byte of the gold answer (lower is better), and its probability."]
        parts += [_comparison(report, report.proxies)]
    if report.curve is not None and report.curve.open_choice:
        parts += ["## Durations", *_durations(report.curve, report.columns)]
    if report.datasets is not None:
        parts += ["## Datasets", *_datasets(report.datasets)]
    if report.probes is not None:
        parts += ["## Probes", *_probes(report.probes)]
    if against is not None:
        parts += [f"## Beside {against.cited}", _published(against)]
        parts += ["\n".join(f"- {line}." for line in notes.published_notes(against))]
    if results.missing:
        parts += ["## Missing", _table(("what", "why"), notes.missing(report), left=2)]
    parts += ["## Mixes", _mixes(report)]
    if report.cost is not None:
        parts += ["## Cost", _cost(report.cost)]
    if report.averages:
        parts += ["## Every difference", _deltas(report, report.averages)]
    if items := datawords.items_lines(results):
        parts += ["## Items found in the training data", *_items(report, items)]
    if results.ledger:
        parts += ["## Ledger", "Tokens by source; rows shown again count as again.", _ledger(report)]
    if any(delta.seeds > 1 for delta in report.averages):
        parts += ["## Every difference, seed by seed", _deltas(report, report.deltas)]
    if results.scores:
        parts += ["## Every score", _scores(report)]
    if results.protocols:
        parts += ["## Protocols", _protocols(report)]
    return "\n\n".join(parts) + "\n"


def _comparison(report: Report, columns: Sequence[Column]) -> str:
    marked = notes.footnotes(report.rows)
    body: list[tuple[str, ...]] = []
    for row in report.rows:
        if row.is_reference and not any(line[0] == _REFERENCES for line in body):
            body.append((_REFERENCES, *("" for _ in columns)))
        number = f" <sup>{marked[row.variant][0]}</sup>" if row.variant in marked else ""
        body.append((f"{row.variant}{number}", *(_cell(row, c, row.cells[c.key]) for c in columns)))
    return _table(["run", *map(_head, columns)], body)


def _durations(curve: DurationCurve, columns: Sequence[Column]) -> list[str]:
    gain, cost = findings.sides(curve, columns)
    head = ("duration", f"gain: {gain}", f"cost: {cost}", "value", "Pareto set", "chosen in")
    body = [
        (
            duration_label(point.duration),
            findings.gain_words(point),
            findings.cost_words(curve, point),
            f"{point.value:+.2f}",
            "yes" if point.pareto else "",
            f"{point.chosen * 100:.0f} %",
        )
        for point in curve.points
    ]
    return [_list(f"{line}." for line in findings.duration_lines(curve, columns)), _table(head, body)]


def _datasets(table: DatasetTable) -> list[str]:
    worth = _table(
        (*findings.WORTH_HEAD, *map(_head, table.columns)), [findings.worth_line(table, arm) for arm in table.arms]
    )
    said = [f"Without minus with, against the same duration with nothing left out.\n\n{worth}"]
    group = findings.ranked_group(table)
    if group is not None:
        ranks = _table(findings.RANK_HEAD, findings.rank_lines(table), left=4)
        said.append(f"Left out of {group[0]}, {group[1]}; {findings.RANK_NOTE}.\n\n{ranks}")
    return said


def _probes(table: ProbeTable) -> list[str]:
    lines = [findings.probe_line(table, arm) for arm in table.arms]
    worth = _table((*findings.PROBE_HEAD, *map(_head, table.columns)), lines)
    said = [f"With the dataset minus without, against the same duration without it.\n\n{worth}"]
    group = findings.probed_group(table)
    if group is not None:
        ranks = _table(findings.PROBE_RANK_HEAD, findings.rank_lines(table), left=4)
        said.append(f"Added: {group}; {findings.RANK_NOTE}.\n\n{ranks}")
    return said


def _head(column: Column) -> str:
    label = f"{column.label} {column.key[1]}" if column.key[1] in PROXY_UNITS else column.label
    return f"{label}, {column.of if column.percent else column.unit} (n {column.n:,})"


def _cell(row: Row, column: Column, cell: Cell) -> str:
    if cell.delta is not None:
        return f"{_difference(column, cell.delta)} {cell.delta.mark}"
    if cell.absolute is None:
        return "–"
    text = f"{column.amount(cell.absolute.value, '-')} ± {column.amount(cell.absolute.stderr, '-')}"
    return text if row.is_control else f"{text} (alone)"


def _difference(column: Column, delta: Delta) -> str:
    return f"{column.amount(delta.delta)} [{column.amount(delta.low)}, {column.amount(delta.high)}]"


def _remarks(report: Report) -> str:
    first = (*notes.holm_notes(report), *notes.reference_notes(report), *notes.detectable_notes(report))
    lines = [f"{note}." for note in (*first, notes.interval_note())]
    lines += [f"<sup>{n}</sup> {text}." for n, text in sorted(set(notes.footnotes(report.rows).values()))]
    lines += [f"{note}." for note in _further_notes(report)]
    seeds = notes.seed_note(report)
    lines += [f"{note}." for note in (*([seeds] if seeds else []), *notes.noise_notes(report))]
    return _list(lines)


def _further_notes(report: Report) -> list[str]:
    of_items = [*notes.aggregate_notes(report), *notes.chance_notes(report), *notes.cluster_notes(report)]
    return [*of_items, *notes.alone_note(report), *notes.scoring_notes(report)]


def _published(against: Published) -> str:
    if not against.beside:
        return "No variant that is compared here has published numbers."
    columns = {column.key: column for column in against.columns}
    body = []
    for one in against.beside:
        column, delta = columns[one.delta.key], one.delta
        measured = f"{_difference(column, delta)} {delta.mark}"
        printed = f"{one.difference * 100:+.1f}"
        inside = "yes" if one.inside else "no"
        body.append((delta.run, delta.control, column.label, one.benchmark, measured, printed, one.direction, inside))
    head = ("run", "control", "benchmark", "theirs", "measured [95 %]", "published", "direction", "inside")
    return _table(head, body, left=4)


def _mixes(report: Report) -> str:
    sources, lines = notes.mixes(report)
    body = [(names, *(f"{share * 100:.1f}" for share in shares)) for names, shares in lines]
    return _table(("% of tokens", *sources), body)


def _items(report: Report, items: Sequence[Sequence[str]]) -> list[str]:
    said = [_table(datawords.ITEMS_HEAD, items)]
    if clean := datawords.clean_lines(report):
        said.append(f"Without these items; {datawords.VERDICTS}.\n\n{_table(datawords.CLEAN_HEAD, clean, left=2)}")
    return said


def _ledger(report: Report) -> str:
    table = _table(datawords.LEDGER_HEAD, datawords.ledger_lines(report.results.ledger), left=2)
    differs = [f"{one.run}: {said}." for one in report.results.ledger for said in one.differs]
    return f"{table}\n\n{_list(differs)}" if differs else table


def _cost(cost: Cost) -> str:
    table = _table(("stage", f"{cost.unit}-hours", "wasted"), cost_rows(cost))
    return table + "\n\n" + "\n".join(f"- {line}." for line in cost_notes(cost))


def _deltas(report: Report, deltas: Sequence[Delta]) -> str:
    head = (
        "run",
        "control",
        "task",
        "metric",
        "filter",
        "n",
        "difference [95 %]",
        "unit",
        "p",
        "p Holm",
        "q",
        "detectable",
    )
    return _table((*head, "family", "verdict"), [_delta_line(report, delta) for delta in deltas], left=5)


def _delta_line(report: Report, delta: Delta) -> tuple[str, ...]:
    column = report.every[delta.key]
    return (
        delta.run,
        delta.control,
        delta.task,
        delta.metric,
        delta.filter,
        f"{delta.n:,}",
        _difference(column, delta),
        column.unit,
        f"{delta.p:.2g}",
        f"{delta.p_adjusted:.2g}",
        f"{delta.q:.2g}",
        column.size(delta.detectable),
        delta.family,
        delta.verdict,
    )


def _scores(report: Report) -> str:
    specs = {run.id: run for run in report.results.runs}
    body = [_score_line(report, score, score.items.estimate(score.metric).stderr) for score in report.results.scores]
    body += [_score_line(report, one, estimate([(specs[one.run], one)]).stderr) for one in report.composites]
    return _table(("run", "task", "metric", "filter", "n", "value ± se", "unit"), body, left=4)


def _score_line(report: Report, score: Score | Composite, stderr: float) -> tuple[str, ...]:
    column = report.every[score.key]
    value = f"{column.amount(score.value, '-')} ± {column.amount(stderr, '-')}"
    unit = "%" if column.percent else column.unit
    return score.run, score.task, score.metric, score.filter, f"{score.n:,}", value, unit


def _protocols(report: Report) -> str:
    tasks = {score.task: score.protocol for score in without_references(report.results).scores}
    tasks |= {one.task: one.protocol for one in report.composites}
    body = []
    for task, digest in tasks.items():
        parts = report.results.protocols.get(digest, {})
        body.append((task, f"`{digest[:12]}`", "; ".join(f"{key} {_brief(value)}" for key, value in parts.items())))
    return _table(("task", "protocol", "parts"), body, left=3)


def _brief(value: Any) -> str:
    """A part of a protocol in few words: of what is said of every leaf task the one value, or a digest of them all.

    The values themselves are in results.json.
    """
    if isinstance(value, str) and len(value) == _DIGEST:
        return f"`{value[:12]}`"
    if not isinstance(value, dict) or any(isinstance(inner, dict) for inner in value.values()):
        return str(value)
    distinct = list(dict.fromkeys(map(str, value.values())))
    if len(distinct) <= 1:
        return _brief(distinct[0]) if distinct else "none"
    return f"`{fingerprint(value)[:12]}` ({len(value)} tasks)"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], body: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table whose first `left` columns are aligned left and the others right."""
    rule = ["---" if i < left else "---:" for i in range(len(head))]
    lines = [head, rule, *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
