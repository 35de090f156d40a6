"""`joyctl data build`: whole or not at all, the same bytes everywhere, readable by everyone who reads it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from recipes_for_tests import recipe

from joyctl.cli.main import main
from joyctl.data import build as building
from joyctl.data import heldouttasks
from joyctl.data.build import build, data_folder_for
from joyctl.data.folder import DataFolder, open_folder, tokens
from joyctl.data.heldouttasks import refresh_heldout
from joyctl.data.world import corpus
from joyctl.data.world.tasks import refresh_tasks
from joyctl.errors import Missing, RecipeError, Refused

GOLDEN_SHA256 = "24f618852d1a10c6064a973d2189538acfcc7fa0f9e9f47e7b6ce973581bda5c"
"""The folder of world seed 1, as every machine must build it. When a change of the generators, or of the
tokenizers library, moves it on purpose, raise `corpus.VERSION` and set it anew."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataFolder]:
    """One build for all tests, made without network and leaving the environment as it was."""

    def forbidden(*_: object) -> None:
        raise AssertionError("the build opened a connection")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", forbidden)
        patch.delenv("TOKENIZERS_PARALLELISM", raising=False)
        folder = build(recipe(), tmp_path_factory.mktemp("data"))
        assert "TOKENIZERS_PARALLELISM" not in os.environ
    yield folder


@pytest.fixture
def copy(built: DataFolder, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built.path, tmp_path / "moved"))


def test_the_world_is_the_same_on_every_machine(built: DataFolder) -> None:
    assert built.sha256 == GOLDEN_SHA256


def test_the_folder_is_named_by_what_determines_it(tmp_path: Path) -> None:
    path = data_folder_for(recipe(), tmp_path)
    assert path.parent == tmp_path and re.fullmatch("micro-world-[0-9a-f]{8}", path.name)
    assert data_folder_for(recipe(optimizer={"lr": 0.1}), tmp_path) == path
    assert data_folder_for(recipe(data={"world": {"seed": 2}}), tmp_path) != path
    assert data_folder_for(recipe(data={"folder": "/some/data"}), tmp_path) == Path("/some/data")


def test_tokens_are_documents_between_bos_and_eos(built: DataFolder) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(built.path / "tokenizer" / "tokenizer.json"))
    bos, eos = tokenizer.token_to_id("<|begin_of_text|>"), tokenizer.token_to_id("<|end_of_text|>")
    world = corpus.generate(1)
    for name, facts in built.sources.items():
        ids = tokens(built.path, name)
        assert ids.dtype == np.uint16 and len(ids) == facts.tokens and type(ids) is np.ndarray
        starts, ends = np.flatnonzero(ids == bos), np.flatnonzero(ids == eos)
        assert len(starts) == facts.documents and starts[0] == 0 and (starts[1:] == ends[:-1] + 1).all()
        for i in range(0, facts.documents, 500):
            assert tokenizer.decode(ids[starts[i] + 1 : ends[i]].tolist()) == world.train[name][i]


def test_a_source_says_what_it_holds(built: DataFolder) -> None:
    for name, facts in built.sources.items():
        about = json.loads((built.path / "sources" / name / "source.json").read_text())
        texts = (built.path / "sources" / name / "heldout.jsonl").read_text().splitlines()
        assert (about["tokens"], about["documents"], about["sha256"]) == (facts.tokens, facts.documents, facts.sha256)
        assert about["name"] == name and about["dtype"] == "uint16"
        assert about["tokenizer_sha256"] == built.tokenizer_sha256
        assert about["heldout"]["documents"] == len(texts) >= 200
        assert about["heldout"]["bytes"] == sum(len(json.loads(t)["text"].encode()) for t in texts)


