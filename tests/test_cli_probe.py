"""`joyctl probe`, `--each --category` and mixes by category on the command line, planned without any data."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from joyctl.cli.main import main

RECIPE = """\
defaults: [tiny, _self_]
hypothesis: what is each dataset worth?
data: {world: null, folder: /nowhere/data}
sources:
  web: {category: large_cc, tokens: 2_000_000}
  math: {category: domain, tokens: 1_000_000}
  facts: {category: domain, tokens: 4_000_000, max_epochs: 0.25}
  code: {category: code, tokens: 500_000}
  stackexchange_questions: {category: domain, tokens: 300_000}
  books: {category: small_cc, tokens: 900_000, in_mixes: false}
mixes:
  by: category
  base: {large_cc: 0.87, domain: 0.10, code: 0.03, web: 0, math: 0, facts: 0}
  upsampled: {large_cc: 0.10, domain: 0.75, code: 0.15, web: 0, math: 0, facts: 0}
eval: {suite: core}
"""


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls joyctl in a folder with a recipe; gives exit code, stdout and stderr."""
    (tmp_path / "mine.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)

    def called(*words: str, columns: int = 80) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", ["joyctl", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return called


def test_a_probe_is_planned_as_json_and_nothing_is_written(call: Call, tmp_path: Path) -> None:
    words = ("--add", "books", "--add", "math", "--share", "30,50", "--at", "10", "--seeds", "2")
    code, out, err = call("probe", "./mine.yaml", *words, "--dry-run", "--json")
    assert code == 0, err
    runs = {run["id"]: run for run in json.loads(out)["runs"]}
    assert set(runs) == {
        f"{variant}/s{seed}"
        for seed in (0, 1)
        for variant in ("control", "add-books-30-10", "add-books-50-10", "add-math-30-10", "add-math-50-10")
    }
    run = runs["add-books-50-10/s1"]
    assert [run[key] for key in ("added", "share", "beside", "dropped", "policy")] == ["books", 0.5, None, [], None]
    assert (run["control"], run["mix"]["books"]) == ("control/s1", 0.5)
    assert "math is in the base mix already" in err and "books" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.yaml"]


@pytest.mark.parametrize("columns", [80, 100])
def test_the_plan_lists_a_mix_by_category_first(call: Call, columns: int) -> None:
    asked = ("--each", "--category", "domain", "--policy", "renormalise-category", "--at", "10")
    code, out, err = call("plan", "./mine.yaml", *asked, "--durations", "10", columns=columns)
    assert code == 0, err
    table, mixes = out.split(" mix of trunk, control\n")
    assert mixes.startswith("   large_cc  87.0   web 87.0\n   domain    10.0   math ")
    assert "\n   domain    75.0   math " in mixes and "\n   code      15.0   code 15.0\n" in mixes
    lines = mixes.partition("\n\n")[0].splitlines() + table.splitlines()[2:]
    assert all(len(line.rstrip()) <= columns for line in lines)
    assert "…" not in table  # no number is cut
    for name in ("math", "facts", "stackexchange_questions"):
        assert f"drop-{name}-10-" in table


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["probe", "./mine.yaml"], 2, "--add SOURCE"),
        (["probe", "./mine.yaml", "--add", "bouks"], 3, "--add bouks unknown source 'bouks'; did you mean 'books'?"),
        (["probe", "./mine.yaml", "--add", "math", "--share", "130"], 3, "'130' is no share; give percent between"),
        (["plan", "./mine.yaml", "--category", "domain"], 2, "--each"),
        (["plan", "./mine.yaml", "--each", "--category", "domian"], 3, "unknown category; did you mean 'domain'?"),
        (["ablate", "./mine.yaml", "--each", "--category", "small_cc"], 3, "none of its sources has weight"),
        (["plan", "./mine.yaml", "--at", "20"], 2, "--at says how sources are left out: give --drop or --each too"),
        (["sweep", "./mine.yaml", "--policy", "shrink"], 2, "--policy says how sources are left out"),
        (["ablate", "./mine.yaml", "--drop", "math", "phase.drop_at=[]"], 3, "--at: missing, and phase.drop_at"),
        (["probe", "./mine.yaml", "--add", "math", "phase.drop_at=[]"], 3, "--at: missing, and phase.drop_at"),
        (["plan", "./mine.yaml", "phase.policy=shrink,renormalise"], 3, "phase.policy: cannot be swept; give --policy"),
        (["plan", "./mine.yaml", "phase.durations=[0.1],[0.2]"], 3, "phase.durations: cannot be swept; give --durat"),
        (["plan", "./mine.yaml", "seeds.phase=1,2"], 3, "seeds.phase: cannot be swept; give --seeds N"),
        (["plan", "./mine.yaml", "--results", "./mine.yaml"], 6, "mine.yaml cannot be used: Not a directory"),
        (["plan", "./mine.yaml", "--durations", "60"], 3, "sources.facts.max_epochs: 0.25, but the source would be"),
    ],
)
def test_what_cannot_be_asked(call: Call, words: list[str], code: int, message: str) -> None:
    found, out, err = call(*words, *(["--dry-run"] if words[0] != "plan" else []))
    assert (found, out) == (code, "") and message in " ".join(err.split()), err


def test_rows_that_come_again_are_told_on_the_screen_and_in_json(call: Call) -> None:
    asked = ("plan", "./mine.yaml", "--durations", "10", "sources.code.tokens=60_000")
    code, out, err = call(*asked, columns=200)
    assert code == 0, err
    code, told, err = call(*asked, "--json")
    assert code == 0, err
    runs = {run["variant"]: run["sources"]["code"] for run in json.loads(told)["runs"]}
    for use in runs.values():
        assert use["tokens"] == use["trunk"] + use["phase"] and use["seen_before"] == use["trunk"]
        assert use["repeated"] == use["rows_repeated"] * 128 > 0 and use["first_repeat_step"] > 1
    most = runs["upsample-10"]
    words = f"code {most['repeated']:,} tokens from step {most['first_repeat_step']:,} on in upsample-10"
    lines = [line.strip() for line in out.splitlines()]
    assert any(line.startswith(("again    " + words, words)) for line in lines), out
    assert "in upsample-10 (2.10 epochs), and in 1 more run\n" in out


def test_more_than_four_epochs_are_refused_unless_the_recipe_allows_them(call: Call) -> None:
    # 156 rows of code; 3 % of 3 M tokens are of it in the control, 4.2 % in upsample-10
    asked = ("plan", "./mine.yaml", "--durations", "10", "sources.code.tokens=20_000")
    code, out, err = call(*asked)
    assert (code, out) == (3, "")
    assert "data.max_epochs: 4, but code would be seen more often, in control 4.51, upsample-10 6.31 times" in err
    assert "raise max_epochs" in err
    for allowed in ("data.max_epochs=7", "sources.code.max_epochs=14"):
        code, out, err = call(*asked, allowed)
        assert code == 0 and "more than 4 epochs of a source: repetition starts to cost" in out, err
