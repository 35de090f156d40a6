"""A campaign's report as one value: everything that the renderings show, computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from joyctl.campaign.spec import Protocol
from joyctl.report.aggregate import Composite, composites
from joyctl.report.chance import PROXIES, AtChance, at_chance
from joyctl.report.claim import Claim, claim
from joyctl.report.clean import clean_composites, with_clean, with_clean_scores
from joyctl.report.conclusion import conclude
from joyctl.report.cost import Cost, campaign_cost
from joyctl.report.curve import DurationCurve, duration_curve
from joyctl.report.deltas import Delta, run_deltas, variant_deltas
from joyctl.report.noise import Floor, noise_floors
from joyctl.report.pairing import check_one_phase_protocol, check_one_protocol
from joyctl.report.published import Published, published
from joyctl.report.references import admit, without_references
from joyctl.report.results import CampaignResults, Key, read_campaign
from joyctl.report.sheet import (
    PROXY_UNITS,
    Column,
    Row,
    category_columns,
    columns,
    every_column,
    primary_keys,
    proxy_columns,
    rows,
)
from joyctl.report.worth import DatasetTable, ProbeTable, dataset_table, probe_table


@dataclass(frozen=True)
class Report:
    """What a campaign says at this moment."""

    results: CampaignResults
    composites: tuple[Composite, ...]
    """Categories and their average, of every run that has all of their benchmarks."""
    deltas: tuple[Delta, ...]
    """Every run against its matched control, on every score and composite."""
    averages: tuple[Delta, ...]
    """Every variant against its control over its seeds: what the table shows."""
    columns: tuple[Column, ...]
    """Headline scores."""
    categories: tuple[Column, ...]
    """The categories behind the average, if there are several."""
    chance: tuple[AtChance, ...]
    """Benchmarks that the control answers no better than by guessing."""
    proxies: tuple[Column, ...]
    """What to read of those in the headline instead; headline scores too."""
    further_proxies: tuple[Column, ...]
    """Proxies of every headline benchmark."""
    every: Mapping[Key, Column]
    """All scores and composites, with how to show their numbers."""
    rows: tuple[Row, ...]
    floors: tuple[Floor, ...]
    """Run-to-run noise of the control, where it was run more than once."""
    curve: DurationCurve | None
    datasets: DatasetTable | None
    probes: ProbeTable | None
    cost: Cost | None
    """None for several campaigns together: each has its own."""
    published: tuple[Published, ...]
    """Numbers of others beside these, by every name that the recipe has."""
    conclusion: str
    protocol: Protocol
    """Of the phases of all runs but references."""
    claim: Claim | None
    """What the differences are about; None where there is none."""


def report(folder: Path) -> Report:
    """Read the campaign in `folder`, finished or not, and compare its runs.

    Raises Missing when there is no campaign, and Refused as `of_results` does.
    """
    return of_results(read_campaign(folder), campaign_cost(folder))


def of_results(results: CampaignResults, cost: Cost | None = None) -> Report:
    """Compare the runs of a campaign that has been read, or of several together (joyctl.report.merge).

    The headline family, over which Holm corrects, are the columns of the main table and, for a benchmark there that
    the control answers at chance, its PROXIES as well: in addition, since a phase may lift the accuracy itself above
    chance. Whether they join is decided by the control's score alone, never by a difference.

    Raises Refused when runs do not share items or protocol.
    """
    results = with_clean_scores(admit(results))
    check_one_phase_protocol(results.runs)
    check_one_protocol(without_references(results).scores, results.protocols)
    made, lacking = composites(results)
    parts = {composite.protocol: composite.protocol_parts for composite in made}
    check_one_protocol(
        made, parts, hint="The suite's aggregate has changed: give all runs to one `joyctl sweep` again."
    )
    results = replace(results, missing=(*results.missing, *lacking), protocols={**results.protocols, **parts})
    every = every_column(results, made)
    shown = columns(results, every)
    primary = primary_keys(results, every)
    chance = at_chance(results, list(primary.values()))
    labels = {column.key[0]: column.label for column in shown if column.key in primary.values()}
    low = {one.key[0] for one in chance}
    proxies = proxy_columns(every, {task: label for task, label in labels.items() if task in low}, PROXIES)
    further = proxy_columns(every, labels, tuple(PROXY_UNITS))
    categories = category_columns(results, every)
    headline = {column.key for column in (*shown, *proxies)}
    made = clean_composites(results, made)
    deltas, averages = with_clean(
        results, made, headline, run_deltas(results, made, headline), variant_deltas(results, made, headline)
    )
    lines = rows(results, made, averages, (*shown, *categories, *further))
    # What is said of the campaign is said of its runs; a reference has its row, and nothing else rests on it.
    ours, own_lines = without_references(results), tuple(row for row in lines if not row.is_reference)
    place, order = [row.variant for row in lines], [*results.tasks, *(one.task for one in made)]
    averages = tuple(sorted(averages, key=lambda delta: (place.index(delta.run), order.index(delta.task))))
    curve = duration_curve(ours, shown)
    compared = {delta.run for delta in deltas}
    return Report(
        results=results,
        composites=made,
        deltas=deltas,
        averages=averages,
        columns=shown,
        categories=categories,
        chance=chance,
        proxies=proxies,
        further_proxies=further,
        every=every,
        rows=lines,
        floors=noise_floors(ours, made),
        curve=curve,
        datasets=dataset_table(shown, own_lines),
        probes=probe_table(shown, own_lines),
        cost=cost,
        published=published(results, every | {column.key: column for column in shown}, averages, lines),
        conclusion=conclude(shown, own_lines, curve),
        protocol=next((run.protocol for run in ours.runs), Protocol()),
        claim=claim([run for run in ours.runs if run.id in compared], results.recipe),
    )
