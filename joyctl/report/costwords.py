"""The cost in words: one line for the screen, a table by stage and sentences for Markdown."""

from __future__ import annotations

from joyctl.report.cost import Cost
from joyctl.report.status import about


def cost_line(cost: Cost) -> str:
    """What was spent, on what, how much of it in vain, and what separate full runs would have taken."""
    if not cost.hours and not cost.further_core_hours:
        return f"cost  {amount(cost.tokens)} tokens; no attempt tells of hours"
    units = f"{cost.unit}{'s' if cost.most_units != 1 else ''}"
    held = [f"{hours(cost.hours)} {cost.unit}-hours"] if cost.hours else []
    held += [f"{hours(cost.further_core_hours)} core-hours"] if cost.further_core_hours else []
    held += [money(cost.money, cost.currency)] if cost.money is not None else []
    held.append(f"{cost.wasted_share * 100:.0f} % wasted" if cost.wasted_hours else "nothing wasted")
    line = f"cost  {amount(cost.tokens)} tokens, {about(cost.seconds)} on up to {cost.most_units:,} {units}"
    line += f" ({', '.join(held)})"
    if cost.times_as_much is not None:
        line += f"; separate full runs: {amount(cost.separate_tokens)} tokens, {cost.times_as_much:.1f} times as much"
    if cost.shared_tokens:
        line += f"; {amount(sum(cost.shared_tokens.values()))} of trunk shared with {', '.join(cost.shared_tokens)}"
    return line


def cost_rows(cost: Cost) -> list[tuple[str, str, str]]:
    """(stage, hours, wasted hours) of every stage, then of all."""
    found = [(stage, hours(spent), hours(cost.wasted_by_stage[stage])) for stage, spent in cost.by_stage.items()]
    found.append(("all", hours(cost.hours), hours(cost.wasted_hours)))
    if cost.further_core_hours:
        spent, wasted = hours(cost.further_core_hours), hours(cost.further_wasted_core_hours)
        found.append(("without GPUs, core-hours", spent, wasted))
    return found


def cost_notes(cost: Cost) -> list[str]:
    """What was trained for it, its price, what separate full runs would have taken, and what counts as wasted."""
    busy = f"{about(cost.seconds)} on up to {cost.most_units:,} {cost.unit}s at once"
    lines = [f"Trained: {amount(cost.tokens)} tokens, {cost.flops:.3g} FLOPs, {busy}"]
    lines += [
        f"Trunk shared with {campaign}: {amount(tokens)} tokens, whose cost stands there"
        for campaign, tokens in cost.shared_tokens.items()
    ]
    if cost.money is not None and cost.wasted_money is not None:
        spent, wasted = money(cost.money, cost.currency), money(cost.wasted_money, cost.currency)
        now = "" if cost.price is None else f" (now {cost.price:g} {cost.currency} a {cost.unit}-hour)"
        lines.append(f"Price: {spent}, of which {wasted} wasted{now}")
    if cost.times_as_much is not None:
        text = f"Separate full runs: {amount(cost.separate_tokens)} tokens, {cost.times_as_much:.1f} times as much"
        if cost.separate_hours is not None:
            text += f"; at the same speed {hours(cost.separate_hours)} {cost.unit}-hours of training"
        if cost.separate_money is not None:
            text += f", {money(cost.separate_money, cost.currency)}"
        lines.append(text)
    lines.append(
        "Wasted: attempts that did not end well, less the training that was saved; and all that was set aside. "
        "Hours are those of attempts, without the start of Python"
    )
    return lines


def amount(number: float) -> str:
    """A large number in three digits at most: `6.2 M`, `950 k`."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.{1 if number < 9.95 * size else 0}f} {unit}"
    return f"{number:.0f}"


def hours(number: float) -> str:
    """Hours with two decimals, fewer where there are many, and two digits of very few."""
    if number < 0.1:
        return f"{number:.2g}"
    return f"{number:,.{2 if number < 10 else 1 if number < 1_000 else 0}f}"


def money(number: float, currency: str) -> str:
    """An amount of money with its currency."""
    return f"{number:,.{2 if number < 1_000 else 0}f} {currency}".rstrip()
