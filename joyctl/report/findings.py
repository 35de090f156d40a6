"""The findings in words: the best duration, and what every source is worth, for screen and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from joyctl.report.curve import CurvePoint, DurationCurve
from joyctl.report.deltas import Delta
from joyctl.report.notes import policy_words
from joyctl.report.results import Key
from joyctl.report.sheet import Column, duration_label
from joyctl.report.worth import DatasetTable, LeftOut, Probed, ProbeTable, Ranked

RANK_HEAD = ("benchmark", "needs", "not detectable", "better without")
PROBE_RANK_HEAD = ("benchmark", "gains from", "not detectable", "loses by")
RANK_NOTE = "largest difference first: > further from the next than noise, ~ not told apart from it"
WORTH_HEAD = ("left out", "at", "its share, %", "policy")
PROBE_HEAD = ("added", "at", "its share, %", "beside", "against")
_APART, _TOGETHER, _NONE = " > ", " ~ ", "–"


def duration_lines(curve: DurationCurve | None, columns: Sequence[Column]) -> list[str]:
    """The best duration, what it gains and pays, by which rule; the Pareto set. Nothing without a choice."""
    if curve is None or not curve.open_choice:
        return []
    if curve.kind == "none":
        lines = [f"best duration: none, since {curve.rule}"]
    else:
        gain, cost = sides(curve, columns)
        best = curve.best_point
        what = "best trade-off" if curve.kind == "trade-off" else "best duration"
        drawn = "items" if curve.seeds == 1 else "items and seeds"
        lines = [
            f"{what}: {best_words(curve)}, gaining {gain_words(best)} ({gain}) for {cost_words(curve, best)} ({cost})",
            f"rule: {curve.rule}; [ ] 95 % of its choices with resampled {drawn}",
        ]
    front = [f"{point.duration * 100:.4g}" for point in curve.points if point.pareto]
    lines.append(f"Pareto set (none of the others gains as much for less): {', '.join(front)} %")
    if curve.left_out:
        lines.append(f"not among these, since scores are missing: {', '.join(curve.left_out)}")
    return lines


def best_words(curve: DurationCurve) -> str:
    """The best duration with its interval: `20 % [15, 25]`."""
    low, high = (f"{end * 100:.4g}" for end in (curve.best_low, curve.best_high))
    return f"{duration_label(curve.best)} [{low}, {high}]"


def gain_words(point: CurvePoint) -> str:
    """A gain with its interval: `+65.3 [61.7, 68.8] pp`."""
    return f"{point.gain * 100:+.1f} [{point.gain_low * 100:.1f}, {point.gain_high * 100:.1f}] pp"


def cost_words(curve: DurationCurve, point: CurvePoint) -> str:
    """A cost with its interval: `+0.102 [0.095, 0.109] bits/byte`."""
    if curve.cost_unit == "pp":
        return f"{point.cost * 100:+.1f} [{point.cost_low * 100:.1f}, {point.cost_high * 100:.1f}] pp"
    return f"{point.cost:+.3f} [{point.cost_low:.3f}, {point.cost_high:.3f}] {curve.cost_unit}"


def sides(curve: DurationCurve, columns: Sequence[Column]) -> tuple[str, str]:
    """What gain and cost are of: `mean of mc, math and code`, `web loss` or `fall of general_average`."""
    labels = {column.key: column.label for column in columns}
    gain, cost = (_mean([labels[key] for key in keys]) for keys in (curve.targeted, curve.general))
    return gain, f"fall of {cost}" if curve.cost_unit == "pp" else cost


def ranked_group(table: DatasetTable | None) -> tuple[str, str] | None:
    """(what the ranked sources are left out of, policy in words); None where nothing is ranked."""
    if table is None or not table.ranks:
        return None
    arm = table.arm(next(iter(table.ranks.values()))[0].variant)
    return arm.against, policy_words(arm.policy)


def probed_group(table: ProbeTable | None) -> str | None:
    """How the ranked probes were made; None where nothing is ranked."""
    if table is None or not table.ranks:
        return None
    arm = table.arm(next(iter(table.ranks.values()))[0].variant)
    return f"{probe_words(arm)}, at {duration_label(arm.duration)}, against {arm.against}"


def probe_words(arm: Probed) -> str:
    """Share and rest of a probe: `30 % of the phase, the rest the base mix`."""
    return f"{duration_label(arm.share)} of the phase, the rest {arm.beside or 'the base mix'}"


def rank_lines(table: DatasetTable | ProbeTable) -> list[tuple[str, str, str, str]]:
    """By benchmark: (label, sources that matter, those that make no detectable difference, those that do harm).

    What matters and what does harm: of sources left out, those that it needs and those that it is better without; of
    sources added, those that it gains from and those that it loses by.
    """
    first = isinstance(table, ProbeTable)
    found = []
    for column in table.columns:
        if column.key in table.ranks:
            matters, unclear, harms = (_in_order(table, column.key, better) for better in (first, None, not first))
            found.append((column.label, matters, unclear, harms))
    return found


def probe_line(table: ProbeTable, arm: Probed) -> list[str]:
    """One probe: source, duration, share, rest, control, then by column the difference and what it means."""
    cells = _difference_cells(table.columns, arm.deltas, ("better with", "worse with"))
    share = f"{arm.share * 100:.1f}"
    return [arm.added, duration_label(arm.duration), share, arm.beside or "base mix", arm.against, *cells]


def worth_line(table: DatasetTable, arm: LeftOut) -> list[str]:
    """One arm: sources, duration, share, policy, then by column the difference, its interval and what it means."""
    cells = _difference_cells(table.columns, arm.deltas, ("better without", "worse without"))
    share = f"{arm.share * 100:.1f}"
    return ["+".join(arm.dropped), duration_label(arm.duration), share, policy_words(arm.policy), *cells]


def _difference_cells(columns: Sequence[Column], deltas: Mapping[Key, Delta], words: tuple[str, str]) -> list[str]:
    """By column the difference, its interval and what it means: `words` for better and for worse."""
    cells = []
    for column in columns:
        delta = deltas.get(column.key)
        if delta is None:
            cells.append(_NONE)
            continue
        word = {True: words[0], False: words[1], None: delta.verdict}[delta.better]
        interval = f"[{column.amount(delta.low)}, {column.amount(delta.high)}]"
        cells.append(f"{column.amount(delta.delta)} {interval} {delta.mark} {word}")
    return cells


def _in_order(table: DatasetTable | ProbeTable, key: Key, better: bool | None) -> str:
    last = not isinstance(table, ProbeTable)  # which of better and worse the ranks end with
    places: list[Ranked] = [one for one in table.ranks[key] if table.arm(one.variant).deltas[key].better is better]
    if better is last:
        places = places[::-1]  # the largest difference first here too
    words = ""
    for i, one in enumerate(places):
        name = _sources(table.arm(one.variant))
        if i == 0:
            words = name
        elif better is None:
            words += f", {name}"
        else:
            apart = places[i].apart if better is last else places[i - 1].apart
            words += f"{_APART if apart else _TOGETHER}{name}"
    return words or _NONE


def _sources(arm: LeftOut | Probed) -> str:
    return arm.added if isinstance(arm, Probed) else "+".join(arm.dropped)


def _mean(labels: Sequence[str]) -> str:
    if len(labels) == 1:
        return labels[0]
    return f"mean of {', '.join(labels[:-1])} and {labels[-1]}"
