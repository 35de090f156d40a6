"""`joyctl status` and `joyctl report`: read a campaign's folder and show it."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Annotated

import typer

from joyctl.cli.words import DEFAULT_RESULTS, Json, Results, note
from joyctl.errors import Missing

Campaign = Annotated[
    str | None,
    typer.Argument(help="A campaign's name or folder (default: the one last worked on).", metavar="[CAMPAIGN]"),
]
FORMATS = ("table", "md", "json", "svg")


def status(campaign: Campaign = None, results: Results = DEFAULT_RESULTS, as_json: Json = False) -> None:
    """Count what is expected against what is there, and say why anything is missing."""
    from rich.console import Console

    from joyctl.report.status import count_states, read_status
    from joyctl.report.statustable import render_status

    folder = find_campaign(campaign, results)
    statuses = read_status(folder)
    if as_json:
        typer.echo(json.dumps({"campaign": folder.name, "runs": [s.to_json() for s in statuses]}, indent=1))
        return
    Console(highlight=False).print(render_status(statuses))
    counts = count_states(statuses)
    if counts["pending"] + counts["failed"] and not counts["running"]:
        typer.echo(f"\nnext:  {_last_command(folder)}")
    else:
        typer.echo(f"\nnext:  joyctl report {folder.name}")


def report(
    campaign: Campaign = None,
    results: Results = DEFAULT_RESULTS,
    form: Annotated[str, typer.Option("--format", help="table, md, json, or svg (a picture of the table).")] = "table",
    output: Annotated[
        Path | None, typer.Option("--output", help="Write there instead of to the screen.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the runs: scores, deltas to the matched control, mixes, what is missing.

    Also writes report/report.json and report/report.md into the campaign's folder.
    """
    form = "json" if as_json else form
    if form not in FORMATS:
        raise typer.BadParameter(f"'{form}' is no format; give {', '.join(FORMATS)}")
    from joyctl.report.write import write_report

    folder = find_campaign(campaign, results)
    written = write_report(folder)
    text = _rendered(folder, form)
    if output is not None:
        from joyctl.store.files import write_text

        write_text(output, text)
        note(f"wrote {output}")
        return
    typer.echo(text, nl=False)
    if form == "table":
        note("wrote " + ", ".join(str(path) for path in written))


def find_campaign(name: str | None, results: Path) -> Path:
    """The folder of a campaign named, given as a folder, or last worked on.

    Raises Missing with what there is.
    """
    from joyctl.store.layout import CAMPAIGN

    marks = sorted(results.glob(f"*/{CAMPAIGN}"), key=lambda p: p.stat().st_mtime)
    if name is None:
        if not marks:
            raise Missing(f"no campaign in {results}/", hint="Run one first: joyctl sweep")
        return marks[-1].parent
    for folder in (results / name, Path(name)):
        if (folder / CAMPAIGN).exists():
            return folder
    known = [mark.parent.name for mark in marks]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{close[0]}'?" if close else f"There is {', '.join(known)}." if known else "joyctl sweep"
    raise Missing(f"no campaign '{name}' in {results}/", hint=hint)


def _rendered(folder: Path, form: str) -> str:
    from joyctl.report.report import report as make

    made = make(folder)
    if form == "json":
        from joyctl.report.jsonform import render_json

        return json.dumps(render_json(made), indent=1) + "\n"
    if form == "md":
        from joyctl.report.markdown import render_markdown

        return render_markdown(made)
    import io
    import re

    from rich.console import Console

    from joyctl.report.tables import render_table

    if form == "svg":
        console = Console(highlight=False, record=True, width=100, file=io.StringIO(), force_terminal=True)
        console.print(render_table(made))
        drawn = console.export_svg(title=f"joyctl report {folder.name}")
        return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)  # they would be fetched from the net
    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(render_table(made))
    return captured.get()


def _last_command(folder: Path) -> str:
    from joyctl.store.campaign import read_campaign_json

    commands = (read_campaign_json(folder) or {}).get("commands") or ["joyctl sweep"]
    return str(commands[-1])
