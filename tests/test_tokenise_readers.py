"""Reading documents: the same texts however a file is packed or cut, and what is wrong said with its place."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from texts import documents, write_lines

from joyctl.data.tokenise import inputs, readers
from joyctl.data.tokenise.inputs import Piece, plan_source, stat
from joyctl.errors import Missing, RecipeError
from joyctl.recipe.load import load_recipe
from joyctl.recipe.types import Source, Text

TEXTS = documents(40)


def source(files: object, **text: object) -> Source:
    return Source.model_validate({"category": "domain", "text": {"files": files, **text}})


def read(path: Path, column: str = "text") -> list[str]:
    return list(readers.documents(stat(str(path)), column))


def pack(path: Path, content: bytes) -> Path:
    packed = gzip.compress(content) if path.suffix == ".gz" else pyarrow.compress(content, "zstd", asbytes=True)
    path.write_bytes(packed)
    return path


def write_parquet(path: Path, values: list[object], column: str = "text", rows: int = 7) -> Path:
    pyarrow.parquet.write_table(pyarrow.table({column: values}), path, row_group_size=rows)
    return path


def test_every_kind_of_file_gives_the_same_texts(tmp_path: Path) -> None:
    lines = write_lines(tmp_path / "a.jsonl", TEXTS)
    assert read(lines) == TEXTS
    assert read(pack(tmp_path / "a.jsonl.gz", lines.read_bytes())) == TEXTS
    assert read(pack(tmp_path / "a.jsonl.zst", lines.read_bytes())) == TEXTS
    assert read(write_parquet(tmp_path / "a.parquet", list(TEXTS))) == TEXTS
    (tmp_path / "a.txt").write_bytes("\r\n".join(TEXTS).encode())
    assert read(tmp_path / "a.txt") == ["\r\n".join(TEXTS)]
    assert read(pack(tmp_path / "a.txt.zst", TEXTS[0].encode())) == TEXTS[:1]


def test_files_packed_in_several_frames_are_read_to_the_end(tmp_path: Path) -> None:
    content = write_lines(tmp_path / "a.jsonl", TEXTS).read_bytes()
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(content) + gzip.compress(content))
    assert read(tmp_path / "b.jsonl.gz") == TEXTS * 2


def test_a_file_is_read_through_a_url(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", TEXTS)
    parts = plan_source("web", source(f"file://{tmp_path}/*.jsonl"), "")
    assert [piece.path for part in parts for piece in part.pieces] == [f"file://{path}"]
    assert list(readers.documents(parts[0].pieces[0], "text")) == TEXTS


def test_blank_lines_and_a_byte_order_mark_are_no_documents(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", TEXTS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\n\n \n").rstrip())
    assert read(path) == TEXTS


@given(st.lists(st.text(max_size=20), max_size=12), st.lists(st.integers(0, 400), max_size=6), st.booleans())
def test_wherever_a_file_of_lines_is_cut_every_document_is_read_once(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], cuts: list[int], ended: bool
) -> None:
    content = b"".join(json.dumps({"text": text}, ensure_ascii=False).encode() + b"\n" for text in texts)
    path = tmp_path_factory.mktemp("cut") / "a.jsonl"
    path.write_bytes(content if ended else content[:-1])
    edges = sorted({0, path.stat().st_size, *(cut for cut in cuts if cut < len(content))})
    pieces = [Piece(str(path), start, stop) for start, stop in pairwise(edges)]
    assert [text for piece in pieces for text in readers.documents(piece, "text")] == texts


def test_parts_are_of_like_size_and_hold_every_document_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "SMALLEST", 2000)
    large = write_lines(tmp_path / "b.jsonl", TEXTS)
    small = [write_lines(tmp_path / f"a{i}.jsonl", [f"small {i}"]) for i in range(8)]
    table = write_parquet(tmp_path / "c.parquet", list(TEXTS), rows=3)
    parts = plan_source("web", source([str(tmp_path / "*.jsonl"), str(table)]), "")
    found = [text for part in parts for piece in part.pieces for text in readers.documents(piece, "text")]
    assert found == [f"small {i}" for i in range(8)] + TEXTS + TEXTS
    assert {len(part.pieces) for part in parts} > {1}  # the small ones are together
    assert max(part.bytes for part in parts) <= 2000
    whole = sum(path.stat().st_size for path in (large, table, *small))
    assert sum(part.bytes for part in parts) == pytest.approx(whole, abs=20)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"text": "a"}\n{"text": \n', "line 2 is not JSON"),
        (b'{"text": "a"}\n\n["b"]\n', "line 3 is no JSON object but list"),
        (b'{"words": "a", "id": 1}\n', "line 1 has no 'text', only words, id"),
        (b'{"text": null}\n', "line 1 has no text in 'text' but NoneType"),
        (b'{"text": ["a"]}\n', "line 1 has no text in 'text' but list"),
        (b'{"text": "a"}\n{"text": "\xff"}\n', "line 2 is not UTF-8"),
        (rb'{"text": "\ud800"}', "line 1 has half of a surrogate pair"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_number(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(Missing) as caught:
        read(path)
    assert str(path) in caught.value.message and said in caught.value.message and caught.value.hint


def test_a_line_has_its_number_in_the_whole_file_wherever_it_was_cut(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", TEXTS)
    whole = path.read_bytes()
    path.write_bytes(whole + b"nothing\n")
    for start in (1, len(whole) // 2, len(whole) - 1, len(whole)):
        with pytest.raises(Missing, match=f"line {len(TEXTS) + 1} is not JSON"):
            list(readers.documents(Piece(str(path), start, None), "text"))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    content = write_lines(tmp_path / "a.jsonl", TEXTS).read_bytes()
    for name in ("a.jsonl.gz", "a.jsonl.zst"):
        path = pack(tmp_path / name, content)
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(Missing, match=f"{name} cannot be read: "):
            read(path)
    for name in ("none.jsonl.gz", "none.txt.zst"):
        (tmp_path / name).touch()
        with pytest.raises(Missing, match=f"{name} cannot be read: it is empty, so nothing is packed in it"):
            read(tmp_path / name)
    (tmp_path / "b.jsonl.zst").write_bytes(content)
    with pytest.raises(Missing, match=r"b\.jsonl\.zst cannot be read: "):
        read(tmp_path / "b.jsonl.zst")
    table = write_parquet(tmp_path / "a.parquet", list(TEXTS))
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(Missing, match=r"a\.parquet cannot be read as Parquet: "):
        read(table)
    (tmp_path / "latin.txt").write_bytes("Größe".encode("latin-1"))
    with pytest.raises(Missing, match=r"latin\.txt is not UTF-8: .* at byte 2"):
        read(tmp_path / "latin.txt")


def test_a_parquet_file_needs_the_column_and_text_in_it(tmp_path: Path) -> None:
    table = write_parquet(tmp_path / "a.parquet", ["a", "b", None], column="body")
    with pytest.raises(Missing, match=r"a\.parquet has no column 'text', only body"):
        read(table)
    with pytest.raises(Missing, match=r"a\.parquet: row 3 has no text in 'body' but NoneType"):
        read(table, "body")


def test_files_that_are_not_there_or_of_no_known_kind_are_named(tmp_path: Path) -> None:
    for files, said in (
        (str(tmp_path / "*.jsonl"), r"sources\.web\.text\.files: no file matches .*\*\.jsonl"),
        (str(tmp_path / "a.jsonl"), r"a\.jsonl: No such file"),
        (f"file://{tmp_path}/a.jsonl", r"a\.jsonl cannot be reached"),
        ("nosuch://a.jsonl", "nosuch://a.jsonl cannot be opened"),
    ):
        with pytest.raises(Missing, match=said):
            plan_source("web", source(files), "")
    (tmp_path / "a.docx").write_bytes(b"")
    with pytest.raises(Missing, match=r"a\.docx: no file of text that joyctl knows"):
        plan_source("web", source(str(tmp_path / "a.docx")), "")


def test_a_glob_leaves_out_no_file_whatever_folder_it_lies_in(tmp_path: Path) -> None:
    for name in ("a.jsonl", "in/b.jsonl", "in/deep/c.jsonl"):
        write_lines(tmp_path / name, TEXTS)
    for files in (str(tmp_path / "**"), str(tmp_path / "**" / "*.jsonl")):
        (part,) = plan_source("web", source(files), "")
        assert [Path(piece.path).name for piece in part.pieces] == ["a.jsonl", "b.jsonl", "c.jsonl"]
    (tmp_path / "in" / "d.jsonl").symlink_to(tmp_path / "nothing")
    with pytest.raises(Missing, match=r"in/d\.jsonl: a link to nothing"):
        plan_source("web", source(str(tmp_path / "in" / "*.jsonl")), "")
    tokenised = Source.model_validate({"category": "code", "tokenised": {"files": str(tmp_path / "in" / "*.jsonl")}})
    with pytest.raises(Missing, match=r"in/d\.jsonl: a link to nothing"):
        plan_source("web", tokenised, "")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ("[]", "files: an empty list; give text or a list of it"),
        ("{a: b}", "files: a section is not text or a list of it"),
        ("[null]", r"files\[0\]: empty; give text"),
        ("[5]", r"files\[0\]: 5 is not text; put it in quotes"),
        ("5", "files: 5 is not text; put it in quotes"),
    ],
)
def test_what_is_no_name_of_files_is_told_in_their_words(tmp_path: Path, files: str, said: str) -> None:
    recipe = tmp_path / "own.yaml"
    for key in ("text", "tokenised"):
        recipe.write_text(f"data: {{tokenizer: x}}\nsources:\n  a: {{category: code, {key}: {{files: {files}}}}}\n")
        with pytest.raises(RecipeError, match=rf"own\.yaml:3:\d+ sources\.a\.{key}\.{said}\n"):
            load_recipe(str(recipe))


@pytest.mark.parametrize("key", ["text", "tokenised"])
def test_two_stars_that_are_part_of_a_name_are_told_of_in_the_recipe(tmp_path: Path, key: str) -> None:
    recipe = tmp_path / "own.yaml"
    recipe.write_text(f'data: {{tokenizer: gpt2}}\nsources:\n  a: {{category: code, {key}: {{files: "x/**.bin"}}}}\n')
    with pytest.raises(RecipeError, match=rf"own\.yaml:3:\d+ sources\.a\.{key}\.files\[0\]: 'x/\*\*\.bin': '\*\*' has"):
        load_recipe(str(recipe))


def test_a_hub_or_a_store_that_is_not_reached_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their libraries have errors of their own, which are no OSError."""
    import fsspec
    import httpx
    import huggingface_hub

    def unreached(*_: object, **__: object) -> None:
        raise httpx.ConnectError("no network")

    monkeypatch.setattr(huggingface_hub, "dataset_info", unreached)
    wanted = Source.model_validate({"category": "domain", "text": {"dataset": "org/set"}})
    with pytest.raises(Missing, match="dataset org/set does not load: no network"):
        plan_source("web", wanted, "")
    store = fsspec.filesystem("memory")
    for method in ("info", "glob"):
        monkeypatch.setattr(store, method, unreached)
    for name in ("memory://bucket/a.jsonl", "memory://bucket/*.jsonl"):
        with pytest.raises(Missing, match=r"jsonl cannot be reached: no network"):
            plan_source("web", source(name), "")
    monkeypatch.setattr(store, "open", unreached)
    with pytest.raises(Missing, match=r"a\.jsonl cannot be read: no network"):
        list(readers.documents(Piece("memory://bucket/a.jsonl"), "text"))


