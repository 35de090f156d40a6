"""`joyctl data ledger`: what every run of a campaign sees of every source, as planned and as its log says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joyctl.cli.results import Campaign, find_campaign
from joyctl.cli.words import DEFAULT_RESULTS, Json, Results, note
from joyctl.errors import Missing, RunsFailed

if TYPE_CHECKING:
    from rich.table import Table

    from joyctl.report.ledger import RunLedger


def ledger_command(
    campaign: Campaign = None,
    run: Annotated[
        str | None, typer.Option("--run", help="Only this run, such as upsample-20/s0.", metavar="ID")
    ] = None,
    results: Results = DEFAULT_RESULTS,
    as_json: Json = False,
) -> None:
    """Say what every run sees of every source: trunk, phase, epochs, rows shown again; planned and by its log.

    Ends with exit code 5 where a run was trained on other rows than planned; one half done is as planned so far.
    """
    folder = find_campaign(campaign, results)
    found = _read(folder, run)
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps({"campaign": folder.name, "runs": [asdict(one) for one in found]}, indent=1))
    else:
        from joyctl.cli.wholetable import console_for
        from joyctl.data.ledger import repeat_words

        table = _table(found)
        console = console_for(table, words=(len(table.columns) - 1,))
        console.print(table)
        for i, said in enumerate(repeat_words({one.run: one.planned for one in found})):
            console.print(f"{'' if i else chr(10)}shown again: {said}", soft_wrap=True)
    wrong = [one for one in found if one.differs]
    if wrong:
        lines = [f"{one.run}: {said}" for one in wrong for said in one.differs]
        raise RunsFailed(
            "not trained on what was planned\n  " + "\n  ".join(lines),
            hint="Its numbers are about other data than its mix says: train it again (--rerun), or restore its files.",
        )


def _read(folder: Path, run: str | None) -> tuple[RunLedger, ...]:
    """The ledger of a campaign, or of one of its runs. Raises Missing where there is none; says which it lacks."""
    from joyctl.report.ledger import Segments, read_ledger
    from joyctl.report.results import read_runs, unread_runs

    runs, unread = read_runs(folder), unread_runs(folder)
    if run is not None:
        wanted = run if "/" in run else f"{run}/s0"
        runs = tuple(one for one in runs if one.id == wanted)
        if wanted in unread:
            raise Missing(f"{folder}/runs/{wanted}: {unread[wanted]}", hint="Restore it.")
        if not runs:
            raise Missing(f"no run '{run}' in {folder}", hint=f"joyctl status {folder.name} lists them.")
        if runs[0].segment is None:
            raise Missing(f"{run} is a reference: what it was trained on is not known here", hint="Give another run.")
    found = read_ledger(Segments(folder), runs)
    if not found:
        raise Missing(f"{folder} tells of no training: no segment.json of its runs", hint="Run it: joyctl sweep")
    listed = {one.run for one in found}
    for one in runs:
        if one.segment is not None and one.id not in listed:
            unread[one.id] = f"{one.segment}/segment.json is gone or cannot be read"
    if run is None:
        for name, why in unread.items():
            note(f"not listed: {name}: {why}")
    return found


def _table(found: Sequence[RunLedger]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from joyctl.report.datawords import LEDGER_HEAD, ledger_lines

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for i, head in enumerate(LEDGER_HEAD):
        table.add_column(head, justify="left" if i < 2 else "right")
    before = ""
    for name, *cells in ledger_lines(found):
        table.add_row(Text("" if name == before else name), *map(Text, cells))
        before = name
    return table
