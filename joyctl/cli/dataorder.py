"""`joyctl data order`: what did a step of a run see?"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joyctl.cli.words import DEFAULT_DATA, DEFAULT_RESULTS, DataRoot, Json, Results, Words, note, split_words
from joyctl.errors import Missing, Problem, RecipeError, Refused

if TYPE_CHECKING:
    from joyctl.campaign.spec import RunSpec, SegmentSpec
    from joyctl.cli.seenscreen import Shown
    from joyctl.data.seen import Document, SeenRow
    from joyctl.data.shards import Ids
    from joyctl.recipe.types import Recipe

    Decode = Callable[[Ids], str]

_FIRST_ROWS = 8
"""How many rows are listed where none are asked for."""
_CHANGED = "what its rows say now is not what the run saw"
_RESTORE = "Restore the data as it was, or ask without --text and --full."
_NAMED = 12
"""How many runs are named to someone who asks for one that there is not."""


def order_command(
    words: Words = None,
    run: Annotated[str, typer.Option("--run", help="A run's id, such as upsample-20/s0.")] = "control/s0",
    rows: Annotated[
        str | None, typer.Option("--rows", help="Global rows A:B, B not included (the first 8).", metavar="A:B")
    ] = None,
    step: Annotated[
        int | None, typer.Option("--step", help="The rows of this step, counted from 1 as in metrics.jsonl.")
    ] = None,
    of: Annotated[int | None, typer.Option("--of", min=1, help="Only so many of the step's first rows.")] = None,
    text: Annotated[bool, typer.Option("--text", help="Show what the documents in them say, in short.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Show it in full.")] = False,
    results: Results = DEFAULT_RESULTS,
    data: DataRoot = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Say what a step of a run saw: source, row, documents and text of every global row."""
    from joyctl.cli import seenscreen
    from joyctl.data.order import Order
    from joyctl.data.seen import rows_seen

    if rows is not None and step is not None:
        raise typer.BadParameter("--rows and --step both say which rows: give one of them")
    if of is not None and step is None:
        raise typer.BadParameter("--of says how many rows of a step: give --step too")
    asked = None if rows is None else _stretch(rows)  # what is wrong is said before anything is read
    segment = _segment(words, run, results, data)
    order, batch = Order(segment.order), segment.training.batch_size
    if step is not None:
        first, last = (step - 1) * batch, step * batch
        where = f"--step {step}"
    else:
        first, last = asked or (order.first, min(order.first + _FIRST_ROWS, segment.end_step * batch))
        where = f"--rows {rows}"
    _check(where, first, last, order.first, segment)
    last = last if of is None else min(last, first + of)
    seen = rows_seen(order, first, last, batch_size=batch, seq_len=segment.training.seq_len)
    decode = _decoder(segment, special=full or as_json) if text or full else None
    shown = _look_up(segment, seen, decode)
    if as_json:
        typer.echo(json.dumps([seenscreen.as_json(each) for each in shown]))
        return
    for line in seenscreen.lines(shown, full=full):
        typer.echo(line)


def _stretch(text: str) -> tuple[int, int]:
    """'10:20' -> (10, 20). Raises RecipeError for anything else."""
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise RecipeError([Problem(f"--rows {text}", "", "give two row numbers A:B with A below B")])
    return int(first), int(last)


def _check(where: str, first: int, last: int, begins: int, segment: SegmentSpec) -> None:
    batch, end = segment.training.batch_size, segment.end_step
    message = None
    if last > end * batch:
        message = f"the run ends at row {end * batch:,}, after step {end:,}"
    elif first < begins:
        base = ", where its base stands" if begins else ""
        message = f"its order begins at row {begins:,}{base}, with step {begins // batch + 1:,}"
    if message:
        raise RecipeError([Problem(where, "", message)])


def _segment(words: list[str] | None, run: str, results: Path, data: Path) -> SegmentSpec:
    """The last stretch of a run's training: as it lies in the campaign, else as the recipe plans it."""
    from joyctl.launch.disk import on_disk
    from joyctl.recipe.load import load_swept
    from joyctl.report.ledger import Segments
    from joyctl.store import layout

    run = run if "/" in run else f"{run}/s0"
    recipe = load_swept(*split_words(words))[0]
    campaign = results / recipe.campaign
    there = on_disk(campaign, run)
    if there is None:
        return _planned(words, recipe, run, results, data)
    name = _trained(there)
    spec = Segments(campaign).get(name)
    if spec is None:
        path = campaign / name / layout.SEGMENT
        message = f"{path}, which says what {run} was trained on, is gone, damaged or from another version of joyctl"
        raise Missing(message, hint="Restore it, or remove the run's folder: then the recipe is asked.")
    return spec


