"""`joyctl data build` from texts: the same bytes whoever does it, whole or not at all."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from texts import BOS, EOS, documents, text_recipe, write_lines, write_tokenizer
from tokenizers import Tokenizer

from joyctl.data.build import begin_build, build, data_folder_for, partial_of
from joyctl.data.folder import DataFolder, open_folder
from joyctl.data.shards import open_source
from joyctl.data.tokenise import inputs
from joyctl.data.tokenise.blueprint import changed_inputs
from joyctl.data.tokenise.heldout import bound, text_hash
from joyctl.data.work import Reached, do_parts
from joyctl.errors import Missing, Refused
from joyctl.recipe.types import Recipe
from joyctl.store.fingerprint import fingerprint

WEB, BOOKS = documents(300), documents(30, seed=1)
HELD = {text for text in (*WEB, *BOOKS) if text_hash(text) < bound(0.1)}


@pytest.fixture(scope="module", autouse=True)
def _small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "SMALLEST", 8000)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, DataFolder]:
    """A recipe of two sources, one of them cut into several parts, and its folder."""
    place = tmp_path_factory.mktemp("texts")
    tokenizer = write_tokenizer(place / "tokenizer")
    texts = {
        "web": [str(write_lines(place / "web.jsonl", WEB)), str(write_lines(place / "copies.jsonl", WEB[:50]))],
        "books": [str(write_lines(place / "books.jsonl", ["", *BOOKS]))],
    }
    recipe = text_recipe(tokenizer, texts)
    return recipe, build(recipe, place / "data", processes=1)


def sidecar(folder: DataFolder, source: str) -> dict[str, Any]:
    return json.loads((folder.path / "sources" / source / "source.json").read_text())


def texts_of(folder: DataFolder, source: str) -> list[str]:
    """Its documents, by the ends that lie beside the shards."""
    tokenizer = Tokenizer.from_file(str(folder.path / "tokenizer" / "tokenizer.json"))
    found = []
    for shard in sidecar(folder, source)["shards"]:
        path = folder.path / "sources" / source / shard["path"]
        ids, ends = np.fromfile(path, f"<{np.dtype(shard['dtype']).str[1:]}"), np.fromfile(f"{path}.ends", "<i8")
        assert len(ids) == shard["tokens"] == ends[-1] and len(ends) == shard["documents"]
        for start, stop in zip([0, *ends[:-1]], ends, strict=True):
            assert ids[stop - 1] == tokenizer.token_to_id(EOS)
            first = start + (ids[start] == tokenizer.token_to_id(BOS))
            found.append(tokenizer.decode(ids[first : stop - 1].tolist(), skip_special_tokens=False))
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    """All that lies in a folder; not the YAML files, which name it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".yaml"
    }


def test_every_document_stands_between_its_tokens_in_the_order_of_the_files(made: tuple[Recipe, DataFolder]) -> None:
    _, folder = made
    assert texts_of(folder, "web") == [text for text in (*WEB, *WEB[:50]) if text not in HELD]
    assert texts_of(folder, "books") == [text for text in BOOKS if text not in HELD]
    assert len(sidecar(folder, "web")["shards"]) > 2


def test_what_looks_like_a_special_token_in_a_text_is_text(made: tuple[Recipe, DataFolder]) -> None:
    """So documents can be told apart by the tokens alone."""
    _, folder = made
    about = sidecar(folder, "web")
    assert any(BOS in text and EOS in text for text in texts_of(folder, "web"))
    begins = [
        int((np.fromfile(folder.path / "sources" / "web" / shard["path"], "<u2") == about["boundary"]["token"]).sum())
        for shard in about["shards"]
    ]
    assert about["boundary"]["begins"] and begins == [shard["documents"] for shard in about["shards"]]


