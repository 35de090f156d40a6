"""The plan as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from joyctl.campaign.audit import MAX_EPOCHS
from joyctl.campaign.baserun import said_of_base
from joyctl.campaign.plan import Plan, parameters
from joyctl.campaign.protocol import protocol_words
from joyctl.campaign.spec import RunSpec, SegmentSpec
from joyctl.campaign.totals import full_runs
from joyctl.campaign.variants import policy_label
from joyctl.cli import mixscreen
from joyctl.cli.costscreen import outlook_lines, plan_outlook
from joyctl.cli.planjson import lr_at_branch, planned_claim, planned_sights, segment_of, shares_of, totals_of
from joyctl.cli.shortlist import Left, shortlist
from joyctl.data.ledger import repeat_words, source_use
from joyctl.launch.prepare import Prepared
from joyctl.recipe.cluster import Cluster
from joyctl.recipe.types import Recipe
from joyctl.report.foresight import DISCORDANT, Sight
from joyctl.report.power import POWER

if TYPE_CHECKING:  # a script that reads JSON does not wait for it
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_NUMBERS = 54
"""Characters that a line of the table has beside the run's name and its mix."""


def print_plan(
    prepared: Prepared,
    *,
    next_command: str,
    every: bool = False,
    console: Console | None = None,
    cluster: Cluster | None = None,
) -> None:
    """Print the plan to stdout, with what it takes on `cluster`; with `every` each run has its line, however many."""
    from rich.console import Console
    from rich.text import Text

    out = console or Console(highlight=False)
    plan = prepared.plan
    fresh = sum(s.id.startswith("trunk/") and prepared.work.segments[s.id].action == "run" for s in plan.segments)
    runs = _counted(plan)
    out.print(Text(f"{plan.campaign} · {plan.recipe.hypothesis}", style="bold"))
    trunk = next(s for s in plan.segments if s.parent is None)
    tokens = trunk.total_steps * trunk.training.tokens_per_step
    size = f"{_count(tokens)} tokens, {_count(parameters(trunk.model))} parameters"
    head = _joined(f"{runs}, {fresh} new stretches of trunk", f"trunk {trunk.total_steps:,} steps, {size}", out.width)
    lines = shortlist(plan.runs, every=every)
    listed = [line for line in lines if isinstance(line, RunSpec)]
    columns = _columns(prepared, listed, out.width)
    # By category, or where it is long, the base mix stands with the others, under the table.
    base, by_source = mixscreen.one_line(_dealt(plan.recipe, trunk)), plan.recipe.mixes.by == "source"
    if by_source and len(base) + 5 <= out.width:
        head = _joined(head, base, out.width, "base ")
    out.print(f"{head}\n")
    for line in said_of_base([s for s in plan.segments if s.parent is None and s.id.startswith("trunk/")]):
        out.print(Text(f" {line}"))
    out.print(_table(prepared, lines, columns, out.width))
    if len(listed) < len(plan.runs):
        out.print(Text(f"\n {len(listed):,} of {len(plan.runs):,} runs are listed; --all lists every one", style="dim"))
    if not by_source or [name for name, _ in columns] != list(plan.recipe.sources):
        out.print("")
        for line in mixscreen.lines(plan.recipe, _mixes(prepared, trunk, listed), out.width):
            out.print(line, soft_wrap=True)
    references = _references(prepared)
    if references:
        out.print("")
        for line in references:
            out.print(line)
    refused = prepared.work.refused
    if refused:
        keys = sorted({key for decision in refused.values() for key, _, _ in decision.changes})
        out.print(Text(f"\n refused: on disk with other settings ({', '.join(keys[:5])})", style="red"))
    for line in prepared.shared.words(plan):
        out.print(f"\n {line}")
    totals = totals_of(prepared)
    uses = {_short(run): source_use(s, run.branch_step) for run in plan.runs if (s := segment_of(prepared, run))}
    for i, line in enumerate(repeat_words(uses)):
        out.print(f"          {line}" if i else f"\n again    {line}", soft_wrap=True)
    if any(u.epochs > MAX_EPOCHS for use in uses.values() for u in use.values()):
        out.print(Text(f"\n more than {MAX_EPOCHS:g} epochs of a source: repetition starts to cost", style="red"))
    if totals["tokens_if_separate"]:
        ratio = totals["tokens_if_separate"] / max(totals["tokens"], 1)
        less = f": {ratio:.1f} times less" if totals["tokens"] else ""
        out.print(
            f"\n tokens   {_count(totals['tokens'])} to train, "
            f"{_count(totals['tokens_if_separate'])} as separate full runs{less}"
        )
    share = full_runs(plan)
    if share.phases:
        out.print(
            f" phases   {share.phases:,.2f} of a full run beside the trunk's {share.trunk:,.2f}, "
            f"{share.phases_if_separate:,.2f} separately: {share.phases_if_separate / share.phases:.1f} times less"
        )
    if prepared.data.stated:
        folder = plan.recipe.data.folder
        out.print(f" data     {folder} is not here: sizes are the recipe's own words, digests unknown")
    for said in outlook_lines(plan_outlook(prepared, cluster)):
        out.print(said, soft_wrap=True)
    for line in _standing(plan):
        out.print(line, style="dim")
    for said in _can_detect(prepared):
        out.print(said)
    todo = len(prepared.work.jobs)
    if refused:
        out.print(f"\nnext:  {next_command} campaign={plan.campaign}-2   or   {next_command} --rerun")
    else:
        ready = "" if not prepared.data.stated else " data.folder=DIR    once the data is there"
        out.print(f"\nnext:  {next_command}{ready}" if todo else f"\nall of it is done:  joyctl report {plan.campaign}")


