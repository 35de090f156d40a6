"""`joyctl compare` on made-up outputs in lm-eval's form: what it accepts, refuses and shows."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lmeval_outputs import changed, item, results_file, samples_file, with_rows, write_output
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from joyctl.cli.main import app
from joyctl.errors import JoyctlError, Missing, Refused
from joyctl.report.side_by_side import SideBySide, side_by_side
from joyctl.report.sidetable import render_side_by_side

RIGHT_A = [1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]
RIGHT_B = [1, 1, 1, 1, 0, 1, 1, 1, 0, 1, 0, 1]


def one_task(folder: Path, right: list[int], write: Callable[[int], Any] = float, **whole: Any) -> Path:
    """A task `quiz` whose items are right or not; `write` makes of that what stands in the file."""
    items = [item("quiz", i, acc=write(value)) for i, value in enumerate(right)]
    mean = sum(right) / len(right)
    return write_output(folder, {"quiz": items}, {"quiz": {"acc,none": mean, "acc_stderr,none": 0.1}}, **whole)


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return one_task(tmp_path / "a", RIGHT_A)


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return one_task(tmp_path / "b", RIGHT_B)


def only(found: SideBySide) -> Any:
    (line,) = found.lines
    return line.delta


# ---- what lm-eval writes


@pytest.mark.parametrize("write", [bool, str, lambda x: str(bool(x)), lambda x: str(float(x)), int])
def test_numbers_and_truth_values_as_text_are_numbers(a: Path, tmp_path: Path, write: Callable[[int], Any]) -> None:
    b = one_task(tmp_path / "b", RIGHT_B, write)
    path = results_file(b)
    found = json.loads(path.read_text())
    found["results"]["quiz"] = {"alias": "quiz", "acc,none": str(sum(RIGHT_B) / 12), "acc_stderr,none": "N/A"}
    path.write_text(json.dumps(found))
    delta = only(side_by_side(a, b))
    differences = np.subtract(RIGHT_B, RIGHT_A)
    assert delta.delta == pytest.approx(differences.mean())
    assert delta.stderr == pytest.approx(differences.std(ddof=1) / math.sqrt(12))
    assert not differences.all()


def test_text_that_is_no_number_is_no_score(a: Path, tmp_path: Path) -> None:
    b = one_task(tmp_path / "b", RIGHT_B, lambda x: "yes" if x else "no")
    with pytest.raises(Refused, match=r"no score that can be compared\n.*they have no numbers of their own in B"):
        side_by_side(a, b)


def test_an_item_without_a_number_on_one_side(tmp_path: Path) -> None:
    def side(name: str, last: Any, mean: float) -> Path:
        items = [item("quiz", i, acc=float(value)) for i, value in enumerate(RIGHT_A[:-1])]
        return write_output(
            tmp_path / name, {"quiz": [*items, item("quiz", 11, acc=last)]}, {"quiz": {"acc,none": mean}}
        )

    a, b = side("a", 1.0, 5 / 12), side("b", None, 4 / 11)
    with pytest.raises(Refused, match="some items have a number in one of A and B only"):
        side_by_side(a, b)
    assert only(side_by_side(b, b)).n == 11  # absent on both sides: those that have one


def test_a_diverged_model_has_no_score(a: Path, tmp_path: Path) -> None:
    items = [item("quiz", i, acc=float("nan")) for i in range(12)]
    b = write_output(tmp_path / "b", {"quiz": items}, {"quiz": {"acc,none": float("nan")}})
    with pytest.raises(Refused, match="no number in the results of B"):
        side_by_side(a, b)


def test_lines_of_another_shape_are_read_as_well(a: Path, b: Path, tmp_path: Path) -> None:
    turned = with_rows(b, tmp_path / "turned", "quiz", lambda rows: [dict(sorted(row.items())) for row in rows])
    assert only(side_by_side(a, turned)) == only(side_by_side(a, b))


def test_documents_may_name_their_clusters(tmp_path: Path) -> None:
    def side(name: str, right: list[int]) -> Path:
        items = [item("quiz", i, acc=float(value)) for i, value in enumerate(right * 2)]
        for row in items:
            row["doc"]["cluster"] = row["doc_id"] % 12  # two wordings of each problem
        return write_output(tmp_path / name, {"quiz": items}, {"quiz": {"acc,none": sum(right) / 12}})

    delta = only(side_by_side(side("a", RIGHT_A), side("b", RIGHT_B)))
    assert (delta.n, delta.clusters) == (24, 12)
    assert delta.stderr == pytest.approx(np.subtract(RIGHT_B, RIGHT_A).std(ddof=1) / math.sqrt(12))


def grouped(folder: Path, sizes: list[int], shift: float, members: int | None = None, **whole: Any) -> Path:
    """Group `all` of tasks of these sizes, below it `half` of the first two."""
    random = np.random.default_rng(round(shift * 100))
    right = {f"t{k:02d}": (random.uniform(size=n) < 0.3 + shift).astype(float) for k, n in enumerate(sizes)}
    tasks = {task: [item(task, i, acc=float(v)) for i, v in enumerate(values)] for task, values in right.items()}
    scores = {task: {"acc,none": float(values.mean())} for task, values in right.items()}
    kept = list(right)[:members]
    scores["half"] = {"acc,none": float(np.concatenate([right[task] for task in kept[:2]]).mean())}
    scores["all"] = {"acc,none": float(np.concatenate([right[task] for task in kept]).mean())}
    return write_output(folder, tasks, scores, {"all": ["half", *kept[2:]], "half": kept[:2]}, **whole)


SIZES = [5, 9, 6, 7, 8, 5, 6, 7, 8, 9, 5, 6, 7, 8]


def test_a_group_of_groups_is_one_benchmark_clustered_by_its_tasks(tmp_path: Path) -> None:
    a, b = grouped(tmp_path / "a", SIZES, 0.0), grouped(tmp_path / "b", SIZES, 0.3)
    delta = only(side_by_side(a, b))
    values = {}
    for task in (f"t{k:02d}" for k in range(len(SIZES))):
        lines = [[json.loads(x)["acc"] for x in samples_file(side, task).read_text().splitlines()] for side in (a, b)]
        values[task] = np.subtract(lines[1], lines[0])
    every = np.concatenate(list(values.values()))
    sums = [(one - every.mean()).sum() for one in values.values()]
    count = len(sums)
    assert (delta.task, delta.n, delta.clusters, delta.few_clusters) == ("all", sum(SIZES), count, False)
    assert delta.delta == pytest.approx(every.mean())
    shares = np.divide(SIZES, sum(SIZES))
    assert delta.stderr == pytest.approx(math.sqrt((np.square(sums) / (1 - shares)).sum()) / sum(SIZES))
    parts = side_by_side(a, b, parts=True).lines
    assert [line.part_of for line in parts] == [None, *["all"] * (count + 1)]
    assert only(side_by_side(a, b, tasks=["half"])).n == 14
    assert only(side_by_side(a, b, tasks=["t03"])).task == "t03"


def test_groups_of_other_tasks_are_not_compared_but_their_common_tasks_are(tmp_path: Path) -> None:
    a, b = grouped(tmp_path / "a", SIZES, 0.0), grouped(tmp_path / "b", SIZES, 0.3, members=13)
    found = side_by_side(a, b)
    assert "all is not made of the same tasks (14 in A, 13 in B): left out" in found.notes
    assert {line.delta.task for line in found.lines} == {"half", *(f"t{k:02d}" for k in range(2, 14))}
    with pytest.raises(Refused, match="all is not made of the same tasks in A and in B"):
        side_by_side(a, b, tasks=["all"])


# ---- which files


def test_the_newest_results_are_read_and_said(a: Path, tmp_path: Path) -> None:
    one_task(a, RIGHT_B, date="2026-01-02T03-04-06.000001")
    one_task(a, RIGHT_A, date="2025-12-31T23-59-59.999999")
    b = one_task(tmp_path / "b", RIGHT_B)
    found = side_by_side(a, b)
    assert only(found).delta == 0.0
    assert (found.a.path.name, found.a.older) == ("results_2026-01-02T03-04-06.000001.json", 2)
    assert "the newest of 3 results files there" in screen(found, 200)
    older = a / "__models__a" / "results_2025-12-31T23-59-59.999999.json"
    assert only(side_by_side(older, b)).delta == pytest.approx(4 / 12)


def test_results_under_a_name_of_the_users(a: Path, tmp_path: Path) -> None:
    """`--output_path out/mine.json` gives out/mine_<date>.json and out/samples_<task>_<date>.jsonl."""
    b = one_task(tmp_path / "b", RIGHT_B)
    path = results_file(b)
    path.rename(path.with_name(path.name.replace("results_", "mine_")))
    assert only(side_by_side(a, b)) == only(side_by_side(a, next(b.rglob("mine_*.json"))))


def test_a_folder_of_several_models_is_refused(a: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        one_task(tmp_path / "many" / name, RIGHT_B)
    with pytest.raises(Refused, match=r"holds outputs of 2 models: .*first.*second"):
        side_by_side(a, tmp_path / "many")


def campaign(folder: Path) -> Path:
    folder.mkdir()
    (folder / "campaign.json").write_text("{}")
    return folder


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder, "is no folder and no file"),
        (empty, "holds no results of lm-eval"),
        (campaign, "It is a campaign's folder: joyctl report"),
    ],
)
def test_what_is_not_there(a: Path, tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    with pytest.raises(Missing, match=said):
        side_by_side(a, make(tmp_path / "other"))


@pytest.mark.parametrize(("text", "said"), [('{"results": {"qu', "is torn"), ('{"a": 1}', "is no results file")])
def test_results_that_cannot_be_read(a: Path, b: Path, text: str, said: str) -> None:
    results_file(b).write_text(text)
    with pytest.raises(Refused, match=said):
        side_by_side(a, b)


def test_items_without_hashes_or_twice(a: Path, b: Path, tmp_path: Path) -> None:
    def bare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: value for key, value in row.items() if key != "prompt_hash"} for row in rows]

    with pytest.raises(Refused, match=r"line 1 is no item of lm-eval: it has no prompt_hash"):
        side_by_side(a, with_rows(b, tmp_path / "bare", "quiz", bare))
    with pytest.raises(Refused, match=r"line 13: document 0 stands twice under filter none"):
        side_by_side(a, with_rows(b, tmp_path / "twice", "quiz", lambda rows: [*rows, rows[0]]))


# ---- what is not compared


def set_in(*keys: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        for key in keys[:-1]:
            found = found[key]
        found[keys[-1]] = to

    return change


@pytest.mark.parametrize(
    ("keys", "to", "said"),
    [
        (("versions", "quiz"), 2.0, "quiz: version  1.0 → 2.0"),
        (("n-shot", "quiz"), 5, "quiz: num_fewshot  0 → 5"),
        (("configs", "quiz", "filter_list"), [{"name": "last"}], r"quiz: filter_list\[0\].name  - → last"),
        (("configs", "quiz", "generation_kwargs"), {"temperature": 0.7}, "generation_kwargs.temperature  - → 0.7"),
        (("configs", "quiz", "doc_to_choice"), "{{x}}", "doc_to_choice  - → {{x}}"),
        (("chat_template",), "{{ messages }}", "chat_template  none → {{ messages }}"),
        (("system_instruction",), "Be brief.", "system_instruction  none → Be brief."),
        (("fewshot_as_multiturn",), True, "fewshot_as_multiturn  False → True"),
    ],
)
def test_another_protocol_is_refused_with_key_and_both_values(
    a: Path, b: Path, tmp_path: Path, keys: tuple[str, ...], to: Any, said: str
) -> None:
    with pytest.raises(Refused, match=said) as refused:
        side_by_side(a, changed(b, tmp_path / "other", set_in(*keys, to=to)))
    assert str(refused.value).startswith("A and B were scored under different protocols\n")
    assert refused.value.exit_code == 4


def test_generation_settings_of_the_run_count_where_text_is_generated(tmp_path: Path) -> None:
    configs = {"quiz": {"output_type": "generate_until"}}
    config = {"gen_kwargs": {"temperature": 0.5}, "limit": None}
    a = one_task(tmp_path / "a", RIGHT_A, configs=configs)
    b = one_task(tmp_path / "b", RIGHT_B, configs=configs, config=config)
    with pytest.raises(Refused, match=r"gen_kwargs  none → \{'temperature': 0\.5\}"):
        side_by_side(a, b)
    c = one_task(tmp_path / "c", RIGHT_A)
    assert only(side_by_side(c, one_task(tmp_path / "d", RIGHT_B, config=config))).n == 12


def test_every_change_is_listed_and_what_agrees_is_offered(tmp_path: Path) -> None:
    def side(name: str, version: float) -> Path:
        tasks = {task: [item(task, i, acc=float(i % 2)) for i in range(4)] for task in ("one", "two", "three")}
        scores = {task: {"acc,none": 0.5} for task in tasks}
        return write_output(tmp_path / name, tasks, scores, versions={"one": version, "two": version, "three": 1})

    with pytest.raises(Refused) as refused:
        side_by_side(side("a", 1), side("b", 2))
    assert "  one and 1 more: version  1 → 2" in str(refused.value)
    assert refused.value.hint is not None and refused.value.hint.endswith("--tasks three")
    assert only(side_by_side(tmp_path / "a", tmp_path / "b", tasks=["three"])).task == "three"


def test_addresses_of_functions_and_places_of_data_are_no_change(a: Path, b: Path, tmp_path: Path) -> None:
    def write(where: Path, to: Path, address: str) -> Path:
        more = {
            "process_docs": f"<function f at {address}>",
            "dataset_path": str(where),
            "metadata": {"pretrained": address},
        }
        return changed(where, to, lambda found: found["configs"]["quiz"].update(more))

    found = side_by_side(write(a, tmp_path / "c", "0x7f01"), write(b, tmp_path / "d", "0x7f02"))
    assert only(found).n == 12


def test_what_moves_scores_a_little_is_told_and_not_refused(a: Path, b: Path, tmp_path: Path) -> None:
    def other(found: dict[str, Any]) -> None:
        found["lm_eval_version"] = "0.4.9"
        found["configs"]["quiz"]["unheard_of"] = None
        found["config"] |= {"batch_size": 64, "limit": 500, "model_args": "pretrained=b,add_bos_token=True"}

    one = changed(a, tmp_path / "c", lambda found: found["config"].update(batch_size="8"))
    found = side_by_side(one, changed(b, tmp_path / "d", other))
    (told,) = [text for text in found.notes if text.startswith("differs, but")]
    assert "lm_eval_version 0.4.13 → 0.4.9" in told and "batch_size 8 → 64" in told
    assert "limit none → 500" in told  # larger than the task: the items are the same
    assert "model_args.add_bos_token not given → True" in told and "pretrained" not in told


def test_no_task_in_common_lists_both(a: Path, tmp_path: Path) -> None:
    items = [item("other", i, acc=1.0) for i in range(3)]
    b = write_output(tmp_path / "b", {"other": items}, {"other": {"acc,none": 1.0}})
    with pytest.raises(Refused, match=r"no task in common\n  A: quiz\n  B: other"):
        side_by_side(a, b)


def test_a_task_that_is_not_in_both(a: Path, b: Path) -> None:
    with pytest.raises(Refused, match=r"(?s)quizz was not scored in both.*Both have: quiz"):
        side_by_side(a, b, tasks=["quizz"])


def test_nothing_in_common_but_the_task(a: Path, b: Path, tmp_path: Path) -> None:
    def later(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "doc_id": row["doc_id"] + 100} for row in rows]

    moved = with_rows(b, tmp_path / "moved", "quiz", later)
    with pytest.raises(Refused, match="12 items in A, 12 in B; the first that B lacks: document 0"):
        side_by_side(a, moved)
    with pytest.raises(Refused, match="fewer than two items"):
        side_by_side(a, moved, common=True)


# ---- what it shows


def screen(found: SideBySide, width: int, **options: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=width, _environ={}, **options).print(render_side_by_side(found))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


@pytest.fixture
def many(tmp_path: Path) -> SideBySide:
    """A group, two filters, a loss, and marks of every kind."""
    random = np.random.default_rng(5)

    def side(name: str, shift: float) -> Path:
        tasks: dict[str, list[dict[str, Any]]] = {}
        scores: dict[str, dict[str, float]] = {}
        for task, slope in (("better", 1.0), ("worse", -1.0), ("even", 0.0), ("nearly", 0.33)):
            right = np.sort(random.uniform(size=200)) < 0.5 + slope * shift
            tasks[task] = [item(task, i, acc=float(x)) for i, x in enumerate(right)]
            scores[task] = {"acc,none": float(right.mean())}
        return write_output(tmp_path / name, tasks, scores)

    return side_by_side(side("a", 0.0), side("b", 0.25))


@pytest.mark.parametrize("width", [40, 50, 72, 100, 200])
def test_no_line_is_wider_than_the_terminal(many: SideBySide, width: int) -> None:
    text = screen(many, width)
    assert max(map(cell_len, text.splitlines())) <= width
    for line in many.lines:
        assert f"{line.a * 100:.1f}" in text and f"{line.delta.delta * 100:+.1f}" in text


def test_colour_says_nothing_that_signs_do_not(many: SideBySide) -> None:
    plain = screen(many, 100)
    assert "▲" in plain and "▼" in plain
    assert "\x1b[32m" in screen(many, 100, force_terminal=True, color_system="standard")
    assert "\x1b[3" not in screen(many, 100, force_terminal=True, color_system="standard", no_color=True)


def test_a_terminal_without_unicode_gets_the_same_layout(many: SideBySide) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    Console(file=out, width=100, _environ={}).print(render_side_by_side(many))
    out.flush()
    lines = [line.rstrip() for line in raw.getvalue().decode("ascii").splitlines()]
    assert list(map(len, lines)) == list(map(len, screen(many, 100).splitlines()))


def test_notes_say_what_the_verdicts_rest_on(many: SideBySide, a: Path, b: Path) -> None:
    text = screen(many, 200)
    assert "Holm over 4 comparisons at 5 %" in text
    assert "12 items" not in text  # enough to generalise over
    few = one_few(a, b)
    assert "quiz: 4 items only: verdicts hold for these, not for others" in screen(few, 200)


def one_few(a: Path, b: Path) -> SideBySide:
    folder = a.parent
    return side_by_side(one_task(folder / "few-a", [0, 0, 1, 0]), one_task(folder / "few-b", [1, 0, 1, 1]))


# ---- the command


def call(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "joyctl", "compare", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_exit_codes_and_messages_without_traceback(a: Path, b: Path, tmp_path: Path) -> None:
    other = changed(b, tmp_path / "other", set_in("versions", "quiz", to=2))
    for words, code, said in (
        ((str(a), str(b)), 0, ""),
        ((str(a), str(tmp_path / "none")), 6, "is no folder and no file"),
        ((str(a), str(other)), 4, "quiz: version  1.0 → 2"),
        ((str(a),), 2, "DIR_B"),
    ):
        done = call(*words)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert said in done.stderr and bool(done.stdout) == (code == 0)


def test_json_has_the_promised_keys(a: Path, b: Path) -> None:
    done = CliRunner().invoke(app, ["compare", str(a), str(b), "--json"], catch_exceptions=False)
    value = json.loads(done.stdout)
    (delta,) = value["deltas"]
    promised = "task metric filter n delta stderr low high p p_adjusted verdict"
    assert set(promised.split()) | {"q", "p_exact", "detectable", "a", "b", "clusters", "few_clusters"} <= delta.keys()
    assert (delta["a"], delta["b"]) == (pytest.approx(5 / 12), pytest.approx(9 / 12))
    assert delta["delta"] == pytest.approx(4 / 12) and delta["n"] == 12
    assert value["a"]["model"] == "models/a" and value["b"]["results"] == str(results_file(b))


def test_independent_items_that_pass_or_fail_are_tested_exactly(a: Path, b: Path) -> None:
    """Four items only B passes and none only A: McNemar's two-sided p is 2 * 0.5**4."""
    delta = only(side_by_side(a, b))
    assert (delta.p, delta.p_exact) == (pytest.approx(0.125), pytest.approx(0.125))
    assert "McNemar" in screen(side_by_side(a, b), 200)


def test_help_says_what_it_takes() -> None:
    text = CliRunner().invoke(app, ["compare", "--help"], catch_exceptions=False).stdout
    for word in ("DIR_A", "DIR_B", "--log_samples", "--tasks", "--parts", "--common", "--json", "newest"):
        assert word in text


def test_nothing_heavy_is_loaded(a: Path, b: Path) -> None:
    code = (
        f"import sys; sys.argv = ['joyctl', 'compare', {str(a)!r}, {str(b)!r}];"
        "from joyctl.cli.main import app; app(standalone_mode=False);"
        "print(sorted({'torch', 'lm_eval', 'transformers', 'datasets', 'hydra', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_error_is_one_of_joyctls(a: Path, b: Path, tmp_path: Path) -> None:
    """A byte lost anywhere near the end of the items is named, not guessed at."""
    text = samples_file(b, "quiz").read_bytes()
    for lost in range(2, 40, 3):
        samples_file(b, "quiz").write_bytes(text[:-lost])
        with pytest.raises(JoyctlError, match="line 12 is torn"):
            side_by_side(a, b)