def test_no_test_item_and_no_held_out_text_is_in_the_training_tokens(built: DataFolder) -> None:
    """Found again from the files alone, by decoding what is trained on."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(built.path / "tokenizer" / "tokenizer.json"))
    texts: list[str] = []
    for name in built.sources:
        text = tokenizer.decode(tokens(built.path, name).tolist(), skip_special_tokens=False)
        documents = [d.removeprefix("<|begin_of_text|>") for d in text.split("<|end_of_text|>")]
        held = {json.loads(t)["text"] for t in (built.path / "sources" / name / "heldout.jsonl").open()}
        assert not held & set(documents)
        texts += documents
    everything = "\n".join(texts)
    items = [json.loads(line) for file in built.path.glob("tasks/*.jsonl") for line in file.open()]
    asked = [item.get("question") or item.get("prompt") or _answered(item) for item in items]
    assert len(asked) == 964 + 540 and "Question: " in everything
    assert not [text for text in asked if text in everything]


def _answered(item: dict[str, Any]) -> str:
    """The text of an item of the general benchmarks with its right choice: a beginning alone may well be common."""
    return f"{item['text']}{item['choices'][item['answer']]}"


def test_building_again_builds_nothing(built: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "_build_world", None)
    assert build(recipe(), built.path.parent) == built


def test_digests_are_checked_on_demand(copy: Path) -> None:
    open_folder(copy, verify=True)
    for damaged in (
        "sources/math/train.bin",
        "tokenizer/tokenizer.json",
        "tasks/code.jsonl",
        "sources/web/heldout.jsonl",
    ):
        before = (copy / damaged).read_bytes()
        (copy / damaged).write_bytes(before[:-1] + b"!")
        with pytest.raises(Missing, match="not as it was built") as caught:
            open_folder(copy, verify=True)
        assert caught.value.hint
        (copy / damaged).write_bytes(before)
    open_folder(copy, verify=True)


def test_a_moved_folder_names_its_own_items(copy: Path, built: DataFolder) -> None:
    assert str(built.path) in (copy / "tasks" / "micro_math.yaml").read_text()
    moved = open_folder(copy)
    assert moved.sha256 == built.sha256 and moved.path == copy
    assert all(str(built.path) not in file.read_text() for file in (copy / "tasks").glob("*.yaml"))
    assert str(copy) in (copy / "tasks" / "heldout_web.yaml").read_text()


def test_a_task_file_names_its_items_in_any_letters(tmp_path: Path) -> None:
    import datasets

    folder = tmp_path / 'a "Größe" 🙂 [1]'
    (folder / "sources" / "web").mkdir(parents=True)
    (folder / "sources" / "web" / "heldout.jsonl").touch()
    refresh_heldout(folder)
    refresh_tasks(folder)
    for name, items in (("heldout_web", "sources/web/heldout.jsonl"), ("micro_math", "tasks/math.jsonl")):
        (folder / items).write_text(json.dumps({"text": name}))
        task = yaml.safe_load((folder / "tasks" / f"{name}.yaml").read_text(encoding="utf-8"))
        rows = datasets.load_dataset("json", **task["dataset_kwargs"], split="test", streaming=True)
        assert [row["text"] for row in rows] == [name]


def test_a_moved_folder_that_may_not_be_written_to_is_one_message(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, _: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(heldouttasks, "write_text", denied)
    with pytest.raises(Missing, match=r"moved/tasks/\w+\.yaml names another place .* Permission denied"):
        open_folder(copy)


def test_what_is_missing_is_said_with_a_remedy(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(Missing, match="does not exist") as caught:
        open_folder(tmp_path / "nothing")
    assert "joyctl data build" in str(caught.value)
    (copy / "DATA.json").write_text("{}")
    with pytest.raises(Missing, match="damaged"):
        open_folder(copy)
    (copy / "DATA.json").unlink()
    with pytest.raises(Missing, match="not complete"):
        open_folder(copy)


def test_a_recipe_with_a_source_that_a_folder_lacks_is_refused(built: DataFolder, tmp_path: Path) -> None:
    mix = {"web": 0.9, "books": 0.1}
    sources = {"web": {"category": "large_cc"}, "books": {"category": "domain"}}
    values = recipe(sources=sources, mixes={"base": mix, "upsampled": mix}, data={"folder": str(built.path)})
    with pytest.raises(RecipeError, match=r"sources\.books") as caught:
        build(values, tmp_path)
    assert "code, facts, math, web" in str(caught.value)


def test_data_of_ones_own_is_opened_where_it_lies(built: DataFolder, tmp_path: Path) -> None:
    assert build(recipe(data={"folder": str(built.path)}), tmp_path) == built
    with pytest.raises(Missing):
        build(recipe(data={"folder": str(tmp_path / "nothing")}), tmp_path)


def test_the_status_of_a_world_is_whether_it_is_there(
    built: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["joyctl", "data", "status", "tiny", "--data", str(built.path.parent)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().out) == (0, f"{built.path.name}-build: finished\n")
    sys.argv[-1] = str(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 6 and "Begin it: joyctl data build RECIPE" in capsys.readouterr().err


def test_a_folder_that_is_taken_as_it_is_is_not_told_to_be_built(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"data\.folder alone is taken as it is") as caught:
        build(recipe(data={"folder": str(tmp_path / "nothing")}), tmp_path)
    assert "Make it: joyctl data build" not in str(caught.value)


def test_something_else_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = data_folder_for(recipe(), tmp_path)
    path.mkdir(parents=True)
    (path / "thesis.txt").write_text("mine")
    with pytest.raises(Refused, match="in the way"):
        build(recipe(), tmp_path)
    assert (path / "thesis.txt").read_text() == "mine"


BUILD = (
    "import sys; from pathlib import Path; from recipes_for_tests import recipe; from joyctl.data.build import build;"
    "build(recipe(), Path(sys.argv[1]), lambda text: print(text, flush=True))"
)


def start(root: Path) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, str(root)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def assert_equal_bytes(one: DataFolder, other: DataFolder) -> None:
    names = sorted(p.relative_to(one.path) for p in one.path.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(other.path) for p in other.path.rglob("*") if p.is_file())
    differ = [n.name for n in names if (one.path / n).read_bytes() != (other.path / n).read_bytes()]
    assert all(name.endswith(".yaml") for name in differ)  # these name the items by absolute path
    assert one.sha256 == other.sha256


def test_a_killed_build_leaves_nothing_that_looks_complete(built: DataFolder, tmp_path: Path) -> None:
    process = start(tmp_path)
    assert process.stdout
    for line in process.stdout:
        if "tokenising code" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    final = data_folder_for(recipe(), tmp_path)
    assert not final.exists() and list(tmp_path.glob(".*.partial"))
    with pytest.raises(Missing):
        open_folder(final)
    again = build(recipe(), tmp_path)
    assert not list(tmp_path.glob(".*.partial"))
    assert_equal_bytes(again, built)


def test_of_two_builds_at_once_one_builds(built: DataFolder, tmp_path: Path) -> None:
    """In other processes, with other hash seeds: what they build is equal byte by byte."""
    first, second = start(tmp_path), start(tmp_path)
    said = [process.communicate(timeout=300)[0] for process in (first, second)]
    assert first.returncode == second.returncode == 0
    assert sum("training the tokenizer" in text for text in said) == 1
    assert_equal_bytes(open_folder(data_folder_for(recipe(), tmp_path)), built)