def test_what_datasets_stumbles_over_is_one_message(tmp_path: Path) -> None:
    """gzip's own error for a file that was cut short would otherwise pass for a person's Ctrl-D."""
    from joyctl.data.tokenise.hub import documents as rows

    content = write_lines(tmp_path / "a.jsonl", TEXTS).read_bytes()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jsonl.gz").write_bytes(gzip.compress(content)[:-200])
    with pytest.raises(Missing, match="does not load: EOFError: Compressed file ended"):
        list(rows(Text(dataset=str(tmp_path / "set")), "", 0, 1))


def test_a_folder_that_datasets_loads_is_read_by_its_own_files(tmp_path: Path) -> None:
    for i in range(3):
        write_lines(tmp_path / "set" / f"train-{i}.jsonl", documents(5, seed=i), column="body")
    wanted = Source.model_validate({"category": "domain", "text": {"dataset": str(tmp_path / "set"), "column": "body"}})
    from joyctl.data.tokenise.hub import documents as rows

    parts = plan_source("web", wanted, "")
    assert len(parts) == 3 and wanted.text is not None
    found = [list(rows(wanted.text, "", p.start, p.stop or 0)) for part in parts for p in part.pieces]
    assert found == [documents(5, seed=i) for i in range(3)]
    assert [part.key for part in plan_source("web", wanted, "")] == [part.key for part in parts]
    write_lines(tmp_path / "set" / "train-2.jsonl", ["another"], column="body")
    assert not {part.key for part in plan_source("web", wanted, "")} & {part.key for part in parts}
    with pytest.raises(Missing, match="row 1 has no column 'text', only id, body"):
        list(rows(wanted.text.model_copy(update={"column": "text"}), "", 0, 3))
    with pytest.raises(Missing, match="does not load"):
        list(rows(wanted.text.model_copy(update={"split": "nosuch"}), "", 0, 3))


