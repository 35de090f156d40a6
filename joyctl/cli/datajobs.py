"""Work on data on a Slurm cluster: submit what is missing, say how far it is, wait for it."""

from __future__ import annotations

import json
import os
import pwd
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from joyctl.cli.queueing import ask, placed
from joyctl.cli.words import interruptible, note
from joyctl.data.work import Part, open_work
from joyctl.errors import Missing, Problem, RecipeError, Refused, RunsFailed
from joyctl.launch.slurm import client, dataset, datawatch, limits, submit
from joyctl.launch.slurm.campaign import Room
from joyctl.launch.slurm.ledger import Ledger, Manifest
from joyctl.report.status import State

if TYPE_CHECKING:
    from joyctl.launch.slurm.dataset import Asked, Submission
    from joyctl.launch.slurm.datawatch import Reach
    from joyctl.recipe.cluster import SlurmCluster
    from joyctl.recipe.types import Recipe

_SHOWN = 8
"""Jobs that failed of which the reason is printed."""


def build_of(recipe: Recipe, root: Path) -> Asked:
    """A recipe's data folder as a cluster is to build it, or as whoever builds it has come to."""
    from joyctl.data.build import begin_build, data_folder_for, partial_of
    from joyctl.data.folder import MARKER

    path = data_folder_for(recipe, root).absolute()
    return dataset.Asked(
        "build", path, (path / MARKER).is_file, lambda: begin_build(recipe, root.absolute()),
        lambda: open_work(partial_of(path), "build"), (partial_of(path) / MARKER).is_file,
    )  # fmt: skip


def require_parts(recipe: Recipe) -> None:
    """Raise RecipeError where there is nothing to tokenise that jobs could share."""
    if recipe.data.tokenizer is None:
        what = "is made in seconds" if recipe.data.world is not None else "is there already"
        message = f"the data of this recipe {what}; only sources with data.tokenizer are built on a cluster"
        raise RecipeError([Problem(f"recipe {recipe.name}", "data", message)], hint="Leave out --cluster.")


def on_cluster(
    asked: Asked, cluster: SlurmCluster, cluster_name: str, *, wait: bool, jobs: int | None, as_json: bool
) -> bool:
    """Submit what is missing of a work and not in the queue; with `wait` follow it until it is finished.

    Says what it did, and whether the work is finished; how that is told is up to the caller.

    `jobs` is how many are to share the parts, without the one that finishes. Raises RecipeError where the cluster
    does not take it, NoAnswer when Slurm is down, and RunsFailed when jobs that were waited for failed.
    """
    if asked.finished():
        return True
    found = ask(cluster, cluster_name)
    most = cluster.max_array_size or found.max_array_size
    user = pwd.getpwuid(os.geteuid()).pw_name
    # Not the room that there is now: shares are to stay the same.
    allowed = cluster.max_submit if cluster.max_submit is not None else limits.submit_limit(client.call, user, cluster)

    def number(parts: Sequence[Part]) -> int:
        if jobs is not None:
            return min(jobs, most, len(parts))
        return dataset.number_of_shares(parts, cluster, most, allowed)

    def room() -> Room:
        return Room(most, limits.submit_room(client.call, cluster))

    def put() -> Submission | None:
        try:
            return dataset.put(asked, cluster, client.call, room, number, slurm_name=found.name)
        except submit.SbatchRefused as error:
            raise placed(error, cluster_name) from error

    before = _before(asked)
    done = put()
    if done is not None:
        for line in _submitted(done, before):
            note(line)
    if done is None:
        return True
    if not wait:
        reach = datawatch.look(asked)
        if as_json:
            typer.echo(json.dumps({**_reach_json(asked, reach), **_submission_json(done)}))
        else:
            note(_in_a_line(asked, reach))
        note("next:  the same command says how far it is, and submits again what failed; --wait follows it")
        return False
    with interruptible("The jobs go on; the same command follows them again."):
        _follow(asked, cluster.poll_s, put)
    return True


def _before(asked: Asked) -> Reach | None:
    """How far earlier calls have come; None where nothing is left of them."""
    try:
        return datawatch.look(asked) if Ledger(asked.jobs).exists else None
    except Missing:
        return None


def require_none_queued(asked: Asked) -> None:
    """Raise Refused while jobs of a cluster are at a work that is to be done here; without Slurm nobody can tell."""
    ledger = Ledger(asked.jobs)
    if not ledger.exists or asked.finished():
        return
    try:
        queued = dataset.is_queued(ledger, client.call)
    except Missing:
        return
    if queued:
        message = f"jobs of {asked.name} are in the queue of a cluster"
        raise Refused(message, hint="Follow them: the same command with --cluster NAME --wait")


