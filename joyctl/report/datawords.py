"""What a report says of the data: rows shown again, logs that are not as planned, items found in the training data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from joyctl.data.ledger import repeat_words
from joyctl.report.aggregate import Composite
from joyctl.report.deltas import Delta
from joyctl.report.ledger import RunLedger, SourceLine
from joyctl.report.references import without_references
from joyctl.report.report import Report
from joyctl.report.results import CampaignResults, Key, Score
from joyctl.report.sheet import Column

LEDGER_HEAD = ("run", "source", "trunk", "phase", "epochs", "again", "from step", "seen so far")
"""Tokens, but for epochs and steps."""
ITEMS_HEAD = ("task", "in", "items", "found", "too short to tell")
CLEAN_HEAD = ("run", "score", "items", "clean", "all items", "clean items")
VERDICTS = "verdicts are those of all items"
_MOST = 3
"""Differences that a note is given to."""


def data_notes(report: Report) -> list[str]:
    """What a reader must know of the data beside the numbers; nothing of a campaign that tells of no training."""
    return [*_ledger_notes(report.results.ledger), *_leak_notes(report)]


def ledger_lines(ledger: Sequence[RunLedger]) -> list[tuple[str, ...]]:
    """A line for every run and source, under LEDGER_HEAD."""
    return [
        (
            one.run,
            line.source,
            f"{line.planned.trunk:,}",
            f"{line.planned.phase:,}",
            f"{line.planned.epochs:.2f}",
            f"{line.planned.repeated:,}" if line.planned.repeated else "–",
            f"{line.planned.first_repeat_step:,}" if line.planned.first_repeat_step is not None else "–",
            seen_words(one, line),
        )
        for one in ledger
        for line in one.sources
    ]


def seen_words(one: RunLedger, line: SourceLine) -> str:
    """What the log says of a source: `as planned` for a whole run, else how much until which step."""
    if line.realised is None:
        return "nothing yet"
    if one.step >= one.end_step and line.realised.tokens == line.planned.tokens:
        return "as planned"
    return f"{line.realised.tokens:,} by step {one.step:,}"


def items_lines(results: CampaignResults) -> list[tuple[str, ...]]:
    """A line for every task that was looked for and scored, under ITEMS_HEAD; those with items found first."""
    leaks = results.leaks
    if leaks is None:
        return []
    scored = dict.fromkeys(task for items in _distinct_items(results) for task, _ in items)
    lines: list[tuple[str, ...]] = []
    for task in sorted(scored, key=lambda name: -len(leaks.tasks[name].found) if name in leaks.tasks else 1):
        if (known := leaks.tasks.get(task)) is not None:
            sources = sorted({name for names in known.found.values() for name in names})
            where = ", ".join(sources) or "–"
            lines.append((task, where, f"{known.n:,}", f"{len(known.found):,}", f"{known.too_short:,}"))
    return lines


def clean_lines(report: Report) -> list[tuple[str, ...]]:
    """A line for every variant and headline score with items found, under CLEAN_HEAD: differences, controls' scores."""
    lines: list[tuple[str, ...]] = []
    for column in report.columns:
        for row in report.rows:
            cell = row.cells[column.key]
            if (delta := cell.delta) is not None and delta.clean is not None and delta.clean.found:
                clean, n = delta.clean, delta.n
                whole = f"{_interval(column, delta.delta, delta.low, delta.high)} {delta.mark}"
                part = f"{_interval(column, clean.delta, clean.low, clean.high)} {_clean_mark(delta)}"
                lines.append((row.variant, column.label, f"{n:,}", f"{clean.n:,}", whole, part))
            elif row.is_control and (found := _own(report, row.variant, column.key)):
                whole, part = (column.amount(value, "-") for value in _means(found))
                first = found[0]
                n = first.clean.n if first.clean else 0
                lines.append((row.variant, column.label, f"{first.n:,}", f"{n:,}", whole, part))
    return lines


