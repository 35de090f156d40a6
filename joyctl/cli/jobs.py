"""`joyctl logs` and `joyctl cancel`: what a run said, and taking its jobs back."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from joyctl.cli.results import find_campaign
from joyctl.cli.words import DEFAULT_RESULTS, Results, note
from joyctl.errors import Missing, Refused

if TYPE_CHECKING:
    from joyctl.campaign.spec import Stage
    from joyctl.report.facts import Facts
    from joyctl.report.status import RunStatus, StageStatus

Of = Annotated[
    str | None,
    typer.Option("--campaign", help="A campaign's name or folder (default: the one last worked on).", metavar="NAME"),
]
_STAGES = ("train", "export", "eval", "score")
_LINES = 40


def logs(
    run: Annotated[str, typer.Argument(help="A run or segment, such as drop-math-20/s0; its beginning is enough.")],
    failed: Annotated[bool, typer.Option("--failed", help="Why it failed: the first rank's traceback.")] = False,
    stage: Annotated[
        str | None, typer.Option("--stage", help="train, export, eval or score (default: the one last at work).")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on printing what is written. Ctrl-C ends it.")] = False,
    campaign: Of = None,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Show the end of a run's log, and where it lies; with --failed why it failed."""
    if stage is not None and stage not in _STAGES:
        raise typer.BadParameter(f"'{stage}' is no stage; give {', '.join(_STAGES)}")
    from joyctl.launch.logs import logs as logs_of
    from joyctl.launch.logs import tail
    from joyctl.report.facts import read_facts

    folder = find_campaign(campaign, results)
    found = read_facts(folder)
    facts = _chosen(run, found)
    wanted = cast("Stage | None", stage)
    if failed:
        _why(folder, found, facts, wanted)
        return
    paths = logs_of(folder, facts, wanted)
    if not paths:
        what = f"{facts.id} {stage}" if stage else facts.id
        raise Missing(f"{what} has written no log yet", hint=f"joyctl status {folder.name} shows how far it is.")
    note(str(paths[-1]))
    text = tail(paths[-1], 65_536)
    typer.echo("\n".join(text.splitlines()[-_LINES:]))
    if follow:
        _follow(paths[-1])


def cancel(
    run: Annotated[
        str | None, typer.Argument(help="A run or segment with all that waits for it (default: everything).")
    ] = None,
    campaign: Of = None,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Take jobs out of the cluster's queue and stop those that run; what is done stays."""
    from joyctl.launch.slurm.cancel import cancel as take_back
    from joyctl.launch.slurm.ledger import REST, Ledger
    from joyctl.report.facts import read_facts

    folder = find_campaign(campaign, results)
    if not Ledger(folder).exists:
        raise Refused(
            f"{folder.name} runs on this machine, not on a cluster",
            hint="Ctrl-C in the terminal of its joyctl sweep stops it after saving.",
        )
    facts = _chosen(run, read_facts(folder)) if run is not None else None
    done = take_back(folder, facts.folder if facts else None)
    what = facts.id if facts else folder.name
    if not done.jobs:
        typer.echo(f"{what}: nothing in the queue, nothing to cancel")
        return
    names = [name.removeprefix("runs/") for name in done.folders if name != REST]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    typer.echo(f"cancelled {_count(len(done.jobs), 'job')} of {', '.join(names[:8])}{more}")
    note(f"again:  joyctl sweep submits them again; what was saved is kept      joyctl status {folder.name}")


def _why(campaign: Path, everything: Sequence[Facts], facts: Facts, stage: Stage | None) -> None:
    """Print why a run failed: the first traceback, or the end of what was said; of its parent where that is why."""
    from joyctl.launch.logs import failure
    from joyctl.launch.slurm.watch import look

    statuses = {status.id: status for status in look(campaign).statuses}
    status = statuses[facts.id]
    while (now := _stage_of(status, stage)).state == "blocked":  # up to what failed first
        note(f"{status.id} {now.stage} is BLOCKED: {now.cause}")
        if now.parent in statuses:
            status, stage = statuses[now.parent], None
        elif now.stage != status.current.stage:
            stage = status.current.stage
        else:
            break
    facts = next(f for f in everything if f.id == status.id)
    note(f"{facts.id} {now.stage} {now.state.upper()}" + (f": {now.cause}" if now.cause else ""))
    said = failure(campaign, facts, now.stage, now.job)
    if not said:
        raise Missing(f"{facts.id} has written nothing about its {now.stage}", hint=f"joyctl status {campaign.name}")
    for one in said:
        note(f"\n{one.title}:\n{one.path}\n")
        typer.echo(one.text)


def _stage_of(status: RunStatus, stage: Stage | None) -> StageStatus:
    """The stage asked for, or the one that counts now."""
    return next((s for s in status.stages if s.stage == stage), status.current)


def _chosen(word: str, everything: Sequence[Facts]) -> Facts:
    """The run or segment that a word means: its id, its folder, or the beginning of one alone.

    Raises Missing, with what comes near.
    """
    word = word.strip("/")
    exact = [f for f in everything if word in (f.id, f.folder)]
    found = exact or [f for f in everything if f.id.startswith(word) or f.folder.startswith(word)]
    if len(found) == 1:
        return found[0]
    ids = [f.id for f in found or everything]
    if found:
        more = f" and {len(ids) - 6} more" if len(ids) > 6 else ""
        raise Missing(f"'{word}' could be {', '.join(ids[:6])}{more}", hint="Give more of the name.")
    close = difflib.get_close_matches(word, ids, n=1, cutoff=0.5)
    raise Missing(f"no run or segment '{word}'", hint=f"Did you mean '{close[0]}'?" if close else "See joyctl status.")


def _follow(path: Path) -> None:
    """Print what is appended to a file until Ctrl-C."""
    try:
        with path.open("rb") as f:
            f.seek(0, 2)
            while True:
                if new := f.read():
                    typer.echo(new.decode(errors="replace"), nl=False)
                else:
                    time.sleep(0.5)
    except KeyboardInterrupt:
        return


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
