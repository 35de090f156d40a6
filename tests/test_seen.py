"""What a step saw: rows, and the documents in them, whatever tells where these begin."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from campaigns import Place
from hypothesis import given, settings
from hypothesis import strategies as st
from report_campaign import write_campaign
from trained_campaign import give_trainings

from joyctl.campaign.spec import OrderPhase, OrderSpec
from joyctl.cli.seenscreen import Shown, as_json, lines
from joyctl.data import seen
from joyctl.data.order import Order
from joyctl.data.seen import Document, SeenRow, documents_in, rows_seen
from joyctl.data.shards import Boundary, SourceTokens


def test_steps_are_counted_from_one_and_a_rows_epoch_says_how_often_it_was_shown() -> None:
    spec = OrderSpec(rows={"a": 3, "b": 5}, phases=(OrderPhase(start_row=0, weights={"a": 1, "b": 1}),), seed=0)
    rows = rows_seen(Order(spec), 6, 14, batch_size=4, seq_len=10)
    assert [(r.row, r.step) for r in rows] == [(6, 2), (7, 2), (8, 3), (9, 3), (10, 3), (11, 3), (12, 4), (13, 4)]
    before = [(r.source, r.source_row) for r in rows_seen(Order(spec), 0, 6, batch_size=4, seq_len=10)]
    for each in rows:
        assert each.epoch == before.count((each.source, each.source_row))
        assert (each.start, each.stop) == (10 * each.source_row, 10 * each.source_row + 10)
        before.append((each.source, each.source_row))


documents = st.lists(st.integers(0, 30), min_size=1, max_size=40).filter(lambda lengths: sum(lengths) > 1)


def ends_of(lengths: list[int]) -> np.ndarray:
    return np.cumsum(lengths).astype(np.int64)


@given(documents, documents, st.data())
@settings(max_examples=80, deadline=None)
def test_with_an_index_documents_are_those_it_lists(first: list[int], second: list[int], data: st.DataObject) -> None:
    """Two files, documents without a token among them: these have a number and stand in no row."""
    tokens = SourceTokens(
        [np.zeros(sum(first), np.uint16), np.zeros(sum(second), np.uint32)], [ends_of(first), ends_of(second)]
    )
    places = [0, *np.cumsum([*first, *second]).tolist()]
    spans = [tuple(sorted(data.draw(st.lists(st.integers(0, len(tokens)), min_size=2, max_size=2, unique=True))))
             for _ in range(3)]  # fmt: skip
    for (start, stop), found in zip(spans, documents_in(tokens, spans), strict=True):
        assert list(found) == [
            Document(number, a, b) for number, (a, b) in enumerate(pairwise(places)) if a < b and a < stop and b > start
        ]


@given(st.lists(st.integers(1, 30), min_size=2, max_size=40), st.booleans(), st.integers(1, 200), st.data())
@settings(max_examples=80, deadline=None)
def test_with_a_token_documents_are_counted_through(
    lengths: list[int], begins: bool, reach: int, data: st.DataObject
) -> None:
    """One begins at every such token, or behind it, also where a document goes on in the next file."""
    places = [0, *np.cumsum(lengths).tolist()]
    ids = np.ones(places[-1], np.uint16)
    ids[places[:-1] if begins else [p - 1 for p in places[1:]]] = 0
    cut = data.draw(st.integers(0, len(ids)))
    tokens = SourceTokens([ids[:cut], ids[cut:]], boundary=Boundary(0, begins))
    start = data.draw(st.integers(0, len(ids) - 1))
    stop = data.draw(st.integers(start + 1, len(ids)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen, "_REACH", reach)
        patch.setattr(seen, "_AT_ONCE", reach)
        (found,) = documents_in(tokens, [(start, stop)])
    assert list(found) == [
        Document(number, a, b) for number, (a, b) in enumerate(pairwise(places)) if a < stop and b > start
    ]


def test_where_counting_takes_too_long_documents_have_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = SourceTokens([np.tile(np.array([0, 1, 1, 1], np.uint16), 100)], boundary=Boundary(0, begins=True))
    monkeypatch.setattr(seen, "COUNTED", 200)
    near, far = documents_in(tokens, [(100, 102)])[0], documents_in(tokens, [(300, 302)])[0]
    assert near == (Document(25, 100, 104),) and far == (Document(None, 300, 304),)


def test_where_nothing_tells_there_are_no_documents() -> None:
    with pytest.raises(ValueError, match="neither an index nor a token"):
        documents_in(SourceTokens([np.zeros(10, np.uint16)]), [(0, 5)])


ROW = SeenRow(row=12, step=4, source="web", source_row=3, epoch=0, start=30, stop=40)
INSIDE = (Document(7, 22, 33), Document(8, 33, 36), Document(None, 36, 90))
TEXTS = ("end", "  a whole\n one ", "\x1b[31mred " + "on " * 60)


def test_a_row_names_its_first_and_last_document_and_that_it_was_shown_before() -> None:
    shown = [Shown(ROW, documents, None) for documents in (INSIDE[:2], INSIDE[:1], None)]
    assert list(lines(shown, full=False)) == [
        "step 4",
        "        12  web  row          3  epoch 0  first time  documents 7 to 8",
        "        12  web  row          3  epoch 0  first time  document 7",
        "        12  web  row          3  epoch 0  first time",
    ]  # fmt: skip


def test_an_excerpt_is_one_line_and_cannot_colour_the_screen() -> None:
    found = list(lines([Shown(ROW, INSIDE, TEXTS)], full=False))
    assert found[2:4] == [
        "            document 7, 3 of 11 tokens  end",
        "            document 8, all 3 tokens  a whole one",
    ]
    assert found[4].startswith("            document at token 36, 4 of 54 tokens  \\x1b[31mred on on")
    assert all(len(line) <= 100 for line in found) and found[4].endswith("…")


def test_the_full_text_keeps_its_lines() -> None:
    found = list(lines([Shown(ROW, INSIDE, TEXTS)], full=True))
    assert found[4:7] == ["            document 8, all 3 tokens", "                a whole", "               one "]


def test_scripts_get_positions_and_the_whole_text() -> None:
    assert as_json(Shown(ROW, INSIDE[:2], TEXTS[:2])) == {
        "row": 12, "step": 4, "source": "web", "source_row": 3, "epoch": 0, "shown_before": 0, "tokens": [30, 40],
        "documents": [
            {"document": 7, "tokens": [22, 33], "here": 3},
            {"document": 8, "tokens": [33, 36], "here": 3},
        ],
        "text": "end  a whole\n one ",
    }  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("order")
    return Place(folder, folder / "data")


def test_a_run_that_has_not_begun_is_answered_from_the_plan_with_what_its_documents_say(place: Place) -> None:
    asked = place.call("data", "order", "small.yaml", "--run", "drop-math-20/s1", "--step", "81", "--text", "--json")
    assert asked.returncode == 0, asked.stderr
    assert "drop-math-20/s1 is not in results/small: this is what it would see" in asked.stderr
    rows = json.loads(asked.stdout)
    assert [r["row"] for r in rows] == list(range(640, 648)) and {r["step"] for r in rows} == {81}
    assert {r["source"] for r in rows} <= {"web", "code", "facts"}
    (data,) = place.data.glob("micro-world-*")
    for row in rows:
        start, stop = row["tokens"]
        assert (start, stop) == (row["source_row"] * 128, row["source_row"] * 128 + 128)
        assert sum(d["here"] for d in row["documents"]) == 128
        ids = np.fromfile(data / "sources" / row["source"] / "train.bin", "<u2")
        begins = np.flatnonzero(ids == 0).tolist()  # the world's token that begins a text
        for document in row["documents"]:
            assert document["tokens"][0] == begins[document["document"]]
        assert row["text"].count("<|begin_of_text|>") == sum(start <= b < stop for b in begins)
    assert not (place.folder / "results").exists(), "nothing is written"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--step", "0"], 3, "its order begins at row 0, with step 1"),
        (["--step", "101"], 3, "the run ends at row 800, after step 100"),
        (["--rows", "5"], 3, "give two row numbers A:B"),
        (["--rows", "0:8", "--step", "1"], 2, "give one of them"),
        (["--of", "2"], 2, "give --step too"),
        (["--run", "upsample-20/s20261126"], 3, "give one below 1,000"),
        (["--run", "add-math-130-20"], 3, "'130' is no share"),
        (["--run", "upsample-99"], 6, "joyctl sweep small (it would have control/s0, upsample-20/s0, upsample-40/s0)"),
    ],
)
def test_what_cannot_be_answered_is_one_message(place: Place, words: list[str], code: int, said: str) -> None:
    failed = place.call("data", "order", "small.yaml", *words)
    assert failed.returncode == code, failed.stderr
    assert said in " ".join(failed.stderr.split()) and "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    ("run", "step", "sources"),
    [
        ("drop-math-20-shrink", "82", {"web", "code", "facts"}),
        ("drop-code+facts-40-replace-web/s1", "100", {"web", "math"}),
        ("add-math-95-20-code/t1s0", "90", {"math", "code"}),
        ("only-web-20", "100", {"web"}),
        ("add-math-99-20,optimizer.lr=0.002", "100", {"math"}),
    ],
)
def test_runs_that_only_other_commands_make_are_answered_too(
    place: Place, run: str, step: str, sources: set[str]
) -> None:
    swept = ["optimizer.lr=1e-3,2e-3"] if "," in run else []
    asked = place.call("data", "order", "small.yaml", *swept, "--run", run, "--step", step, "--json")
    assert asked.returncode == 0, asked.stderr
    assert {row["source"] for row in json.loads(asked.stdout)} <= sources


def test_a_run_on_disk_whose_data_or_files_changed_is_not_made_up(place: Place, tmp_path: Path) -> None:
    """The documents of other data are not those that the run saw."""
    place.call("plan", "small.yaml")
    (data,) = place.data.glob("micro-world-*")
    folder = write_campaign(tmp_path / "small", scored=False)
    give_trainings(folder, data)
    words = ["data", "order", "small.yaml", "--results", str(tmp_path), "--run", "upsample-20"]
    asked = place.call(*words, "--rows", "6400:6408")
    assert asked.returncode == 0 and "has changed since this run was planned" in asked.stderr
    assert "document" not in asked.stdout and len(asked.stdout.splitlines()) == 9
    text = place.call(*words, "--step", "3", "--text")
    assert (text.returncode, text.stdout) == (4, "") and "not what the run saw" in text.stderr
    here = folder / "runs/upsample-20/s0"
    (here / "segment.json").unlink()
    gone = place.call(*words)
    assert gone.returncode == 6 and f"{here}/segment.json" in gone.stderr and "Traceback" not in gone.stderr
    (here / "run.json").write_text("{")
    torn = place.call(*words)
    assert torn.returncode == 4 and f"{here}/run.json is damaged" in torn.stderr and "Traceback" not in torn.stderr


def test_without_the_data_rows_are_named_and_text_is_refused(place: Place, tmp_path: Path) -> None:
    """A recipe that says how large its sources are can be planned where they are not."""
    shutil.copytree(place.folder, tmp_path / "there", ignore=shutil.ignore_patterns("data"))
    there = Place(tmp_path / "there", tmp_path / "nowhere")
    recipe = (there.folder / "small.yaml").read_text(encoding="utf-8")
    sources = "".join(f"  {name}: {{tokens: 100_000}}\n" for name in ("web", "math", "code", "facts"))
    recipe = recipe.replace("limit: 40", "suite: core")
    recipe += f"data: {{world: null, folder: {tmp_path}/absent}}\nsources:\n{sources}"
    (there.folder / "small.yaml").write_text(recipe, encoding="utf-8")
    asked = there.call("data", "order", "small.yaml", "--step", "3", "--of", "2")
    assert asked.returncode == 0, asked.stderr
    assert "is not here: which documents stand in these rows is not known" in asked.stderr
    assert [line.split()[0] for line in asked.stdout.splitlines()] == ["step", "16", "17"]
    refused = there.call("data", "order", "small.yaml", "--step", "3", "--text")
    assert refused.returncode == 6 and "there is no text to show" in refused.stderr
