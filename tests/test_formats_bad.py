"""Bad token files: one message with the file's name, and nothing taken that is not whole."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import foreign_tokens as foreign
import numpy as np
import pytest

from joyctl.data.shards import open_source
from joyctl.errors import Missing, RecipeError, Refused
from joyctl.recipe.sources import Tokenised

Spoil = Callable[[Path], object]
TEXTS = foreign.documents(0)
TOKENS = sum(map(len, TEXTS))


def spec(path: Path | str, **settings: object) -> Tokenised:
    return Tokenised.model_validate({"files": str(path), **settings})


def cut(path: Path, n: int) -> None:
    path.write_bytes(path.read_bytes()[:-n])


def patch(path: Path, at: int, content: bytes) -> None:
    whole = bytearray(path.read_bytes())
    whole[at : at + len(content)] = content
    path.write_bytes(whole)


IDX, BIN, DS = "x.idx", "x.bin", "x.ds"
HEAD, N = 34, len(TEXTS)


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (lambda d: cut(d / BIN, 2), Refused, rf"x\.bin has .* bytes, .*x\.idx says {2 * TOKENS:,}"),
        (lambda d: cut(d / BIN, 1), Refused, r"x\.bin has .* bytes, .*x\.idx says"),
        (lambda d: (d / BIN).write_bytes(b""), Refused, r"x\.bin is empty"),
        (lambda d: (d / BIN).unlink(), Missing, r"x\.bin does not exist"),
        (lambda d: cut(d / IDX, 8), Refused, r"x\.idx has .* bytes; 20 sequences in 20 documents take"),
        (lambda d: (d / IDX).unlink(), Missing, r"x\.idx does not exist"),
        (lambda d: patch(d / IDX, 0, b"NOT"), Refused, r"x\.idx is not an index of Megatron's"),
        (lambda d: (d / IDX).write_bytes(b""), Refused, r"x\.idx is not an index of Megatron's"),
        (lambda d: patch(d / IDX, 9, b"\x02"), Refused, r"x\.idx is of version 2"),
        (lambda d: patch(d / IDX, 17, b"\x07"), Refused, r"x\.idx: ids of type float32"),
        (lambda d: patch(d / IDX, 17, b"\x63"), Refused, r"x\.idx: ids of type 99"),
        (lambda d: patch(d / IDX, 17, b"\x04"), Refused, r"x\.idx: sequence 1 begins at byte"),
        (lambda d: patch(d / IDX, 26, struct.pack("<Q", 0)), Refused, r"x\.idx has no list of documents"),
        (lambda d: patch(d / IDX, HEAD, struct.pack("<i", -3)), Refused, r"x\.idx: sequence 0 begins at byte 0"),
        (lambda d: swap(d / IDX), Refused, r"x\.idx: sequence 0 begins at byte \d+ of .*x\.bin, not where the one"),
        (lambda d: patch(d / IDX, HEAD + 12 * N + 8, struct.pack("<q", 99)), Refused, r"its documents are not the 20"),
    ],
)
def test_a_megatron_pair_that_is_damaged_or_disagrees(tmp_path: Path, spoil: Spoil, error: type, said: str) -> None:
    foreign.write_megatron(tmp_path / BIN, TEXTS)
    spoil(tmp_path)
    with pytest.raises(error, match=said) as caught:
        foreign.facts_of(str(tmp_path / BIN), spec(tmp_path / BIN, format="megatron"), 26)
    assert caught.value.hint


def swap(index: Path) -> None:
    """Two sequences whose text lies the other way round in the .bin."""
    places = index.read_bytes()[HEAD + 4 * N : HEAD + 4 * N + 16]
    patch(index, HEAD + 4 * N, places[8:] + places[:8])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: cut(d / DS, 2), rf"x\.ds has .* bytes; .*x\.ds\.index says {TOKENS:,} ids"),
        (lambda d: cut(d / f"{DS}.index", 8), r"x\.ds\.index ends at token .*, .*x\.ds\.metadata says"),
        (lambda d: cut(d / f"{DS}.index", 3), r"x\.ds\.index has .* bytes; the ends of documents have 8 each"),
        (lambda d: patch(d / f"{DS}.index", 8, bytes(8)), r"x\.ds\.index: a document ends before it begins"),
        (lambda d: (d / f"{DS}.metadata").write_text("gpt2"), r"x\.ds\.metadata is not datatrove's"),
        (lambda d: (d / f"{DS}.metadata").write_bytes(b"\xff\n1"), r"x\.ds\.metadata is not datatrove's"),
        (lambda d: (d / f"{DS}.metadata").write_text(f"gpt2|3\n{TOKENS}\n"), r"x\.ds\.metadata: ids of 3 bytes"),
        (lambda d: (d / f"{DS}.metadata").write_text(f"gpt2|4\n{TOKENS}\n"), r"x\.ds has .* of uint32, which take"),
    ],
)
def test_a_datatrove_file_that_is_damaged_or_disagrees(tmp_path: Path, spoil: Spoil, said: str) -> None:
    foreign.write_datatrove(tmp_path / DS, TEXTS, tokenizer="gpt2")
    spoil(tmp_path)
    with pytest.raises(Refused, match=said):
        foreign.shards_of(spec(tmp_path / DS))


def test_datatrove_files_tell_their_type_as_long_as_anything_lies_beside_them(tmp_path: Path) -> None:
    foreign.write_datatrove(tmp_path / DS, TEXTS, width=4, tokenizer="gpt2")
    (shard,) = foreign.shards_of(spec(tmp_path / DS))
    assert (shard.dtype, shard.documents) == ("uint32", 20)
    (tmp_path / f"{DS}.metadata").unlink()
    (again,) = foreign.shards_of(spec(tmp_path / DS))
    assert again.dtype == "uint32" and again.sha256 == shard.sha256
    (tmp_path / f"{DS}.index").unlink()
    with pytest.raises(RecipeError, match=r"x\.ds tokenised\.dtype: missing"):
        foreign.shards_of(spec(tmp_path / DS))
    (bare,) = foreign.shards_of(spec(tmp_path / DS, dtype="uint32"))
    assert (bare.tokens, bare.index) == (TOKENS, None)


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (np.zeros(9, np.float32), r"x\.npy holds float32 of shape \[9\]; token ids are .* integers"),
        (np.zeros((3, 3), np.uint16), r"x\.npy holds uint16 of shape \[3, 3\]"),
        (np.zeros(9, ">i4"), r"x\.npy holds >i4"),
        (np.zeros(0, np.uint16), r"x\.npy has no token ids"),
        (np.array([1, 2, 26, 3], np.int32), r"x\.npy: id 26 at position 2 is not one of the vocabulary's 26"),
        (np.array([1, 2, 3, -1], np.int64), r"x\.npy: id -1 at position 3"),
    ],
)
def test_an_npy_that_holds_no_token_ids(tmp_path: Path, ids: np.ndarray, said: str) -> None:
    np.save(tmp_path / "x.npy", ids)
    with pytest.raises(Refused, match=said):
        foreign.facts_of(str(tmp_path / "x.npy"), spec(tmp_path / "x.npy"), 26)


def test_an_npy_that_is_cut_short_or_none_at_all(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(9, np.uint16))
    cut(tmp_path / "x.npy", 2)
    with pytest.raises(Refused, match=r"x\.npy has 144 bytes; its header says 9 ids of uint16, which take 146"):
        foreign.shards_of(spec(tmp_path / "x.npy"))
    (tmp_path / "x.npy").write_bytes(b"PK\x03\x04 no numpy")
    with pytest.raises(Refused, match=r"x\.npy is not a \.npy file"):
        foreign.shards_of(spec(tmp_path / "x.npy"))
    np.save(tmp_path / "x.npy", np.zeros(9, np.uint16))
    patch(tmp_path / "x.npy", 20, bytes(8))  # in the header, which numpy reads as Python
    with pytest.raises(Refused, match=r"x\.npy is not a \.npy file"):
        foreign.shards_of(spec(tmp_path / "x.npy"))
    np.save(tmp_path / "x.npy", np.zeros(9, np.uint16))
    with pytest.raises(Refused, match=r"x\.npy has ids of type uint16; tokenised\.dtype says int32"):
        foreign.shards_of(spec(tmp_path / "x.npy", dtype="int32"))


@pytest.mark.parametrize(
    ("written", "told", "said"),
    [
        ("uint16", "uint32", r"no multiple of 4: it is cut short, or its ids are not uint32"),
        ("uint16", "int64", r"no multiple of 8"),
        ("uint32", "uint16", r"every second id is 0, so its ids have 4 bytes, not 2"),
        ("int64", "int32", r"every second id is 0, so its ids have 8 bytes, not 4"),
    ],
)
def test_flat_ids_of_another_type_than_the_recipe_says(tmp_path: Path, written: str, told: str, said: str) -> None:
    np.arange(1, 100).astype(written).tofile(tmp_path / "x.bin")
    with pytest.raises(Refused, match=rf"x\.bin.*{said}"):
        foreign.shards_of(spec(tmp_path / "x.bin", dtype=told), vocabulary=100)


def test_ids_of_half_the_width_are_beyond_the_vocabulary(tmp_path: Path) -> None:
    np.arange(1, 101).astype("uint16").tofile(tmp_path / "x.bin")
    with pytest.raises(Refused, match=r"x\.bin: id 131,073 at position 0 is not one of the vocabulary's 100,277"):
        foreign.shards_of(spec(tmp_path / "x.bin", dtype="uint32"), vocabulary=100_277)


def test_the_position_of_a_bad_id_is_counted_over_the_whole_file(tmp_path: Path) -> None:
    ids = np.ones(5_000_000, np.uint32)
    ids[4_999_999] = 100_277
    ids.tofile(tmp_path / "x.bin")
    with pytest.raises(Refused, match=r"id 100,277 at position 4,999,999"):
        foreign.shards_of(spec(tmp_path / "x.bin", dtype="uint32"), vocabulary=100_277)
    ids[4_999_999] = 100_276
    ids.tofile(tmp_path / "x.bin")
    assert foreign.shards_of(spec(tmp_path / "x.bin", dtype="uint32"), vocabulary=100_277)[0].tokens == 5_000_000


def test_flat_ids_need_their_type_told(tmp_path: Path) -> None:
    np.arange(10).astype("uint16").tofile(tmp_path / "x.bin")
    with pytest.raises(RecipeError, match=r"x\.bin tokenised\.dtype: missing; bare ids do not tell their type"):
        foreign.shards_of(spec(tmp_path / "x.bin"))


def restore(path: Path) -> None:
    """Another file with the time that it had where it comes from: before that of its index."""
    patch(path, 0, b"\x07")
    os.utime(path, (1, 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A source of a Megatron pair and an npy."""
    foreign.write_megatron(tmp_path / BIN, TEXTS)
    np.save(tmp_path / "y.npy", np.arange(20, dtype=np.uint16))
    return foreign.one_source(
        tmp_path / "data", foreign.shards_of(spec(tmp_path / BIN)) + foreign.shards_of(spec(tmp_path / "y.npy"))
    )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: (d / "y.npy").unlink(), r"y\.npy does not exist"),
        (lambda d: (d / IDX).unlink(), r"x\.idx does not exist"),
        (lambda d: cut(d / "y.npy", 2), r"y\.npy has 166 bytes; it had 168 when its digest was made"),
        (lambda d: patch(d / "y.npy", 140, b"\x07"), r"y\.npy changed since the digest was made"),
        (lambda d: patch(d / IDX, HEAD, b"\x07"), r"x\.bin or .*x\.idx changed since the digest was made"),
        (lambda d: restore(d / BIN), r"x\.bin or .*x\.idx changed since the digest was made"),
    ],
)
def test_a_file_that_is_gone_or_changed_since_its_digest_was_made(folder: Path, spoil: Spoil, said: str) -> None:
    spoil(folder.parent)
    with pytest.raises(Missing, match=said) as caught:
        open_source(folder, "web")
    assert caught.value.exit_code == 6 and "joyctl data build" in str(caught.value.hint)


def test_a_file_that_was_only_touched_is_read_once_to_know(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from joyctl.data import verified

    read: list[str] = []
    compute = verified.digest_of
    monkeypatch.setattr(verified, "digest_of", lambda files: read.append(files[0].name) or compute(files))
    open_source(folder, "web")
    assert read == []
    os.utime(folder.parent / "y.npy", (1, 1))
    open_source(folder, "web")
    open_source(folder, "web")
    assert read == ["y.npy"]
    patch(folder.parent / "y.npy", 140, b"\x07")
    for _ in range(2):
        with pytest.raises(Missing, match=r"y\.npy changed"):
            open_source(folder, "web")
    assert read == ["y.npy", "y.npy"], "that it is another file is remembered as well"


def test_an_index_that_was_swapped_for_another_is_refused_when_it_is_asked(folder: Path) -> None:
    """Where times tell nothing, as of copies, and nobody has read the whole file."""
    source = open_source(folder, "web")
    foreign.write_megatron(folder.parent / BIN, TEXTS[:-1])
    with pytest.raises(Refused, match=r"x\.idx and .*x\.bin do not agree: 19 documents of uint16"):
        source.document_starts(0, 5)
