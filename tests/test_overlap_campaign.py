"""A sweep looks for test items before it trains anything, once, and says what it found; that stops nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_tokenise_campaign import joyctl, write
from texts import documents, write_lines

LEAK = "which of these seven rivers does not reach any sea at all in spring"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of two sources whose suite has two items; one of them stands in source `b`."""
    folder = tmp_path_factory.mktemp("overlap")
    write(folder, share=0.0)
    items = [{"question": LEAK, "choices": ["Oder", "Okavango"], "answer": 1}]
    items += [{"question": "a", "choices": ["b", "c"], "answer": 0}]
    (folder / "suites/items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (folder / "suites/short.yaml").write_text("include_path: [.]\nheldout: false\ntasks: [{task: short}]\n")
    write_lines(folder / "texts/b1.jsonl", [*documents(20, 7), f"They ask: {LEAK.upper()}?"])
    return folder


def test_a_finding_is_told_and_stops_nothing(place: Path) -> None:
    first = joyctl(place, "sweep", "own.yaml", "eval.limit=3")
    assert first.returncode == 0, first.stderr
    assert "overlap: 1 of 2 test items found in a, b\n  ! short: 1 of 2 in b 1\n" in first.stderr
    assert "joyctl data overlap own.yaml eval.limit=3 --show 5" in first.stderr
    assert first.stderr.index("overlap:") < first.stderr.index("train"), "before anything is trained"
    kept = list((place / "data").glob("*/overlap/*.json"))
    assert len(kept) == 1
    when = kept[0].stat().st_mtime_ns
    again = joyctl(place, "sweep", "own.yaml", "campaign=again", "phase.durations=[0.5]", "--no-overlap")
    assert again.returncode == 0 and "overlap" not in again.stderr
    told = joyctl(place, "data", "overlap", "own.yaml", "--json")
    found = json.loads(told.stdout)
    assert Path(found["path"]).samefile(kept[0]) and kept[0].stat().st_mtime_ns == when, "one check for both"
    assert found["items"]["short"]["found"][0]["sources"]["b"]["share"] == 1.0
    assert found["items"]["short"]["too_short"] == [1]


def test_benchmarks_that_are_not_there_are_named(place: Path) -> None:
    task = place / "suites/task.yaml"
    before = task.read_text()
    task.write_text(before.replace("items.jsonl", "gone.jsonl"))
    try:
        told = joyctl(place, "data", "overlap", "own.yaml")
    finally:
        task.write_text(before)
    assert told.returncode == 6 and "task short does not load" in told.stderr and "Traceback" not in told.stderr


def test_a_training_split_without_answers_is_no_obstacle_and_a_broken_item_is_named(place: Path) -> None:
    """Nothing is scored on a training split, so nobody has seen to it that a prompt can be made of it."""
    task, items = place / "suites/task.yaml", place / "suites/items.jsonl"
    before, there = task.read_text(), items.read_text()
    train = place / "suites/train.jsonl"
    answers = [{"question": "a", "choices": None, "answer": None}, {"question": LEAK, "choices": ["x"], "answer": 0}]
    train.write_text("".join(json.dumps(each) + "\n" for each in answers))
    assert joyctl(place, "data", "build", "own.yaml").returncode == 0
    task.write_text(before.replace("data_files: {", f"data_files: {{train: {train}, "))
    try:
        told = joyctl(place, "data", "overlap", "own.yaml", "--json")
        items.write_text(there + json.dumps(answers[0]) + "\n")
        broken = joyctl(place, "data", "overlap", "own.yaml")
    finally:
        task.write_text(before)
        items.write_text(there)
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)["items"]["short"]
    assert found["n"] == 2 and found["train"]["n"] == 2 and found["train"]["found"][0]["doc_id"] == 1
    assert broken.returncode == 6 and "task short: document 2 makes no prompt" in broken.stderr
    assert "Traceback" not in broken.stderr


def test_a_recipe_without_data_or_tasks_is_told_so(place: Path) -> None:
    empty = place / "suites/none.yaml"
    empty.write_text("tasks: []\nheldout: true\n")
    nothing = joyctl(place, "data", "overlap", "own.yaml", "eval.suite=none")
    assert nothing.returncode == 3, nothing.stderr
    missing = joyctl(place, "data", "overlap", "own.yaml", "data.heldout.share=0.01")
    assert missing.returncode == 6 and "joyctl data build" in missing.stderr
