"""A sweep of any key makes a grid: one composition, one validated recipe a point, named by what differs."""

# Messages stand here whole, as a user sees them.
# ruff: noqa: E501

from __future__ import annotations

import time
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joyctl.errors import RecipeError
from joyctl.recipe.compose import Composer
from joyctl.recipe.load import load_recipe, load_recipe_grid, load_swept


@pytest.fixture(autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))


def test_without_a_sweep_there_is_one_point_that_changes_nothing():
    points = load_recipe_grid("tiny", ["model.dim=64"])
    assert [p.changed for p in points] == [{}]
    assert points[0].recipe == load_recipe("tiny", ["model.dim=64"])


def test_a_grid_is_the_product_of_its_sweeps_the_last_fastest():
    points = load_recipe_grid("tiny", ["mixes.upsampled.web=0.1,0.3", "seeds.phase=range(1,4)", "model.dim=64"])
    assert [tuple(p.changed.items()) for p in points] == [
        (("mixes.upsampled.web", web), ("seeds.phase", seeds))
        for web, seeds in product(["0.1", "0.3"], ["1", "2", "3"])
    ]
    assert [(p.recipe.mixes.upsampled["web"], p.recipe.seeds.phase) for p in points] == list(
        product([0.1, 0.3], [1, 2, 3])
    )
    assert {p.recipe.model.dim for p in points} == {64}


@pytest.mark.parametrize(
    ("override", "texts", "values"),
    [
        ("optimizer.lr=1e-3,2e-3", ["0.001", "0.002"], [0.001, 0.002]),
        ("optimizer.lr=choice(0.1,0.2)", ["0.1", "0.2"], [0.1, 0.2]),
        ("+optimizer.lr=0.1,0.2", ["0.1", "0.2"], [0.1, 0.2]),
        ("schedule.kind=linear,cosine", ["linear", "cosine"], ["linear", "cosine"]),
        ("hypothesis='a, b?','c: d'", ["a, b?", "c: d"], ["a, b?", "c: d"]),
        ("phase.durations=[0.1],[0.1,0.2]", ["[0.1]", "[0.1,0.2]"], [(0.1,), (0.1, 0.2)]),
        ("data.world={seed: 1},{seed: 2}", ["{seed:1}", "{seed:2}"], [{"seed": 1}, {"seed": 2}]),
        ("phase.durations.0=0.06,0.07", ["0.06", "0.07"], [0.06, 0.07]),
        ("campaign=a,b", ["a", "b"], ["a", "b"]),  # a key that the file leaves out
    ],
)
def test_sweeps_are_hydras(override: str, texts: list[str], values: list[object]):
    key = override.lstrip("+").partition("=")[0]
    points = load_recipe_grid("tiny", [override])
    assert [p.changed for p in points] == [{key: text} for text in texts]
    found = []
    for point in points:
        value: object = point.recipe
        for part in key.split("."):
            value = value[int(part)] if isinstance(value, tuple) else getattr(value, part)  # type: ignore[index]
        found.append(value.model_dump() if hasattr(value, "model_dump") else value)
    assert found == values


def test_what_depends_on_a_swept_value_follows_it():
    Path("mine.yaml").write_text("defaults: [tiny]\nhypothesis: is ${training.tokens} enough?\n")
    points = load_recipe_grid("mine.yaml", ["training.tokens=1000000,2000000"])
    assert [p.recipe.hypothesis for p in points] == ["is 1000000 enough?", "is 2000000 enough?"]


def test_files_of_a_config_group_can_be_swept():
    Path("model").mkdir()
    Path("model/small.yaml").write_text("dim: 64\n")
    Path("model/wide.yaml").write_text("dim: 256\n")
    Path("mine.yaml").write_text("defaults: [tiny, {model: small}, _self_]\n")
    points = load_recipe_grid("mine.yaml", ["seeds.phase=1,2", "model=small,wide"])
    assert [(p.recipe.model.dim, p.recipe.seeds.phase) for p in points] == [(64, 1), (64, 2), (256, 1), (256, 2)]
    assert points[2].changed == {"seeds.phase": "1", "model": "wide"}


