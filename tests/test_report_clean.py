"""Scores on clean items: as if the benchmark had never had the items that stand in the training data."""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from report_campaign import SIZES, give_suite, put, write_campaign, write_choices
from rich.console import Console
from trained_campaign import SHA256, found, give_overlap, give_trainings, looked_for

from joyctl.data.overlap.findings import TaskFindings, TrainFindings, known_findings
from joyctl.report.deltas import Delta
from joyctl.report.jsonform import render_json
from joyctl.report.markdown import render_markdown
from joyctl.report.merge import merge
from joyctl.report.page.render import render_page
from joyctl.report.report import Report, of_results, report
from joyctl.report.results import read_campaign
from joyctl.report.tables import render_table

LEAVES = {f"micro_mc_{i}": list(range(i, SIZES["micro_mc"], 4)) for i in range(4)}
LEAKED = {"micro_code": [*range(5, 60, 4)], "micro_math": [0, 7], "cloze": [3, 4, 5, 99]}
AGGREGATE = {"name": "general_average", "version": "1"}
SUITE = [
    {"task": "cloze", "category": "language", "metric": "acc,none", "baseline": 0.25},
    {"task": "story", "category": "language", "metric": "acc,none", "baseline": 0.25},
]


def write(folder: Path, seeds: int = 1) -> Path:
    """A campaign with an average over two benchmarks, whose trainings name their data."""
    write_campaign(folder, seeds=seeds)
    for task, right in (("cloze", 0.5), ("story", 0.6)):
        accuracy = {"control": right, "upsample-10": right + 0.1, "upsample-20": right, "drop-math-20": right - 0.1}
        write_choices(folder, task, accuracy)
    give_suite(folder, SUITE, AGGREGATE)
    give_trainings(folder, folder.parent / "data")
    (folder.parent / "data").mkdir(exist_ok=True)
    return folder


def looked(leaked: Mapping[str, list[int]] = LEAKED) -> dict[str, TaskFindings]:
    """Every benchmark looked for, with these items found; the parts of micro_mc by their own names."""
    sizes = {"micro_math": 400, "micro_code": 164, "cloze": 300, "story": 300} | dict.fromkeys(LEAVES, 100)
    return {task: looked_for(n, leaked.get(task, [])) for task, n in sizes.items()}


def without(folder: Path, leaked: Mapping[str, list[int]] = LEAKED) -> Path:
    """The same campaign with these items taken out of every samples.jsonl and out of the scores."""
    for path in folder.glob("runs/*/*/eval/*/samples.jsonl"):
        task = path.parent.name
        rows = [row for line in path.read_text().splitlines() if (row := json.loads(line))]
        kept = [row for row in rows if row["doc_id"] not in leaked.get(task, [])]
        path.write_text("".join(json.dumps(row) + "\n" for row in kept))
        result = json.loads((path.parent / "results.json").read_text())
        for score in result["scores"]:
            mine = [row for row in kept if row["filter"] == score["filter"]]
            score |= {"n": len(mine), "value": value(score["metric"], mine)}
        put(path.parent / "results.json", result)
    return folder


def value(metric: str, rows: list[dict[str, Any]]) -> float:
    if metric in ("bits_per_byte", "gold_bits_per_byte"):
        nats, size = ("nll", "bytes") if metric == "bits_per_byte" else ("gold_nll", "gold_bytes")
        return float(sum(row[nats] for row in rows) / math.log(2) / sum(row[size] for row in rows))
    return sum(row[metric] for row in rows) / len(rows)


