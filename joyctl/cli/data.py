"""`joyctl data build`, `status`, `list`, `order` and `overlap`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from joyctl.cli.options import ClusterName, Jobs, Wait
from joyctl.cli.overlap import overlap_command
from joyctl.cli.words import (
    DEFAULT_DATA,
    DEFAULT_RESULTS,
    DataRoot,
    Json,
    Results,
    Words,
    split_words,
)
from joyctl.errors import Missing, Problem, RecipeError

app = typer.Typer(help="Tokenised data: build it, list it, ask which rows a step saw.", no_args_is_help=True)
app.command("overlap")(overlap_command)


@app.command("build")
def build_command(
    words: Words = None,
    data: DataRoot = DEFAULT_DATA,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="How many tokenise at once (all cores).", metavar="N")
    ] = None,
    cluster: ClusterName = "local",
    wait: Wait = False,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Make a recipe's data if it is not there; what was stopped goes on. On a cluster jobs share the work."""
    from joyctl.cli.building import build_here
    from joyctl.recipe.load import load_cluster, load_recipe

    where, recipe = load_cluster(cluster), load_recipe(*split_words(words))
    if where.kind == "slurm":
        from joyctl.cli.datajobs import build_of, on_cluster

        if not on_cluster(build_of(recipe, data), where, cluster, wait=wait, jobs=jobs, as_json=as_json):
            return
    elif recipe.data.tokenizer is not None:
        from joyctl.cli.datajobs import build_of, require_none_queued

        require_none_queued(build_of(recipe, data))
    folder = build_here(recipe, data, processes)
    if as_json:
        tokens = {name: source.tokens for name, source in folder.sources.items()}
        typer.echo(json.dumps({"path": str(folder.path), "sha256": folder.sha256, "tokens": tokens}))
    else:
        typer.echo(str(folder.path))


@app.command("status")
def status_command(words: Words = None, data: DataRoot = DEFAULT_DATA, as_json: Json = False) -> None:
    """Say how far the building of a recipe's data is, and why jobs failed."""
    from joyctl.cli.datajobs import build_of, show
    from joyctl.recipe.load import load_recipe

    show(build_of(load_recipe(*split_words(words)), data), as_json=as_json)


@app.command("list")
def list_command(words: Words = None, data: DataRoot = DEFAULT_DATA, as_json: Json = False) -> None:
    """List a recipe's sources with their sizes."""
    from rich.console import Console
    from rich.table import Table

    from joyctl.data.build import data_folder_for
    from joyctl.data.folder import open_folder
    from joyctl.recipe.load import load_recipe

    recipe = load_recipe(*split_words(words))
    folder = open_folder(data_folder_for(recipe, data))
    if as_json:
        sources = {
            name: {"tokens": s.tokens, "documents": s.documents, "sha256": s.sha256}
            for name, s in folder.sources.items()
        }
        typer.echo(json.dumps({"path": str(folder.path), "sources": sources}, indent=1))
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("source")
    table.add_column("category")
    for head in ("tokens", "documents", "rows"):
        table.add_column(head, justify="right")
    for name, source in folder.sources.items():
        category = recipe.sources[name].category if name in recipe.sources else "-"
        rows = (source.tokens - 1) // recipe.training.seq_len
        table.add_row(name, category, f"{source.tokens:,}", f"{source.documents:,}", f"{rows:,}")
    Console().print(table)


@app.command("order")
def order_command(
    words: Words = None,
    run: Annotated[str, typer.Option("--run", help="A run's id, such as upsample-20/s0.")] = "control/s0",
    rows: Annotated[str, typer.Option("--rows", help="Global rows A:B, B not included.")] = "0:8",
    results: Results = DEFAULT_RESULTS,
    as_json: Json = False,
) -> None:
    """Say which row of which source stands at every global row of a run."""
    from joyctl.campaign.spec import RunSpec, SegmentSpec
    from joyctl.data.order import Order
    from joyctl.recipe.load import load_recipe
    from joyctl.store import layout

    first, last = _stretch(rows)
    recipe = load_recipe(*split_words(words))
    campaign = results / recipe.campaign
    spec = layout.run_folder(campaign, run if "/" in run else f"{run}/s0") / layout.RUN
    if not spec.exists():
        known = sorted(p.parent.relative_to(campaign / "runs").as_posix() for p in campaign.glob("runs/*/*/run.json"))
        hint = f"It has {', '.join(known)}." if known else f"Run it first: joyctl sweep {recipe.name}"
        raise Missing(f"no run '{run}' in {campaign}", hint=hint)
    segment = RunSpec.model_validate_json(spec.read_bytes()).segment
    if segment is None:
        raise Missing(f"{run} is a reference: what it was trained on is not known here", hint="Give a run of its own.")
    path = campaign / segment / layout.SEGMENT
    found = SegmentSpec.model_validate_json(path.read_bytes())
    end = found.end_step * found.training.batch_size
    if last > end:
        raise RecipeError([Problem(f"--rows {rows}", "", f"the run ends at row {end:,}")])
    order = Order(found.order)
    if first < order.first:
        message = f"its order begins at row {order.first:,}, where its base stands"
        raise RecipeError([Problem(f"--rows {rows}", "", message)])
    dealt = order.rows(first, last)
    listed = [
        {"row": first + i, "source": order.names[s], "source_row": int(r), "epoch": int(e)}
        for i, (s, r, e) in enumerate(zip(dealt.source, dealt.row, dealt.epoch, strict=True))
    ]
    if as_json:
        typer.echo(json.dumps(listed))
        return
    for item in listed:
        typer.echo("{row:>10,}  {source:<12} row {source_row:>10,}  epoch {epoch}".format(**item))


def _stretch(text: str) -> tuple[int, int]:
    """'10:20' -> (10, 20). Raises RecipeError for anything else."""
    first, colon, last = text.partition(":")
    if not (colon and first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise RecipeError([Problem(f"--rows {text}", "", "give two row numbers A:B with A below B")])
    return int(first), int(last)
