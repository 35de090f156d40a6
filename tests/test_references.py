"""References of a recipe: where they lie, which model they are, and what is said when they are not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import huggingface_hub.constants
import pytest

from joyctl.campaign.spec import ReferenceSpec
from joyctl.errors import Missing, RecipeError, Refused
from joyctl.evals.references import fetch, folder_of, identify
from joyctl.recipe.load import dump_recipe, load_recipe, load_recipe_grid
from joyctl.recipe.types import Reference
from joyctl.store.digest import folder_digest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def model(folder: Path, weights: bytes = b"weights") -> Path:
    """What joyctl looks for in a model's folder."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def recipe(folder: Path, references: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "mine.yaml"
    path.write_text(f"defaults: [tiny, _self_]\nreferences:\n  {references}\n")
    return path


def identified(**reference: Any) -> ReferenceSpec:
    return identify({"twice": Reference(**reference)})["twice"]


class TestWhereTheyLie:
    """In the recipe: folders beside it or in the current folder, or names on the hub."""

    @pytest.fixture(autouse=True)
    def _here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")

    def placed(self, tmp_path: Path, given: str) -> str:
        path = recipe(tmp_path / "recipes", f"twice: {{model: {given}}}")
        (one,) = load_recipe_grid(str(path), [])
        assert load_recipe(str(path)) == one.recipe
        return one.recipe.references["twice"].model

    def test_a_folder_beside_the_recipe(self, tmp_path: Path) -> None:
        wanted = model(tmp_path / "recipes" / "models" / "base")
        assert self.placed(tmp_path, "models/base") == str(wanted)
        assert self.placed(tmp_path, "./models/base") == str(wanted)

    def test_a_folder_in_the_current_one_where_the_recipe_has_none(self, tmp_path: Path) -> None:
        wanted = model(tmp_path / "here" / "models" / "base")
        assert self.placed(tmp_path, "models/base") == str(wanted)
        model(tmp_path / "recipes" / "models" / "base")
        assert self.placed(tmp_path, "models/base") != str(wanted)

    def test_an_absolute_one_and_one_that_is_not_there_yet(self, tmp_path: Path) -> None:
        assert self.placed(tmp_path, "/no/such/model") == "/no/such/model"
        assert self.placed(tmp_path, "../later") == str(tmp_path / "later")

    def test_a_name_on_the_hub_stays_as_it_is(self, tmp_path: Path) -> None:
        assert self.placed(tmp_path, "org/name") == "org/name"

    def test_a_shown_recipe_says_where_they_are_and_loads_to_the_same(self, tmp_path: Path) -> None:
        model(tmp_path / "recipes" / "base")
        shown = load_recipe(str(recipe(tmp_path / "recipes", "twice: {model: base, about: twice the tokens}")))
        (tmp_path / "here" / "again.yaml").write_text(dump_recipe(shown))
        assert load_recipe("./again.yaml") == shown

    @pytest.mark.parametrize(
        ("written", "said"),
        [
            ("twice: {model: ./base, revision: main}", "references.twice.revision: only a model on the hub has"),
            ("twice: {about: nothing}", "references.twice.model: missing; give text: a Hugging Face folder"),
            ("twice: {model: a/b, revison: c}", "did you mean 'references.twice.revision'?"),
            ("Twice: {model: a/b}", "'Twice' cannot be a name here; use lower-case letters"),
            ("one: {model: a/b}\n  two: {model: a/b}", "'a/b' is references.one already"),
            ("one: {model: a/b}\n  one: {model: a/c}", "references.one: given twice"),
        ],
    )
    def test_what_is_wrong_is_said_at_its_place(self, tmp_path: Path, written: str, said: str) -> None:
        path = recipe(tmp_path / "recipes", written)
        with pytest.raises(RecipeError) as error:
            load_recipe(str(path))
        assert f"{path}:" in str(error.value) and said in str(error.value)

    def test_two_alike_are_told_beside_other_problems(self, tmp_path: Path) -> None:
        path = recipe(tmp_path / "recipes", "one: {model: a/b}\n  two: {model: a/b}\ntraining: {tokens: -1}")
        with pytest.raises(RecipeError) as error:
            load_recipe(str(path))
        assert "references.one already" in str(error.value) and "training.tokens" in str(error.value)