def test_documents_are_held_out_by_their_text_and_copies_with_them(made: tuple[Recipe, DataFolder]) -> None:
    _, folder = made
    for name, all_texts in (("web", WEB), ("books", BOOKS)):
        lines = (folder.path / "sources" / name / "heldout.jsonl").read_text().splitlines()
        kept = [json.loads(line)["text"] for line in lines]
        held = [text for text in all_texts if text in HELD]
        assert kept == sorted(held, key=text_hash)[:5]
        assert not set(held) & set(texts_of(folder, name))
    copies = sum(text in HELD for text in WEB[:50])
    assert copies and sidecar(folder, "web")["heldout"]["of"] == sum(text in HELD for text in WEB) + copies


def test_a_folder_says_what_it_holds(made: tuple[Recipe, DataFolder]) -> None:
    recipe, folder = made
    for name, facts in folder.sources.items():
        about = sidecar(folder, name)
        assert (about["tokens"], about["documents"], about["sha256"]) == (facts.tokens, facts.documents, facts.sha256)
        assert about["tokenizer_sha256"] == folder.tokenizer_sha256 and about["dtype"] == "uint16"
        assert facts.tokens == sum(shard["tokens"] for shard in about["shards"])
    assert sidecar(folder, "books")["empty"] == 1
    shards = sidecar(folder, "web")["shards"]
    assert folder.sources["web"].sha256 == fingerprint([[shard["tokens"], shard["sha256"]] for shard in shards])
    assert folder.sources["books"].sha256 == sidecar(folder, "books")["shards"][0]["sha256"]
    assert open_folder(folder.path) == folder == build(recipe, folder.path.parent)


def test_held_out_losses_are_tasks_that_move_with_the_folder(made: tuple[Recipe, DataFolder], tmp_path: Path) -> None:
    import shutil

    _, folder = made
    moved = Path(shutil.copytree(folder.path, tmp_path / "moved"))
    open_folder(moved)
    for place in (folder.path, moved):
        assert sorted(path.name for path in (place / "tasks").iterdir()) == ["heldout_books.yaml", "heldout_web.yaml"]
        assert str(place / "sources" / "web" / "heldout.jsonl") in (place / "tasks" / "heldout_web.yaml").read_text()


@pytest.mark.parametrize("processes", [2, 3])
def test_equal_texts_give_equal_bytes_whoever_does_the_parts(
    made: tuple[Recipe, DataFolder], tmp_path: Path, processes: int
) -> None:
    recipe, folder = made
    heard: list[Reached] = []
    again = build(recipe, tmp_path, processes=processes, watch=heard.append)
    assert files_of(again.path) == files_of(folder.path)
    assert heard[-1].parts_done == heard[-1].parts > 3 and heard[-1].share == 1
    assert heard[-1].tokens == sum(source.tokens for source in folder.sources.values())
    assert heard[-1].documents == sum(source.documents for source in folder.sources.values())
    assert [reached.parts_done for reached in heard] == sorted(reached.parts_done for reached in heard)


def test_jobs_share_the_parts_and_one_finishes(made: tuple[Recipe, DataFolder], tmp_path: Path) -> None:
    recipe, folder = made
    work = begin_build(recipe, tmp_path)
    assert work is not None
    with pytest.raises(Refused, match="are not done"):
        work.finish()
    command = [sys.executable, "-m", "joyctl.data.work", str(work.folder), "build"]
    for share in ("1/2", "0/2"):
        subprocess.run([*command, "--share", share], check=True)
    subprocess.run([*command, "--finish"], check=True)
    assert files_of(data_folder_for(recipe, tmp_path)) == files_of(folder.path)
    assert begin_build(recipe, tmp_path) is None
    told = subprocess.run([*command, "--share", "0/2"], capture_output=True, text=True, check=False)
    assert told.returncode == Missing.exit_code and "no data folder that is being built" in told.stderr
    assert "Traceback" not in told.stderr


