"""Files of object stores are brought whole into a cache, once, however many ask for them."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import foreign_tokens as foreign
import fsspec
import numpy as np
import pytest

from joyctl.data import remote
from joyctl.data.formats import expand, facts_of
from joyctl.data.shardfiles import check_files
from joyctl.data.shards import open_source
from joyctl.errors import Missing, Refused
from joyctl.recipe.sources import Tokenised

TEXTS = foreign.documents(0)
WHOLE = np.concatenate(TEXTS)


def spec(*urls: str, **settings: object) -> Tokenised:
    return Tokenised.model_validate({"files": urls, **settings})


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A bucket in memory with one file of each format."""
    fs = fsspec.filesystem("memory")
    foreign.write_megatron(tmp_path / "made/a.bin", TEXTS, "int32")
    foreign.write_datatrove(tmp_path / "made/b.ds", TEXTS, 4, tokenizer="gpt2")
    np.save(tmp_path / "made/c.npy", WHOLE)
    WHOLE.astype("<u4").tofile(tmp_path / "made/d.bin")
    if fs.exists("/bucket"):
        fs.rm("/bucket", recursive=True)
    fs.put(str(tmp_path / "made"), "/bucket/tokens", recursive=True)
    return "memory://bucket/tokens"


def folder_of(place: Path, *urls: str, cache: Path | None = None, **settings: object) -> Path:
    told = spec(*urls, **settings)
    cached = place / "remote" if cache is None else cache
    shards = [facts_of(url, told, foreign.VOCABULARY, cache=cached) for url in expand(told)]
    return foreign.one_source(place, shards, cache=None if cache is None else str(cache))


@pytest.mark.parametrize(
    ("name", "form", "settings"),
    [
        ("a.bin", "megatron", {}),
        ("b.ds", "datatrove", {}),
        ("c.npy", "npy", {}),
        ("d.bin", "flat", {"dtype": "uint32"}),
    ],
)
def test_a_url_is_read_as_the_file_itself(store: str, tmp_path: Path, name: str, form: str, settings: dict) -> None:
    here = facts_of(str(tmp_path / "made" / name), spec("x", **settings), foreign.VOCABULARY)
    folder = folder_of(tmp_path / "data", f"{store}/{name}", **settings)
    (shard,) = json.loads((folder / "sources/web/source.json").read_text())["shards"]
    assert shard["format"] == form and shard["path"].endswith(f"bucket/tokens/{name}") and shard["mtime_ns"] is None
    assert (shard["sha256"], shard["documents"]) == (here.sha256, here.documents)
    source = open_source(folder, "web")
    assert (source.read(0, len(source)) == WHOLE).all()
    if here.index:
        assert source.document_starts(0, len(WHOLE)).tolist() == foreign.starts_of(TEXTS)


def test_globs_are_sorted_and_leave_out_what_lies_beside(store: str) -> None:
    assert [url.rpartition("/")[2] for url in expand(spec(f"{store}/*"))] == ["a.bin", "b.ds", "c.npy", "d.bin"]
    with pytest.raises(Missing, match=r"no file matches memory://bucket/tokens/\*\.parquet"):
        expand(spec(f"{store}/*.parquet"))
    with pytest.raises(Missing, match=r"memory://bucket/tokens/e\.bin does not exist"):
        expand(spec(f"{store}/e.bin"))


def test_without_a_cache_nothing_is_left(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "made"))
    before = sorted((tmp_path / "made").iterdir())
    assert facts_of(f"{store}/a.bin", spec(f"{store}/a.bin"), foreign.VOCABULARY).tokens == len(WHOLE)
    assert sorted((tmp_path / "made").iterdir()) == before


def test_a_copy_that_is_there_is_used_without_asking_the_store(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "data", f"{store}/a.bin", f"{store}/c.npy", cache=tmp_path / "cache")
    monkeypatch.setattr(remote, "_open", None)
    assert len(open_source(folder, "web")) == 2 * len(WHOLE)
    assert check_files(folder, "web", digests=True) is None
    assert not (folder / "remote").exists()


