"""`joyctl data build`, `status`, `list`, `order` and `overlap`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from joyctl.cli.dataorder import order_command
from joyctl.cli.ledger import ledger_command
from joyctl.cli.options import ClusterName, Jobs, Wait
from joyctl.cli.overlap import overlap_command
from joyctl.cli.words import (
    DEFAULT_DATA,
    DataRoot,
    Json,
    Words,
    note,
    split_words,
)

app = typer.Typer(
    help="Tokenised data: build it, list it, ask what a step saw, look for test items in it.", no_args_is_help=True
)


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
        from joyctl.cli.datajobs import build_of, on_cluster, require_parts

        require_parts(recipe)
        if not on_cluster(build_of(recipe, data), where, cluster, wait=wait, jobs=jobs, as_json=as_json):
            return
    elif recipe.data.tokenizer is not None:
        from joyctl.cli.datajobs import build_of, require_none_queued

        require_none_queued(build_of(recipe, data))
    folder = build_here(recipe, data, processes)
    if recipe.data.tokenizer is not None:
        from joyctl.data.tokenise.blueprint import changed_inputs

        for name in changed_inputs(recipe, folder.path):
            note(
                f"{name}: the size or time of its files, or the tokens around a document, are not what they were when"
                f" {folder.path} was built, and it stays as it was built.\nTo build it anew rename that folder and give"
                " the same command: what has not changed is taken from there."
            )
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


app.command("order")(order_command)
app.command("ledger")(ledger_command)
app.command("overlap")(overlap_command)