def test_reading_a_dataset_leaves_nothing_behind_in_a_process_that_is_stopped(tmp_path: Path) -> None:
    """Semaphores of the system are left, and Python says so after joyctl's own message."""
    write_lines(tmp_path / "a.jsonl", TEXTS)
    script = (
        "import sys\n"
        "from multiprocessing import synchronize\n"
        "def made(*_, **__): sys.exit('a semaphore')\n"
        "synchronize.SemLock.__init__ = made\n"
        "from joyctl.data.tokenise.hub import documents\n"
        "from joyctl.recipe.types import Text\n"
        "print(len(list(documents(Text(dataset=sys.argv[1]), '', 0, 1))))\n"
    )
    told = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (told.stdout, told.returncode) == (f"{len(TEXTS)}\n", 0), told.stderr


def test_a_tokenizer_of_the_hub_is_taken_by_its_name_and_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from texts import write_tokenizer

    from joyctl.data.tokenizers import described, resolve

    asked: list[tuple[str, str | None]] = []

    def download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        if name == "org/none":
            raise OSError("no network\nmore")
        return str(write_tokenizer(tmp_path / "cached"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve("org/name@abc") == resolve("org/name") == tmp_path / "cached"
    assert asked == [("org/name", "abc"), ("org/name", None)]
    assert described("org/name@abc") == {"name": "org/name@abc"}  # without a question to the network
    with pytest.raises(Missing, match="tokenizer org/none is no folder, and the hub did not give it: no network"):
        resolve("org/none")
