"""Dataset probes and drops by category: which runs they are, what they train on, what they are compared with."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipes_for_tests import facts, point, recipe

from joyctl.campaign.grid import Grid, Probe
from joyctl.campaign.plan import Plan, plan
from joyctl.campaign.probes import name_of
from joyctl.campaign.spec import RunSpec
from joyctl.campaign.variants import each_source
from joyctl.errors import RecipeError
from joyctl.recipe.types import Recipe

BOOKS: dict[str, Any] = {
    "web": {"category": "large_cc"},
    "math": {"category": "domain"},
    "code": {"category": "code"},
    "facts": {"category": "domain"},
    "books": {"category": "domain"},
}


def parse(name: str) -> tuple[Probe, float] | None:
    """The probe and duration that a variant's name (without swept keys) stands for; None for another variant's."""
    number = r"([0-9.]+(?:e-[0-9]+)?)"
    found = re.fullmatch(rf"add-([a-z][a-z0-9_]*)-{number}-{number}(?:-([a-z][a-z0-9_]*))?", name)
    if found is None:
        return None
    source, share, duration, beside = found.groups()
    return Probe(source, round(float(share) / 100, 9), beside), round(float(duration) / 100, 9)


def planned(grid: Grid, of: Recipe | None = None) -> Plan:
    of = of or recipe(data={"folder": "/data"}, sources=BOOKS)
    data = facts(tokens=dict.fromkeys(of.sources, 1_000_000), sha256={name: f"digest of {name}" for name in of.sources})
    return plan(of, [point(of)], grid, data)


def probed(*probes: Probe, at: tuple[float, ...] = (0.2,), of: Recipe | None = None) -> dict[str, RunSpec]:
    return {run.variant: run for run in planned(Grid(probes=probes, probe_at=at), of).runs}


def test_a_new_dataset_beside_the_base_mix_is_compared_with_the_trunks_end() -> None:
    runs = probed(Probe("books", 0.3))
    assert list(runs) == ["control", "add-books-30-20"]
    run = runs["add-books-30-20"]
    assert (run.added, run.share, run.beside, run.control) == ("books", 0.3, None, "control/s0")
    assert run.mix == pytest.approx({"web": 0.63, "math": 0.0315, "code": 0.0105, "facts": 0.028, "books": 0.3})
    assert (run.branch_step, run.end_step, run.dropped, run.policy) == (800, 1_000, (), None)


def test_a_new_dataset_beside_a_source_is_compared_with_that_source_alone() -> None:
    runs = probed(Probe("books", 0.5, "web"), Probe("math", 0.5, "web"), at=(0.1, 0.2))
    assert list(runs) == [
        *("control", "only-web-10", "only-web-20"),
        *("add-books-50-10-web", "add-books-50-20-web", "add-math-50-10-web", "add-math-50-20-web"),
    ]
    assert runs["add-books-50-20-web"].control == "only-web-20/s0"
    assert runs["add-books-50-20-web"].mix == {"web": 0.5, "books": 0.5}
    only = runs["only-web-20"]
    assert (only.mix, only.control, only.added, only.beside) == ({"web": 1}, "control/s0", None, "web")


def test_the_share_of_a_source_of_the_base_mix_adds_up() -> None:
    run = probed(Probe("math", 0.3))["add-math-30-20"]
    assert run.share == 0.3 and run.mix["math"] == pytest.approx(0.3 + 0.7 * 0.045)


def test_probes_share_the_trunk_and_get_the_seeds() -> None:
    p = planned(Grid(probes=(Probe("books", 0.3),), probe_at=(0.2,), phase_seeds=2, trunk_seeds=2))
    assert [(run.id, run.control) for run in p.runs if run.added] == [
        (f"add-books-30-20/{seeds}", f"control/{seeds}") for seeds in ("s0", "s1", "t1s0", "t1s1")
    ]
    assert p.segment("runs/add-books-30-20/s0").parent == "trunk/s0/700-800"
    assert "books" not in p.segment("trunk/s0/0-700").source_sha256  # what is probed is no part of the trunk


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (Probe("boks", 0.3), r"--add boks unknown source 'boks'; did you mean 'books'\?"),
        (Probe("zzz", 0.3), r"--add zzz unknown source 'zzz'; the recipe has .* as in sources\.zzz\.category=domain"),
        (Probe("books", 0.5, "wbe"), r"--beside wbe unknown source 'wbe'; did you mean 'web'\?"),
        (Probe("web", 0.5, "web"), r"--add web the rest of the phase would be web as well, so nothing is changed"),
    ],
)
def test_a_probe_that_cannot_be(probe: Probe, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        probed(probe)
    assert caught.value.exit_code == 3


names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
shares = st.integers(1, 9_999).map(lambda n: n / 10_000)


@given(names, shares, shares, st.none() | names)
def test_a_name_tells_the_probe_and_no_other_variant(
    source: str, share: float, duration: float, beside: str | None
) -> None:
    probe = Probe(source, share, beside)
    assert parse(name_of(probe, duration)) == (probe, duration)


@pytest.mark.parametrize("name", ["control", "upsample-20", "drop-add-20", "only-web-20", "ref-add-30-20", "add-30-20"])
def test_names_of_other_variants_are_no_probes(name: str) -> None:
    assert parse(name) is None


def test_a_drop_within_its_category_leaves_the_other_categories_alone() -> None:
    p = planned(Grid(drops=(("math",),), drop_at=(0.2,), policy="renormalise-category"))
    run = p.runs[-1]
    assert (run.variant, run.policy) == ("drop-math-20-renormalise-category", "renormalise-category")
    assert run.mix == pytest.approx({"web": 0.1, "code": 0.15, "facts": 0.75}) and run.end_step == 1_000


def test_a_drop_of_a_whole_category_has_no_heir_in_it() -> None:
    grid = Grid(drops=(("facts", "math"),), drop_at=(0.2,), policy="renormalise-category")
    with pytest.raises(RecipeError, match=r"--drop facts\+math nothing else of category domain has weight"):
        planned(grid)


def test_each_source_of_the_upsampled_mix_or_of_some_categories() -> None:
    of = recipe(data={"folder": "/data"}, sources=BOOKS)
    assert each_source(of, []) == ["web", "math", "code", "facts"]
    assert each_source(of, ["domain", "code"]) == ["math", "code", "facts"]
    mixes = {"by": "category", "base": {"large_cc": 1}, "upsampled": {"domain": 3, "code": 1}}
    assert each_source(recipe(data={"folder": "/data"}, sources=BOOKS, mixes=mixes), ["domain"]) == [
        *("math", "facts", "books")
    ]


@pytest.mark.parametrize(
    ("category", "message"),
    [
        ("domian", r"--category domian unknown category; did you mean 'domain'\?"),
        ("small_cc", r"--category small_cc none of its sources has weight in mixes\.upsampled"),
    ],
)
def test_a_category_without_anything_to_drop(category: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        each_source(recipe(), [category])
