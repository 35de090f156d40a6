"""A plan on disk: what already lies there, writing what is new, setting aside what is replaced."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from joyctl.campaign.compare import Found
from joyctl.campaign.plan import Plan
from joyctl.campaign.spec import RunSpec, SegmentSpec, Stage
from joyctl.campaign.trunks import Interval
from joyctl.errors import Refused
from joyctl.evals.answers import ANSWERS
from joyctl.store import layout
from joyctl.store.campaign import read_campaign_json
from joyctl.store.files import last_object, write_json, write_texts

Spec = TypeVar("Spec", SegmentSpec, RunSpec)


def trunk_cuts(campaign: Path) -> dict[str, list[Interval]]:
    """Stretches of trunk that lie on disk, by trunk folder (`trunk/s0`)."""
    cuts: dict[str, list[Interval]] = {}
    for path in sorted(campaign.glob(f"trunk/*/*/{layout.SEGMENT}")):
        if match := re.fullmatch(r"(\d+)-(\d+)", path.parent.name):
            trunk = path.parent.parent.relative_to(campaign).as_posix()
            cuts.setdefault(trunk, []).append((int(match[1]), int(match[2])))
    return cuts


def find(campaign: Path, plan: Plan, *, sandbox: bool) -> dict[str, Found]:
    """What lies in every folder that `plan` names and that is there; `sandbox` says whether code can run now.

    A score that was left out for want of a sandbox counts as missing once there is one; where the answers that it
    needs are not there, so does what generates them.
    """
    there = {path.relative_to(campaign).as_posix() for top in ("trunk", "runs") for path in campaign.glob(f"{top}/*/*")}
    folders = dict.fromkeys([*(s.id for s in plan.segments), *(f"runs/{r.id}" for r in plan.runs)])
    return {folder: _found(campaign / folder, sandbox=sandbox) for folder in folders if folder in there}


def write_plan(campaign: Path, plan: Plan, command: str, versions: Mapping[str, str]) -> None:
    """Write every spec of `plan` that is not there yet, then campaign.json with all that is expected.

    A run that is there gets what may change of its scoring without being drift: where things lie, the aggregate, what
    is said about a reference.
    """
    specs: dict[Path, SegmentSpec | RunSpec] = {campaign / s.id / layout.SEGMENT: s for s in plan.segments}
    specs |= {layout.run_folder(campaign, r.id) / layout.RUN: r for r in plan.runs}
    new = {p: spec for p, spec in specs.items() if not p.exists()}
    for run in plan.runs:
        path = layout.run_folder(campaign, run.id) / layout.RUN
        there = None if path in new else _read(path, RunSpec)
        if there is not None and (there.eval, there.reference) != (run.eval, run.reference):
            new[path] = there.model_copy(update={"eval": run.eval, "reference": run.reference})
    write_texts({path: spec.model_dump_json(indent=1) + "\n" for path, spec in new.items()})
    old = read_campaign_json(campaign) or {}
    recipe = plan.recipe.model_dump(mode="json")
    write_json(
        campaign / layout.CAMPAIGN,
        {
            "campaign": plan.campaign,
            "hypothesis": plan.recipe.hypothesis,
            "recipe": recipe,
            "versions": dict(versions),
            "segments": _union(old.get("segments", []), (s.id for s in plan.segments)),
            "runs": _union(old.get("runs", []), (r.id for r in plan.runs)),
            "commands": _union(old.get("commands", []), [command]),
        },
    )


def on_disk(campaign: Path, run: str) -> RunSpec | None:
    """A run as its run.json tells it, if there is one. Raises Refused where that is damaged."""
    return _read(layout.run_folder(campaign, run) / layout.RUN, RunSpec)


def set_aside(campaign: Path, folders: Iterable[str]) -> Path:
    """Move folders of a campaign to replaced/<time>/ and forget that they were expected."""
    aside = campaign / "replaced" / time.strftime("%Y%m%d-%H%M%S")
    gone = []
    for folder in folders:
        if (campaign / folder).exists():
            target = aside / folder
            target.parent.mkdir(parents=True, exist_ok=True)
            (campaign / folder).rename(target)
            gone.append(folder)
    if (old := read_campaign_json(campaign)) is not None:
        old["segments"] = [s for s in old.get("segments", []) if not _is_below(s, gone)]
        old["runs"] = [r for r in old.get("runs", []) if not _is_below(f"runs/{r}", gone)]
        write_json(campaign / layout.CAMPAIGN, old)
    return aside


def last_metrics(folder: Path) -> dict[str, Any] | None:
    """The last whole line of a segment's metrics.jsonl; None when there is none."""
    return last_object(folder / layout.METRICS)


def _found(folder: Path, *, sandbox: bool) -> Found:
    done: set[Stage] = {s for s in get_args(Stage) if layout.marker(folder, s).exists()}
    run = _read(folder / layout.RUN, RunSpec)
    done -= _to_do_again(folder, run, sandbox=sandbox)
    return Found(
        segment=_read(folder / layout.SEGMENT, SegmentSpec),
        run=run,
        done=frozenset(done),
        step=None if (last := last_metrics(folder)) is None else int(last["step"]),
    )


def _to_do_again(folder: Path, run: RunSpec | None, *, sandbox: bool) -> set[Stage]:
    """Stages without the results that their markers stand for: a score that was not run, or a damaged file."""
    programs = {task.task for task in run.eval.tasks if task.runs_code} if run else set()
    again: set[Stage] = set()
    for path in folder.glob("eval/*/results.json"):
        try:
            status = json.loads(path.read_bytes()).get("status")
        except ValueError:
            status = None
        if status == "ok":
            continue
        if path.parent.name not in programs or not (path.parent / ANSWERS).exists():
            again |= {"eval", "score"}
        elif sandbox or status is None:
            again.add("score")
    return again


def _read(path: Path, kind: type[Spec]) -> Spec | None:
    if not path.exists():
        return None
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        hint = "Restore it, or remove the folder to have it done again."
        raise Refused(f"{path} is damaged or from another version of joyctl", hint=hint) from error


def _is_below(identifier: str, folders: Iterable[str]) -> bool:
    return any(identifier == folder or identifier.startswith(folder + "/") for folder in folders)


def _union(old: Iterable[str], new: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*old, *new]))