def _ledger_notes(ledger: Sequence[RunLedger]) -> Iterator[str]:
    for said in repeat_words({one.run.removesuffix("/s0"): one.planned for one in ledger}):
        yield f"rows shown again: {said}"
    wrong = [one for one in ledger if one.differs]
    if wrong:
        names = ", ".join(one.run for one in wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        yield f"not trained on what was planned: {names} ({wrong[0].differs[0]}); see joyctl data ledger"


def _leak_notes(report: Report) -> Iterator[str]:
    leaks = report.results.leaks
    if leaks is None or not report.results.scores:
        return
    if leaks.unknown is not None:
        yield f"test items in the training data: {leaks.unknown}"
        return
    items = _distinct_items(report.results)
    tasks = dict.fromkeys(task for each in items for task, _ in each)
    unseen = dict.fromkeys(task for each in items for task in leaks.unseen(each))
    known, unknown = [t for t in tasks if t not in unseen], [t for t in unseen if not t.startswith("heldout_")]
    scored = {key for each in items for key in each if key[0] not in unseen}
    if scored and not any(doc in leaks.tasks[task].found for task, doc in scored):
        yield f"test items in the training data: 0 of {len(scored):,} found in {', '.join(leaks.sources)}"
    for column in report.columns:
        yield from _found_in(report, column)
    generated = (report.results.recipe.get("data") or {}).get("world") is not None
    if generated and any(leaks.tasks[task].found for task in known):
        yield "the micro-world makes its sums and functions of few templates, for texts and items alike"
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        yield f"test items in the training data: not looked for are those of {', '.join(unknown[:5])}{more}"
    yield from _differing(report)


def _found_in(report: Report, column: Column) -> Iterator[str]:
    """`micro_code: 3 of 164 items found in code; clean 12.1 against 12.4 (control)`."""
    leaks = report.results.leaks
    score = next((s for s in without_references(report.results).scores if s.key == column.key), None)
    if leaks is None or score is None or leaks.unseen(score.items.keys):
        return
    places = [names for task, doc in score.items.keys if (names := leaks.tasks[task].found.get(doc))]
    if not places:
        return
    sources = sorted({name for names in places for name in names})
    said = f"{column.label}: {len(places):,} of {len(score.items):,} items found in {', '.join(sources)}"
    if score.clean is None:
        yield f"{said}; {len(score.items) - len(places)} left are too few for a score"
        return
    control = next((row.variant for row in report.rows if row.is_control), None)
    found = _own(report, control, column.key) if control is not None else []
    if found:
        whole, part = (column.amount(value, "-") for value in _means(found))
        said += f"; clean {part} against {whole} ({control})"
    yield said


def _differing(report: Report) -> Iterator[str]:
    """Headline differences that clean items would judge otherwise; of many the first."""
    lines = list(_judged_otherwise(report))
    yield from lines[:_MOST]
    if len(lines) > _MOST:
        yield f"{len(lines) - _MOST} more would be judged otherwise on clean items; report.md lists them all"


def _judged_otherwise(report: Report) -> Iterator[str]:
    labels = {column.key: column for column in report.columns}
    for delta in report.averages:
        clean = delta.clean
        if clean is None or not clean.found or delta.key not in labels:
            continue
        if clean.verdict != delta.verdict or clean.delta * delta.delta < 0:
            column = labels[delta.key]
            whole = f"{column.amount(delta.delta)} {delta.mark}"
            part = f"{column.amount(clean.delta)} {_clean_mark(delta)}"
            yield f"{delta.run}, {column.label}: {whole} on all items, {part} on {clean.n:,} clean ones; {VERDICTS}"


def _clean_mark(delta: Delta) -> str:
    clean = delta.clean
    if clean is None or clean.verdict == "no detectable difference":
        return "·"
    return "▲" if (clean.verdict == "higher") == delta.higher_is_better else "▼"


def _own(report: Report, variant: str, key: Key) -> list[Score | Composite]:
    """Scores of a variant's runs that have items found and a value without them."""
    runs = {run.id for run in report.results.runs if run.variant == variant}
    scores: list[Score | Composite] = [*report.results.scores, *report.composites]
    return [s for s in scores if s.run in runs and s.key == key and s.clean and s.clean.found]


def _means(scores: Sequence[Score | Composite]) -> tuple[float, float]:
    """(all items, clean items), averaged over seeds."""
    clean = [score.clean.value for score in scores if score.clean]
    return sum(score.value for score in scores) / len(scores), sum(clean) / len(clean)


def _interval(column: Column, value: float, low: float, high: float) -> str:
    return f"{column.amount(value)} [{column.amount(low)}, {column.amount(high)}]"


def _distinct_items(results: CampaignResults) -> list[tuple[tuple[str, str], ...]]:
    """Names of the items of every score, (leaf task, document id), those that runs share once."""
    keys = {id(score.items.keys): score.items.keys for score in without_references(results).scores}
    return list(keys.values())
