"""Which base run a recipe goes on from: a checkpoint or folder of this machine, or a model of the hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from joyctl.campaign.grid import Point
from joyctl.campaign.plan import Plan
from joyctl.campaign.spec import BaseSpec, ReferenceSpec
from joyctl.errors import Missing, Problem, RecipeError, Refused
from joyctl.evals.references import fetch, identify_model
from joyctl.recipe.types import Base, Recipe, Reference
from joyctl.store.digest import CHECKPOINT_FILES, folder_digest


def identify_base(recipe: Recipe) -> BaseSpec | None:
    """What the recipe's base is; nothing is downloaded, and no tensor is read. None without one.

    Raises Missing where it is not there, Refused where a checkpoint does not tell its step, or another than its name
    and the recipe do.
    """
    base = recipe.base
    if base is None:
        return None
    if base.dcp is not None:
        return _checkpoint(Path(base.dcp), base)
    assert base.hf is not None and base.step is not None, "the recipe was checked"
    found = identify_model("base.hf", Reference(model=base.hf))
    return BaseSpec(
        kind="hf",
        path=found.folder or found.model,
        step=base.step,
        sha256=found.sha256 or found.commit or "",
        hub=found.model if found.commit else None,
        tokenizer=base.tokenizer,
    )


def require_one_base(points: Sequence[Point]) -> None:
    """Raise RecipeError where a sweep varies which base it is; how its LR rises again is the protocol's matter."""
    kept = {p.recipe.base and p.recipe.base.model_copy(update={"rewarm": None}).model_dump_json() for p in points}
    if len(kept) > 1:
        raise RecipeError([Problem("override 'base...'", "base", "cannot be swept: one campaign, one base run")])


def fetch_base(plan: Plan, notify: Callable[[str], None]) -> Plan:
    """The plan with its base on this machine: downloaded where it is not. Raises Missing where it does not come."""
    segments = []
    folder: str | None = None
    for segment in plan.segments:
        base = segment.base
        if base is not None and base.hub is not None and not Path(base.path).is_absolute():
            if folder is None:
                reference = ReferenceSpec(model=base.hub, folder=None, commit=base.sha256)
                notify(f"downloading {base.hub}")
                folder = fetch(reference, "base").folder
            segment = segment.model_copy(update={"base": base.model_copy(update={"path": folder})})
        segments.append(segment)
    return Plan(plan.campaign, plan.recipe, tuple(segments), plan.runs)


def _checkpoint(folder: Path, base: Base) -> BaseSpec:
    if not folder.is_dir():
        raise Missing(f"base.dcp: {folder} is no folder", hint="Give a checkpoint as torchtitan saves it, .../step-N.")
    from joyctl.train.inspect_dcp import dcp_step

    step = dcp_step(folder)
    named = re.fullmatch(r"step-(\d+)", folder.name)
    if named and int(named[1]) != step:
        hint = f"Give it its own name back: step-{step}."
        raise Refused(f"{folder} holds step {step:,}, not the {int(named[1]):,} of its name", hint=hint)
    if base.step is not None and base.step != step:
        hint = f"Leave base.step out, or set it to {step}; or give the checkpoint of step {base.step:,}."
        raise Refused(f"{folder} holds step {step:,}, the recipe's base.step is {base.step:,}", hint=hint)
    if step < 1:
        raise Refused(
            f"{folder} holds step {step}: nothing is trained there", hint="Leave base out to train from scratch."
        )
    return BaseSpec(
        kind="dcp",
        path=str(folder),
        step=step,
        sha256=folder_digest(folder, CHECKPOINT_FILES),
        tokenizer=base.tokenizer,
    )
