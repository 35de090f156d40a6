"""Suites: what runs are scored on, by name, by file, joined; what is wrong is told at its place."""

# Messages stand here whole, as a user sees them.
# ruff: noqa: E501

from __future__ import annotations

from pathlib import Path

import pytest

from joyctl.errors import Missing, RecipeError
from joyctl.evals.known import built_in, require_known
from joyctl.recipe.load import load_recipe_grid
from joyctl.recipe.locate import builtin_names
from joyctl.recipe.suite import DATASETS, Aggregate, Suite, bench_data, load_suite, require_datasets

MINE = """\
tasks:
  - task: arc_easy
    n_shot: 25
  - {task: piqa, category: sense, metric: "acc,none", baseline: 0.5}
heldout: false
aggregate: {name: sense_average, version: 2}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)
    return name


def problems(name: str, beside: Path | None = None) -> list[str]:
    with pytest.raises(RecipeError) as error:
        load_suite(name, beside)
    return [str(problem) for problem in error.value.problems]


def names(suite: Suite) -> list[str]:
    return [task.task for task in suite.tasks]


# -- the built-in ones


def test_core_is_mmlu_gsm8k_and_humaneval_as_papers_report_them():
    core = load_suite("core")
    assert [(t.task, t.n_shot, t.gold, t.runs_code) for t in core.tasks] == [
        ("mmlu", 5, None, False),
        ("gsm8k_cot", 8, " {{answer}}", False),
        ("humaneval", None, "{{canonical_solution}}", True),
    ]
    assert core.heldout and core.aggregate is None and core.runs_code


def test_core_small_is_core_with_mmlu_by_the_text_of_its_answers_too():
    small = {t.task: t for t in load_suite("core-small").tasks}
    assert {t.task: t for t in load_suite("core").tasks}.items() <= small.items()
    assert small["mmlu_continuation"].n_shot == 5


@pytest.mark.parametrize("name", builtin_names("suite"))
def test_every_built_in_suite_loads_and_lm_eval_or_the_micro_world_has_its_tasks(name: str):
    suite = load_suite(name)
    real = [task for task in names(suite) if not task.startswith(("micro_", "general_"))]
    require_known(name, real, [])
    assert real or name == "micro"


def test_micro_scores_the_gold_answers_as_training_texts_have_them():
    """The text that follows the prompt in training is the gold answer, blank for blank."""
    jinja2 = pytest.importorskip("jinja2")
    from joyctl.data.world import code, math
    from joyctl.data.world.stream import Stream

    gold = {task.task: task.gold for task in load_suite("micro").tasks}
    train, _ = math.split(1)
    text = math.document(math.by_template(train), Stream(1, "x"))
    question, answer = text.removeprefix("Question: ").split("\nAnswer: ")
    prompt = f"Question: {question}\nAnswer:"  # doc_to_text of micro_math
    assert prompt + jinja2.Template(gold["micro_math"]).render(answer=answer) == text
    item = code.benchmark(1, 1)[0]
    text = str(item["prompt"]) + jinja2.Template(gold["micro_code"], keep_trailing_newline=True).render(item)
    assert text == f"{item['prompt']}{item['canonical_solution']}"
    compile(text, "program", "exec")


# -- a user's own


def test_a_name_is_looked_for_beside_the_recipe_before_the_built_in_ones():
    write("r/suites/mine.yaml", MINE)
    write("r/suites/core.yaml", "tasks: [{task: piqa}]\n")
    mine = load_suite("mine", Path("r"))
    assert (names(mine), mine.tasks[0].n_shot, mine.heldout) == (["arc_easy", "piqa"], 25, False)
    assert mine.aggregate == Aggregate(name="sense_average", version=2)
    assert names(load_suite("core", Path("r"))) == ["piqa"]
    assert names(load_suite("core")) == ["mmlu", "gsm8k_cot", "humaneval"]


def test_a_path_is_relative_to_the_recipe_or_to_the_current_folder():
    write("r/s/a.yaml", "tasks: [{task: piqa}]\n")
    write("b.yaml", "tasks: [{task: boolq}]\n")
    assert names(load_suite("s/a.yaml", Path("r"))) == ["piqa"]
    assert names(load_suite("b.yaml", Path("r"))) == ["boolq"]
    assert names(load_suite(str(Path("b.yaml").absolute()), Path("r"))) == ["boolq"]


def test_folders_of_task_files_are_relative_to_the_suite_file_and_come_out_absolute():
    Path("r/suites/tasks").mkdir(parents=True)
    write("r/suites/mine.yaml", "tasks: [{task: own}]\ninclude_path: [tasks]\n")
    assert load_suite("mine", Path("r")).include_path == (str(Path("r/suites/tasks").resolve()),)


def test_a_recipe_finds_its_own_suite_and_a_built_in_recipe_that_of_the_current_folder():
    write("r/mine.yaml", "defaults: [tiny]\neval: {suite: own}\n")
    write("r/suites/own.yaml", "tasks: [{task: piqa}]\n")
    write("suites/here.yaml", "tasks: [{task: boolq}]\n")
    assert names(load_recipe_grid("r/mine.yaml", [])[0].suite) == ["piqa"]
    assert names(load_recipe_grid("tiny", ["eval.suite=here"])[0].suite) == ["boolq"]


def test_a_swept_suite_gives_every_point_its_own():
    points = load_recipe_grid("tiny", ["eval.suite=core,core-small"])
    assert [(p.changed, len(p.suite.tasks)) for p in points] == [
        ({"eval.suite": "core"}, 3),
        ({"eval.suite": "core-small"}, 4),
    ]


# -- several


def test_joined_suites_have_what_is_in_both_once():
    write("suites/mine.yaml", MINE)
    joined = load_suite("core+mine+core-small")
    assert names(joined) == ["mmlu", "gsm8k_cot", "humaneval", "arc_easy", "piqa", "mmlu_continuation"]
    assert joined.heldout  # one of them asks for it
    assert joined.aggregate == Aggregate(name="sense_average", version=2)


def test_one_task_with_two_settings_cannot_be_joined():
    write(
        "suites/other.yaml",
        "tasks:\n  - task: piqa\n  - task: mmlu\n    n_shot: 0\n    metric: acc,none\n    baseline: 0.25\n",
    )
    core = next(Path(__file__).parents[1].glob("recipes/suites/core.yaml"))
    assert problems("core+other") == [f"suites/other.yaml:3:5 tasks[1]: 'mmlu' is in {core} too, with another n_shot"]


def test_two_aggregates_cannot_be_joined():
    write("suites/mine.yaml", MINE)
    write("suites/other.yaml", MINE.replace("version: 2", "version: 3"))
    assert problems("mine+other") == [
        "suites/other.yaml:6:1 aggregate: suites/mine.yaml has another one; suites with two aggregates cannot be joined"
    ]
    assert load_suite("mine+mine") == load_suite("mine")


# -- what is wrong


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("n_shot", "nshot", "3:5 tasks[0].nshot: unknown key; did you mean 'tasks[0].n_shot'?"),
        ("n_shot: 25", "n_shot: -1", "3:13 tasks[0].n_shot: -1 is negative; give a whole number of 0 or more"),
        ("n_shot: 25", "n_shot: few", "3:13 tasks[0].n_shot: 'few' is not a whole number of 0 or more"),
        ("heldout: false", "held_out: false", "5:1 held_out: unknown key; did you mean 'heldout'?"),
        ("arc_easy", "piqa", "4:12 tasks[1].task: 'piqa' stands twice; it is tasks[0] already"),
        ("acc,none", "acc", "4:43 tasks[1].metric: 'acc' does not do; give metric,filter as lm-eval names them, such as acc_norm,none"),
        ("0.5", "50", "4:65 tasks[1].baseline: 50 is not in [0, 1); for 50 % write 0.5"),
        (", baseline: 0.5", "", "4:5 tasks[1].baseline: missing; 'category' has the task count in sense_average, which needs it"),
        ("category: sense, ", "", "6:1 aggregate: no task has a category, so there is nothing to average"),
        ("version: 2", "version: two", "6:43 aggregate.version: 'two' is not a whole number above 0"),
        ("heldout: false", "include_path: [tasks]", "5:16 include_path[0]: no folder suites/tasks"),
        ("  - task: arc_easy\n    n_shot: 25\n", "  - n_shot: 25\n", "2:5 tasks[0].task: missing; give text: lm-eval's name of a task or group"),
    ],
)  # fmt: skip
def test_one_thing_wrong_in_a_file(old: str, new: str, expected: str):
    if old == "n_shot":
        assert MINE.count(old) == 1
    text = MINE.replace(old, new, 1)
    assert text != MINE
    write("suites/mine.yaml", text)
    found = [problem.replace(str(Path.cwd()) + "/", "") for problem in problems("mine")]
    assert found == [f"suites/mine.yaml:{expected}"]


def test_several_things_wrong_are_told_at_once():
    write("suites/mine.yaml", MINE.replace("n_shot: 25", "n_shot: -1").replace("0.5", "7"))
    assert len(problems("mine")) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tasks: [", "not valid YAML"),
        ("- task: mmlu\n", "the file should map keys to values; it is a list"),
        ("tasks: [{task: a}]\ntasks: [{task: b}]\n", "suites/mine.yaml:2:1 tasks: given twice"),
        ("tasks: []\n", "suites/mine.yaml:1:8 tasks: an empty list; give a list, each a section with task"),
        ("", "suites/mine.yaml:1:1 tasks: missing; give a list, each a section with task"),
    ],
)
def test_what_is_no_suite_file(text: str, expected: str):
    write("suites/mine.yaml", text)
    (found,) = problems("mine")
    assert expected in found


def test_a_suite_that_there_is_not_is_told_at_the_recipes_line():
    write("r.yaml", "defaults: [tiny]\neval:\n  suite: cora\n")
    with pytest.raises(RecipeError) as error:
        load_recipe_grid("./r.yaml", [])
    assert [str(p) for p in error.value.problems] == [
        "./r.yaml:3:10 eval.suite: unknown suite 'cora'; did you mean 'core'?"
    ]
    assert error.value.hint == "A suite of your own: suites/<name>.yaml, or any path."


def test_a_swept_or_given_suite_that_there_is_not_is_told_at_the_override():
    with pytest.raises(RecipeError) as error:
        load_recipe_grid("tiny", ["eval.suite=core,mine.yaml"])
    assert [str(p) for p in error.value.problems] == ["override 'eval.suite=core,mine.yaml': no file mine.yaml in ."]


@pytest.mark.parametrize("name", ["", "+", "core+", "a b"])
def test_names_that_are_none(name: str):
    assert "unknown suite" in problems(name)[0]


# -- tasks and data


def test_a_task_that_nobody_knows_is_told_before_anything_is_trained():
    with pytest.raises(RecipeError) as error:
        require_known("mine", ["arc_easy", "arc_esay", "micro_mc"], [])
    told = [str(problem) for problem in error.value.problems]
    assert told[0] == "suite mine tasks: unknown task 'arc_esay': lm-eval has none; did you mean 'arc_easy'?"
    assert len(told) == 2 and "include_path" in str(error.value)


def test_tasks_of_own_folders_and_every_way_to_name_them_are_known():
    write("own/a/mine.yaml", 'group: "my_group"  # all of them\ntask:\n  - my_task\n')
    write("own/t.yaml", "task: my_task\ntag:\n  - my_tag\ntask_alias: no\n")
    require_known("mine", ["my_group", "my_task", "my_tag", "gsm8k_cot", "copa"], [Path("own")])
    with pytest.raises(RecipeError):
        require_known("mine", ["no"], [Path("own")])


def test_looking_for_tasks_does_not_import_lm_eval():
    import subprocess
    import sys

    code = "import sys; from joyctl.evals.known import *; require_known('x', ['mmlu'], []); print('lm_eval' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_datasets_are_those_that_the_task_files_name():
    import re

    for task, dataset in DATASETS.items():
        holders = (
            built_in().rglob("*.yaml") if task in ("gsm8k_cot",) else (built_in() / task.partition("_")[0]).rglob("*")
        )
        texts = [path.read_text(errors="replace") for path in holders if path.is_file() and path.name.endswith("yaml")]
        assert any(re.search(rf"^dataset_path: ['\"]?{re.escape(dataset)}['\"]?$", text, re.M) for text in texts), task


def test_what_is_missing_of_the_benchmark_data_is_named():
    core = load_suite("core")
    require_datasets(core, "hub")
    with pytest.raises(Missing, match=r"no benchmark data: eval\.data is /nowhere, which is no folder") as error:
        require_datasets(core, "/nowhere")
    assert error.value.exit_code == 6 and "/nowhere/cais/mmlu" in str(error.value)
    Path("bench/cais/mmlu").mkdir(parents=True)
    with pytest.raises(Missing, match=r"missing in bench \(--data\): openai/gsm8k, openai/openai_humaneval$"):
        try:
            require_datasets(core, "bench", "--data")
        except Missing as missing:
            raise Missing(missing.message) from None
    for name in ("openai/gsm8k", "openai/openai_humaneval"):
        Path("bench", name).mkdir(parents=True)
    require_datasets(core, "bench")


def test_where_data_lies_is_absolute_for_the_jobs():
    assert bench_data("hub") == "hub"
    assert bench_data("bench") == str(Path.cwd() / "bench")
    assert bench_data("~/bench") == str(Path.home() / "bench")
