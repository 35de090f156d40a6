"""Items of samples.jsonl: the fast reading gives what Python's own parser gives, or leaves the file to it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_campaign import sample, write_campaign

from joyctl.report import items as module
from joyctl.report.bulk import read_bulk
from joyctl.report.items import Items, Known, TornItems, read_items
from joyctl.report.jsonform import render_json
from joyctl.report.report import report

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = TEXT.filter(bool)


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def same(one: dict[str, Items], other: dict[str, Items]) -> bool:
    """Equal to the last bit."""
    return list(one) == list(other) and all(
        (mine.keys, mine.hashes, mine.clusters.tolist()) == (theirs.keys, theirs.hashes, theirs.clusters.tolist())
        and {name: column.tobytes() for name, column in mine.columns.items()}
        == {name: column.tobytes() for name, column in theirs.columns.items()}
        for mine, theirs in ((one[name], other[name]) for name in one)
    )


def slowly(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Items]:
    with monkeypatch.context() as patch:
        patch.setattr(module, "read_bulk", lambda path: None)
        return read_items(path)


@st.composite
def samples(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows as the harness writes them: each filter with its own metrics, some with the model's words."""
    rows = []
    for name in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)):
        metrics = draw(st.lists(st.sampled_from(["acc", "pass@1", "nll", "gold_nll", "ünï"]), unique=True))
        worded = draw(st.booleans())
        for number in range(draw(st.integers(1, 6))):
            row = sample(number, draw(st.sampled_from(["t", "t_b"])), name, draw(TEXT))
            row |= {"hash": draw(TEXT), **{metric: draw(NUMBERS | st.integers(-(2**60), 2**60)) for metric in metrics}}
            rows.append({**row, "response": draw(TEXT)} if worded else row)
    return draw(st.permutations(rows))


@given(rows=samples())
@settings(max_examples=100, deadline=None)
def test_the_fast_reading_is_taken_and_gives_the_same_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("items") / "samples.jsonl"
    path.write_text(lines(rows), encoding="utf-8")
    assert read_bulk(path) is not None
    with pytest.MonkeyPatch.context() as patch:
        assert same(read_items(path), slowly(path, patch))


ROW = sample(0, "t", "none", "c", acc=1.0, bytes=7)
ROWS = [{**ROW, "doc_id": number} for number in range(4)]
WHOLE = lines(ROWS)
PLACE = WHOLE.index('"c"')


@pytest.mark.parametrize(
    "text",
    [
        WHOLE.removesuffix("\n"),
        WHOLE.replace("1.0", "true"),
        WHOLE.replace('"doc_id": 1', '"doc_id": "one"').replace('"doc_id": 2', '"doc_id": "2024-01-01"'),
        lines([{**row, "doc_id": f"2024-01-0{i + 1}"} for i, row in enumerate(ROWS)]),
        lines([{**row, "cluster": 3} for row in ROWS]),
        lines([{**row, "logprobs": [0.5, i], "extra": None} for i, row in enumerate(ROWS)]),
        lines([{**row, "acc": row["acc"] if i else None} for i, row in enumerate(ROWS)]),
        lines([{**row, "filter": name, name: 0.5} for name in ("a", "b", "c") for row in ROWS]),
        WHOLE.replace("1.0", "123456789012345678901234567890", 1),
        WHOLE.replace('"t"', r'"\ud800"'),
        WHOLE + "\n\n",
        "",
    ],
)
def test_unusual_files_give_the_same_either_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(text, encoding="utf-8")
    assert same(read_items(path), slowly(path, monkeypatch))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (WHOLE[:-5].encode(), "samples.jsonl line 4 is torn"),
        (WHOLE.replace('"acc": 1.0', '"acc": 1.', 2).encode(), "samples.jsonl line 1 is torn"),
        ((WHOLE + " \n" + WHOLE).encode(), "samples.jsonl line 5 is torn"),
        ((WHOLE + WHOLE.replace("\n", "")).encode(), "samples.jsonl line 5 is torn"),
        ((WHOLE + "5\n").encode(), "samples.jsonl line 5 is no item"),
        ((WHOLE + lines([{"task": "t"}])).encode(), "samples.jsonl line 5 is no item"),
        ((WHOLE + lines([ROWS[2]])).encode(), "samples.jsonl holds an item twice"),
        (WHOLE.replace("1.0", "NaN", 1).encode(), "samples.jsonl: acc of item t/0 is not a finite number"),
        (
            lines([*ROWS[:2], {**ROWS[2], "acc": 1e308}]).replace("1e+308", "1e309").encode(),
            "samples.jsonl: acc of item t/2 is not a finite number",
        ),
        (WHOLE.replace("7", "0", 1).encode(), "samples.jsonl holds an item without bytes"),
        (
            lines([*ROWS[:3], {**ROWS[3], "acc": None}]).encode(),
            "samples.jsonl holds an item without a usable value: float() argument must be",
        ),
        (
            lines([*ROWS[:3], {k: v for k, v in ROWS[3].items() if k != "acc"}]).encode(),
            "samples.jsonl holds an item without a usable value: 'acc'",
        ),
        (
            lines([{k: v for k, v in row.items() if k != "hash"} for row in ROWS]).encode(),
            "samples.jsonl holds an item without a usable value: 'hash'",
        ),
        (WHOLE.encode().replace(b'"c"', b"\xff", 1), f"samples.jsonl is not UTF-8 at byte {PLACE}"),
    ],
)
def test_what_cannot_be_used_is_named_precisely(tmp_path: Path, data: bytes, complaint: str) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(data)
    with pytest.raises(TornItems) as caught:
        read_items(path)
    assert str(caught.value).startswith(complaint)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TornItems, match=r"samples\.jsonl is missing"):
        read_items(tmp_path / "samples.jsonl")


