"""`joyctl status`: read a campaign's folder and show how far it is."""

from __future__ import annotations

import difflib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joyctl.cli.words import DEFAULT_RESULTS, Json, Results
from joyctl.errors import Missing

if TYPE_CHECKING:
    from rich.console import Console

    from joyctl.launch.slurm.watch import Look
    from joyctl.report.statustable import StatusScreen

Campaign = Annotated[
    str | None,
    typer.Argument(help="A campaign's name or folder (default: the one last worked on).", metavar="[CAMPAIGN]"),
]
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

    On a cluster one squeue is asked for what waits and runs, and sacct once for what left the queue.
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
            return folder if folder.name not in ("", "..") else folder.resolve()  # its name is told and pasted
    known = [mark.parent.name for mark in marks]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{close[0]}'?" if close else f"There is {', '.join(known)}." if known else "joyctl sweep"
    raise Missing(f"no campaign '{name}' in {results}/", hint=hint)


def _last_command(folder: Path) -> str:
    from joyctl.store.campaign import read_campaign_json

    commands = (read_campaign_json(folder) or {}).get("commands") or ["joyctl sweep"]
    return str(commands[-1])
