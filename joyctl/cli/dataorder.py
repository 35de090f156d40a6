"""`joyctl data order`: what did a step of a run see?"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joyctl.cli.words import DEFAULT_DATA, DEFAULT_RESULTS, DataRoot, Json, Results, Words, note, split_words
from joyctl.errors import Missing, Problem, RecipeError

if TYPE_CHECKING:
    from joyctl.campaign.spec import RunSpec, SegmentSpec
    from joyctl.cli.seenscreen import Shown
    from joyctl.data.seen import Document, SeenRow
    from joyctl.data.shards import Ids

    Decode = Callable[[Ids], str]

_FIRST_ROWS = 8
"""How many rows are listed where none are asked for."""
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
    from joyctl.campaign.spec import RunSpec, SegmentSpec
    from joyctl.recipe.load import load_recipe
    from joyctl.store import layout

    run = run if "/" in run else f"{run}/s0"
    campaign = results / load_recipe(*split_words(words)).campaign
    path = layout.run_folder(campaign, run) / layout.RUN
    if path.exists():
        name = _trained(RunSpec.model_validate_json(path.read_bytes()))
        return SegmentSpec.model_validate_json((campaign / name / layout.SEGMENT).read_bytes())
    return _planned(words, run, results, data)


def _planned(words: list[str] | None, run: str, results: Path, data: Path) -> SegmentSpec:
    """The same of a run that has not begun; of the recipe's own runs, of those without a source, and of any seed."""
    from joyctl.cli.asking import Asked, load, prepare_asked

    dropped = re.fullmatch(r"drop-(.+)-([0-9.]+)/.*", run)
    seeds = re.fullmatch(r".*/(?:t(\d+))?s(\d+)", run)
    asked = Asked(
        command="sweep",
        words=words,
        results=results,
        data=data,
        as_json=False,
        drop=[dropped[1]] if dropped else None,
        each=False,
        at=dropped[2] if dropped else None,
        policy=None,
        seeds=int(seeds[2]) + 1 if seeds else None,
        trunk_seeds=int(seeds[1] or 0) + 1 if seeds else None,
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

    Raises Missing where the data is not here.
    """
    from joyctl.data.tokenizers import load

    folder = Path(segment.data_folder)
    if not _is_here(folder):
        raise Missing(f"data folder {folder} is not here, so there is no text to show")
    tokenizer = load(folder / "tokenizer")
    return lambda ids: str(tokenizer.decode(ids.tolist(), skip_special_tokens=not special))


def _look_up(segment: SegmentSpec, rows: Sequence[SeenRow], decode: Decode | None) -> list[Shown]:
    """The rows with the documents in them and, with `decode`, what these say."""
    from joyctl.cli.seenscreen import Shown
    from joyctl.data.seen import documents_in
    from joyctl.data.shards import open_source

    folder = Path(segment.data_folder)
    if not _is_here(folder):
        note(f"data folder {folder} is not here: which documents stand in these rows is not known")
        return [Shown(row, None, None) for row in rows]
    found: dict[int, Shown] = {}
    for name in dict.fromkeys(row.source for row in rows):
        mine, tokens = [row for row in rows if row.source == name], open_source(folder, name)
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
