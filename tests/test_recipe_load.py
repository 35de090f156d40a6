"""A recipe is a built-in name or a file, composed by Hydra with its defaults list and overrides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from joyctl.errors import RecipeError
from joyctl.recipe.cluster import LocalCluster
from joyctl.recipe.dump import dump_recipe
from joyctl.recipe.load import load_cluster, load_recipe
from joyctl.recipe.types import MICRO_WORLD_SOURCES, Recipe


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)
    return name


def test_the_built_in_recipe_is_the_micro_world():
    recipe = load_recipe()
    assert (recipe.name, recipe.campaign) == ("tiny", "tiny")
    assert recipe.hypothesis.endswith("?")
    assert tuple(recipe.sources) == MICRO_WORLD_SOURCES
    assert recipe.training.steps == 2929
    assert recipe.phase.durations == (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    assert recipe.phase.drop_at == (0.2,)
    assert sum(recipe.mixes.base.values()) == pytest.approx(1)
    assert sum(recipe.mixes.upsampled.values()) == pytest.approx(1)


def test_the_built_in_cluster_is_this_machine():
    assert load_cluster() == LocalCluster(kind="local", cores=None)
    assert load_cluster("local", ["cores=2"]) == LocalCluster(kind="local", cores=2)


def test_a_file_starts_from_a_built_in_recipe_and_its_own_keys_win():
    write("recipes/mine.yaml", "defaults: [tiny, _self_]\nmodel: {dim: 64}\nmixes: {base: {web: 0.5}}\n")
    mine, tiny = load_recipe("recipes/mine.yaml"), load_recipe("tiny")
    assert (mine.name, mine.campaign, mine.model.dim) == ("mine", "mine", 64)
    assert mine.mixes.base == {**tiny.mixes.base, "web": 0.5}
    assert mine.training == tiny.training


def test_without_self_in_the_defaults_the_own_keys_still_win(recwarn: pytest.WarningsRecorder):
    write("mine.yaml", "defaults: [tiny]\nmodel: {dim: 64}\n")
    assert load_recipe("mine.yaml").model.dim == 64
    assert not recwarn.list


def test_a_file_may_have_groups_and_folders_of_its_own():
    write("shared/house.yaml", "defaults: [tiny]\nhypothesis: from the house?\n")
    write("r/model/wide.yaml", "dim: 256\n")
    write(
        "r/mine.yaml",
        f"hydra: {{searchpath: ['file://{Path.cwd()}/shared']}}\n" + "defaults: [house, model: wide, _self_]\n",
    )
    recipe = load_recipe("r/mine.yaml")
    assert recipe.hypothesis == "from the house?"
    assert (recipe.model.dim, recipe.model.n_layers) == (256, 2)


def test_a_name_in_the_file_names_the_campaign_too():
    write("a file.yaml", "defaults: [tiny]\nname: named\n")
    recipe = load_recipe("a file.yaml")
    assert (recipe.name, recipe.campaign) == ("named", "named")


def test_interpolations_are_resolved():
    write("mine.yaml", "defaults: [tiny]\nhypothesis: is ${name} worth ${training.tokens} tokens?\n")
    assert load_recipe("mine.yaml", ["training.tokens=2000000"]).hypothesis == "is mine worth 2000000 tokens?"


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("campaign=mine-2", "campaign", "mine-2"),  # a key that the file leaves out
        ("+campaign=mine-2", "campaign", "mine-2"),
        ("hypothesis='is it (really) so: yes, or no?'", "hypothesis", "is it (really) so: yes, or no?"),
        ("training.tokens=2e6", "training.tokens", 2_000_000),
        ("phase.durations=[0.1,0.2]", "phase.durations", (0.1, 0.2)),
        ("phase.durations.0=0.07", "phase.durations", (0.07, 0.1, 0.15, 0.2, 0.25, 0.3)),
        ("~schedule", "schedule.kind", "linear"),
        ("phase.policy=replace:web", "phase.policy", "replace:web"),
        ("mixes.upsampled.web=0", "mixes.upsampled", {"web": 0.0, "math": 0.38, "code": 0.15, "facts": 0.37}),
    ],
)
def test_overrides_are_hydras(override: str, key: str, value: object):
    found: object = load_recipe("tiny", [override])
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


def test_the_last_of_two_overrides_wins():
    assert load_recipe("tiny", ["model.dim=64", "model.dim=32"]).model.dim == 32


def test_a_mix_may_leave_a_source_out_and_a_source_may_have_no_weight_at_all():
    recipe = load_recipe("tiny", ["~mixes.base.math", "mixes.upsampled.math=0"])
    assert "math" in recipe.sources
    assert "math" not in recipe.mixes.base


def test_hydra_is_left_as_it_was_found():
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    load_recipe()
    assert not GlobalHydra.instance().is_initialized()
    write("other/config.yaml", "a: 1\n")
    with initialize_config_dir(str(Path("other").absolute()), version_base="1.3"):
        load_recipe()
        assert compose("config") == {"a": 1}


def test_a_failed_load_leaves_nothing_behind():
    with pytest.raises(RecipeError):
        load_recipe("tiny", ["model.dim=-1", "~nothing"])
    assert load_recipe("tiny").model.dim == 128


def test_importing_the_loader_does_not_import_hydra():
    code = (
        "import sys, joyctl.recipe.load, joyctl.recipe.schema, joyctl.recipe.dump;"
        "print([name for name in ('hydra', 'omegaconf', 'torch') if name in sys.modules])"
    )
    checkout = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=checkout)
    assert done.stdout.strip() == "[]"


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1).filter(
    lambda text: text != "???"
)
SHARES = st.lists(st.integers(1, 99).map(lambda n: n / 100), min_size=1, max_size=6, unique=True)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=TEXT,
    durations=SHARES,
    lr=st.floats(1e-9, 1),
    weight=st.floats(0, 1e6),
    name=st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,9}\Z"),
)
def test_a_dumped_recipe_loads_to_itself(text: str, durations: list[float], lr: float, weight: float, name: str):
    values = load_tiny().model_dump()
    values["hypothesis"], values["name"], values["campaign"] = text, name, name
    values["phase"]["durations"], values["optimizer"]["lr"] = durations, lr
    values["mixes"]["base"]["math"] = weight
    recipe = Recipe.model_validate(values)
    write("dumped.yaml", dump_recipe(recipe))
    assert load_recipe("dumped.yaml") == recipe


def load_tiny() -> Recipe:
    global _TINY
    _TINY = _TINY or load_recipe()
    return _TINY


_TINY: Recipe | None = None


@pytest.mark.parametrize(
    "text",
    [
        "costs ${money}",
        r"\${x}",
        r"\\${x}",
        "yes",
        "1e3",
        "null",
        "12:30",
        "a: b",
        "#c",
        "- x",
        "\t",
        "a\nb",
        "..",
        "0x1F",
    ],
)
def test_text_that_looks_like_yaml_or_an_interpolation_survives_a_dump(text: str):
    recipe = load_tiny().model_copy(update={"hypothesis": text})
    write("dumped.yaml", dump_recipe(recipe))
    assert load_recipe("dumped.yaml") == recipe