def _joined(line: str, part: str, width: int, anew: str = "") -> str:
    """`part` after the last of some lines where it fits; else on a line of its own, after the word `anew`."""
    fits = len(line.rpartition("\n")[2]) + len(part) + 3 <= width
    return f"{line} · {part}" if fits else f"{line}\n{anew}{part}"


def _standing(plan: Plan) -> list[str]:
    """How phases are trained and read off, and what their differences will be about."""
    protocol = next((run.protocol for run in plan.runs if run.reference is None), None)
    lines = [f"\n protocol: {protocol_words(protocol)}"] if protocol else []
    kept = [s for s in plan.segments if s.average is not None]
    if kept and kept[0].average:
        # A checkpoint holds a parameter three times in float32: itself and AdamW's two moments.
        more = 12 * parameters(kept[0].model) * (kept[0].average.last - 1) * len(kept)
        lines.append(f" averaging keeps {kept[0].average.last} checkpoints a run: about {_count(more)}B more on disk")
    said = planned_claim(plan)
    return [*lines, f" claim: {said.words}"] if said else lines


def _can_detect(prepared: Prepared) -> list[Text]:
    """Smallest detectable differences, with what they rest on."""
    from rich.text import Text

    sights = planned_sights(prepared)
    if not sights:
        return []
    first, names = sights[0], _labels(sights)
    seeds = f"{first.seeds} seed{'s' if first.seeds > 1 else ''}"
    said: list[tuple[str, list[str]]] = [
        ("each alone", [_size(names[s.key], s, s.alone) for s in sights]),
        (f"Holm over {first.comparisons}", [_size(names[s.key], s, s.corrected) for s in sights]),
    ]
    noisy = [(s, s.corrected_with_noise) for s in sights if s.corrected_with_noise is not None]
    if noisy:
        said.append(("with run-to-run noise", [_size(names[s.key], s, size) for s, size in noisy]))
    lines = [Text(f"\n can detect with {POWER * 100:.0f} % power, {seeds}")]
    width = max(len(label) for label, _ in said)
    lines += [Text(f"   {label:<{width}}   {' · '.join(parts)}") for label, parts in said]
    if any(s.basis == "assumed" for s in sights):
        share = f"{DISCORDANT * 100:.0f} %"
        lines.append(Text(f"   assumed: a run and its control answer {share} of the items differently", style="dim"))
    if not noisy:
        lines.append(Text("   run-to-run noise is not in it: it is not known yet (--trunk-seeds 3)", style="dim"))
    return lines


def _labels(sights: Sequence[Sight]) -> dict[tuple[str, str, str], str]:
    """Benchmarks by their task; with the metric where a task has several."""
    tasks = [sight.key[0] for sight in sights]
    return {s.key: s.key[0] if tasks.count(s.key[0]) == 1 else f"{s.key[0]} {s.key[1]}" for s in sights}


def _size(name: str, sight: Sight, size: float) -> str:
    if sight.percent:
        return f"{name} ±{size * 100:.1f} pp" if size <= 1 else f"{name} not even 100 pp"
    return f"{name} ±{size:.3f}"


