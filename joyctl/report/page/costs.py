"""What the campaign cost, in figures and beside separate full runs."""

from __future__ import annotations

import altair as alt

from joyctl.report.cost import Cost
from joyctl.report.costwords import amount, cost_notes, hours, money
from joyctl.report.page.blocks import Cell, Chart, Fact, Facts, Figure, Head, Notes, Part, Table
from joyctl.report.page.spec import finished, of
from joyctl.report.page.theme import colour


def cost_parts(cost: Cost | None) -> tuple[Part, ...]:
    """Numbers, a drawing of tokens trained, and hours by stage; nothing where no cost is known."""
    if cost is None:
        return ()
    saved = cost.separate_tokens / cost.tokens if cost.tokens else None
    facts = [Fact("tokens trained", amount(cost.tokens), f"{cost.flops:.2g} FLOPs")]
    if saved is not None and cost.separate_tokens:
        full = f"{amount(cost.separate_tokens)} tokens as separate full runs"
        facts.append(Fact("saved by branching", f"{saved:.1f}×", full))
    facts.append(
        Fact(f"{cost.unit}-hours", hours(cost.hours), f"{hours(cost.wasted_hours)} of them lost in failed attempts")
    )
    if cost.separate_hours is not None:
        facts.append(Fact(f"{cost.unit}-hours of full runs", hours(cost.separate_hours), "at the same speed"))
    if cost.money is not None:
        lost = f"{money(cost.wasted_money, cost.currency)} of it lost" if cost.wasted_money else "none of it lost"
        full = f"; full runs {money(cost.separate_money, cost.currency)}" if cost.separate_money is not None else ""
        facts.append(Fact("money", money(cost.money, cost.currency), lost + full))
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
    if lines := cost_notes(cost):
        parts.append(Notes(tuple(f"{line}." for line in lines)))
    return tuple(parts)


def _savings(cost: Cost) -> Figure:
    data = [
        {"what": "this campaign", "tokens": cost.tokens, "text": amount(cost.tokens), "ink": colour("better")},
        {
            "what": "separate full runs",
            "tokens": cost.separate_tokens,
            "text": amount(cost.separate_tokens),
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
    said = f"Tokens: this campaign {amount(cost.tokens)}, separate full runs {amount(cost.separate_tokens)}."
    caption = "The same arms, each trained from scratch instead of branched from a shared base run."
    return Figure("savings", (Chart("savings", made, said),), caption)
