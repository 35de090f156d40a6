"""Token files of other tools are read where they lie: the same ids, the same documents, whatever the format."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from pathlib import Path

import foreign_tokens as foreign
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joyctl.data.formats import expand, facts_of
from joyctl.data.formats.mapping import mapped
from joyctl.data.formats.megatron import Ends, read_header
from joyctl.data.shards import Boundary, SourceTokens, open_source
from joyctl.data.sidecar import read_sidecar, source_digest
from joyctl.errors import Missing, Refused
from joyctl.recipe.sources import Tokenised


def spec(*files: Path | str, **settings: object) -> Tokenised:
    return Tokenised.model_validate({"files": [str(file) for file in files], **settings})


def test_every_format_gives_the_ids_that_were_written(tmp_path: Path) -> None:
    texts = foreign.documents(0)
    whole = np.concatenate(texts)
    foreign.write_megatron(tmp_path / "megatron.bin", texts, "int32")
    foreign.write_datatrove(tmp_path / "datatrove.ds", texts, 4)
    np.save(tmp_path / "plain.npy", whole.astype(np.int64))
    whole.astype("<u4").tofile(tmp_path / "flat.bin")
    found = {
        shard.format: shard
        for name in ("megatron.bin", "datatrove.ds", "plain.npy", "flat.bin")
        for shard in foreign.shards_of(spec(tmp_path / name, dtype="uint32" if name == "flat.bin" else None))
    }
    assert {form: shard.dtype for form, shard in found.items()} == {
        "megatron": "int32", "datatrove": "uint32", "npy": "int64", "flat": "uint32",
    }  # fmt: skip
    for form, shard in found.items():
        source = open_source(foreign.one_source(tmp_path / form, [shard]), "web")
        ids = source.read(0, len(source))
        assert ids.dtype == shard.dtype and (ids == whole).all() and not ids.flags.writeable
        assert shard.tokens == len(source) == len(whole) and shard.bytes == Path(shard.path).stat().st_size
    assert found["megatron"].documents == found["datatrove"].documents == 20
    assert found["npy"].offset == 128 and found["npy"].sha256 == sha256(tmp_path / "plain.npy")
    assert found["megatron"].sha256 == sha256(tmp_path / "megatron.bin", tmp_path / "megatron.idx")


def sha256(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


lengths = st.lists(st.integers(0, 7), min_size=1, max_size=12).filter(any)


@settings(max_examples=60, deadline=None)
@given(st.lists(lengths, min_size=1, max_size=4), st.integers(1, 3), st.data())
def test_documents_begin_where_an_index_says_in_any_stretch(tmp_path_factory, files, sequences, data) -> None:
    """Documents of several sequences, ones without tokens, files of two formats in turn."""
    folder = tmp_path_factory.mktemp("index")
    shards, starts, whole = [], [], []
    for number, sizes in enumerate(files):
        texts = [np.full(size, number) for size in sizes]
        starts += [sum(map(len, whole)) + start for start in foreign.starts_of(texts)]
        whole.append(np.concatenate(texts))
        if number % 2:
            path = foreign.write_datatrove(folder / f"{number}.ds", texts)
        else:
            path = foreign.write_megatron(folder / f"{number}.bin", texts, "int32", sequences)
        shards += foreign.shards_of(spec(path))
    source = open_source(foreign.one_source(folder, shards), "web")
    ids = np.concatenate(whole)
    assert source.document_starts(0, len(ids)).tolist() == starts
    first = data.draw(st.integers(0, len(ids)))
    last = data.draw(st.integers(first, len(ids)))
    assert source.document_starts(first, last).tolist() == [s for s in starts if first <= s < last]
    assert source.read(first, last).tolist() == ids[first:last].tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=4), st.booleans(), st.data())
def test_documents_begin_where_a_token_says_across_files(arrays, begins, data) -> None:
    source = SourceTokens([np.array(a, np.uint16) for a in arrays], boundary=Boundary(0, begins))
    ids = np.concatenate(arrays)
    starts = [i for i in range(len(ids)) if i == 0 or (ids[i] if begins else ids[i - 1]) == 0]
    first = data.draw(st.integers(0, len(ids)))
    last = data.draw(st.integers(first, len(ids)))
    assert source.document_starts(first, last).tolist() == [s for s in starts if first <= s < last]


def test_where_nothing_tells_documents_apart_it_says_so() -> None:
    with pytest.raises(ValueError, match="neither an index nor a token"):
        SourceTokens([np.arange(4)]).document_starts(0, 4)


@pytest.mark.parametrize(("boundary", "count"), [(None, 0), (Boundary(5, True), 3), (Boundary(5, False), 3)])
def test_documents_without_an_index_are_counted_by_their_token(tmp_path: Path, boundary, count: int) -> None:
    np.save(tmp_path / "ids.npy", np.array([1, 1, 5, 2, 5, 3, 3], np.uint16))
    (shard,) = foreign.shards_of(spec(tmp_path / "ids.npy"), boundary)
    assert shard.documents == count


@settings(max_examples=80, deadline=None)
@given(lengths, st.integers(1, 3), st.integers(0, 100))
def test_the_ends_of_a_megatron_index_search_as_an_array_does(tmp_path_factory, sizes, sequences, position) -> None:
    path = tmp_path_factory.mktemp("ends") / "x.bin"
    foreign.write_megatron(path, [np.zeros(size) for size in sizes], "int64", sequences)
    ends = Ends(mapped(path.with_suffix(".idx")), read_header(path.with_suffix(".idx")), sum(sizes))
    expected = np.cumsum(sizes)
    assert ends[0 : len(ends)].tolist() == expected.tolist() and len(ends) == len(sizes)
    for side in ("left", "right"):
        assert ends.searchsorted(position, side) == expected.searchsorted(position, side)


def test_a_thousand_files_are_one_source_that_holds_no_file_open(tmp_path: Path) -> None:
    texts = [foreign.documents(seed, 2, 20) for seed in range(1000)]
    for number, text in enumerate(texts):
        np.concatenate(text).astype("<u2").tofile(tmp_path / f"part-{number:04}.bin")
    shards = foreign.shards_of(spec(tmp_path / "part-*.bin", dtype="uint16"))
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    source = open_source(foreign.one_source(tmp_path / "folder", shards), "web")
    ids = source.read(0, len(source))
    assert (ids == np.concatenate([np.concatenate(text) for text in texts])).all()
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


def test_a_large_index_is_searched_where_it_lies(tmp_path: Path) -> None:
    """Neither opening nor searching copies it: 24 MB of index, less than 1 MB of memory."""
    count = 1_200_000
    foreign.write_megatron(tmp_path / "x.bin", np.ones((count, 1)), "uint16")
    folder = foreign.one_source(tmp_path, foreign.shards_of(spec(tmp_path / "x.bin")))
    assert (tmp_path / "x.idx").stat().st_size > 24_000_000
    open_source(folder, "web").document_starts(0, 8)
    tracemalloc.start()
    source = open_source(folder, "web")
    assert source.document_starts(700_000, 700_004).tolist() == [700_000, 700_001, 700_002, 700_003]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_large_file_is_inspected_in_bounded_memory(tmp_path: Path) -> None:
    np.zeros(64 << 20, np.uint8).tofile(tmp_path / "x.bin")
    heard: list[int] = []
    tracemalloc.start()
    shard = facts_of(str(tmp_path / "x.bin"), spec(tmp_path / "x.bin", dtype="uint16"), 10, heard.append)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000 and sum(heard) == shard.tokens == 32 << 20 and len(heard) > 4


def test_names_are_found_in_the_order_given_and_a_glob_in_that_of_its_names(tmp_path: Path, monkeypatch) -> None:
    texts = foreign.documents(1)
    for name in ("b", "a", "c"):
        foreign.write_megatron(tmp_path / f"{name}.bin", texts)
    foreign.write_datatrove(tmp_path / "d.ds", texts, tokenizer="gpt2")
    here = str(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert expand(spec("c.bin", "[ab].*")) == [f"{here}/c.bin", f"{here}/a.bin", f"{here}/b.bin"]
    assert expand(spec("a")) == [f"{here}/a.bin"], "Megatron's own way to name a pair of files"
    assert expand(spec("d.*")) == [f"{here}/d.ds"], "what lies beside it is no file of ids"
    for name, message in (
        ("*.npy", r"no file matches .*/\*\.npy"),
        ("nothing.bin", "nothing.bin does not exist"),
        (".", "is a folder"),
    ):
        with pytest.raises(Missing, match=message):
            expand(spec(name))
    with pytest.raises(Refused, match=r"a\.bin twice"):
        expand(spec("a.bin", "*.bin"))


def test_the_digest_of_a_source_is_that_of_its_file_or_of_all(tmp_path: Path) -> None:
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.arange(20, dtype=np.uint16))
    one, two = foreign.shards_of(spec(tmp_path / "*.npy"))
    assert source_digest([one]) == sha256(tmp_path / "a.npy")
    assert source_digest([one, two]) not in (one.sha256, source_digest([one]))
    folder = foreign.one_source(tmp_path, [one, two])
    about = json.loads((folder / "sources/web/source.json").read_text())
    assert (about["format"], about["dtype"], about["tokens"]) == ("npy", "uint16", 40)
    about["shards"].pop()
    (folder / "sources/web/source.json").write_text(json.dumps(about))
    with pytest.raises(Refused, match="is not that of the files it names"):
        read_sidecar(folder, "web")
