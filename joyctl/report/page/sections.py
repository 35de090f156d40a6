"""The page's sections, in order; one that has nothing to show is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from joyctl.report import findings, notes
from joyctl.report.history import Curve, read_history
from joyctl.report.page import tables
from joyctl.report.page.blocks import Cell, Commands, Fact, Facts, Folded, Head, Notes, Part, Section, Table
from joyctl.report.page.costs import cost_parts
from joyctl.report.page.curves import duration_figure
from joyctl.report.page.data import data_parts
from joyctl.report.page.effects import forest, heat_map
from joyctl.report.page.hover import Counts, counted
from joyctl.report.page.published import published_parts
from joyctl.report.page.speed import speeds
from joyctl.report.page.training import loss_figure, mixes_figure, rate_figure
from joyctl.report.report import Report
from joyctl.store.campaign import read_campaign_json


def sections(report: Report, folders: Sequence[Path]) -> tuple[Section, ...]:
    """All sections that have content, those of the first screen before the others."""
    campaigns = [read_campaign_json(folder) or {} for folder in folders]
    single = folders[0] if len(folders) == 1 else None
    counts = counted(report)
    made = (
        _answer(report, counts),
        _arms(report, counts),
        _published(report),
        _training(report, single),
        _data(report),
        _cost(report),
        _power(report),
        _section("missing", "Missing", (tables.missing(report),)),
        _protocol(report, campaigns[0] if single else {}),
        _commands(campaigns),
    )
    return tuple(section for section in made if section.parts)


def _section(name: str, title: str, parts: Sequence[Part | None], lead: str = "") -> Section:
    return Section(name, title, tuple(part for part in parts if part is not None), lead)


def _answer(report: Report, counts: Counts) -> Section:
    parts: list[Part | None] = [_best(report), duration_figure(report), heat_map(report, counts)]
    if report.datasets is not None and (order := findings.rank_lines(report.datasets)):
        heads = tuple(Head(head, number=False) for head in findings.RANK_HEAD)
        rows = [tuple(Cell(cell) for cell in line) for line in order]
        parts.append(Table("Sources in order, by benchmark", heads, rows, (findings.RANK_NOTE,), sortable=False))
    if report.probes is not None:
        parts += tables.probes(report.probes)
    return _section("answer", "", parts)


def _best(report: Report) -> Facts | None:
    """The best duration in large figures; None where there is none to choose."""
    curve = report.curve
    if curve is None or not curve.open_choice:
        return None
    if curve.kind == "none":
        return Facts((Fact("best duration", "none", curve.rule),))
    best, (gain, cost) = curve.best_point, findings.sides(curve, report.columns)
    chosen, gained, paid = (
        words.partition("[")
        for words in (findings.best_words(curve), findings.gain_words(best), findings.cost_words(curve, best))
    )
    front = [f"{point.duration * 100:.4g}" for point in curve.points if point.pareto]
    return Facts(
        (
            Fact("best duration", chosen[0].strip(), f"95 % of resampled campaigns: [{chosen[2]} %"),
            Fact("gain there", f"{gained[0].strip()} pp", f"[{gained[2].removesuffix(' pp')}, {gain}"),
            Fact("cost there", paid[0].strip(), f"[{paid[2]}, {cost}"),
            Fact(
                "Pareto set", f"{len(front)} of {len(curve.points)}", f"{', '.join(front)} %: none gains more for less"
            ),
        )
    )


def _arms(report: Report, counts: Counts) -> Section:
    parts: list[Part | None] = []
    if any(cell.delta or cell.absolute for row in report.rows for cell in row.cells.values()):
        caption = "Differences to the matched control, 95 % intervals below them; controls as they score"
        parts += [
            tables.comparison(report, counts, report.columns, caption),
            Notes(_remarks(report)),
            forest(report, counts),
        ]
        if report.categories:
            parts.append(
                tables.comparison(report, counts, report.categories, "Categories behind the average; 0 is guessing")
            )
        if report.proxies:
            caption = "At chance: bits per byte of the right answers (lower is better) and their probability"
            parts.append(tables.comparison(report, counts, report.proxies, caption))
    if report.averages:
        table = tables.every_difference(report, counts)
        parts.append(Folded(f"All {len(report.averages):,} differences, with p-values", table))
    return _section("differences", "Differences", parts)


def _published(report: Report) -> Section:
    lead = "Differences to the same control, in percentage points, as others have published them."
    return _section("published", "Published numbers", published_parts(report.published), lead)


def _training(report: Report, folder: Path | None) -> Section:
    history: Sequence[Curve] = read_history(folder) if folder else ()
    parts = (
        mixes_figure(report),
        tables.epochs(report, folder) if folder else None,
        rate_figure(report, history),
        loss_figure(report, history),
        speeds(history),
    )
    return _section("training", "Training", parts)


def _data(report: Report) -> Section:
    return _section("data", "Data", data_parts(report))


def _cost(report: Report) -> Section:
    return _section("cost", "Cost", cost_parts(report.cost))


def _power(report: Report) -> Section:
    table = tables.noise_and_power(report)
    seeds = notes.seed_note(report)
    lines = (*([seeds] if seeds else []), *notes.noise_notes(report))
    remarks = Notes(tuple(f"{line}." for line in lines)) if table is not None and lines else None
    return _section("power", "Noise and power", (table, remarks))


def _protocol(report: Report, campaign: Mapping[str, Any]) -> Section:
    return _section("protocol", "Protocol and environment", (tables.protocols(report), tables.versions(campaign)))


def _commands(campaigns: Sequence[Mapping[str, Any]]) -> Section:
    lists = [found for campaign in campaigns if isinstance(found := campaign.get("commands"), list)]
    lines = tuple(dict.fromkeys(str(line) for found in lists for line in found))
    return _section("commands", "Commands", (Commands(lines),) if lines else (), "What made this campaign, in order.")


def _remarks(report: Report) -> tuple[str, ...]:
    seeds = notes.seed_note(report)
    lines = [
        *notes.holm_notes(report),
        *notes.reference_notes(report),
        notes.interval_note(),
        *notes.aggregate_notes(report),
        *notes.chance_notes(report),
        *notes.cluster_notes(report),
        *notes.alone_note(report),
        *notes.scoring_notes(report),
        *([seeds] if seeds else []),
    ]
    return tuple(f"{line}." for line in lines)
