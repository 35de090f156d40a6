"""A campaign's report as one value: everything that the renderings show, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from joyctl.report.conclusion import conclude
from joyctl.report.deltas import Delta, run_deltas, variant_deltas
from joyctl.report.pairing import check_one_protocol
from joyctl.report.results import CampaignResults, read_campaign
from joyctl.report.sheet import Column, Row, columns, rows


@dataclass(frozen=True)
class Report:
    """What a campaign says at this moment."""

    results: CampaignResults
    deltas: tuple[Delta, ...]
    """Every run against its matched control, on every score."""
    averages: tuple[Delta, ...]
    """Every variant against its control over its seeds: what the table shows."""
    columns: tuple[Column, ...]
    """Headline scores."""
    rows: tuple[Row, ...]
    conclusion: str


def report(folder: Path) -> Report:
    """Read the campaign in `folder`, finished or not, and compare its runs.

    Raises Missing when there is no campaign, and Refused when runs do not share items or protocol.
    """
    results = read_campaign(folder)
    check_one_protocol(results)
    shown = columns(results)
    headline = {column.key for column in shown}
    averages = variant_deltas(results, headline)
    lines = rows(results, averages, shown)
    place = [row.variant for row in lines]
    tasks = results.tasks
    averages = tuple(sorted(averages, key=lambda delta: (place.index(delta.run), tasks.index(delta.task))))
    return Report(results, run_deltas(results, headline), averages, shown, lines, conclude(shown, lines))
