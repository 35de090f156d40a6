"""The one-line conclusion, from the verdicts: what rises, what it costs, what each drop loses and each probe gains."""

from __future__ import annotations

from collections.abc import Sequence

from joyctl.report.curve import DurationCurve
from joyctl.report.deltas import Delta
from joyctl.report.sheet import Column, Row, duration_label, is_upsampling


def conclude(columns: Sequence[Column], rows: Sequence[Row], curve: DurationCurve | None) -> str:
    """A few sentences that say nothing a verdict or an interval does not carry."""
    compared = [row for row in rows if any(cell.delta for cell in row.cells.values())]
    if not compared:
        return "Nothing to compare yet: no run and its control are both scored."
    plain = [row for row in compared if not row.runs[0].changed]
    phases = [row for row in plain if is_upsampling(row.runs[0])]
    probes = [row for row in plain if row.runs[0].added]
    drops = [row for row in plain if row.runs[0].dropped]
    said = [_upsampling(columns, phases)] if phases else []
    if curve is not None and curve.open_choice and curve.kind != "none":
        said.append(_best(curve))
    if drops:
        several = len({row.runs[0].duration for row in drops}) > 1
        said.append(_sentence("; ".join(_drop(columns, row, several) for row in drops)))
    if probes:
        names = [_probe_name(row) for row in probes]
        parts = [_probe(columns, row, several=names.count(name) > 1) for row, name in zip(probes, names, strict=True)]
        said.append(_sentence("; ".join(parts)))
    others = len(compared) - len(plain)
    if others:
        said.append(f"{others} variants with changed settings: see the table.")
    if any(row.scored < row.expected for row in rows):
        missing = sum(row.expected - row.scored for row in rows)
        said.append(f"So far: {missing} of {sum(row.expected for row in rows)} runs are not scored.")
    return " ".join(said)


def _upsampling(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """What the phase does at any of its durations: benchmarks first, then what general loss pays."""
    gains = _effects([column for column in columns if column.higher_is_better], rows)
    costs = _effects([column for column in columns if not column.higher_is_better], rows)
    parts = [_list(part) for part in (gains, costs) if part]
    return _sentence(f"upsampling {'; it '.join(parts)}") if parts else ""


def _best(curve: DurationCurve) -> str:
    trades = curve.kind == "trade-off"
    if not curve.told_apart:
        of = "the best trade-off" if trades else "the largest gain"
        return f"Which duration has {of} is open: {duration_label(curve.best)} here, but they are not told apart."
    ends = (duration_label(end) for end in (curve.best_low, curve.best_high))
    interval = "" if curve.best_low == curve.best_high else f" ({' to '.join(ends)})"
    return f"{'The best trade-off is' if trades else 'The gain is largest'} at {duration_label(curve.best)}{interval}."


def _effects(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    raised: list[str] = []
    lowered: list[str] = []
    unclear: list[str] = []
    unsure: list[str] = []
    for column in columns:
        deltas = [(row, row.cells[column.key].delta) for row in rows]
        found = [(row, delta) for row, delta in deltas if delta is not None]
        up = [pair for pair in found if pair[1].verdict == "higher"]
        down = [pair for pair in found if pair[1].verdict == "lower"]
        for clear, phrases in ((up, raised), (down, lowered)):
            if clear:
                phrases.append(_most(column, *max(clear, key=_size), len(found)))
        if found and not up and not down:
            (unsure if any(delta.uncorrected for _, delta in found) else unclear).append(column.label)
    said = (
        ("raises", raised),
        ("lowers", lowered),
        ("shows no difference that holds after correction on", unsure),
        ("makes no detectable difference on", unclear),
    )
    return [f"{verb} {_list(what)}" for verb, what in said if what]


def _most(column: Column, row: Row, delta: Delta, durations: int) -> str:
    up_to = "up to " if durations > 1 else ""
    at = duration_label(row.runs[0].duration)
    return f"{column.label} by {up_to}{column.amount(abs(delta.delta), '-')} {column.unit} ({at})"


def _size(pair: tuple[Row, Delta]) -> float:
    return abs(pair[1].delta)


def _drop(columns: Sequence[Column], row: Row, several: bool) -> str:
    run = row.runs[0]
    what = " and ".join(run.dropped) + (f" at {duration_label(run.duration)}" if several else "")
    return _does(columns, row, f"dropping {what}")


def _probe_name(row: Row) -> str:
    run = row.runs[0]
    beside = f" beside {run.beside}" if run.beside else ""
    return f"adding {run.added}{f' ({duration_label(run.share)} of the phase)' if run.share else ''}{beside}"


def _probe(columns: Sequence[Column], row: Row, several: bool) -> str:
    at = f" at {duration_label(row.runs[0].duration)}" if several else ""
    return _does(columns, row, f"{_probe_name(row)}{at}")


def _does(columns: Sequence[Column], row: Row, doing: str) -> str:
    """What an arm loses and gains on the benchmarks."""
    lost: list[str] = []
    gained: list[str] = []
    unsure: list[str] = []
    for column in columns:
        delta = row.cells[column.key].delta
        if delta is None or not column.higher_is_better:
            continue
        if delta.uncorrected:
            unsure.append(f"{column.amount(delta.delta)} {column.unit} of {column.label}")
        if delta.better is not None:
            amount = f"{column.amount(abs(delta.delta), '-')} {column.unit} of {column.label}"
            (gained if delta.better else lost).append(amount)
    if not lost and not gained and unsure:
        return f"{doing} shows nothing that holds after correction (before it: {_list(unsure)})"
    if not lost and not gained:
        return f"{doing} makes no detectable difference on any benchmark"
    parts = [f"loses {_list(lost)}"] if lost else []
    parts += [f"gains {_list(gained)}"] if gained else []
    return f"{doing} {_list(parts)}"


def _list(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