class TestAFolder:
    """Which model a folder is, and what makes it none."""

    @pytest.mark.parametrize(
        ("gone", "said"),
        [
            ("config.json", "has no config.json"),
            ("tokenizer.json", "has no tokenizer"),
            ("model.safetensors", "has no weights"),
        ],
    )
    def test_what_is_no_whole_model_is_missing(self, tmp_path: Path, gone: str, said: str) -> None:
        folder = model(tmp_path / "base")
        (folder / gone).unlink()
        with pytest.raises(Missing, match=rf"references\.twice: .*base {said}"):
            identified(model=str(folder))
        shutil.rmtree(folder)
        with pytest.raises(Missing, match=r"references\.twice: .*base is no folder"):
            identified(model=str(folder))

    def test_weights_in_several_files_are_whole_when_all_of_them_are_there(self, tmp_path: Path) -> None:
        folder = model(tmp_path / "base")
        (folder / "model.safetensors").rename(folder / "model-1-of-2.safetensors")
        index = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(Missing, match=r"only a part of its weights: model-2-of-2\.safetensors is not there"):
            identified(model=str(folder))
        (folder / "model-2-of-2.safetensors").write_bytes(b"more")
        assert identified(model=str(folder)).sha256

    def test_it_is_the_same_wherever_it_lies_and_whatever_is_said_of_it(self, tmp_path: Path) -> None:
        before = identified(model=str(model(tmp_path / "base")))
        (tmp_path / "base").rename(tmp_path / "moved")
        (tmp_path / "moved" / "README.md").write_text("A model.")
        after = identified(model=str(tmp_path / "moved"), about="twice the training")
        assert before.identity() == after.identity() and before.folder != after.folder

    @pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
    def test_a_file_of_the_same_size_with_other_contents_is_another_model(self, tmp_path: Path, name: str) -> None:
        folder = model(tmp_path / "base")
        before = folder_digest(folder)
        (folder / name).write_bytes((folder / name).read_bytes()[::-1])
        assert folder_digest(folder) != before

    @pytest.mark.parametrize("place", [0, 0.5, 1])
    def test_large_weights_that_were_trained_on_are_another_model(self, tmp_path: Path, place: float) -> None:
        size = 20_000_000  # more than is read whole
        folder = model(tmp_path / "base", b"0" * size)
        before = folder_digest(folder)
        start = int(place * (size - 1_000_000))
        with (folder / "model.safetensors").open("r+b") as file:
            file.seek(start)
            file.write(b"1" * 1_000_000)
        assert folder_digest(folder) != before

    def test_a_job_refuses_a_model_that_is_not_the_planned_one(self, tmp_path: Path) -> None:
        folder = model(tmp_path / "base")
        planned = identified(model=str(folder))
        assert folder_of(planned) == folder
        (folder / "model.safetensors").write_bytes(b"WEIGHTS")
        with pytest.raises(Refused, match="has changed since it was planned"):
            folder_of(planned)
        shutil.rmtree(folder)
        with pytest.raises(Missing, match="no model"):
            folder_of(planned)


class TestTheHub:
    """Names on the hub: from the cache without a look at the network, else from the hub, else one clear error."""

    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        return tmp_path / "hub" / "models--org--name"

    def fill(self, cache: Path, revision: str = "main") -> Path:
        (cache / "refs").mkdir(parents=True)
        (cache / "refs" / revision).write_text(COMMIT)
        return model(cache / "snapshots" / COMMIT)

    def test_a_cached_one_needs_no_network(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def reach_out(*_: object, **__: object) -> None:
            raise AssertionError("the network was asked for")

        monkeypatch.setattr(huggingface_hub, "model_info", reach_out)
        folder = self.fill(cache, "v2")
        found = identified(model="org/name", revision="v2")
        assert (found.folder, found.commit, found.sha256) == (str(folder), COMMIT, None)
        assert fetch(found) == found and folder_of(found) == folder

    def test_one_that_is_neither_cached_nor_reached_is_missing_with_a_remedy(self, cache: Path) -> None:
        with pytest.raises(Missing, match=r"references\.twice: org/name is no folder, it is not whole") as error:
            identified(model="org/name")
        assert error.value.exit_code == 6 and "hf download org/name" in str(error.value)
        with pytest.raises(Missing, match="no name on the hub"):
            identified(model="org/name/more")

    def test_a_network_that_fails_is_told_as_one_that_is_not_there(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unreached(*_: object, **__: object) -> None:
            raise httpx.ConnectError("no network")

        monkeypatch.setattr(huggingface_hub, "model_info", unreached)
        with pytest.raises(Missing, match="the hub did not give it: no network"):
            identified(model="org/name")

    def test_one_that_is_not_cached_is_known_by_its_commit_and_downloaded_when_it_is_to_be_scored(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[tuple[str, str | None]] = []
        real = huggingface_hub.snapshot_download

        def info(name: str, revision: str | None) -> SimpleNamespace:
            asked.append((name, revision))
            return SimpleNamespace(sha=COMMIT)

        def download(name: str, revision: str | None, local_files_only: bool = False, **how: Any) -> str:
            if not local_files_only:
                asked.append((name, revision))
                self.fill(cache)
            return real(name, revision=revision, local_files_only=True, **how)

        monkeypatch.setattr(huggingface_hub, "model_info", info)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        found = identified(model="org/name")
        assert (found.folder, found.identity()) == (None, {"commit": COMMIT}) and asked == [("org/name", None)]
        fetched = fetch(found)
        assert asked[1:] == [("org/name", COMMIT)] and fetched.identity() == found.identity()
        assert fetched.folder == str(cache / "snapshots" / COMMIT)
        assert identified(model="org/name") == fetched

    def test_half_a_download_is_none(self, cache: Path) -> None:
        (self.fill(cache) / "model.safetensors").unlink()
        with pytest.raises(Missing, match="not whole in this machine's cache"):
            identified(model="org/name")


def test_a_run_from_before_references_is_read_as_ever(tmp_path: Path) -> None:
    from report_campaign import ARMS, write_run

    from joyctl.campaign.spec import RunSpec

    write_run(tmp_path, ARMS[0], 0)
    kept = json.loads((tmp_path / "runs/control/s0/run.json").read_text())
    del kept["reference"]
    assert RunSpec.model_validate(kept).stages == ("export", "eval", "score")
