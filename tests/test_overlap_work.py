"""The check as parts: shared by processes, interrupted, made again only where a source changed, kept as findings."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from texts import write_tokenizer

from joyctl.data.folder import DataFolder, SourceFacts, tokenizer_digest
from joyctl.data.overlap.findings import (
    Findings,
    FoundItem,
    Match,
    TaskFindings,
    TrainFindings,
    known_findings,
    read_findings,
    write_findings,
)
from joyctl.data.overlap.items import TaskItems, write_items
from joyctl.data.overlap.work import Looking, begin, open_work
from joyctl.data.tokenizers import load
from joyctl.data.work import do_parts, longest_first, run_here
from joyctl.errors import Missing, Refused
from joyctl.evals.items import _make as make_items
from joyctl.launch.overlap import begin_check
from joyctl.launch.overlap import look as look_through

PLAYS = [f"scene {i}: " + " ".join(f"w{(i * 31 + k * k) % 977}" for k in range(60)) for i in range(40)]
LEAK = "a leak of exactly fourteen words that no play of any kind would ever hold"
SHORT = "five words are just enough"
ITEMS = {
    "quiz": TaskItems("q", ((LEAK,), (SHORT,), ("too few words",), (" ".join(f"other{i}" for i in range(20)),))),
    "exam": TaskItems("e", ((f"{PLAYS[7]} and more",),), train=((PLAYS[3],),)),
}


def write_source(folder: Path, name: str, texts: list[str]) -> str:
    tokenizer = load(folder / "tokenizer")
    bos, eos = tokenizer.token_to_id("<|begin|>"), tokenizer.token_to_id("<|end|>")
    ids = [i for text in texts for i in (bos, *tokenizer.encode(text, add_special_tokens=False).ids, eos)]
    place = folder / "sources" / name
    place.mkdir(parents=True, exist_ok=True)
    np.array(ids, "<u2").tofile(place / "train.bin")
    digest = f"{name}-{len(ids)}"
    about = {"tokens": len(ids), "documents": len(texts), "sha256": digest, "boundary": {"token": bos, "begins": True}}
    (place / "source.json").write_text(json.dumps(about))
    return digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path / "tokenizer")
    write_items(tmp_path / "overlap" / "items" / "items.json", ITEMS)
    return tmp_path


def two_sources(folder: Path) -> dict[str, str]:
    return {
        "plays": write_source(folder, "plays", PLAYS),
        "web": write_source(folder, "web", [*PLAYS[20:30], f"{SHORT.upper()}!", f"see: {LEAK}.", LEAK]),
    }


def check(folder: Path, sources: dict[str, str], part_tokens: int = 5000) -> Looking:
    return begin(folder, sources, "items.json", part_tokens)


def look(folder: Path, sources: dict[str, str], part_tokens: int = 5000) -> Findings:
    looking = check(folder, sources, part_tokens)
    run_here(looking, 1)
    return read_findings(looking.result)


def test_what_is_found_stands_by_item_and_source(folder: Path) -> None:
    sources = two_sources(folder)
    findings = look(folder, sources)
    assert findings.sources == sources and findings.ngrams == (13, 8)
    quiz, exam = findings.items["quiz"], findings.items["exam"]
    assert [(item.doc_id, item.split, set(item.sources)) for item in quiz.found] == [
        (0, "test", {"web"}),
        (1, "test", {"web"}),
    ]
    text = " ".join(LEAK.split())
    leak = quiz.found[0].sources["web"]
    assert (leak.n, leak.share, leak.text, leak.document, leak.hits) == (13, 1.0, text, 11, 2)
    assert quiz.found[1].sources["web"].n == 5, "a short item counts as a whole"
    assert (quiz.n, quiz.too_short) == (4, (2,))
    assert [(item.doc_id, item.sources["plays"].document) for item in exam.found] == [(0, 7)]
    assert [(item.doc_id, item.split) for item in exam.train.found] == [(0, "train")]
    assert (findings.n, findings.found) == (5, 3)


def test_a_passage_that_two_parts_share_is_found_as_one(folder: Path) -> None:
    sources = two_sources(folder)
    whole = look(folder, sources)
    for size in (701, 97, 40):
        parts = look(folder, sources, size)
        assert {
            (task, item.doc_id, name, match.document)
            for task, every in parts.items.items()
            for item in (*every.found, *every.train.found)
            for name, match in item.sources.items()
        } == {
            (task, item.doc_id, name, match.document)
            for task, every in whole.items.items()
            for item in (*every.found, *every.train.found)
            for name, match in item.sources.items()
        }


def test_only_the_source_that_changed_is_looked_through_again(folder: Path) -> None:
    sources = two_sources(folder)
    look(folder, sources)
    parts = set((folder / "overlap" / "parts").iterdir())
    sources["web"] = write_source(folder, "web", [*PLAYS[20:30], "clean now"])
    again = check(folder, sources)
    left = [part.name for part in again.parts() if not again.done(part)]
    assert left and all(name.startswith("web-") for name in left)
    findings = look(folder, sources)
    assert [item.doc_id for item in findings.items["quiz"].found] == []
    assert parts < set((folder / "overlap" / "parts").iterdir())
    one = look(folder, {"plays": sources["plays"]})
    assert [item.doc_id for item in one.items["exam"].found] == [0]


def test_jobs_share_the_parts_and_any_of_them_can_finish(folder: Path) -> None:
    looking = check(folder, two_sources(folder))
    parts = longest_first(looking.parts())
    assert len(parts) > 3 and len({part.name for part in parts}) == len(parts)
    with pytest.raises(Refused, match="parts of the overlap check are not done"):
        looking.finish()
    for share in range(2):
        other = open_work(looking.folder)
        do_parts(other, parts[share::2], 1)
    looking.finish()
    shared = read_findings(looking.result)
    looking.result.unlink()
    for part in (folder / "overlap" / "parts").iterdir():
        part.unlink()
    run_here(open_work(looking.folder), 2)
    assert read_findings(looking.result) == shared


def test_a_source_that_changes_meanwhile_is_refused(folder: Path) -> None:
    looking = check(folder, two_sources(folder))
    write_source(folder, "web", ["another"])
    with pytest.raises(Refused, match=r"source web of .* has changed since"):
        open_work(looking.folder).parts()


def test_a_source_whose_file_is_cut_short_is_not_taken_for_all_of_it(folder: Path) -> None:
    sources = two_sources(folder)
    path = folder / "sources" / "web" / "train.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 4 * 2])
    with pytest.raises(Missing, match=r"source web of .* has [\d,]+ tokens, not [\d,]+\n.*build RECIPE"):
        look(folder, sources)
    assert not list((folder / "overlap").glob("parts/*")), "nothing is kept of it"
    path.write_bytes(whole)
    assert {item.doc_id for item in look(folder, sources).items["quiz"].found} == {0, 1}


def test_what_is_damaged_is_named(folder: Path) -> None:
    looking = check(folder, two_sources(folder))
    run_here(looking, 1)
    part = next((folder / "overlap" / "parts").iterdir())
    part.write_text("{")
    with pytest.raises(Missing, match=part.name):
        looking.finish()
    looking.result.write_text('{"version": 1')
    with pytest.raises(Missing, match=r"holds no findings"):
        read_findings(looking.result)
    with pytest.raises(Missing, match="no overlap check was begun"):
        open_work(folder)
    (folder / "overlap" / "items" / "items.json").write_text("{}")
    with pytest.raises(Missing, match="is not what the overlap check began with"):
        _ = Looking(looking.folder).items


def test_what_is_known_of_a_task_is_told_for_the_sources_asked_about(folder: Path) -> None:
    sources = two_sources(folder)
    look(folder, sources)
    plays = known_findings(folder, {"plays": sources["plays"]})
    assert [item.doc_id for item in plays["exam"].found] == [0] and not plays["quiz"].found
    assert known_findings(folder, {**sources, "web": "another digest"}) == {}
    assert [item.doc_id for item in known_findings(folder, sources)["quiz"].found] == [0, 1]
    (folder / "overlap" / "torn.json").write_text("{")
    assert set(known_findings(folder, sources)) == {"quiz", "exam"}


def test_findings_come_back_as_they_were_written(tmp_path: Path) -> None:
    folder = tmp_path / "it.json"
    match = Match(13, 0.8, "the text", 3, 4711, 2)
    train = TrainFindings(7473, (FoundItem(5, "train", {"web": match}),))
    task = TaskFindings("h", 1319, (FoundItem(12, "test", {"math": match}),), (4,), train)
    findings = Findings({"math": "ab", "web": "cd"}, {"gsm8k": task})
    write_findings(folder, findings)
    assert read_findings(folder) == findings
    assert json.loads(folder.read_text()) == {
        "version": 1,
        "sources": {"math": "ab", "web": "cd"},
        "items": {
            "gsm8k": {
                "hash": "h",
                "n": 1319,
                "found": [{"doc_id": 12, "split": "test", "sources": {"math": vars(match)}}],
                "too_short": [4],
                "train": {"n": 7473, "found": [{"doc_id": 5, "split": "train", "sources": {"web": vars(match)}}]},
            }
        },
        "ngrams": [13, 8],
    }


def test_what_items_of_a_task_have_in_common_does_not_count(folder: Path) -> None:
    rule = "read the following question with care and then choose the one letter that answers it best of all"
    own = ["why do rivers run to sea", "how far is it from here to the moon", "who was the first to sail around it"]
    items = {
        "three": TaskItems("t", tuple((f"{rule} {text}",) for text in own)),
        "two": TaskItems("u", tuple((f"{rule} {text}",) for text in own[:2])),
        "same": TaskItems("s", ((rule,), (rule,), (rule,))),
    }
    write_items(folder / "overlap" / "items" / "items.json", items)
    findings = look(folder, {"web": write_source(folder, "web", [*PLAYS[:3], f"so {rule} or not", *PLAYS[3:5]])})
    assert findings.items["three"].found == (), "three items have it: it is the task's"
    assert [item.doc_id for item in findings.items["two"].found] == [0, 1]
    assert findings.items["same"].too_short == (0, 1, 2), "nothing of its own is left"


def test_words_that_do_not_count_still_make_a_run_longer(folder: Path) -> None:
    rule = "read the following question with care and then choose"
    own = ["the river that runs", "a town by the sea", "one number out of ten"]
    write_items(
        folder / "overlap" / "items" / "items.json",
        {
            "quiz": TaskItems(
                "q", tuple((f"{rule} {text} {' '.join(f'x{i}{k}' for k in range(30))}",) for i, text in enumerate(own))
            )
        },
    )
    findings = look(
        folder, {"web": write_source(folder, "web", [f"{rule} {own[1]}", f"care and then choose {own[2]}"])}
    )
    (found,) = findings.items["quiz"].found
    match = found.sources["web"]
    assert (found.doc_id, match.n, match.text) == (1, 13, f"{rule} {own[1]}"), "thirteen words of which nine are shared"
    assert match.share < 0.5


def test_a_check_whose_beginning_is_damaged_begins_anew(folder: Path) -> None:
    sources = two_sources(folder)
    found = look(folder, sources)
    (check(folder, sources).folder / "asked.json").write_text("{")
    assert look(folder, sources) == found


def test_a_source_or_tokenizer_that_is_not_the_data_folders_is_named_with_what_to_do(folder: Path) -> None:
    two_sources(folder)
    data = DataFolder(folder, {"web": SourceFacts(9, 1, "of before")}, "tokenizer", 258, "tasks", "all")
    with pytest.raises(Missing, match=r"web/source.json describes other tokens than .*DATA.json\n.*build RECIPE"):
        begin_check([], data, ["web"])
    with pytest.raises(Missing, match=r"tokenizer is not the one that the tokens were made with"):
        begin_check([], data, [])


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_data_folder_that_cannot_be_written_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    looking = check(folder, two_sources(folder))

    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(folder / "overlap" / "parts"))

    monkeypatch.setattr("joyctl.launch.overlap.gathered", refused)
    monkeypatch.setattr("joyctl.data.overlap.work.write_text", refused)
    data = DataFolder(folder, {}, tokenizer_digest(folder), 258, "tasks", "all")
    for act in (lambda: begin_check([], data, []), lambda: look_through(looking)):
        with pytest.raises(Missing, match=rf"cannot be kept in .*overlap: {os.strerror(number)}"):
            act()


def test_who_gathers_items_for_somebody_who_is_gone_keeps_them_without_a_word(folder: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    ours, theirs = multiprocessing.Pipe(duplex=False)
    ours.close()
    try:
        make_items([], folder / "kept.json", theirs)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (folder / "kept.json").is_file()


def test_a_full_disk_is_said_and_leaves_nothing_half_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looking = check(folder, two_sources(folder))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("joyctl.store.files.os.fsync", full)
        with pytest.raises(Missing, match=r"no space left .* No space left on device"):
            run_here(looking, 1)
    assert not list((folder / "overlap").glob("parts/*")) and not looking.finished()
    run_here(looking, 1)
    assert looking.finished()