@pytest.fixture(scope="module", params=[1, 2], ids=["one seed", "two seeds"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Report]:
    """A campaign with leaked items, and the same one that never had them."""
    folder = tmp_path_factory.mktemp("clean") / "tiny"
    write(folder, seeds=request.param)
    shutil.copytree(folder, folder.parent / "without" / "tiny")
    give_overlap(folder.parent / "data", looked())
    leaked = report(folder)
    shutil.rmtree(folder.parent / "data" / "overlap")
    return leaked, report(without(folder.parent / "without" / "tiny"))


def test_every_clean_difference_is_that_of_a_benchmark_without_these_items(both: tuple[Report, Report]) -> None:
    leaked, pure = both
    for mine, theirs in ((leaked.deltas, pure.deltas), (leaked.averages, pure.averages)):
        expected = {(d.run, *d.key): d for d in theirs}
        assert mine and len(mine) == len(expected)
        for delta in mine:
            if delta.task.startswith("heldout_"):
                assert delta.clean is None, "no text of the training data is looked for in itself"
                continue
            clean, due = delta.clean, expected[delta.run, *delta.key]
            assert clean is not None and clean.n == due.n and clean.found == delta.n - due.n
            for name in ("delta", "stderr", "low", "high"):
                assert getattr(clean, name) == pytest.approx(getattr(due, name), rel=1e-9, abs=1e-12), (delta, name)
            assert clean.verdict == due.verdict


def test_every_clean_score_is_that_of_a_benchmark_without_these_items(both: tuple[Report, Report]) -> None:
    leaked, pure = (render_json(made) for made in both)
    expected = {(s["run"], s["task"], s["metric"], s["filter"]): s for s in pure["scores"]}
    composites = 0
    for score in leaked["scores"]:
        if score["task"].startswith("heldout_"):
            assert score["clean"] is None
            continue
        due = expected[score["run"], score["task"], score["metric"], score["filter"]]
        want = {name: pytest.approx(due[name], rel=1e-9) for name in ("value", "stderr", "n")}
        assert score["clean"] == {**want, "found": score["n"] - due["n"]}
        composites += score["metric"] == "rescaled"
    assert composites, "the average over benchmarks has its clean value too"


def test_a_clean_difference_by_hand(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny")
    give_overlap(tmp_path / "data", looked())
    passed = {}
    for variant in ("control", "upsample-10"):
        lines = (folder / f"runs/{variant}/s0/eval/micro_code/samples.jsonl").read_text().splitlines()
        rows = map(json.loads, lines)
        passed[variant] = [row["pass@1"] for row in rows if row["doc_id"] not in LEAKED["micro_code"]]
    means = {variant: sum(values) / len(values) for variant, values in passed.items()}
    one = next(d for d in report(folder).averages if (d.run, d.task) == ("upsample-10", "micro_code"))
    assert one.clean is not None and one.clean.n == 164 - 14 == len(passed["control"])
    assert one.clean.delta == pytest.approx(means["upsample-10"] - means["control"])


def test_verdicts_and_all_other_numbers_are_those_of_all_items(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny")
    before = report(folder)
    give_overlap(tmp_path / "data", looked())
    after = report(folder)

    def bare(deltas: tuple[Delta, ...]) -> list[Delta]:
        return [replace(delta, clean=None) for delta in deltas]

    assert any(delta.clean for delta in after.deltas) and not any(delta.clean for delta in before.deltas)
    assert bare(after.deltas) == list(before.deltas) and bare(after.averages) == list(before.averages)
    assert after.conclusion == before.conclusion and after.curve == before.curve


UNCOUNTED: dict[str, Callable[[dict[str, TaskFindings]], dict[str, TaskFindings]]] = {
    "of the training split": lambda of: {
        **of, "micro_code": replace(of["micro_code"], found=found([1], split="train"))
    },
    "in a training split beside": lambda of: {
        **of, "micro_code": replace(of["micro_code"], train=TrainFindings(9, found([1], split="train")))
    },
    "in a source that no run reads": lambda of: {**of, "micro_code": looked_for(164, [1, 2], "books")},
    "too short to tell": lambda of: {**of, "micro_code": replace(of["micro_code"], too_short=(1, 2))},
    "of a task that was not scored": lambda of: {**of, "mmlu": looked_for(100, [1, 2])},
}  # fmt: skip


@pytest.mark.parametrize("why", UNCOUNTED)
def test_an_item_counts_as_clean(tmp_path: Path, why: str) -> None:
    folder = write(tmp_path / "tiny")
    give_overlap(tmp_path / "data", UNCOUNTED[why](looked({})), sha256={**SHA256, "books": "digest of books"})
    made = report(folder)
    one = next(d for d in made.averages if d.task == "micro_code")
    assert one.clean is not None and (one.clean.found, one.clean.n, one.clean.delta) == (0, one.n, one.delta)
    assert "test items in the training data: 0 of 1,564 found in code, facts, math, web" in notes(made)


def notes(made: Report) -> list[str]:
    said: list[str] = render_json(made)["notes"]
    return said


def screen(made: Report) -> str:
    out = io.StringIO()
    Console(file=out, width=300, _environ={}).print(render_table(made))
    return out.getvalue()


def test_screen_markdown_and_page_say_what_was_found_and_what_is_left(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny")
    give_overlap(tmp_path / "data", looked())
    made = report(folder)
    control = next(s for s in made.results.scores if (s.run, s.task) == ("control/s0", "micro_code"))
    assert control.clean is not None
    numbers = f"clean {control.clean.value * 100:.1f} against {control.value * 100:.1f} (control)"
    line = f"code: 14 of 164 items found in code; {numbers}"
    assert line in screen(made) and f"- {line}." in render_markdown(made)
    markdown = render_markdown(made)
    assert "## Items found in the training data" in markdown
    assert "| micro_code | code | 164 | 14 | 0 |" in markdown and "| story | – | 300 | 0 | 0 |" in markdown
    delta = next(d for d in made.averages if (d.run, d.task) == ("upsample-20", "micro_code"))
    assert delta.clean is not None
    assert f"| upsample-20 | code | 164 | 150 | {delta.delta * 100:+.1f} [" in markdown
    page = render_page(made, [folder])
    assert "Items found in the training data" in page and f"{delta.clean.delta * 100:+.1f} [" in page


def flip(folder: Path) -> list[int]:
    """Let upsample-10 answer 30 programs that the control does not, and 10 the other way round; gives the 30."""
    for variant, right in (("control", range(30, 40)), ("upsample-10", range(30))):
        here = folder / f"runs/{variant}/s0/eval/micro_code"
        rows = [json.loads(line) for line in (here / "samples.jsonl").read_text().splitlines()]
        for row in rows:
            row["pass@1"] = float(row["doc_id"] in right)
        (here / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        result = json.loads((here / "results.json").read_text())
        result["scores"][0]["value"] = len(right) / len(rows)
        put(here / "results.json", result)
    return list(range(30))


def test_a_difference_that_rests_on_leaked_items_is_told_and_its_verdict_stays(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny")
    give_overlap(tmp_path / "data", looked({"micro_code": flip(folder)}))
    made = report(folder)
    delta = next(d for d in made.averages if (d.run, d.task) == ("upsample-10", "micro_code"))
    assert delta.clean is not None and delta.verdict == "higher"
    assert delta.delta == pytest.approx(20 / 164) and delta.clean.delta == pytest.approx(-10 / 134)
    mark = {"lower": "▼", "no detectable difference": "·"}[delta.clean.verdict]
    said = f"upsample-10, code: +12.2 ▲ on all items, -7.5 {mark} on 134 clean ones; verdicts are those of all items"
    assert said in notes(made) and said in screen(made)


def test_of_many_differences_that_rest_on_leaked_items_the_first_are_told(tmp_path: Path) -> None:
    """All that is left are items that every run answers alike: where a difference was detectable none is."""
    folder = write(tmp_path / "tiny")
    mixed = {}
    for task, metric in (("micro_code", "pass@1"), ("micro_math", "exact_match")):
        answers: dict[int, set[float]] = {}
        for path in folder.glob(f"runs/*/*/eval/{task}/samples.jsonl"):
            for row in map(json.loads, path.read_text().splitlines()):
                answers.setdefault(row["doc_id"], set()).add(row[metric])
        mixed[task] = sorted(doc for doc, found in answers.items() if len(found) > 1)
    give_overlap(tmp_path / "data", looked(mixed))
    made = report(folder)
    columns = {column.key for column in made.columns}
    otherwise = [
        d for d in made.averages if d.key in columns and d.clean and d.clean.found and d.clean.verdict != d.verdict
    ]
    assert len(otherwise) > 4
    told = [note for note in notes(made) if note.endswith("verdicts are those of all items")]
    assert len(told) == 3
    assert f"{len(otherwise) - 3} more would be judged otherwise on clean items; report.md lists them all" in notes(
        made
    )


def test_that_the_micro_world_shares_its_templates_is_said_of_it_alone(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny")
    give_overlap(tmp_path / "data", looked())
    said = "the micro-world makes its sums and functions of few templates, for texts and items alike"
    assert said not in notes(report(folder))
    campaign = json.loads((folder / "campaign.json").read_text())
    put(folder / "campaign.json", {**campaign, "recipe": {**campaign["recipe"], "data": {"world": {"seed": 1}}}})
    assert said in notes(report(folder))


def test_where_nothing_was_looked_for_that_is_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny")
    said = "test items in the training data: "
    assert f"{said}not checked: joyctl data overlap RECIPE" in notes(report(folder))
    give_overlap(tmp_path / "data", looked(), sha256={**SHA256, "math": "of other tokens"})
    made = report(folder)
    assert f"{said}not checked: joyctl data overlap RECIPE" in notes(made), "the data has changed since"
    assert render_json(made)["overlap"]["unknown"] and not any(d.clean for d in made.deltas)
    (tmp_path / "data/overlap/first.json").write_text('{"version": 1, "sources": {')
    assert f"{said}not checked: joyctl data overlap RECIPE" in notes(report(folder)), "a torn file says nothing"
    shutil.rmtree(tmp_path / "data")
    assert f"{said}{tmp_path / 'data'} is not on this machine" in notes(report(folder))


@pytest.mark.parametrize("known", [None, looked_for(100), looked_for(165)])
def test_of_tasks_that_were_not_looked_for_nothing_is_said(tmp_path: Path, known: TaskFindings | None) -> None:
    """Not at all, or in a version with fewer or more items than were scored."""
    folder = write(tmp_path / "tiny")
    others = {task: items for task, items in looked().items() if task != "micro_code"}
    give_overlap(tmp_path / "data", {**others, "micro_code": known} if known else others)
    made = report(folder)
    assert all((d.clean is None) == (d.task in ("micro_code", "heldout_web", "heldout_math")) for d in made.deltas)
    assert "test items in the training data: not looked for are those of micro_code" in notes(made)


def test_of_a_quick_look_the_items_that_were_scored_count(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny")
    give_suite(folder, SUITE, AGGREGATE, limit=400)
    give_overlap(tmp_path / "data", {**looked({}), "micro_code": looked_for(900, [800])})
    made = report(folder)
    assert {d.clean.found for d in made.deltas if d.task == "micro_code" and d.clean} == {0}
    assert "test items in the training data: 0 of 1,564 found in code, facts, math, web" in notes(made)


def test_a_benchmark_whose_items_all_leaked_has_no_clean_score(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny")
    give_overlap(tmp_path / "data", looked({"micro_code": list(range(163))}))
    made = report(folder)
    assert {d.clean for d in made.deltas if d.task == "micro_code"} == {None}
    assert any(d.clean for d in made.deltas if d.task == "micro_math")
    assert "code: 163 of 164 items found in code; 1 left are too few for a score" in notes(made)


def test_of_several_checks_the_newest_tells_of_a_task_and_all_count(tmp_path: Path) -> None:
    whole = looked()
    give_overlap(tmp_path, {"micro_code": looked_for(164, [1]), "micro_math": whole["micro_math"]}, "a")
    give_overlap(tmp_path, {"micro_code": looked_for(164, [2, 3])}, "b")
    both = known_findings(tmp_path, {"code": SHA256["code"]})
    assert set(both) == {"micro_code", "micro_math"}
    assert {item.doc_id for item in both["micro_code"].found} == {2, 3}
    assert known_findings(tmp_path, {**SHA256, "books": "never looked through"}) == {}


def test_campaigns_together_leave_out_what_stands_in_the_data_of_any(tmp_path: Path) -> None:
    folders = [write(tmp_path / name / "tiny") for name in ("a", "b")]
    for folder, leaked in zip(folders, ([1, 2], [2, 3]), strict=True):
        give_overlap(folder.parent / "data", looked({"micro_code": leaked}))
    made = of_results(merge([read_campaign(folder) for folder in folders]))
    assert made.results.leaks is not None and set(made.results.leaks.tasks["micro_code"].found) == {"1", "2", "3"}
    assert {d.clean.found for d in made.deltas if d.task == "micro_code" and d.clean} == {3}
    assert len(made.results.ledger) == len({run.id for run in made.results.runs})


def test_report_json_with_ledger_and_overlap_keeps_to_its_schema(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    from joyctl.report.jsonschema import report_schema

    folder = write(tmp_path / "tiny")
    give_overlap(tmp_path / "data", looked())
    whole = json.loads(json.dumps(render_json(report(folder)), allow_nan=False))
    errors = list(jsonschema.Draft202012Validator(report_schema()).iter_errors(whole))
    assert errors == [] and whole["ledger"] and whole["overlap"]["tasks"]
    assert {f.name for f in fields(Delta)} >= {"clean"}
