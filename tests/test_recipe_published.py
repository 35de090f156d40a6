"""Published numbers in a recipe: files of a group, checked like every other key."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipes_for_tests import facts, point, recipe

from joyctl.campaign.grid import Grid
from joyctl.campaign.plan import plan
from joyctl.errors import RecipeError
from joyctl.recipe.load import dump_recipe, load_recipe

MINE = """\
source: my own report
model: a model of mine
second_hand: false
values:
  control: {Quiz: 40.5}
  upsample-20: {Quiz: 43.0}
"""
RECIPE = """\
defaults:
  - tiny
  - published@published.mine: mine
  - _self_
published:
  mine:
    tasks: {micro_mc: Quiz}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "published").mkdir()
    (tmp_path / "published/mine.yaml").write_text(MINE)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    return tmp_path


def problems(*overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe("./mine.yaml", overrides)
    return [str(problem) for problem in caught.value.problems]


def test_a_recipe_adds_a_file_of_its_own_numbers_to_the_built_in_ones() -> None:
    published = load_recipe("./mine.yaml").published
    assert list(published) == ["paper", "mine"]
    assert published["mine"].values["upsample-20"] == {"Quiz": 43.0}
    assert published["mine"].tasks == {"micro_mc": "Quiz"}


def test_a_dumped_recipe_has_them_and_loads_alike(folder: Path) -> None:
    mine = load_recipe("./mine.yaml")
    (folder / "again.yaml").write_text(dump_recipe(mine))
    assert load_recipe("./again.yaml") == mine


def test_they_can_be_taken_out() -> None:
    assert list(load_recipe("./mine.yaml", ["~published.paper"]).published) == ["mine"]


def test_any_variant_may_have_numbers_run_here_or_not(folder: Path) -> None:
    (folder / "published/mine.yaml").write_text(MINE + "  drop-math+code-40: {Quiz: 1}\n")
    assert load_recipe("./mine.yaml").published["mine"].values["drop-math+code-40"] == {"Quiz": 1}


def test_a_task_beside_a_benchmark_without_numbers_is_told_at_its_line(folder: Path) -> None:
    (folder / "mine.yaml").write_text(RECIPE.replace("micro_mc: Quiz", "micro_mc: quizz"))
    place = "./mine.yaml:7:23 published.mine.tasks.micro_mc"
    assert problems() == [f"{place}: 'quizz' has no published number; did you mean 'Quiz'?"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("40.5", ".inf", "published/mine.yaml:5:19 published.mine.values.control.Quiz: inf is not a finite number"),
        ("40.5", ".nan", "published/mine.yaml:5:19 published.mine.values.control.Quiz: nan is not a finite number"),
        ("40.5", "high", "published/mine.yaml:5:19 published.mine.values.control.Quiz: 'high' is not a number"),
        (
            "second_hand: false\n",
            "",
            "./mine.yaml:6:3 published.mine.second_hand: missing; give true or false: whether they were read in "
            "someone's excerpt and not in the publication itself; every table says so",
        ),
        (
            "model: a model",
            "modle: a model",
            "published/mine.yaml:2:1 published.mine.modle: unknown key; did you mean 'published.mine.model'?",
        ),
    ],
)
def test_what_is_wrong_in_the_file_of_numbers_is_told_there(folder: Path, old: str, new: str, problem: str) -> None:
    (folder / "published/mine.yaml").write_text(MINE.replace(old, new))
    assert problems() == [problem]


def test_they_are_no_part_of_what_was_trained() -> None:
    """Other numbers are another recipe, and the same plan."""
    numbers = {"mine": {"source": "x", "model": "y", "second_hand": True, "values": {"control": {"Quiz": 1.0}}}}
    grid = Grid(durations=(0.1,))
    with_them, without = (recipe(published=given) for given in (numbers, {}))
    plans = [plan(each, [point(each)], grid, facts()) for each in (with_them, without)]
    assert plans[0].runs == plans[1].runs and plans[0].segments == plans[1].segments