def _table(
    prepared: Prepared, lines: Sequence[RunSpec | Left], columns: Sequence[mixscreen.Column], width: int
) -> Table:
    from rich.table import Table
    from rich.text import Text

    plan = prepared.plan
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("run", no_wrap=True)
    for head in ("at step", "steps", "LR there"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, _ in columns:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("epochs", justify="right", no_wrap=True)
    table.add_column("action")
    for run in lines:
        if isinstance(run, Left):
            table.add_row(Text(f"  … {run.number:,} more{': ' if run.about else ''}{run.about}", style="dim"))
            continue
        decision = prepared.work.runs[run.id]
        detail = "" if decision.action in ("run", "refuse") else f" ({decision.reason})"
        action = Text(decision.action + detail, style={"refuse": "red", "skip": "dim"}.get(decision.action, ""))
        if run.segment is None:  # a reference: nothing of its training is known
            table.add_row(_name(run, width), *["-"] * (len(table.columns) - 2), action)
            continue
        segment = plan.segment(run.segment)
        use = source_use(segment, run.branch_step)
        name, most = max(use.items(), key=lambda item: item[1].epochs)
        lr = lr_at_branch(run, segment)
        table.add_row(
            _name(run, width),
            "-" if run.branch_step is None else f"{run.branch_step:,}",
            "-" if run.branch_step is None else f"{run.end_step - run.branch_step:,}",
            "-" if lr is None else f"{lr:.1e}",
            *(f"{sum(run.mix.get(source, 0.0) for source in sources) * 100:.1f}" for _, sources in columns),
            Text(f"{name} {most.epochs:.1f}", style="red bold" if most.epochs > MAX_EPOCHS else ""),
            action,
        )
    return table


def _name(run: RunSpec, width: int) -> str:
    """A run's name; its policy on a line of its own where a narrow screen would cut the numbers."""
    name, policy = _short(run), policy_label(run.policy or "renormalise").removeprefix("-")
    if not policy or len(name) + _NUMBERS <= width:
        return name
    head, found, rest = name.partition(policy)
    return f"{head}\n  {found}{rest}"


def _columns(prepared: Prepared, listed: Sequence[RunSpec], width: int) -> list[mixscreen.Column]:
    """The columns of shares; where they do not tell every source, mixes are listed under the table."""
    names = max(len(_short(run)) for run in listed)
    return mixscreen.columns(prepared.plan.recipe, width - _NUMBERS - names)


def _dealt(recipe: Recipe, segment: SegmentSpec) -> dict[str, float]:
    """The mix that a segment trains on, in the order of the recipe's sources."""
    shares = shares_of(segment.order.phases[-1].weights)
    return {name: shares[name] for name in recipe.sources if shares.get(name)}


def _mixes(
    prepared: Prepared, trunk: SegmentSpec, listed: Sequence[RunSpec]
) -> list[tuple[dict[str, float], list[str]]]:
    """Every mix with the runs that train on it, the trunk's first."""
    recipe = prepared.plan.recipe
    base = _dealt(recipe, trunk)
    runs = {mixscreen.one_line(base): (base, ["trunk"])}
    for run in listed:
        if (segment := segment_of(prepared, run)) is not None:
            mix = _dealt(recipe, segment)
            runs.setdefault(mixscreen.one_line(mix), (mix, []))[1].append(_short(run))
    return list(runs.values())


def _references(prepared: Prepared) -> list[str]:
    """Every reference with its model, and whether that is here."""
    lines = []
    for run in prepared.plan.runs:
        if run.reference is not None:
            commit = f" ({run.reference.commit[:12]})" if run.reference.commit else ""
            about = f" · {run.reference.about}" if run.reference.about else ""
            there = "" if run.reference.folder else " · to be downloaded"
            lines.append(f" {_short(run)}   {run.reference.model}{commit}{about}{there}")
    return lines


def _counted(plan: Plan) -> str:
    """`9 runs`, and the references beside them."""
    references = sum(run.reference is not None for run in plan.runs)
    beside = f" and {references} reference{'s' if references > 1 else ''}" if references else ""
    return f"{len(plan.runs) - references:,} runs{beside}"


def _short(run: RunSpec) -> str:
    """A run's name without its seeds where it is the only one."""
    return run.variant if run.id.endswith("/s0") else run.id


def _count(n: float) -> str:
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= 0.999995 * size:  # which two digits round up to the next unit
            return f"{n / size:.2f} {unit}"
    return f"{n:.0f}"
