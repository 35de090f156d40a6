"""A campaign onto a Slurm cluster: look first, submit what is missing, say what waits for what, and go."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from joyctl.cli.planjson import plan_json
from joyctl.cli.running import record_plan
from joyctl.cli.words import note
from joyctl.errors import Problem, RecipeError
from joyctl.launch.slurm import campaign, client, limits, snapshot, submit
from joyctl.launch.slurm.ledger import REST, Element, Ledger, Manifest
from joyctl.recipe.load import load_cluster_file
from joyctl.recipe.rules import Finding

if TYPE_CHECKING:
    from joyctl.launch.prepare import Prepared
    from joyctl.launch.slurm.limits import Limits
    from joyctl.recipe.cluster import SlurmCluster


def show_scripts(prepared: Prepared, cluster: SlurmCluster, *, as_json: bool) -> None:
    """What would be submitted: every array, and the sbatch text of the first of each kind (all of them in JSON)."""
    ledger = Ledger(prepared.folder)
    queue = submit.Queue([])
    if ledger.exists:
        with submit.submit_lock(ledger):
            queue = submit.read_queue(ledger, client.call, campaign.done_in(prepared.folder))
    drawn = campaign.draw(
        prepared, cluster, queue, campaign.Room(cluster.max_array_size or 1001, cluster.max_submit), snapshot.digest()
    )
    again = sys.argv[1:]
    made = _texts(prepared.folder, cluster, drawn, queue, again)
    if as_json:
        found = [{**_array_json(m, None), "script": made[m.name]} for m in drawn.manifests]
        plan = json.loads(plan_json(prepared, cluster))
        typer.echo(json.dumps({**plan, "arrays": found, "live": drawn.live, "left": drawn.left}))
        return
    typer.echo(f"\n{_summary(drawn)}")
    for line in _lines(drawn.manifests, {}):
        typer.echo(line)
    shown: set[str] = set()
    for manifest in drawn.manifests:
        if manifest.kind not in shown:
            shown.add(manifest.kind)
            typer.echo(f"\n--- {manifest.name}.sh ({manifest.kind})\n{made[manifest.name].rstrip()}")


def _texts(
    folder: Path, cluster: SlurmCluster, drawn: campaign.Drawn, queue: submit.Queue, again: Sequence[str]
) -> dict[str, str]:
    ids = {a.manifest.name: a.job for a in queue.arrays if a.job is not None}
    code = drawn.manifests[0].code if drawn.manifests else ""
    text = campaign.scripts(folder.absolute(), cluster, code, again)
    return {m.name: text(m, submit.resolve(m.dependency, ids)) for m in drawn.manifests}


def ask(cluster: SlurmCluster, cluster_name: str) -> Limits:
    """What the cluster offers. Raises RecipeError where the cluster file wants more, NoAnswer when Slurm is down."""
    found = limits.read_limits(client.call)
    limits.require(cluster_name, cluster, found)
    return found


def run_on_slurm(
    prepared: Prepared, cluster: SlurmCluster, cluster_name: str, found: Limits, *,
    command: str, again: Sequence[str], as_json: bool,
) -> None:  # fmt: skip
    """Submit every job that is missing and not in the queue; returns at once.

    `found` is what `ask` said. Raises RecipeError where Slurm does not take it, NoAnswer when it is down.
    """
    name = prepared.plan.campaign
    if not prepared.work.jobs:
        record_plan(prepared, command)
        if as_json:
            typer.echo(json.dumps(_outcome(prepared, None)))
        note(f"{name}: all {len(prepared.plan.runs)} runs are done, nothing to do.\nnext:  joyctl report {name}")
        return
    record_plan(prepared, command)

    def room() -> campaign.Room:
        most = limits.submit_room(client.call, cluster)
        return campaign.Room(cluster.max_array_size or found.max_array_size, most)

    try:
        done = campaign.put(prepared, cluster, client.call, room, again, slurm_name=found.name)
    except submit.SbatchRefused as error:
        raise placed(error, cluster_name) from error
    if as_json:
        typer.echo(json.dumps(_outcome(prepared, done)))
    note(f"{_summary(done.drawn, done)}")
    for line in _lines([m for m, _ in done.arrays], {m.name: job for m, job in done.arrays}):
        note(line)
    if done.left:
        why = f" ({done.full})" if done.full else ""
        who = "a last small job submits them" if done.follows else "the same command submits them later"
        note(f"{done.left} jobs are more than you may have queued{why}: {who}.")
    note(f"next:  joyctl status {name}")


def placed(refusal: submit.SbatchRefused, cluster_name: str) -> RecipeError:
    """sbatch's words at the line of the cluster file that they are about, where they tell."""
    keys = limits.explain_refusal(refusal.message)
    if keys is not None and "," not in keys:
        problem = load_cluster_file(cluster_name).problem(Finding((keys,), refusal.message))
    else:
        problem = Problem(cluster_name, keys or "", refusal.message)
    return RecipeError([problem], hint="No job of this command is left in the queue.")


