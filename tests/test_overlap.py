"""Planted test items are found and named, in whatever shape they stand in a source; clean sources are clean."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from test_tokenise_campaign import joyctl
from texts import write_lines, write_tokenizer

RECIPE = """\
hypothesis: does a leak show?
data: {tokenizer: tokenizer, heldout: {share: 0}}
sources:
  leaky: {category: large_cc, text: {files: leaky.jsonl}}
  clean: {category: domain, text: {files: clean.jsonl}}
mixes: {base: {leaky: 0.8, clean: 0.2}, upsampled: {leaky: 0.2, clean: 0.8}}
model: {dim: 32, n_layers: 1, n_heads: 2, n_kv_heads: 2, ffn_hidden: 64, vocab_size: 258, max_seq_len: 64}
training: {tokens: 1280, seq_len: 32, batch_size: 4}
optimizer: {lr: 5e-3}
phase: {durations: [0.3]}
eval: {suite: few, data: DATA, batch_size: 4}
"""
SUITE = """\
tasks:
  - {task: gsm8k_cot, n_shot: 8, gold: " {{answer}}"}
  - {task: humaneval, gold: "{{canonical_solution}}", runs_code: true}
  - {task: mmlu_astronomy, n_shot: 5}
heldout: false
"""
WHERE = os.environ.get("JOYCTL_BENCH_DATA")
pytestmark = pytest.mark.skipif(
    not WHERE, reason="needs bench data: set JOYCTL_BENCH_DATA to a folder with bench/ and corpora/"
)


def rows(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(WHERE or "") / path).open(encoding="utf-8")]


def broken(text: str, every: int) -> str:
    """Every so manieth word is another."""
    return " ".join("zebra" if i % every == every - 1 else word for i, word in enumerate(text.split()))


def half(text: str) -> str:
    """The second half of the words."""
    found = text.split()
    return " ".join(found[len(found) // 2 :])


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `joyctl data overlap --json` says of a source with leaks and one without."""
    folder = tmp_path_factory.mktemp("overlap")
    test, train = rows("bench/openai/gsm8k/main/test.jsonl"), rows("bench/openai/gsm8k/main/train.jsonl")
    program = rows("bench/openai/openai_humaneval/test.jsonl")[10]
    choice = rows("bench/cais/mmlu/astronomy/test.jsonl")[4]
    shakespeare = (Path(WHERE or "") / "corpora/shakespeare/tinyshakespeare.txt").read_text(encoding="utf-8")
    plays = [shakespeare[i : i + 2000] for i in range(0, 200_000, 2000)]
    leaks = [
        f"{plays[0]}\n{test[3]['question']} {plays[1]}",
        "\n".join(re.findall(r"(?:\S+\s*){1,3}", test[7]["question"])).replace(" ", "  \t"),
        test[11]["question"].upper(),
        re.sub(r"[^\w\s]", " ", test[20]["question"]),
        half(test[30]["question"]),
        broken(test[54]["question"], 11),
        broken(test[60]["question"], 6),
        f"Q: {train[5]['question']}\nA: {train[5]['answer']}",
        f"{program['prompt']}{program['canonical_solution']}",
        " ".join([choice["question"], *choice["choices"]]),
    ]
    write_lines(folder / "leaky.jsonl", [*plays[2:10], *leaks])
    write_lines(folder / "clean.jsonl", plays[10:])
    write_tokenizer(folder / "tokenizer")
    (folder / "suites").mkdir()
    (folder / "suites" / "few.yaml").write_text(SUITE)
    (folder / "leak.yaml").write_text(RECIPE.replace("DATA", f"{WHERE}/bench"))
    built = joyctl(folder, "data", "build", "leak.yaml")
    assert built.returncode == 0, built.stderr
    told = joyctl(folder, "data", "overlap", "leak.yaml", "--json")
    assert told.returncode == 0, told.stderr
    return {"folder": folder, "choice": 4, "test": test, **json.loads(told.stdout)}


def found(said: dict[str, Any], task: str) -> dict[int, dict[str, Any]]:
    return {item["doc_id"]: item["sources"] for item in said["items"][task]["found"]}


def test_planted_items_are_named_whatever_their_white_space_case_or_punctuation(said: dict[str, Any]) -> None:
    here = found(said, "gsm8k_cot")
    assert set(here) == {3, 7, 11, 20, 30, 54}, "verbatim, wrapped, upper case, no punctuation, half, changed words"
    assert all(set(sources) == {"leaky"} for sources in here.values()), "the plays alone are clean"
    assert set(found(said, "humaneval")) == {10}
    assert set(found(said, "mmlu_astronomy")) == {said["choice"]}
    assert said["found"] == 8 and said["n"] == 1319 + 164 + said["items"]["mmlu_astronomy"]["n"]


def test_how_much_is_found_is_told(said: dict[str, Any]) -> None:
    here = found(said, "gsm8k_cot")
    assert {i: here[i]["leaky"]["n"] for i in here} == {3: 13, 7: 13, 11: 13, 20: 13, 30: 13, 54: 8}
    assert here[3]["leaky"]["share"] == here[11]["leaky"]["share"] > 0.9
    assert here[30]["leaky"]["share"] < 0.6
    whole = " ".join(said["test"][3]["question"].split())
    assert whole.startswith(here[3]["leaky"]["text"][:60]) and here[3]["leaky"]["hits"] == 1


def test_the_training_split_is_told_apart(said: dict[str, Any]) -> None:
    train = said["items"]["gsm8k_cot"]["train"]
    assert train["n"] == 7473 and [item["doc_id"] for item in train["found"]] == [5]
    assert train["found"][0]["split"] == "train"
    assert said["items"]["humaneval"]["train"] == {"n": 0, "found": []}


def test_a_passage_is_where_it_is_said_to_be(said: dict[str, Any]) -> None:
    from joyctl.data.shards import open_source

    data = Path(said["path"]).parents[1]
    tokens = open_source(data, "leaky")
    match = found(said, "gsm8k_cot")[11]["leaky"]
    start = match["position"]
    starts = tokens.document_starts(0, len(tokens))
    assert starts[match["document"]] <= start < starts[match["document"] + 1]
    assert match["document"] == 8 + 2, "the third leak stands behind eight plays"


def test_the_table_and_the_texts_side_by_side(said: dict[str, Any]) -> None:
    before = Path(said["path"]).stat().st_mtime_ns
    told = joyctl(said["folder"], "data", "overlap", "leak.yaml", "--show", "2")
    assert told.returncode == 0, told.stderr
    row = next(line for line in told.stdout.splitlines() if line.startswith("gsm8k_cot"))
    assert row.split()[1:4] == ["1,319", "6", "0.5%"] and "leaky 6" in row and "1 of 7,473" in row
    assert "in leaky:" in told.stdout and "and 6 more" in told.stdout
    assert Path(said["path"]).stat().st_mtime_ns == before, "nothing is looked for twice"
