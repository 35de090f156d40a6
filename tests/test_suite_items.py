"""The numbers of items that suites name for planning are those of the data, as scoring counts and clusters them."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipes_for_tests import recipe
from small_models import bench_data, needs_bench_data

from joyctl.campaign.spec import EvalSpec
from joyctl.data.build import build
from joyctl.errors import RecipeError
from joyctl.evals import tasks
from joyctl.evals.samples import cluster
from joyctl.recipe.suite import load_suite
from joyctl.recipe.types import SuiteTask

pytestmark = pytest.mark.filterwarnings("ignore")


def counted(entry: SuiteTask, data: str, folder: str = "") -> tuple[int, int]:
    """(items, clusters) of the task as the harness loads it and the report clusters it."""
    spec = EvalSpec(suite="x", batch_size=8, data=data, data_folder=folder, data_sha256="")
    loaded = tasks.load(entry, spec)
    docs = [doc for leaf in loaded.leaves for doc in enumerate(loaded.docs(leaf))]
    return len(docs), len({cluster({"doc_id": i, "doc": doc}) for i, doc in docs})


@needs_bench_data
@pytest.mark.parametrize("task", ["mmlu", "mmlu_continuation", "gsm8k_cot", "humaneval"])
def test_core_has_the_items_of_the_real_benchmarks(task: str) -> None:
    entry = next(entry for entry in load_suite("core-small").tasks if entry.task == task)
    items, clusters = counted(entry, str(bench_data()))
    assert (entry.items, entry.clusters or entry.items) == (items, clusters)


def test_micro_has_the_items_of_the_generated_world(tmp_path: Path) -> None:
    folder = str(build(recipe(), tmp_path).path)
    said = {entry.task: entry for entry in load_suite("micro").tasks}
    for entry in said.values():
        if entry.items is not None:
            assert (entry.items, entry.clusters or entry.items) == counted(entry, "hub", folder), entry.task
    assert [name for name, entry in said.items() if entry.items is None] == ["general_cloze"]  # varies with the world


def test_suites_say_the_same_of_one_benchmark() -> None:
    core = {entry.task: (entry.items, entry.clusters) for entry in load_suite("core").tasks}
    small = {entry.task: (entry.items, entry.clusters) for entry in load_suite("core-small").tasks}
    assert core.items() <= small.items()
    assert load_suite("humaneval_64").tasks[0].items == core["humaneval"][0]


def test_a_suite_without_the_numbers_joins_one_that_has_them(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("tasks: [{task: humaneval, gold: '{{canonical_solution}}', runs_code: true}]\n")
    joined = load_suite(f"core+{mine}")
    assert [entry.items for entry in joined.tasks] == [14_042, 1_319, 164]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ("items: 10, clusters: 20", "20 clusters of 10 items; give 'items', at least as many as clusters"),
        ("clusters: 20", "clusters of how many items?; give 'items', at least as many as clusters"),
        ("items: 1", "1 is"),
    ],
)
def test_impossible_numbers_are_refused_at_their_place(tmp_path: Path, numbers: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"tasks:\n  - {{task: piqa, {numbers}}}\n")
    with pytest.raises(RecipeError) as error:
        load_suite(str(path))
    assert [message in str(problem) and "mine.yaml:2:" in str(problem) for problem in error.value.problems] == [True]