def _follow(asked: Asked, pause: float, put: Callable[[], Submission | None]) -> None:
    """Return when the work is finished; raise RunsFailed when nothing of it is under way any more."""
    reach, last, quiet = datawatch.look(asked), "", 0
    while not reach.finished:
        if (line := _in_a_line(asked, reach)) != last:
            note(line)
            last = line
        quiet = 0 if reach.under_way else quiet + 1
        if quiet > 1:  # a result may be seen here a little later than the end of its job
            again = put() if not reach.failed else None  # what did not fit into the queue
            if again is None or not again.arrays:
                raise _failed(asked, reach)
        time.sleep(pause)
        reach = datawatch.look(asked, before=reach)


def show(asked: Asked, *, as_json: bool) -> None:
    """Print how far a work is; raises Missing where it was not begun."""
    reach = datawatch.look(asked)
    if as_json:
        typer.echo(json.dumps(_reach_json(asked, reach), indent=1))
        return
    typer.echo(_in_a_line(asked, reach))
    for line in _reasons(reach):
        typer.echo(line)
    for said in reach.look.notes:
        note(said)
    if not reach.finished and not reach.under_way:
        note("next:  the same command that began it goes on with what is missing")


def _failed(asked: Asked, reach: Reach) -> RunsFailed:
    count = len(reach.failed)
    lines = [f"{count} job{'s' if count != 1 else ''} of {asked.name} failed", *_reasons(reach)]
    where = Ledger(asked.jobs).folder / "log"
    return RunsFailed("\n".join(lines), hint=f"The same command submits them again. What they said: {where}")


def _reasons(reach: Reach) -> list[str]:
    failed = reach.failed
    lines = [f"  {job.id}  job {job.current.job}  {job.current.state}: {job.current.cause}" for job in failed[:_SHOWN]]
    return lines + ([f"  and {len(failed) - _SHOWN} more"] if len(failed) > _SHOWN else [])


def _submitted(done: Submission, before: Reach | None) -> list[str]:
    """What a call has submitted, and why some of it for a second time."""
    shares = [s for m, _ in done.arrays for e in m.elements.values() if (s := dataset.share_of(e)) is not None]
    lines = []
    if before is not None and (failed := [job for job in before.failed if job.id in {s.folder for s in shares}]):
        lines.append(f"{len(failed)} failed and are tried again:")
        lines += _reasons(before)
    jobs = sum(len(m.elements) for m, _ in done.arrays)
    live = f"; {done.drawn.live} were in the queue already" if done.drawn.live else ""
    if not jobs:
        lines.append(f"nothing new to submit{live}")
    else:
        ids = ", ".join(job for _, job in done.arrays)
        lines.append(f"{jobs} job{'s' if jobs != 1 else ''} queued in {done.seconds:.1f} s: {ids}{live}")
    if done.left:
        why = f" ({done.full})" if done.full else ""
        lines.append(f"{done.left} jobs are more than you may have queued{why}: the same command submits them later.")
    return lines


def _in_a_line(asked: Asked, reach: Reach) -> str:
    if reach.finished:
        return f"{asked.name}: finished"
    states: Counter[State] = Counter(job.current.state for job in reach.jobs)
    order: tuple[State, ...] = ("running", "retrying", "queued", "failed", "blocked", "lost", "cancelled")
    jobs = ", ".join(f"{states[state]} {state}" for state in order if states[state])
    share = f" ({reach.bytes_done / reach.bytes:.0%} of {_size(reach.bytes)})" if reach.bytes else ""
    return f"{asked.name}: {reach.parts_done} of {reach.parts} parts done{share}; jobs: {jobs or 'none'}"


def _size(number: int) -> str:
    unit, power = next(((u, p) for u, p in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)) if number >= p), ("kB", 1e3))
    return f"{number / power:.1f} {unit}"


def _reach_json(asked: Asked, reach: Reach) -> dict[str, object]:
    return {
        "path": str(asked.target),
        "work": asked.kind,
        "finished": reach.finished,
        "parts": reach.parts or None,  # of a finished work nobody knows any more
        "parts_done": reach.parts_done,
        "bytes": reach.bytes,
        "bytes_done": reach.bytes_done,
        "jobs": [
            {"id": job.id, "state": now.state, "cause": now.cause, "job": now.job}
            for job in reach.jobs
            for now in [job.current]
        ],
        "read": reach.look.read_from,
        "notes": list(reach.look.notes),
    }


def _submission_json(done: Submission) -> dict[str, object]:
    return {
        "arrays": [_array_json(manifest, job) for manifest, job in done.arrays],
        "live": done.drawn.live,
        "left": done.left,
        "seconds": done.seconds,
    }


def _array_json(manifest: Manifest, job: str) -> dict[str, object]:
    jobs = [{"index": index, "id": element.folder} for index, element in sorted(manifest.elements.items())]
    return {"name": manifest.name, "job": job, "dependency": manifest.dependency, "jobs": jobs}
