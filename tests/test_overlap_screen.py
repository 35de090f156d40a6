"""What the overlap check found, on the screen: nothing is cut off, and data cannot do anything to a terminal."""

from __future__ import annotations

import pytest

from joyctl.cli.overlapscreen import print_items, print_table, summary
from joyctl.data.overlap.findings import Findings, FoundItem, Match, TaskFindings, TrainFindings
from joyctl.data.overlap.items import TaskItems

TASK, SOURCES = "mmlu_continuation_abstract_algebra", ("common_crawl_english", "stack_exchange")
MATCH = Match(13, 0.8, "of all the \x1b[31mwords\x1b]0;title\x07", 3, 4711, 1)
ITEM = FoundItem(0, "test", dict.fromkeys(SOURCES, MATCH))
FINDINGS = Findings(
    dict.fromkeys(SOURCES, "digest"), {TASK: TaskFindings("h", 14_042, (ITEM,), (), TrainFindings(7_473, ()))}
)


def test_no_name_and_no_number_is_cut_in_a_narrow_terminal_or_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for terminal in (True, False):
        monkeypatch.setattr("sys.stdout.isatty", lambda answer=terminal: answer, raising=False)
        print_table(FINDINGS, [TASK])
        said = capsys.readouterr().out
        assert "…" not in said and all(word in said for word in (TASK, *SOURCES, "14,042", "0 of 7,473"))


def test_texts_side_by_side_move_no_cursor_and_change_no_colour(capsys: pytest.CaptureFixture[str]) -> None:
    print_items(FINDINGS, {TASK: TaskItems("h", (("of all \x1b[2Jthe words",),))}, 1)
    said = capsys.readouterr().out
    assert "\x1b" not in said and "\x07" not in said and "of all \\x1b[2Jthe words" in said


def test_leaf_tasks_count_for_their_own_group() -> None:
    """lm-eval puts the name of a way to ask behind the subject's; core-small asks MMLU in two ways."""
    asked = TaskFindings("h", 100, (ITEM,), (), TrainFindings(0, ()))
    names = ("mmlu_anatomy", "mmlu_anatomy_continuation", "mmlu_virology_continuation", "mmlu_pro")
    findings = Findings(dict.fromkeys(SOURCES, "digest"), dict.fromkeys(names, asked))
    said = summary(findings, ["mmlu", "mmlu_continuation", "mmlu_pro"], "next")[1:-1]
    assert [line.partition(" in ")[0] for line in said] == [
        "  ! mmlu_continuation: 2 of 200", "  ! mmlu: 1 of 100", "  ! mmlu_pro: 1 of 100"
    ]  # fmt: skip