def _planned(words: list[str] | None, recipe: Recipe, run: str, results: Path, data: Path) -> SegmentSpec:
    """The same of a run that has not begun: of the recipe's own, of one that its name asks for, and of any seed."""
    from joyctl.cli.asking import Asked, load, prepare_asked
    from joyctl.cli.runname import named

    wanted = named(run, recipe.sources)
    asked = Asked(
        command="sweep",
        words=words,
        results=results,
        data=data,
        as_json=False,
        drop=wanted.drop,
        each=False,
        at=wanted.at,
        policy=wanted.policy,
        seeds=wanted.seeds,
        trunk_seeds=wanted.trunk_seeds,
        probes=wanted.probes,
    )
    prepared = prepare_asked(load(asked), asked, planning=True)
    planned = {each.id: each for each in prepared.plan.runs}
    if run not in planned:
        known = ", ".join([*planned][:_NAMED]) + (", ..." if len(planned) > _NAMED else "")
        raise Missing(
            f"no run '{run}' in {prepared.folder}, and the recipe plans none",
            hint=f"Run it first: joyctl sweep {prepared.plan.recipe.name} (it would have {known})",
        )
    note(f"{run} is not in {prepared.folder}: this is what it would see")
    return prepared.plan.segment(_trained(planned[run]))


def _trained(run: RunSpec) -> str:
    """The segment that a run ends with."""
    if run.segment is None:
        raise Missing(
            f"{run.id} is a reference: what it was trained on is not known here", hint="Give a run of its own."
        )
    return run.segment


def _decoder(segment: SegmentSpec, *, special: bool) -> Decode:
    """What turns a run's token ids into text; an excerpt does without the tokens that only enclose documents.

    Raises Missing where the data is not here, and Refused where its tokenizer is another one now.
    """
    from joyctl.data.folder import tokenizer_digest
    from joyctl.data.tokenizers import load

    folder = Path(segment.data_folder)
    if not _is_here(folder):
        raise Missing(f"data folder {folder} is not here, so there is no text to show")
    if tokenizer_digest(folder) != segment.tokenizer_sha256:
        raise Refused(f"the tokenizer of {folder} is not that of the run: {_CHANGED}", hint=_RESTORE)
    tokenizer = load(folder / "tokenizer")
    return lambda ids: str(tokenizer.decode(ids.tolist(), skip_special_tokens=not special))


def _look_up(segment: SegmentSpec, rows: Sequence[SeenRow], decode: Decode | None) -> list[Shown]:
    """The rows with the documents in them and, with `decode`, what these say; Refused where the data is other data."""
    from joyctl.cli.seenscreen import Shown
    from joyctl.data.seen import documents_in
    from joyctl.data.shards import open_source
    from joyctl.data.sidecar import read_sidecar

    folder = Path(segment.data_folder)
    if not _is_here(folder):
        note(f"data folder {folder} is not here: which documents stand in these rows is not known")
        return [Shown(row, None, None) for row in rows]
    found: dict[int, Shown] = {}
    for name in dict.fromkeys(row.source for row in rows):
        mine, tokens = [row for row in rows if row.source == name], open_source(folder, name)
        about = read_sidecar(folder, name)
        if about.sha256 != segment.source_sha256[name] or about.tokens != len(tokens):
            changed = f"source '{name}' of {folder} has changed since this run was planned"
            if decode:
                raise Refused(f"{changed}: {_CHANGED}", hint=_RESTORE)
            note(f"{changed}: which documents stood in its rows is not known")
            found |= {row.row: Shown(row, None, None) for row in mine}
            continue
        documents: Sequence[tuple[Document, ...] | None]
        try:
            documents = documents_in(tokens, [(row.start, row.stop) for row in mine])
        except ValueError as error:
            note(f"{name}: {error}")
            documents = [None] * len(mine)
        for row, inside in zip(mine, documents, strict=True):
            parts = [(row.start, row.stop)] if inside is None else [d.within(row.start, row.stop) for d in inside]
            texts = tuple(decode(tokens.read(a, b)) for a, b in parts) if decode else None
            found[row.row] = Shown(row, inside, texts)
    return [found[row.row] for row in rows]


def _is_here(folder: Path) -> bool:
    from joyctl.data.folder import MARKER

    return (folder / MARKER).is_file()