def test_a_copy_that_was_lost_or_spoilt_is_brought_again(store: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", f"{store}/a.bin")
    for name in ("a.bin", "a.idx"):
        (copy,) = folder.glob(f"remote/*/{name}")
        copy.unlink()
        assert (open_source(folder, "web").read(0, len(WHOLE)) == WHOLE).all()
        content = copy.read_bytes()
        copy.write_bytes(content[:-4] + b"abcd")
        assert (open_source(folder, "web").read(0, len(WHOLE)) == WHOLE).all()
        assert copy.read_bytes() == content
        copy.write_bytes(content[:-4])
        assert (open_source(folder, "web").read(0, len(WHOLE)) == WHOLE).all()


def test_a_file_that_changed_in_the_store_is_named(store: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", f"{store}/d.bin", dtype="uint32")
    (copy,) = folder.glob("remote/*/d.bin")
    fsspec.filesystem("memory").pipe("/bucket/tokens/d.bin", WHOLE[::-1].astype("<u4").tobytes())
    assert (open_source(folder, "web").read(0, len(WHOLE)) == WHOLE).all(), "the copy still is what it was"
    copy.unlink()
    with pytest.raises(Missing, match=r"memory:.*d\.bin changed since the digest was made"):
        open_source(folder, "web")
    facts = facts_of(f"{store}/d.bin", spec(f"{store}/d.bin", dtype="uint32"), 26, cache=folder / "remote")
    assert facts.sha256 != "" and (np.fromfile(copy, "<u4") == WHOLE[::-1]).all(), "a build takes what is there now"


def test_a_build_does_not_take_an_old_copy_of_the_same_size(store: str, tmp_path: Path) -> None:
    told = spec(f"{store}/d.bin", dtype="uint32")
    old = facts_of(f"{store}/d.bin", told, 26, cache=tmp_path)
    fsspec.filesystem("memory").pipe("/bucket/tokens/d.bin", WHOLE[::-1].astype("<u4").tobytes())
    assert facts_of(f"{store}/d.bin", told, 26, cache=tmp_path).sha256 != old.sha256


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://bucket/x.bin", r"s3://bucket/x\.bin cannot be read: s3fs is not installed"),
        ("gopher://bucket/x.bin", r"gopher://bucket/x\.bin cannot be read: .*Protocol not known"),
        ("http://127.0.0.1:9/x.bin", r"http://127\.0\.0\.1:9/x\.bin"),
    ],
)
def test_a_url_that_cannot_be_read_is_one_message(url: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Missing, match=said) as caught:
        remote.local_copy(url, tmp_path)
    assert caught.value.hint and "\n" not in caught.value.message
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith(".lock")]


def test_a_transfer_that_breaks_off_leaves_no_copy(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks_off(self: object, url: str, to: str) -> None:
        Path(to).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "get_file", breaks_off)
    with pytest.raises(Missing, match=r"no space left in .* for memory://bucket/tokens/a\.bin"):
        remote.local_copy(f"{store}/a.bin", tmp_path / "cache")
    monkeypatch.setattr(
        type(fsspec.filesystem("memory")), "get_file", lambda self, url, to: Path(to).write_bytes(b"half")
    )
    with pytest.raises(Missing, match=r"memory://bucket/tokens/a\.bin: 4 of .* bytes came"):
        remote.local_copy(f"{store}/a.bin", tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/a.bin*"))


def bring(url: str, cache: Path, size: int, told: Path) -> None:
    get = type(fsspec.filesystem("file")).get_file

    def counted(self: object, *arguments: object, **settings: object) -> None:
        with told.open("a") as file:
            file.write("brought\n")
        get(self, *arguments, **settings)

    type(fsspec.filesystem("file")).get_file = counted
    assert remote.local_copy(url, cache, size).stat().st_size == size


def test_of_many_that_ask_at_once_one_brings_it(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(bytes(50_000_000))
    context = multiprocessing.get_context("fork")
    arguments = (f"file://{tmp_path}/x.bin", tmp_path / "cache", 50_000_000, tmp_path / "told")
    children = [context.Process(target=bring, args=arguments) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert (tmp_path / "told").read_text() == "brought\n"


def test_ids_that_do_not_fit_are_told_of_by_url(store: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"memory:/.*/c\.npy: id \d+ at position"):
        facts_of(f"{store}/c.npy", spec(f"{store}/c.npy"), 3, cache=tmp_path)
