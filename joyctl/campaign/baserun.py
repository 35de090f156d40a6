"""A base run trained elsewhere, in the plan: where trunks begin, which durations fit, what a reader is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from joyctl.campaign.grid import percent
from joyctl.campaign.spec import BaseSpec, SegmentSpec
from joyctl.errors import Refused
from joyctl.recipe.types import Recipe


def rewarm_steps(recipe: Recipe, step: int) -> int:
    """Steps over which the LR rises again because the optimizer starts anew.

    The recipe's own; else 2 / (1 - beta2), the linear warm-up after which Adam's second moment no longer moves its
    steps (J. Ma and D. Yarats, On the adequacy of untuned warmup for adaptive optimization, arXiv 1910.04209): 40 for
    0.95. Never more than the steps that are left.
    """
    assert recipe.base is not None
    asked = recipe.base.rewarm
    wanted = round(2 / (1 - recipe.optimizer.betas[1])) if asked is None else asked
    return max(0, min(wanted, recipe.training.steps - step))


def base_of(recipe: Recipe, found: BaseSpec | None) -> BaseSpec | None:
    """The base with what depends on the recipe besides: explicit numbers instead of defaults."""
    if found is None or found.kind == "dcp":
        return found
    return found.model_copy(update={"rewarm": rewarm_steps(recipe, found.step)})


def rows_seen(recipe: Recipe, used: Iterable[str]) -> dict[str, int] | None:
    """Rows that the base has seen of the sources in use; None where it has seen none."""
    given = recipe.base.seen if recipe.base is not None else {}
    seen = {name: rows for name in used if (rows := given.get(name, 0) // recipe.training.seq_len)}
    return seen or None


def require_room(base: BaseSpec, recipe: Recipe, asked: Sequence[tuple[float, int]]) -> None:
    """Raise Refused unless every (duration, branch step) asked for lies at or after the base, and the end after it."""
    total = recipe.training.steps
    if base.step >= total:
        raise Refused(
            f"{base.path} stands at step {base.step:,}; training.tokens make {total:,} steps, so none is left",
            hint="Give the tokens of the whole run, those of the base included, or an earlier checkpoint.",
        )
    early = sorted({(duration, step) for duration, step in asked if step < base.step}, reverse=True)
    if not early:
        return
    which = ", ".join(f"{percent(duration)} % at step {step:,}" for duration, step in early)
    left = (total - base.step) / total * 100
    fit = sorted({duration for duration, step in asked if duration and step >= base.step})
    durations = f"--durations {','.join(map(percent, fit))}" if fit else "shorter durations"
    raise Refused(
        f"{base.path} stands at step {base.step:,} of {total:,}, after the branch point of {which}",
        hint=f"It leaves room for durations up to {left:.4g} %: {durations}, or give an earlier checkpoint.",
    )


def said_of_base(trunks: Sequence[SegmentSpec]) -> list[str]:
    """What a plan tells of the base its trunks go on from, given the first segment of each; empty without one."""
    first = next((s for s in trunks if s.base is not None), None)
    if first is None or first.base is None:
        return []
    base, batch = first.base, first.training.batch_size
    lines = [f"base   {base.path} · {base.kind} · step {base.step:,} · {base.sha256[:12]}"]
    if base.kind == "dcp":
        lines.append("optimizer   carried on with its state; its LR and settings must be the recipe's")
    else:
        rise = f"the LR rises over {base.rewarm:,} steps" if base.rewarm else "the LR does not rise anew"
        end = f", {base.step + 1:,} to {base.step + base.rewarm:,}" if base.rewarm else ""
        lines.append(f"optimizer   started anew: a Hugging Face folder has no state of it; {rise}{end},")
        lines.append("            in all arms and in the control. A protocol of its own: no table mixes it with others")
    seen = first.order.seen or {}
    told = "  ".join(f"{name} {rows * first.training.seq_len:,}" for name, rows in sorted(seen.items()))
    told = told or "none given (base.seen)"
    lines.append(f"data   from row {base.step * batch:,} on; tokens of it that the base has seen: {told}")
    if len(trunks) > 1:
        lines.append(
            f"trunks   {len(trunks)}, all on this one base: each has a data order of its own after it, no more"
        )
    return lines