def _summary(drawn: campaign.Drawn, done: campaign.Submission | None = None) -> str:
    manifests = [m for m, _ in done.arrays] if done else drawn.manifests
    jobs = sum(len(m.elements) for m in manifests)
    live = f"; {drawn.live} stages were in the queue already" if drawn.live else ""
    if not manifests:
        return f"nothing new to submit{live}"
    how = f"queued in {done.seconds:.1f} s" if done else "would be submitted"
    return f"{jobs} jobs in {len(manifests)} arrays {how}{live}"


def _lines(manifests: Sequence[Manifest], ids: dict[str, str]) -> list[str]:
    """A line for each array: what it does, and what it waits for."""
    if not manifests:
        return []
    by_name = {m.name: m for m in manifests}
    rows = [("array" if ids else "", "jobs", "kind", "first", "after")]
    for m in manifests:
        element = m.elements[min(m.elements)]
        first = "what is left of the campaign" if element.folder == REST else _named(element)
        rows.append((ids.get(m.name, ""), str(len(m.elements)), m.kind, first, _after(m, by_name, ids)))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row[:4], widths, strict=True)), row[4]]).rstrip() for row in rows
    ]


def _after(manifest: Manifest, by_name: dict[str, Manifest], ids: dict[str, str]) -> str:
    if manifest.dependency is None:
        return ""
    how, _, on = manifest.dependency.partition(":")
    if how == "afterany":
        return "all others"
    name, index = (on, "") if how == "aftercorr" else (on.rpartition("_")[0], on.rpartition("_")[2])
    other = by_name.get(name)
    if other is None:
        return "jobs in the queue"
    if how == "aftercorr" and len(manifest.elements) > 1:
        return f"each its own of {ids.get(name, 'the same runs')} ({other.kind})"
    element = other.elements[int(index or min(manifest.elements))]
    return f"{_named(element)} ({other.kind})"


def _named(element: Element) -> str:
    part = f", part {element.part} of {element.parts}" if element.parts > 1 else ""
    return element.folder.removeprefix("runs/") + part


def _array_json(manifest: Manifest, job: str | None) -> dict[str, object]:
    return {
        "name": manifest.name,
        "kind": manifest.kind,
        "job": job,
        "dependency": manifest.dependency,
        "exclude": list(manifest.exclude),
        "jobs": [
            {"index": i, "folder": e.folder, "stages": list(e.stages), "part": e.part, "parts": e.parts}
            for i, e in sorted(manifest.elements.items())
        ],
    }


def _outcome(prepared: Prepared, done: campaign.Submission | None) -> dict[str, object]:
    return {
        "campaign": prepared.plan.campaign,
        "folder": str(prepared.folder),
        "runs": [{"id": run.id, "reason": prepared.work.runs[run.id].reason} for run in prepared.plan.runs],
        "arrays": [_array_json(m, job) for m, job in done.arrays] if done else [],
        "live": done.drawn.live if done else 0,
        "left": done.left if done else 0,
        "seconds": done.seconds if done else 0.0,
    }
