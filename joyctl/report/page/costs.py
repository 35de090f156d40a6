"""What the campaign cost, in figures and beside separate full runs."""

from __future__ import annotations

import altair as alt

from joyctl.report import costwords
from joyctl.report.cost import Cost
from joyctl.report.page.blocks import Cell, Chart, Fact, Facts, Figure, Head, Notes, Part, Table
from joyctl.report.page.spec import finished, of
from joyctl.report.page.theme import colour


def cost_parts(cost: Cost | None) -> tuple[Part, ...]:
    """Numbers, a drawing of tokens trained, and hours by stage; nothing where no cost is known."""
    if cost is None:
        return ()
    saved = cost.separate_tokens / cost.tokens if cost.tokens else None
    facts = [Fact("tokens trained", tokens(cost.tokens), f"{cost.flops:.2g} FLOPs")]
    if saved is not None and cost.separate_tokens:
        full = f"{tokens(cost.separate_tokens)} tokens as separate full runs"
        facts.append(Fact("saved by branching", f"{saved:.1f}×", full))
    facts.append(
        Fact(f"{cost.unit}-hours", hours(cost.hours), f"{hours(cost.wasted_hours)} of them lost in failed attempts")
    )
    if cost.separate_hours is not None:
        facts.append(Fact(f"{cost.unit}-hours of full runs", hours(cost.separate_hours), "at the same speed"))
    if cost.money is not None:
        lost = f"{cost.wasted_money:,.2f} of it lost" if cost.wasted_money else "none of it lost"
        full = f"; full runs {cost.separate_money:,.2f}" if cost.separate_money is not None else ""
        facts.append(Fact("money", f"{cost.money:,.2f} {cost.currency}", lost + full))
    parts: list[Part] = [Facts(tuple(facts))]
    if cost.separate_tokens and cost.tokens:
        parts.append(_savings(cost))
    if cost.by_stage:
        rows = [
            (Cell(stage), Cell(hours(spent), spent), Cell(f"{spent / cost.hours * 100:.0f} %" if cost.hours else "–"))
            for stage, spent in cost.by_stage.items()
        ]
        heads = (Head("stage", number=False), Head(f"{cost.unit}-hours"), Head("share"))
        parts.append(Table("Hours by stage, all attempts", heads, rows))
    if lines := costwords.cost_notes(cost):
        parts.append(Notes(tuple(f"{line}." for line in lines)))
    return tuple(parts)


def tokens(number: float) -> str:
    """A number of tokens in three digits: `6.15 M`, `1.20 B`."""
    for size, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {name}"
    return f"{number:,.0f}"


def hours(number: float) -> str:
    """Hours in three digits, none below the second decimal."""
    if 0 < number < 0.005:
        return "< 0.01"
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}" if number >= 1 else f"{number:.2f}"


def _savings(cost: Cost) -> Figure:
    data = [
        {"what": "this campaign", "tokens": cost.tokens, "text": tokens(cost.tokens), "ink": colour("better")},
        {
            "what": "separate full runs",
            "tokens": cost.separate_tokens,
            "text": tokens(cost.separate_tokens),
            "ink": colour("trunk"),
        },
    ]
    base = of("bars").encode(
        y=alt.Y("what:N", title=None, sort=None).axis(labelColor=colour("ink")),
        x=alt.X("tokens:Q", title=None, axis=None),
    )
    layers = (
        base.mark_bar(height=20, cornerRadiusEnd=2).encode(
            color=alt.Color("ink:N", scale=None),
            tooltip=[alt.Tooltip("what:N", title="trained as"), alt.Tooltip("tokens:Q", format=",d")],
        ),
        base.mark_text(align="left", dx=6).encode(text=alt.Text("text:N")),
    )
    made = finished(alt.layer(*layers), {"bars": data}, "Tokens to train", "", 64)
    made["padding"] = {"left": 2, "top": 2, "bottom": 2, "right": 60}
    said = f"Tokens: this campaign {tokens(cost.tokens)}, separate full runs {tokens(cost.separate_tokens)}."
    caption = "The same arms, each trained from scratch instead of branched from a shared base run."
    return Figure("savings", (Chart("savings", made, said),), caption)
