"""`joyctl status` and `joyctl report`: read a campaign's folder and show it."""

from __future__ import annotations

import difflib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joyctl.cli.words import DEFAULT_RESULTS, Json, Results, note
from joyctl.errors import Missing

if TYPE_CHECKING:
    from rich.console import Console

    from joyctl.launch.slurm.watch import Look
    from joyctl.report.report import Report
    from joyctl.report.statustable import StatusScreen

Campaign = Annotated[
    str | None,
    typer.Argument(help="A campaign's name or folder (default: the one last worked on).", metavar="[CAMPAIGN]"),
]
Campaigns = Annotated[
    list[str] | None,
    typer.Argument(
        help="Names or folders (default: the campaign last worked on). Several must share their base run.",
        metavar="[CAMPAIGN ...]",
    ),
]
FORMATS = ("table", "md", "json", "csv", "latex", "svg")
_WITH_PUBLISHED = ("table", "md", "json", "svg")
_PIPE_WIDTH = 240


def status(
    campaign: Campaign = None,
    results: Results = DEFAULT_RESULTS,
    as_json: Json = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Redraw until nothing is under way any more. Ctrl-C ends it.")
    ] = False,
    every: Annotated[
        int | None,
        typer.Option("--every", min=1, help="Seconds between looks (the cluster's poll_s, or 2).", metavar="SECONDS"),
    ] = None,
) -> None:
    """Count what is expected against what is there, and say why anything is missing.

    On a cluster one squeue is asked for what waits and runs, and at most one sacct for what left the queue.
    """
    from rich.console import Console

    from joyctl.launch.slurm.watch import look

    if watch and as_json:
        raise typer.BadParameter("--watch is for people; --json gives one look")
    folder = find_campaign(campaign, results)
    # Where the output goes into a pipe a line stays a line.
    console = Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    if watch:
        seen = _watched(folder, console, every)
    else:
        seen = look(folder)
        if as_json:
            runs = [s.to_json() for s in seen.statuses]
            found = {"campaign": folder.name, "runs": runs, "read": seen.read_from, "notes": list(seen.notes)}
            typer.echo(json.dumps(found, indent=1))
            return
        console.print(_screen(seen, fit=False))
    typer.echo(_next_commands(folder, seen))


def _watched(folder: Path, console: Console, every: int | None) -> Look:
    """Redraw the status in place until nothing is under way or Ctrl-C is pressed; gives the last look."""
    from rich.live import Live

    from joyctl.launch.slurm.ledger import Ledger
    from joyctl.launch.slurm.watch import look

    seen = look(folder)
    pause = every or (Ledger(folder).cluster().get("poll_s", 30) if seen.on_cluster else 2)
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(_screen(seen, fit=console.is_terminal), refresh=True)
                if not seen.under_way:
                    return seen
                size, until = console.size, time.monotonic() + pause
                while time.monotonic() < until and console.size == size:
                    time.sleep(min(0.5, max(0.0, until - time.monotonic())))
                if console.size != size:
                    console.clear()
                elif time.monotonic() >= until:
                    seen = look(folder, before=seen)
    except KeyboardInterrupt:
        return seen


def _screen(seen: Look, *, fit: bool) -> StatusScreen:
    from joyctl.report.statustable import StatusScreen

    return StatusScreen(seen.statuses, time.time(), seen.read_from, seen.notes, fit)


def _next_commands(folder: Path, seen: Look) -> str:
    """Commands to paste: why something failed, what goes on with it, what shows how it goes on."""
    from joyctl.report.status import ENDED_BADLY, UNDER_WAY

    states = {stage.state for status in seen.statuses for stage in status.stages}
    failed = next((s.id for s in seen.statuses if s.current.state == "failed"), None)
    lines = [f"why:   joyctl logs {failed} --failed"] if failed else []
    # On this machine what is running must end before the same command can go on with the rest.
    if states & {*ENDED_BADLY, "pending"} and (seen.on_cluster or not states & UNDER_WAY):
        lines.append(f"next:  {_last_command(folder)}")
    if states & UNDER_WAY:
        lines.append(f"watch: joyctl status {folder.name} --watch")
    return "\n" + "\n".join(lines or [f"next:  joyctl report {folder.name}"])