def test_files_with_the_same_items_share_their_names(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.jsonl" for name in ("a", "b", "other")]
    paths[0].write_text(WHOLE)
    paths[1].write_text(WHOLE.replace("1.0", "0.5"))
    paths[2].write_text(WHOLE.replace("t-0", "t-1", 1).replace('"hash": "t-0"', '"hash": "t-9"'))
    known = Known()
    first, second, other = (read_items(path, known)["none"] for path in paths)
    assert first.keys is second.keys and first.hashes is second.hashes and first.clusters is second.clusters
    assert other.hashes is not first.hashes and other.hashes[0] == "t-1"
    assert second.columns["acc"].tolist() == [0.5] * 4


def test_clusters_are_numbered_from_0_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(lines([{**row, "cluster": name} for row, name in zip(ROWS, "zaza", strict=True)]))
    assert read_items(path)["none"].clusters.tolist() == [0, 1, 0, 1]


def test_equal_document_numbers_of_two_leaf_tasks_are_two_clusters(tmp_path: Path) -> None:
    rows = [sample(i, leaf, "none", str(i), acc=1.0) for leaf in ("bbh_a", "bbh_b") for i in range(3)]
    rows += [sample(i, leaf, "none", "shared", acc=1.0) for leaf in ("bbh_c", "bbh_d") for i in range(2)]
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_items(path)["none"].clusters.tolist() == [0, 1, 2, 3, 4, 5, 6, 6, 6, 6]


def test_a_report_is_the_same_either_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_campaign(tmp_path / "tiny")
    quick = render_json(report(folder))
    monkeypatch.setattr(module, "read_bulk", lambda path: None)
    assert render_json(report(folder)) == quick
    assert quick["deltas"]


def test_reading_does_not_import_pandas(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(lines([*ROWS, *({**row, "filter": "gold"} for row in ROWS)]))
    code = (
        "import sys; from pathlib import Path; from joyctl.report.items import read_items;"
        "print(len(read_items(Path(sys.argv[1]))), 'pyarrow' in sys.modules, 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "True", "False"]


def test_numbers_are_the_nearest_floats(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    texts = ["0.1", "9007199254740993", "5e-324", "0.30000000000000004", "1.7976931348623157e308"]
    rows = lines([{**ROW, "doc_id": number, "acc": 0.0} for number in range(len(texts))]).splitlines()
    path.write_text("\n".join(row.replace("0.0", text) for row, text in zip(rows, texts, strict=True)))
    assert read_bulk(path) is not None
    assert np.array_equal(read_items(path)["none"].columns["acc"], [float(text) for text in texts])
