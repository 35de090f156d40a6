"""`joyctl data overlap`, and the same check before a campaign trains anything."""

from __future__ import annotations

import json
import shlex
import time
from typing import TYPE_CHECKING, Annotated

import typer

from joyctl.cli.options import ClusterName, Jobs, Wait
from joyctl.cli.words import DEFAULT_DATA, DataRoot, Json, Words, interruptible, note, split_words
from joyctl.errors import Missing, Problem, RecipeError, Refused

if TYPE_CHECKING:
    from joyctl.cli.asking import Asked, Loaded
    from joyctl.data.overlap.work import Looking
    from joyctl.data.work import Reached, Watch
    from joyctl.launch.prepare import Prepared

Show = Annotated[
    int, typer.Option("--show", min=0, help="Print so many found items beside the text of the source.", metavar="N")
]
Processes = Annotated[
    int | None, typer.Option("--processes", min=1, help="How many look at once (all cores).", metavar="N")
]
SMALL = 200_000_000
"""Tokens that may be looked through on a login node."""
_EVERY = 10.0
_GOES_ON = "The same command goes on from the parts that are done."


def overlap_command(
    words: Words = None,
    show: Show = 0,
    processes: Processes = None,
    cluster: ClusterName = "local",
    wait: Wait = False,
    jobs: Jobs = None,
    data: DataRoot = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Find test items of the recipe's suites in its sources: 13 words in a row, or most of an item in 8-grams."""
    from joyctl.cli.overlapscreen import as_json as to_json
    from joyctl.cli.overlapscreen import print_items, print_table
    from joyctl.launch.overlap import look
    from joyctl.recipe.load import load_cluster

    began, where = time.monotonic(), load_cluster(cluster)
    with interruptible(_GOES_ON):
        looking, entries = overlap_of(words, data)
    if not looking.finished():
        from joyctl.cli.datajobs import on_cluster, require_none_queued
        from joyctl.launch.slurm.dataset import begun

        asked = begun("overlap", looking.data, looking, looking.finished, key=looking.folder.name)
        if where.kind == "slurm":
            if not on_cluster(asked, where, cluster, wait=wait, jobs=jobs, as_json=as_json):
                return
        else:
            require_none_queued(asked)
    with interruptible(_GOES_ON):
        findings = look(looking, _lines(), processes)
    if as_json:
        typer.echo(json.dumps(to_json(findings, str(looking.result), time.monotonic() - began), ensure_ascii=False))
        return
    print_table(findings, entries)
    if show:
        print_items(findings, looking.items, show)
    note(f"item by item: {looking.result}")
    if findings.found and not show:
        note("next:  the same command with --show 5")


def overlap_of(words: list[str] | None, data: DataRoot) -> tuple[Looking, list[str]]:
    """The check of a recipe's sources, and the entries of its suites. Raises Missing where its data is not built."""
    from joyctl.campaign.grid import Point
    from joyctl.data.build import data_folder_for
    from joyctl.data.folder import open_folder
    from joyctl.launch.overlap import begin_check, suites_of
    from joyctl.recipe.load import load_swept
    from joyctl.recipe.suite import bench_data

    recipe, points = load_swept(*split_words(words))
    folder = open_folder(data_folder_for(recipe, data), recipe=recipe)
    suites = suites_of([Point(p.recipe, p.changed, p.suite, bench_data(p.recipe.eval.data)) for p in points], folder)
    if not suites:
        message = "has no tasks, so there are no test items to look for"
        raise RecipeError([Problem(f"recipe {recipe.name}", "eval.suite", message)])
    entries = [task.task for suite in suites for task in suite.tasks]
    return begin_check(suites, folder, sorted(recipe.sources)), entries


def check_before(prepared: Prepared, loaded: Loaded, asked: Asked, *, cluster: str | None) -> None:
    """Look for test items before anything is trained, once for the same data and items, and say what was found.

    On a `cluster` only where there is little to look through. A finding stops nothing, nor does a check that cannot be
    made: that is said.
    """
    from joyctl.cli.overlapscreen import summary
    from joyctl.launch.local import warm_up
    from joyctl.launch.overlap import begin_check, known, look, suites_of

    data, sources = prepared.data, sorted(loaded.recipe.sources)
    suites = suites_of(loaded.points, data)
    if not prepared.work.jobs or not suites:
        return
    name, overrides = split_words(asked.words)
    elsewhere = [] if asked.data == DEFAULT_DATA else ["--data", str(asked.data)]
    command = shlex.join(["joyctl", "data", "overlap", name, *overrides, *elsewhere])
    try:
        findings = known(suites, data, sources)
        if findings is None:
            tokens = sum(data.sources[name].tokens for name in sources)
            if cluster is not None and tokens > SMALL:
                note(f"overlap: {tokens:,} tokens not looked through yet: {command} --cluster {cluster}")
                return
            if cluster is None:
                warm_up()
            with interruptible(_GOES_ON):
                looking = begin_check(suites, data, sources, "spawn" if cluster else "forkserver")
                findings = look(looking, _lines())
    except (Missing, Refused, RecipeError, OSError) as error:
        note(f"overlap: test items were not looked for: {str(error).splitlines()[0]}")
        return
    entries = [task.task for suite in suites for task in suite.tasks]
    for line in summary(findings, entries, f"{command} --show 5"):
        note(line)
    if findings.found and loaded.recipe.data.world is not None:
        note("  the micro-world makes its sums and functions of few templates, for texts and items alike")


def _lines() -> Watch:
    """A watch that says how far it is now and then."""
    began = last = time.monotonic()

    def watch(reached: Reached) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _EVERY:
            last = now
            speed = reached.tokens / (now - began) / 1e6
            note(f"overlap: {reached.share:4.0%}, {speed:.1f} M tokens/s")

    return watch