def report(
    campaigns: Campaigns = None,
    results: Results = DEFAULT_RESULTS,
    form: Annotated[
        str, typer.Option("--format", help="table, md, json, csv, latex, or svg (a picture of the table).")
    ] = "table",
    output: Annotated[
        Path | None, typer.Option("--output", help="Write there instead of to the screen.", metavar="FILE")
    ] = None,
    proxies: Annotated[
        bool,
        typer.Option("--proxies", help="Show continuous companions of every accuracy, not only of those at chance."),
    ] = False,
    against: Annotated[
        str | None,
        typer.Option("--against", help="Lay published numbers of the recipe beside the measured ones.", metavar="NAME"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the runs: scores, deltas to the matched control, mixes, what is missing.

    Also writes report/report.json and report/report.md into the campaign's folder. Several campaigns of one base run
    become one table, which is only shown.
    """
    form = "json" if as_json else form
    if form not in FORMATS:
        raise typer.BadParameter(f"'{form}' is no format; give {', '.join(FORMATS)}")
    if against is not None and form not in _WITH_PUBLISHED:
        raise typer.BadParameter(f"--against has no place in {form}; give {', '.join(_WITH_PUBLISHED)}")
    named = [find_campaign(name, results) for name in campaigns] if campaigns else [find_campaign(None, results)]
    folders = list(dict.fromkeys(named))
    made = _report(folders)
    text = _rendered(made, form, proxies=proxies, against=against)
    written: list[Path] = []
    if len(folders) == 1:
        from joyctl.report.write import write_report

        written = write_report(folders[0], made)
    if output is not None:
        from joyctl.store.files import write_text

        write_text(output, text)
        note(f"wrote {output}")
        return
    typer.echo(text, nl=False)
    if len(folders) > 1:
        note("several campaigns: nothing was written into their folders; --output FILE keeps this")
    elif form == "table":
        note("wrote " + ", ".join(str(path) for path in written))


def _report(folders: Sequence[Path]) -> Report:
    """The report of one campaign, or of several of one base run together."""
    from joyctl.report.merge import merge
    from joyctl.report.report import of_results, report
    from joyctl.report.results import read_campaign

    if len(folders) == 1:
        return report(folders[0])
    return of_results(merge([read_campaign(folder) for folder in folders]))


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


def _rendered(made: Report, form: str, *, proxies: bool, against: str | None) -> str:
    from joyctl.report.published import chosen

    beside = chosen(made.published, against, made.results.campaign) if against is not None else None
    if form == "json":
        from joyctl.report.jsonform import render_json

        return json.dumps(render_json(made), indent=1) + "\n"
    if form == "md":
        from joyctl.report.markdown import render_markdown

        return render_markdown(made, beside)
    if form == "csv":
        from joyctl.report.csvform import render_csv

        return render_csv(made)
    if form == "latex":
        from joyctl.report.latex import render_latex

        return render_latex(made)
    import io
    import re

    from rich.console import Console, Group

    from joyctl.report.publishedtable import render_published
    from joyctl.report.tables import render_table

    screen = Group(render_table(made, proxies=proxies), *([render_published(beside)] if beside else []))
    if form == "svg":
        console = Console(highlight=False, record=True, width=100, file=io.StringIO(), force_terminal=True)
        console.print(screen)
        drawn = console.export_svg(title=f"joyctl report {made.results.campaign}")
        return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)  # they would be fetched from the net
    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(screen)
    return captured.get()


def _last_command(folder: Path) -> str:
    from joyctl.store.campaign import read_campaign_json

    commands = (read_campaign_json(folder) or {}).get("commands") or ["joyctl sweep"]
    return str(commands[-1])