KILLED = """
import sys, time
from pathlib import Path
from joyctl.data.build import build
from joyctl.data.tokenise import inputs
from joyctl.recipe.types import Recipe
inputs.SMALLEST = 8000

def watch(reached):
    if reached.parts_done:
        print("a part is done", flush=True)
        time.sleep(600)

if __name__ == "__main__":
    build(Recipe.model_validate_json(sys.argv[1]), Path(sys.argv[2]), processes=int(sys.argv[3]), watch=watch)
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_build_leaves_nothing_that_looks_finished_and_goes_on(
    made: tuple[Recipe, DataFolder], tmp_path: Path, processes: int
) -> None:
    recipe, folder = made
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    root = tmp_path / "data"
    command = [sys.executable, str(script), recipe.model_dump_json(), str(root), str(processes)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "a part is done\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    final = data_folder_for(recipe, root)
    with pytest.raises(Missing):
        open_folder(final)
    heard: list[Reached] = []
    again = build(recipe, root, processes=1, watch=heard.append)
    assert heard[0].parts_done >= 1  # what was done was not done again
    assert files_of(again.path) == files_of(folder.path)
    assert not partial_of(final).exists()


def test_half_a_shard_that_a_killed_process_left_takes_no_room(made: tuple[Recipe, DataFolder], tmp_path: Path) -> None:
    recipe, _ = made
    begin_build(recipe, tmp_path)
    place = partial_of(data_folder_for(recipe, tmp_path)) / "sources" / "web"
    place.mkdir(parents=True)
    (place / ".train-00000.bin.abcdefgh").touch()
    begin_build(recipe, tmp_path)
    assert not list(place.iterdir())


def test_a_build_that_only_lacks_its_name_gets_it(made: tuple[Recipe, DataFolder], tmp_path: Path) -> None:
    import shutil

    recipe, folder = made
    final = data_folder_for(recipe, tmp_path)
    shutil.copytree(folder.path, partial_of(final))
    again = build(recipe, tmp_path, processes=1, watch=lambda _: pytest.fail("it was done again"))
    assert files_of(again.path) == files_of(folder.path)


def test_a_text_that_changed_since_its_part_was_done_is_read_again(tmp_path: Path) -> None:
    files = [write_lines(tmp_path / f"{name}.jsonl", documents(5, seed)) for seed, name in enumerate(("a", "b"))]
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    recipe = text_recipe(tokenizer, {"a": str(files[0]), "b": str(files[1])}, heldout={"share": 0})
    work = begin_build(recipe, tmp_path)
    assert work is not None
    do_parts(work, work.parts(), 1)
    write_lines(files[0], ["other"])
    work = begin_build(recipe, tmp_path)
    assert work is not None and [work.done(part) for part in work.parts()] == [False, True]
    assert texts_of(build(recipe, tmp_path), "a") == ["other"]


def test_a_text_that_changes_while_it_is_read_is_no_part(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", documents(5))
    recipe = text_recipe(write_tokenizer(tmp_path / "tokenizer"), {"a": str(file)})
    work = begin_build(recipe, tmp_path)
    assert work is not None
    write_lines(file, documents(6))
    with pytest.raises(Missing, match=r"a\.jsonl has changed since the build began"):
        do_parts(work, work.parts(), 1)
    assert not work.done(work.parts()[0])


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_names_the_file_and_what_was_done_is_kept(tmp_path: Path, processes: int) -> None:
    good = write_lines(tmp_path / "good.jsonl", documents(9))
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": 1}\n')
    recipe = text_recipe(write_tokenizer(tmp_path / "tokenizer"), {"good": str(good), "bad": str(bad)})
    with pytest.raises(Missing, match=r"bad\.jsonl: line 1 has no text in 'text' but int"):
        build(recipe, tmp_path / "data", processes=processes)
    assert not data_folder_for(recipe, tmp_path / "data").exists()
    write_lines(bad, documents(9, seed=1))
    assert build(recipe, tmp_path / "data", processes=processes).sources.keys() == {"good", "bad"}


def test_a_source_without_tokens_is_refused(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(Missing, match=r"source 'a' has no tokens: no documents in .*a\.jsonl"):
        build(text_recipe(tokenizer, {"a": str(tmp_path / "a.jsonl")}), tmp_path, processes=1)
    held = write_lines(tmp_path / "b.jsonl", [next(iter(HELD))])
    with pytest.raises(Missing, match="source 'b' has no tokens: all 1 documents are held out"):
        build(text_recipe(tokenizer, {"b": str(held)}), tmp_path, processes=1)


def test_a_full_disk_ends_it_with_a_message_and_it_goes_on(made: tuple[Recipe, DataFolder], tmp_path: Path) -> None:
    recipe, folder = made
    limited = (
        "import resource, sys; from pathlib import Path; from joyctl.data.build import build\n"
        "from joyctl.errors import JoyctlError; from joyctl.recipe.types import Recipe\n"
        "from joyctl.data.tokenise import inputs; inputs.SMALLEST = 8000\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))\n"
        "try: build(Recipe.model_validate_json(sys.argv[1]), Path(sys.argv[2]), processes=1)\n"
        "except JoyctlError as error: print(error); sys.exit(error.exit_code)\n"
    )
    most = max(shard["bytes"] for shard in sidecar(folder, "web")["shards"]) - 1
    command = [sys.executable, "-c", limited, recipe.model_dump_json(), str(tmp_path), str(most)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == Missing.exit_code, told.stderr
    assert re.search(r"no space left for the tokens of part web-\d+ in .*/sources/web", told.stdout)
    assert not data_folder_for(recipe, tmp_path).exists()
    assert files_of(build(recipe, tmp_path, processes=1).path) == files_of(folder.path)


def test_tokenizers_that_cannot_enclose_documents(tmp_path: Path) -> None:
    file = str(write_lines(tmp_path / "a.jsonl", documents(3)))

    def built(**named: Any) -> DataFolder:
        tokenizer = write_tokenizer(tmp_path / f"tokenizer-{len(list(tmp_path.iterdir()))}", **named)
        return build(text_recipe(tokenizer, {"a": file}, heldout={"share": 0}), tmp_path, processes=1)

    with pytest.raises(Missing, match=r"has no token that ends a document: tokenizer_config\.json names none"):
        built(eos=None)
    with pytest.raises(Missing, match="names '<nosuch>', which it does not have"):
        built(eos="<nosuch>")
    for only_ends in (built(bos=None), built(bos=EOS)):  # one token for both, as GPT-2 has it, ends documents
        assert sidecar(only_ends, "a")["boundary"]["begins"] is False
        ids = np.fromfile(only_ends.path / "sources" / "a" / "train.bin", "<u2")
        assert int((ids == sidecar(only_ends, "a")["boundary"]["token"]).sum()) == 3
        assert texts_of(only_ends, "a") == documents(3)
    with pytest.raises(Missing, match=r"tokenizer /nosuch is no folder with tokenizer\.json"):
        build(text_recipe(Path("/nosuch"), {"a": file}), tmp_path)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "tokenizer.json").write_text("{}")
    with pytest.raises(Missing, match=r"tokenizer\.json is damaged"):
        build(text_recipe(tmp_path / "damaged", {"a": file}), tmp_path)


def test_a_large_vocabulary_takes_four_bytes_an_id(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path / "tokenizer", more=1 << 16)
    recipe = text_recipe(tokenizer, {"a": str(write_lines(tmp_path / "a.jsonl", documents(9)))}, heldout={"share": 0})
    folder = build(recipe, tmp_path, processes=1)
    assert folder.vocab_size == (1 << 16) + 258 and sidecar(folder, "a")["dtype"] == "uint32"
    assert texts_of(folder, "a") == documents(9)


def test_the_folder_is_named_by_what_determines_it(made: tuple[Recipe, DataFolder], tmp_path: Path) -> None:
    recipe, folder = made
    assert re.fullmatch("small-[0-9a-f]{8}", folder.path.name)

    def name(**changes: Any) -> str:
        return data_folder_for(Recipe.model_validate({**recipe.model_dump(), **changes}), tmp_path).name

    same = {"optimizer": {"lr": 0.1}, "mixes": {"base": {"web": 1}, "upsampled": {"books": 1}}}
    assert name(**same) == folder.path.name
    data = recipe.data.model_dump()
    other = write_tokenizer(tmp_path / "tokenizer", more=1)
    sources = {**recipe.model_dump()["sources"]}
    fewer = {**sources["web"], "text": {**sources["web"]["text"], "files": sources["web"]["text"]["files"][:1]}}
    assert len({
        folder.path.name,
        name(data={**data, "tokenizer": str(other)}),
        name(data={**data, "heldout": {"share": 0.2}}),
        name(sources={**sources, "web": fewer}),
    }) == 4  # fmt: skip


def test_a_folder_of_ones_own_is_built_there_and_not_taken_for_another(
    made: tuple[Recipe, DataFolder], tmp_path: Path
) -> None:
    recipe, folder = made
    own = recipe.model_copy(update={"data": recipe.data.model_copy(update={"folder": str(tmp_path / "mine")})})
    assert files_of(build(own, tmp_path / "elsewhere", processes=1).path) == files_of(folder.path)
    changed = own.data.model_copy(update={"heldout": own.data.heldout.model_copy(update={"share": 0.2})})
    with pytest.raises(Refused, match=r"was built from other settings\n  heldout\.share  0\.1 → 0\.2"):
        build(own.model_copy(update={"data": changed}), tmp_path)


def test_a_glob_in_another_folder_is_another_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    for name in ("x/first", "y/first", "x/second"):
        write_lines(tmp_path / name / "a.jsonl", documents(20))
    monkeypatch.setenv("HOME", str(tmp_path))

    def built(files: str) -> DataFolder:
        return build(text_recipe(tokenizer, {"a": str(tmp_path / files)}, folder="~/own"), tmp_path, processes=1)

    assert built("x/first/*.jsonl").path == tmp_path / "own"
    built("y/first/*.jsonl")  # the same, elsewhere
    with pytest.raises(Refused, match=r"text\.files\[0\]  first/\*\.jsonl → second/\*\.jsonl"):
        built("x/second/*.jsonl")


def test_a_folder_of_ones_own_is_no_url_and_may_be_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"a": str(write_lines(tmp_path / "a.jsonl", documents(20)))}
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match=f"{tmp_path} is in the way"):
        build(text_recipe(tokenizer, texts, folder="."), tmp_path, processes=1)
    for key in ("folder", "cache"):
        with pytest.raises(ValidationError, match="is a URL; give a folder"):
            text_recipe(tokenizer, texts, **{key: "s3://bucket/data"})


def test_a_finished_folder_tells_which_of_its_inputs_have_changed(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    lines = [str(write_lines(tmp_path / f"{name}.jsonl", documents(20, seed))) for seed, name in enumerate("ab")]
    ids = tmp_path / "ids.bin"
    np.arange(100, dtype="<u2").tofile(ids)
    values = text_recipe(tokenizer, dict(zip("ab", lines, strict=True))).model_dump(mode="json")
    values["sources"]["c"] = {"category": "domain", "tokenised": {"files": str(ids), "dtype": "uint16"}}
    recipe = Recipe.model_validate(values)
    path = build(recipe, tmp_path / "data", processes=1).path
    assert changed_inputs(recipe, path) == []
    ids.write_bytes(ids.read_bytes() * 2)
    write_lines(tmp_path / "b.jsonl", documents(30))
    assert changed_inputs(recipe, path) == ["b", "c"]
    (tmp_path / "b.jsonl").unlink()  # texts are not needed once they are tokens
    assert changed_inputs(recipe, path) == ["c"]
    said: list[str] = []
    path.rename(tmp_path / "data" / "old")
    write_lines(tmp_path / "b.jsonl", documents(30))
    again = build(recipe, tmp_path / "data", said.append, processes=1)
    assert said[0] == "a: tokens of the same inputs are in old; linked" and again.sources["c"].tokens == 200
    assert changed_inputs(recipe, path) == []
    write_tokenizer(tokenizer, eos=BOS)
    assert changed_inputs(recipe, path) == ["a", "b", "c"]


def test_of_two_builds_at_once_the_second_waits(made: tuple[Recipe, DataFolder], tmp_path: Path) -> None:
    recipe, folder = made
    script = (
        "import sys; from pathlib import Path; from joyctl.data.build import build\n"
        "from joyctl.recipe.types import Recipe\n"
        "build(Recipe.model_validate_json(sys.argv[1]), Path(sys.argv[2]), print, processes=1,\n"
        "      watch=lambda r: print('parts', r.parts_done))\n"
    )
    command = [sys.executable, "-c", script, recipe.model_dump_json(), str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("parts 0" in text for text in said) == 1
    one = build(recipe, tmp_path)
    for name in one.sources:
        assert texts_of(one, name) == texts_of(folder, name)


def test_the_tokens_of_a_source_are_one_sequence_that_knows_its_documents(made: tuple[Recipe, DataFolder]) -> None:
    _, folder = made
    whole = open_source(folder.path, "web")
    shards = sidecar(folder, "web")["shards"]
    ids = np.concatenate([np.fromfile(folder.path / "sources" / "web" / s["path"], "<u2") for s in shards])
    np.testing.assert_array_equal(whole.read(0, len(whole)), ids)
    begins = np.flatnonzero(ids == sidecar(folder, "web")["boundary"]["token"])
    np.testing.assert_array_equal(whole.document_starts(0, len(whole)), begins)


def test_tokens_made_elsewhere_stand_beside_texts_and_stay_where_they_are(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    np.save(tmp_path / "theirs.npy", np.array([5, 6, 257, 7, 257], np.uint16))
    texts = write_lines(tmp_path / "mine.jsonl", documents(9))
    own = text_recipe(tokenizer, {"mine": str(texts), "theirs": str(texts)}, heldout={"share": 0})
    theirs = {"category": "domain", "tokenised": {"files": str(tmp_path / "theirs.npy")}}
    sources = {**own.model_dump()["sources"], "theirs": theirs}

    def built(root: str, **said: Any) -> DataFolder:
        changed = {**theirs, "tokenised": {**theirs["tokenised"], **said}}  # type: ignore[dict-item]
        values = {**own.model_dump(), "sources": {**sources, "theirs": changed}}
        return build(Recipe.model_validate(values), tmp_path / root, processes=1)

    folder = built("data")
    assert folder.sources["theirs"].tokens == 5 and folder.sources["theirs"].documents == 2
    assert open_source(folder.path, "theirs").read(0, 5).tolist() == [5, 6, 257, 7, 257]
    assert open_source(folder.path, "theirs").document_starts(0, 5).tolist() == [0, 3]
    assert [path.name for path in (folder.path / "sources" / "theirs").iterdir()] == ["source.json"]
    other = write_tokenizer(tmp_path / "other", more=1)
    with pytest.raises(Refused, match=r"theirs\.npy is of tokenizer .*other"):
        built("refused", tokenizer=str(other))
    np.save(tmp_path / "theirs.npy", np.array([5, 300], np.uint16))
    with pytest.raises(Refused, match=r"theirs\.npy: id 300 at position 1"):
        built("beyond")


def test_a_source_more_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    files = {name: str(write_lines(tmp_path / f"{name}.jsonl", documents(30, i))) for i, name in enumerate("abc")}
    two = build(text_recipe(tokenizer, {name: files[name] for name in "ab"}), tmp_path / "data", processes=1)
    write_lines(Path(files["b"]), documents(30, seed=7))  # changed since: its tokens are not those
    said: list[str] = []
    heard: list[Reached] = []
    three = build(text_recipe(tokenizer, files), tmp_path / "data", said.append, processes=1, watch=heard.append)
    assert said[0] == f"a: tokens of the same inputs are in {two.path.name}; linked"
    assert heard[-1].documents == three.sources["b"].documents + three.sources["c"].documents
    shard = Path("sources", "a", "train.bin")
    assert (two.path / shard).samefile(three.path / shard) and three.sources["a"] == two.sources["a"]
    fresh = build(text_recipe(tokenizer, files), tmp_path / "fresh", processes=1)
    assert files_of(three.path) == files_of(fresh.path)
    (two.path / shard).write_bytes(b"")  # one file under two names
    other = build(text_recipe(tokenizer, {name: files[name] for name in "ac"}), tmp_path / "data", processes=1)
    assert other.sources["a"] == two.sources["a"] and (other.path / shard).stat().st_size > 0
