"""`joyctl compare`: two outputs of lm-eval, item by item."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from joyctl.cli.words import Json

_PIPE_WIDTH = 240


def compare(
    a: Annotated[Path, typer.Argument(help="Output folder of lm_eval, or its results_*.json.", metavar="DIR_A")],
    b: Annotated[Path, typer.Argument(help="The one to compare with it.", metavar="DIR_B")],
    tasks: Annotated[
        str | None, typer.Option("--tasks", help="Only these tasks or groups, by comma.", metavar="NAME,...")
    ] = None,
    parts: Annotated[
        bool, typer.Option("--parts", help="Also every task within a group (MMLU's subjects), corrected apart.")
    ] = False,
    common: Annotated[
        bool, typer.Option("--common", help="Compare the items that both have, where one side has fewer.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare any two outputs of lm-eval, paired item by item: B minus A, with interval and verdict.

    Takes what the lm_eval command writes with --log_samples, and what joyctl eval writes. Of several results files the
    newest is read. Refuses to compare what was not asked the same: other items, prompts, targets or task settings.
    """
    from joyctl.report.side_by_side import side_by_side

    wanted = None if tasks is None else [name.strip() for name in tasks.split(",") if name.strip()]
    found = side_by_side(a, b, tasks=wanted, common=common, parts=parts)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
        return
    from rich.console import Console

    from joyctl.report.sidetable import render_side_by_side

    # Where the output goes into a pipe a line stays a line.
    console = Console(highlight=False, file=sys.stdout, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    console.print(render_side_by_side(found))