@settings(max_examples=10, deadline=None)
@given(
    rates=st.lists(st.integers(1, 999).map(lambda n: n / 1000), min_size=1, max_size=4, unique=True),
    weights=st.lists(st.integers(0, 9).map(lambda n: n / 10), min_size=1, max_size=4, unique=True),
)
def test_a_point_is_what_its_values_load_to_on_their_own(rates: list[float], weights: list[float]):
    sweeps = {"optimizer.lr": rates, "mixes.base.math": weights}
    points = load_recipe_grid("tiny", [f"{key}={','.join(map(str, values))}" for key, values in sweeps.items()])
    assert len(points) == len(rates) * len(weights)
    last = points[-1]
    wanted = {"optimizer.lr": rates[-1], "mixes.base.math": weights[-1]}
    assert last.recipe == load_recipe("tiny", [f"{key}={value}" for key, value in wanted.items()])
    # A sweep of one value is no sweep to Hydra: the key is fixed, and nothing differs by it.
    assert last.changed == {key: str(wanted[key]) for key, values in sweeps.items() if len(values) > 1}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["optimizer.lr=1,-2,-3"],
            [
                "override 'optimizer.lr=1,-2,-3': -2 is negative; give a number above 0",
                "override 'optimizer.lr=1,-2,-3': -3 is negative; give a number above 0",
            ],
        ),
        (["mixes.base.maht=1,2"], ["override 'mixes.base.maht=1,2': unknown source 'maht'; did you mean 'math'?"]),
        (["optimizer.lr.x=1,2"], ["override 'optimizer.lr.x=1,2': 'optimizer.lr' has no keys"]),
        (["optimizer.lr=1,1"], ["override 'optimizer.lr=1,1': 1 stands twice in the sweep"]),
        (
            ["optimizer.lr=1,2", "optimizer.lr=3"],
            ["override 'optimizer.lr=1,2': 'optimizer.lr' is given by another override too"],
        ),
        (
            ["optimizer.lr=interval(0,1)"],
            [
                "override 'optimizer.lr=interval(0,1)': this kind of sweep has no list of values; give them: key=a,b or key=range(1,4)"
            ],
        ),
        (
            ["training.tokens=range(1,200)", "seeds.phase=range(1,90)"],
            ["overrides: 17,711 points or more; at most 10,000 make a campaign"],
        ),
        (["training.tokens=range(0,1000000000)"], ["overrides: 10,001 points or more; at most 10,000 make a campaign"]),
    ],
)
def test_a_bad_grid_tells_every_problem_once(overrides: list[str], expected: list[str]):
    with pytest.raises(RecipeError) as caught:
        load_recipe_grid("tiny", overrides)
    assert [str(problem) for problem in caught.value.problems] == expected


def test_a_range_of_fractions_gives_the_numbers_that_a_person_means():
    points = load_recipe_grid("tiny", ["mixes.upsampled.web=range(0.01,0.99,0.01)"])
    expected = [str(round(0.01 * i, 2)) for i in range(1, 99)]
    assert [p.changed["mixes.upsampled.web"] for p in points] == expected
    assert [p.recipe.mixes.upsampled["web"] for p in points] == [float(text) for text in expected]


def test_a_swept_campaign_has_its_recipe_without_the_swept_keys():
    swept = ["mixes.upsampled.web=0.3,0.4", "optimizer.lr=1e-3"]
    recipe, points = load_swept("tiny", swept)
    assert recipe == load_recipe("tiny", swept[1:])
    assert points == load_recipe_grid("tiny", swept)
    recipe, points = load_swept("tiny", swept[1:])
    assert [p.recipe for p in points] == [recipe]


def test_a_thousand_points_take_one_composition_and_little_time(monkeypatch: pytest.MonkeyPatch):
    compositions = []
    original = Composer.compose
    monkeypatch.setattr(Composer, "compose", lambda self, o: compositions.append(1) or original(self, o))
    load_recipe()  # Hydra's import is not what is measured
    before = time.process_time()
    points = load_recipe_grid("tiny", ["mixes.upsampled.web=range(0,0.999,0.001)"])
    spent = time.process_time() - before
    assert len(points) == 999
    assert len(compositions) == 2  # load_recipe's and the grid's
    assert spent < 2  # about 0.3 s on an idle core
