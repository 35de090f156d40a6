"""`joyctl doctor`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joyctl.cli.words import DEFAULT_RESULTS, Json, Results, note, split_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from joyctl.launch.slurm.checks import Check

_WIDTH = 13


def doctor(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RECIPE] [KEY=VALUE ...]", help="A recipe whose results must fit on the disk."),
    ] = None,
    cluster: Annotated[
        str, typer.Option("--cluster", help="A cluster file, or the name of a built-in one.", metavar="NAME")
    ] = "local",
    results: Results = DEFAULT_RESULTS,
    quick: Annotated[bool, typer.Option("--quick", help="Send no small jobs to nodes.")] = False,
    wait: Annotated[
        float, typer.Option("--wait", min=0, help="How long those jobs may wait for a node.", metavar="SECONDS")
    ] = 120,
    as_json: Json = False,
) -> None:
    """Look at a cluster or this machine before anything is queued; each thing wrong with its remedy."""
    from joyctl.launch.slurm.checks import exit_code

    found = []
    console = _console()
    for check in _checks(words, cluster, results, quick, wait):
        found.append(check)
        if not as_json:
            _print(console, check)
    code = exit_code(found)
    if as_json:
        answer = {"cluster": cluster, "ok": not code, "checks": [check.to_json() for check in found]}
        typer.echo(json.dumps(answer, indent=1))
    else:
        console.print(_summary(found))
    raise typer.Exit(code)


def _checks(words: list[str] | None, cluster: str, results: Path, quick: bool, wait: float) -> Iterator[Check]:
    from joyctl.launch.slurm.client import call
    from joyctl.launch.slurm.doctor import on_cluster, on_this_machine
    from joyctl.launch.slurm.onsite import Case
    from joyctl.recipe.load import load_cluster_file, load_recipe

    loaded = load_cluster_file(cluster)
    case = Case(results, load_recipe(*split_words(words)) if words else None, quick, wait)
    if loaded.value.kind == "local":
        yield from on_this_machine(loaded.value, case)
    else:
        yield from on_cluster(loaded, call, case, notify=note)


def _console() -> Console:
    from rich.console import Console

    # A line stays a line: seen words are names and paths to copy.
    return Console(highlight=False, soft_wrap=True, file=sys.stdout)


def _print(console: Console, check: Check) -> None:
    from rich.text import Text

    sign, style = {"ok": ("✓", "green"), "failed": ("✗", "bold red"), "skipped": ("–", "yellow")}[check.state]
    where = f"{check.where} " if check.where else ""
    console.print(Text.assemble((f" {sign} ", style), f"{check.name:<{_WIDTH}}  {where}{check.seen}"))
    if check.remedy:
        console.print(Text(f"   {'':<{_WIDTH}}  → {check.remedy}"))


def _summary(found: list[Check]) -> str:
    count = {state: sum(c.state == state for c in found) for state in ("ok", "failed", "skipped")}
    skipped = f", {count['skipped']} not known" if count["skipped"] else ""
    if count["failed"]:
        return f"\n{count['failed']} of {len(found)} checks failed{skipped}."
    return f"\nnothing is wrong: {count['ok']} checks{skipped}."
