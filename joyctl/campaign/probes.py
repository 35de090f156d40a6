"""Dataset probes: what a phase on some of a new dataset is called, and what its mix is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from joyctl.campaign.grid import Probe, percent
from joyctl.errors import Problem, RecipeError
from joyctl.recipe.rules import did_you_mean


def name_of(probe: Probe, duration: float) -> str:
    """`add-math-30-20`: 30 % math in a phase of 20 %; `add-math-50-20-web`: the other half of it web.

    No other variant begins with `add-`, and names of sources hold no dash, so it can be read back.
    """
    beside = "" if probe.beside is None else f"-{probe.beside}"
    return f"add-{probe.source}-{percent(probe.share)}-{percent(duration)}{beside}"


def mix_of(probe: Probe, base: Mapping[str, Fraction], sources: Sequence[str]) -> dict[str, Fraction]:
    """Shares in the probe's phase: its own share, and the rest on the base mix or on one source.

    30 % of new data beside the base mix is Llama 3's way (arXiv 2407.21783, section 3.1.3), half and half with web
    that of OLMo 2's microanneals (arXiv 2501.00656). A source that the base mix has already gets its share of it as
    well. Raises RecipeError for sources that are not among the recipe's, and where nothing would be changed.
    """
    for option, name in (("--add", probe.source), ("--beside", probe.beside)):
        if name is not None and name not in sources:
            hint = did_you_mean(name, sources) or (
                f"; the recipe has {', '.join(sources)}. List it under sources with its category, as in "
                f"sources.{name}.category=domain (and sources.{name}.in_mixes=false where mixes are by category)"
            )
            raise RecipeError([Problem(f"{option} {name}", "", f"unknown source '{name}'{hint}")])
    rest = base if probe.beside is None else {probe.beside: Fraction(1)}
    if set(rest) == {probe.source}:
        message = f"the rest of the phase would be {probe.source} as well, so nothing is changed"
        raise RecipeError([Problem(f"--add {probe.source}", "", message)])
    share = Fraction(str(probe.share))
    mix = {name: part * (1 - share) for name, part in rest.items()}
    mix[probe.source] = mix.get(probe.source, Fraction(0)) + share
    return mix
