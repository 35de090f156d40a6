"""A recipe whose sources are other tools' files, from plan to training; and what an audit says when they change."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import foreign_tokens as foreign
import numpy as np
import pytest
import training as world
from campaigns import Place
from tokenizers import Tokenizer, models

from joyctl.data.folder import open_folder, tokens
from joyctl.data.shardfiles import check_files
from joyctl.data.shards import Boundary, open_source
from joyctl.data.tokenizer_files import require_tokenizer, token_that
from joyctl.errors import Missing, Refused
from joyctl.recipe.sources import Tokenised

RECIPE = """\
hypothesis: do forty steps on other tools' files say anything?
data: {folder: tokenised}
sources:
  megatron: {category: large_cc}
  datatrove: {category: domain}
  npy: {category: code}
  flat: {category: small_cc}
mixes:
  base: {megatron: 0.4, datatrove: 0.2, npy: 0.2, flat: 0.2}
  upsampled: {megatron: 0.1, datatrove: 0.3, npy: 0.3, flat: 0.3}
model: {dim: 32, n_layers: 2, n_heads: 4, n_kv_heads: 2, ffn_hidden: 64, vocab_size: 64}
training: {tokens: 5_120, seq_len: 32, batch_size: 4}
optimizer: {lr: 0.005}
phase: {durations: [0.25]}
eval: {suite: core}
"""
TEXTS, WHOLE = foreign.TEXTS, foreign.WHOLE


@pytest.fixture
def place(tmp_path: Path) -> Place:
    foreign.make_folder(tmp_path / "tokenised", foreign.write_four(tmp_path / "store"), Boundary(26, begins=False))
    return Place(tmp_path, tmp_path, recipe=RECIPE)


def audited(place: Place) -> tuple[int, Mapping[str, Mapping[str, str]]]:
    """The exit code, and what the audit says of data by source."""
    done = place.call("plan", "small.yaml", "--audit", "--json")
    return done.returncode, {f["run"]: f for f in json.loads(done.stdout)["audit"] if f["check"] == "data"}


def test_a_recipe_on_other_tools_files_is_planned_and_read_in_place(place: Place) -> None:
    planned = place.call("plan", "small.yaml", "--json")
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert plan["data"]["stated"] is False and plan["totals"]["tokens"] == 5_120 + 1_280
    listed = json.loads(place.call("data", "list", "small.yaml", "--json").stdout)["sources"]
    for name, ids in WHOLE.items():
        assert listed[name]["tokens"] == len(ids)
        assert (tokens(place.folder / "tokenised", name) == ids).all()
        assert not (place.folder / "tokenised/sources" / name / "train.bin").exists()
    assert listed["megatron"]["documents"] == listed["datatrove"]["documents"] == 150
    code, found = audited(place)
    assert code == 0 and {name: f["said"] for name, f in found.items() if f["level"] != "ok"} == {}


@pytest.mark.parametrize(
    ("file", "name", "spoil", "said"),
    [
        ("f1.bin", "flat", lambda path: path.unlink(), "f1.bin is missing"),
        ("m.idx", "megatron", lambda path: path.unlink(), "m.idx is missing"),
        ("n.npy", "npy", lambda path: path.write_bytes(path.read_bytes()[:-8]), "n.npy has"),
        ("d.ds", "datatrove", lambda path: flip(path), "d.ds or"),
        ("m.idx", "megatron", lambda path: flip(path), "m.idx have changed"),
    ],
)
def test_the_audit_finds_what_changed(place: Place, file: str, name: str, spoil, said: str) -> None:
    path = place.folder / "store" / file
    spoil(path)
    code, found = audited(place)
    assert code == 4 and found[name]["level"] == "failure" and said in found[name]["said"] and found[name]["remedy"]
    assert {f["level"] for other, f in found.items() if other != name} == {"ok"}
    with pytest.raises(Missing, match=f"sources/{name}"):
        open_folder(place.folder / "tokenised", verify=True)


def test_before_anything_is_trained_a_touched_file_is_read_and_an_untouched_one_is_not(place: Place) -> None:
    folder = place.folder / "tokenised"
    path = place.folder / "store" / "n.npy"
    os.utime(path, (1, 1))
    assert check_files(folder, "npy", digests=False) is None and len(list((folder / "checked").glob("*.json"))) == 1
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    swept = place.call("sweep", "small.yaml", "--durations", "25")
    assert swept.returncode == 4 and "n.npy have changed" in swept.stderr
    assert not (place.campaign / "trunk").exists()


def flip(path: Path) -> None:
    """Another byte, at the same size and time."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_data_folder_of_another_tokenizer_than_its_source_is_refused(place: Place) -> None:
    sidecar = place.folder / "tokenised/sources/npy/source.json"
    about = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**about, "tokenizer_sha256": "0" * 64}))
    refused = place.call("plan", "small.yaml")
    assert refused.returncode == 4 and "source 'npy' was made by another tokenizer (000000000000)" in refused.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same documents twice, as joyctl's own files and as other tools', each trained on."""
    place = tmp_path_factory.mktemp("trained")
    own = world.make_data(place / "own")
    ids = {name: np.fromfile(own / "sources" / name / "train.bin", "<u2") for name in world.SIZES}
    store = place / "store"
    starts = {name: open_source(own, name).document_starts(0, len(ids[name])) for name in ("code", "math")}
    foreign.write_megatron(store / "code.bin", np.split(ids["code"], starts["code"][1:]), "int32")
    foreign.write_datatrove(store / "math.ds", np.split(ids["math"], starts["math"][1:]), 4)
    np.save(store / "web-0.npy", ids["web"][:2500])
    ids["web"][2500:].astype("<u4").tofile(store / "web-1.bin")
    sources = {
        "code": Tokenised(files=(str(store / "code.bin"),)),
        "math": Tokenised(files=(str(store / "math.ds"),)),
    }
    other = foreign.make_folder(place / "other", sources, vocabulary=64)
    web = [
        *foreign.shards_of(Tokenised(files=(str(store / "web-0.npy"),)), vocabulary=64),
        *foreign.shards_of(Tokenised(files=(str(store / "web-1.bin"),), dtype="uint32"), vocabulary=64),
    ]
    foreign.one_source(other, web, Boundary(**world.BOUNDARY))
    world.train_in_turn([(world.segment(data, 0, 12), place / data.name / "run", None) for data in (own, other)])
    return place


def test_training_sees_the_same_tokens_whatever_they_lie_in(trained: Path) -> None:
    own, other = world.metrics(trained / "own" / "run"), world.metrics(trained / "other" / "run")
    assert len(own) == 12 and own == other


def test_training_on_a_file_that_changed_is_refused_by_name(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "other", tmp_path / "data", ignore=shutil.ignore_patterns("run"))
    about = json.loads((tmp_path / "data/sources/web/source.json").read_text())
    shutil.copy(about["shards"][0]["path"], tmp_path / "web-0.npy")
    with (tmp_path / "web-0.npy").open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"\x00\x01")
    about["shards"][0]["path"] = str(tmp_path / "web-0.npy")
    (tmp_path / "data/sources/web/source.json").write_text(json.dumps(about))
    assert "web-0.npy changed since the digest was made" in world.train(
        world.segment(tmp_path / "data", 0, 12), tmp_path / "run"
    )


def tokenizer(folder: Path, words: str) -> Path:
    folder.mkdir()
    whole = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(words)}, merges=[]))
    whole.add_special_tokens(["<end>"])
    whole.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<end>"}, "bos_token": None}))
    return folder


def test_tokens_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    mine, same, other = (
        tokenizer(tmp_path / name, words) for name, words in [("a", "xyz"), ("b", "xyz"), ("c", "xzy")]
    )
    foreign.write_datatrove(tmp_path / "x.ds", TEXTS["npy"], tokenizer="openai-community/gpt2")
    files = [str(tmp_path / "x.ds")]

    def check(recipe: str, told: str | None = None) -> None:
        hub = {"my/own": mine, "openai-community/gpt2": mine, "hub/same": same, "hub/other": other}
        spec = Tokenised(files=tuple(files), tokenizer=told)
        require_tokenizer(spec, files, recipe, mine, lambda name: hub.get(name, Path(name)))

    check("openai-community/gpt2")
    check("openai-community/gpt2@main")
    check(str(mine))  # a folder has no name to compare
    check("my/own", told="hub/same")  # what the recipe says counts, and only what the files hold
    check("my/own", told=str(same))
    with pytest.raises(
        Refused, match=r"x\.ds is of tokenizer openai-community/gpt2, as its metadata say; the recipe's"
    ):
        check("my/own")
    with pytest.raises(Refused, match=r"x\.ds is of tokenizer hub/other, the recipe's is my/own") as caught:
        check("my/own", told="hub/other")
    assert caught.value.exit_code == 4 and "tokenise the texts anew" in str(caught.value.hint)


def test_a_folder_of_before_tells_documents_apart_by_its_tokenizer(tmp_path: Path) -> None:
    world.make_data(tmp_path)
    sidecar = tmp_path / "sources/web/source.json"
    about = json.loads(sidecar.read_text())
    del about["boundary"]
    sidecar.write_text(json.dumps(about))
    with pytest.raises(ValueError, match="neither an index nor a token"):
        open_source(tmp_path, "web").document_starts(0, 100)
    (tmp_path / "tokenizer").mkdir()
    world.make_tokenizer(tmp_path / "tokenizer")
    ids = tokens(tmp_path, "web")
    assert token_that(tmp_path / "tokenizer", "bos") == 26 == token_that(tmp_path / "tokenizer", "eos")
    begins = sorted({0, *np.flatnonzero(ids == 26).tolist()})
    assert open_source(tmp_path, "web").document_starts(0, len(ids)).tolist() == begins


def test_joyctls_own_files_may_have_their_ends_beside_them(tmp_path: Path) -> None:
    from joyctl.data.sidecar import Shard

    texts = TEXTS["npy"]
    place = tmp_path / "sources/web"
    place.mkdir(parents=True)
    WHOLE["npy"].astype("<u2").tofile(place / "train.bin")
    np.cumsum([len(text) for text in texts]).astype("<i8").tofile(place / "train.bin.ends")
    count = len(WHOLE["npy"])
    shard = Shard("train.bin", "joyctl", "uint16", 0, count, len(texts), 2 * count, "digest")
    foreign.one_source(tmp_path, [shard])
    assert open_source(tmp_path, "web").document_starts(0, count).tolist() == foreign.starts_of(texts)
