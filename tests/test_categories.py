"""Two-level mixes and caps on epochs: every category keeps its share, no source is shown more often than it may be."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from recipes_for_tests import facts, point, recipe

from joyctl.campaign.categories import Shares, fill, outline, resolve
from joyctl.campaign.grid import Grid, Probe
from joyctl.campaign.mixture import normalise
from joyctl.campaign.plan import Plan, plan
from joyctl.campaign.spec import BaseSpec
from joyctl.campaign.wanted import wanted_variants
from joyctl.data.ledger import source_use
from joyctl.errors import RecipeError
from joyctl.recipe.types import Recipe

CATEGORY = {"web": "large_cc", "math": "domain", "facts": "domain", "books": "domain", "code": "code"}
SIZES = {"web": 1_000_001, "math": 30_001, "facts": 10_001, "books": 5_001, "code": 20_001}
DURATIONS = (0.1, 0.2, 0.3)
MIXES: dict[str, Any] = {
    "by": "category",
    "base": {"large_cc": 0.9, "domain": 0.08, "code": 0.02},
    "upsampled": {"large_cc": 0.1, "domain": 0.75, "code": 0.15},
}


def two_level(
    within: Any = None, caps: dict[str, float] | None = None, order: tuple[str, ...] = tuple(CATEGORY), **changes: Any
) -> Recipe:
    """A recipe of 1,000 steps of 8 rows of 16 tokens with mixes by category; `caps` by source, `order` of sources."""
    sources: dict[str, Any] = {name: {"category": CATEGORY[name]} for name in order}
    for name, cap in (caps or {}).items():
        sources[name]["max_epochs"] = cap
    mixes = {**MIXES, "within": {"domain": within} if within else {}}
    # (sizes are drawn that the recipe's own limit would refuse)
    data = {"folder": "/data", "max_epochs": 1000}
    return recipe(**{"data": data, "sources": sources, "mixes": mixes, **changes})


def planned(of: Recipe, grid: Grid, sizes: dict[str, int] | None = None) -> Plan:
    sizes = sizes or SIZES
    return plan(of, [point(of)], grid, facts(tokens=sizes, sha256={name: f"digest of {name}" for name in sizes}))


def seen(p: Plan, source: str) -> dict[str, float]:
    """Epochs of a source in every run, as the ledger counts what is dealt."""
    return {run.variant: source_use(p.segment(run.segment or ""), run.branch_step)[source].epochs for run in p.runs}


def domain(shares: dict[str, Fraction]) -> dict[str, Fraction]:
    return {name: share for name, share in shares.items() if CATEGORY[name] == "domain"}


def test_a_mix_by_source_is_its_weights() -> None:
    of = recipe()
    assert resolve(of, {}) == Shares(normalise(of.mixes.base), normalise(of.mixes.upsampled)) == outline(of)


@pytest.mark.parametrize(
    ("within", "parts"),
    [
        (None, {"math": 30_001, "facts": 10_001, "books": 5_001}),
        ("tokens", {"math": 30_001, "facts": 10_001, "books": 5_001}),
        ("temperature:1", {"math": 30_001, "facts": 10_001, "books": 5_001}),
        ("uniform", {"math": 1, "facts": 1, "books": 1}),
        ({"math": 3, "books": 1}, {"math": 3, "books": 1}),
    ],
)
def test_a_category_hands_its_share_on(within: Any, parts: dict[str, int]) -> None:
    found = domain(resolve(two_level(within), SIZES).upsampled)
    assert found == {name: Fraction(3, 4) * Fraction(part, sum(parts.values())) for name, part in parts.items()}


def test_a_temperature_takes_the_root_of_sizes() -> None:
    sizes = {**SIZES, "math": 90_000, "facts": 40_000, "books": 10_000}
    found = domain(resolve(two_level("temperature:2"), sizes).upsampled)
    assert found == {"math": Fraction(3, 8), "facts": Fraction(2, 8), "books": Fraction(1, 8)}
    cube = domain(resolve(two_level("temperature:3"), {**sizes, "math": 80_000, "facts": 10_000}).upsampled)
    assert float(cube["math"] / cube["facts"]) == pytest.approx(2, rel=1e-15)


def test_a_source_outside_the_mixes_gets_nothing() -> None:
    of = two_level("uniform")
    books = of.sources["books"].model_copy(update={"in_mixes": False})
    of = of.model_copy(update={"sources": {**of.sources, "books": books}})
    assert domain(resolve(of, SIZES).upsampled) == {"math": Fraction(3, 8), "facts": Fraction(3, 8)}


def test_a_size_that_nobody_knows_is_asked_for() -> None:
    with pytest.raises(RecipeError, match=r"sources\.math: how large is it\? .* give sources\.math\.tokens"):
        resolve(two_level(), {name: size for name, size in SIZES.items() if name != "math"})


def test_the_recipes_own_word_does_for_a_size() -> None:
    of = two_level()
    stated = {name: source.model_copy(update={"tokens": SIZES[name]}) for name, source in of.sources.items()}
    assert resolve(of.model_copy(update={"sources": stated}), {}) == resolve(of, SIZES)


@given(
    st.fractions(0, 1, max_denominator=1000),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 10**12), min_size=1),
    st.dictionaries(st.sampled_from("abcdef"), st.fractions(0, 1, max_denominator=1000)),
)
def test_what_is_poured_stays_in_proportion_below_every_limit(
    share: Fraction, parts: dict[str, int], limits: dict[str, Fraction]
) -> None:
    assume(share and (set(parts) - set(limits) or sum(limits[name] for name in parts) >= share))
    found = fill(share, {name: Fraction(part) for name, part in parts.items()}, limits)
    assert sum(found.values()) == share and set(found) == set(parts)
    assert all(found[name] <= limit for name, limit in limits.items() if name in found)
    free = [found[name] / parts[name] for name in parts if found[name] != limits.get(name)]
    assert len(set(free)) <= 1  # in proportion; the full ones would have had more
    full = (found[name] / parts[name] for name in parts if found[name] == limits.get(name))
    assert not free or all(level <= free[0] for level in full)


def test_what_is_more_than_all_limits_is_not_poured() -> None:
    with pytest.raises(ValueError, match=r"all are full and 0\.25 is left over"):
        fill(Fraction(1, 2), {"a": Fraction(1)}, {"a": Fraction(1, 4)})


ways = st.sampled_from(["tokens", "uniform", "temperature:2", "temperature:3.3"])
caps = st.dictionaries(st.sampled_from(["math", "facts"]), st.floats(0.02, 4), max_size=2)
sizes = st.fixed_dictionaries({name: st.integers(20_000, 300_000) for name in CATEGORY})
durations = st.lists(st.sampled_from([0.05, 0.1, 0.25, 0.4]), min_size=1, max_size=3, unique=True)


@settings(deadline=None, max_examples=25)
@given(ways, caps, sizes, durations, st.permutations(tuple(CATEGORY)))
def test_no_run_exceeds_a_cap_and_no_category_loses(
    way: str, caps: dict[str, float], sizes: dict[str, int], durations: list[float], order: list[str]
) -> None:
    phase = {"durations": durations, "drop_at": durations[:1]}
    shares = resolve(two_level(way, caps, phase=phase), sizes)
    for mix, weights in ((shares.base, MIXES["base"]), (shares.upsampled, MIXES["upsampled"])):
        assert sum(mix.values()) == 1
        for category, weight in weights.items():
            members = [share for name, share in mix.items() if CATEGORY[name] == category]
            assert sum(members) == Fraction(str(weight)) and all(share > 0 for share in members)
    of = two_level(way, caps, tuple(order), phase=phase)
    assert resolve(of, sizes) == shares  # the order of sources says nothing
    p = planned(of, Grid(durations=tuple(durations)), sizes)
    assert len({tuple(sorted(run.mix.items())) for run in p.runs if run.duration}) == 1  # a duration changes no mix
    for name, cap in caps.items():
        assert max(seen(p, name).values()) <= cap


def test_a_cap_that_binds_is_reached_at_the_longest_duration() -> None:
    p = planned(two_level(caps={"math": 0.4}), Grid(durations=DURATIONS))
    found = seen(p, "math")
    assert found["control"] < found["upsample-10"] < found["upsample-20"] < found["upsample-30"] <= 0.4
    assert found["upsample-30"] > 0.398


def test_a_category_that_is_full_is_an_error() -> None:
    with pytest.raises(RecipeError) as caught:
        resolve(two_level(caps={"code": 0.2}), SIZES)
    assert str(caught.value) == (
        "recipe small mixes.upsampled.code: 15.0 % are more than its sources may be shown: "
        "max_epochs leaves room for 5.7 %\n1 error, nothing was changed.\n"
        "Lower its weight, raise max_epochs, or ask for shorter durations."
    )


def test_a_recipe_of_one_duration_and_no_drops_has_caps_too() -> None:
    shares = resolve(two_level(caps={"books": 2}, phase={"durations": [0.3], "drop_at": []}), SIZES)
    assert shares == resolve(two_level(caps={"books": 2}), SIZES)


def test_before_sizes_are_known_nothing_is_said_of_how_far_a_phase_shrinks() -> None:
    average = {"last": 2, "every": 80}
    of = two_level(phase={"durations": [0.1], "drop_at": [0.1], "average": average})
    grid = Grid(drops=(("books",),), drop_at=(0.1,), policy="shrink")  # books are 1/9 of the domain's tokens, not 1/3
    (last,) = wanted_variants(point(of), grid, outline(of), outlined=True)[-1:]
    assert last.name == "drop-books-10-shrink" and planned(of, grid).runs[-1].end_step == 900 + 92


def test_a_cap_that_leaves_a_source_nothing_is_an_error() -> None:
    with pytest.raises(RecipeError, match=r"sources\.books\.max_epochs: leaves it less than 1/65,536 of mixes\.base"):
        resolve(two_level(caps={"books": 0.0007}), SIZES)


@pytest.mark.parametrize("within", [{"math": 1}, None])
def test_what_a_command_asks_for_is_held_against_the_caps_too(within: Any) -> None:
    of = two_level(within, caps={"math": 0.4})
    with pytest.raises(RecipeError) as caught:
        planned(of, Grid(durations=(0.1, 0.4)))
    assert str(caught.value).startswith("recipe small sources.math.max_epochs: 0.4, but the source would be seen more")
    assert caught.value.exit_code == 3 and "upsample-40 " in str(caught.value)


def test_explicit_weights_by_source_are_held_against_caps_and_left_alone() -> None:
    of = recipe(sources={name: {"category": CATEGORY[name]} for name in ("web", "math", "code", "facts")})
    math = of.sources["math"].model_copy(update={"max_epochs": 0.4})
    of = of.model_copy(update={"sources": {**of.sources, "math": math}})
    small = {"web": 1_000_001, "math": 40_001, "code": 40_001, "facts": 40_001}
    assert planned(of, Grid(durations=(0.1,), drop_at=(0.1,)), small).runs[-1].mix["math"] == 0.37
    with pytest.raises(RecipeError, match=r"in upsample-30 0\.\d\d times"):
        planned(of, Grid(durations=(0.1, 0.3)), small)


def test_a_drop_that_pushes_another_source_over_its_cap_is_an_error_and_its_policies_are_not() -> None:
    of = two_level(caps={"math": 0.4})
    drop = Grid(drops=(("facts",),), drop_at=(0.3,))
    with pytest.raises(RecipeError, match=r"seen more often, in drop-facts-30 0\.\d+ times"):
        planned(of, drop)
    assert len(planned(of, replace(drop, policy="shrink")).runs) == 3
    assert len(planned(of, replace(drop, policy="replace:web")).runs) == 3


def test_a_probe_is_held_against_caps() -> None:
    with pytest.raises(RecipeError, match=r"sources\.books\.max_epochs: 0\.5, .* in add-books-90-30 "):
        planned(two_level({"math": 1}, {"books": 0.5}), Grid(probes=(Probe("books", 0.9),), probe_at=(0.3,)))


def test_what_a_base_has_seen_counts() -> None:
    of = two_level(caps={"math": 0.4})
    base = {"hf": "/model", "step": 500, "seen": {"math": 6_000}}
    later = two_level(caps={"math": 0.4}, base=base)
    fresh, after = resolve(of, SIZES), resolve(later, SIZES, first=500)
    assert domain(after.upsampled)["math"] < domain(fresh.upsampled)["math"]


def test_the_recipes_own_limit_refuses_and_bends_no_share() -> None:
    math_sees = 0.08 / 3 * 0.7 + 0.75 / 3 * 0.3  # in trunk and phase of upsample-30
    sizes = {**dict.fromkeys(SIZES, 1_000_000), "math": round(math_sees * 128_000 / 2)}  # two epochs of it
    free = two_level("uniform", data={"folder": "/data"})
    of = two_level("uniform", data={"folder": "/data", "max_epochs": 1.5})
    assert resolve(of, sizes) == resolve(free, sizes), "a source's own limit would take share from it"
    assert len(planned(free, Grid(durations=(0.3,)), sizes).runs) == 2
    with pytest.raises(RecipeError) as caught:
        planned(of, Grid(durations=(0.3,)), sizes)
    found = seen(planned(free, Grid(durations=(0.3,)), sizes), "math")["upsample-30"]
    assert found == pytest.approx(2, abs=0.02)
    assert str(caught.value) == (
        f"recipe small data.max_epochs: 1.5, but math would be seen more often, in upsample-30 {found:.2f} times\n"
        "1 error, nothing was changed.\n"
        "Lower its weight, raise max_epochs, or ask for shorter durations."
    )


@pytest.mark.parametrize(("own", "fits"), [(None, False), (9.0, True), (2.0, False)])
def test_without_a_word_no_source_is_seen_more_than_four_times_and_its_own_limit_wins(
    own: float | None, fits: bool
) -> None:
    plain = recipe()
    math = plain.sources["math"].model_copy(update={"max_epochs": own})
    of = plain.model_copy(update={"sources": {**plain.sources, "math": math}})
    sizes = {"web": 1_000_000, "math": 1_601, "code": 1_000_000, "facts": 1_000_000}  # 100 rows, shown 880 times
    grid = Grid(durations=(0.2,))
    if fits:
        assert len(planned(of, grid, sizes).runs) == 2
    else:
        with pytest.raises(RecipeError, match=r"max_epochs: [24], but .* in .*upsample-20 8\.80 times"):
            planned(of, grid, sizes)


def test_epochs_that_a_base_from_elsewhere_has_seen_count_towards_the_limit() -> None:
    sizes = {"web": 1_000_000, "math": 16_001, "code": 1_000_000, "facts": 1_000_000}  # 1,000 rows of math
    base = {"hf": "/model", "step": 500, "seen": {"math": 3 * 16_000 + 8_000}}  # three and a half epochs
    at = BaseSpec(kind="hf", path="/model", step=500, sha256="b" * 64)
    of = recipe(base=base)
    assert len(plan(of, [point(of)], Grid(durations=(0.1,)), facts(tokens=sizes), base=at).runs) == 2  # 3.98
    with pytest.raises(RecipeError, match=r"data\.max_epochs: 4, but math .* in upsample-20 4\.2\d times"):
        plan(of, [point(of)], Grid(durations=(0.2,)), facts(tokens=sizes), base=at)
