"""`joyctl compare` on what lm-eval's own command line wrote, for two small models."""

from __future__ import annotations

import json
import math
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import evals_world as world
import numpy as np
import pytest
import stock
from evals_bench import make_bench
from lmeval_outputs import changed, finished, results, rows, samples_file, start_lm_eval, values, with_rows
from small_models import bench_data, make_model, make_tokenizer, needs_bench_data
from typer.testing import CliRunner

from joyctl.cli.main import app
from joyctl.errors import Missing, Refused
from joyctl.evals.sandbox import probe
from joyctl.report.side_by_side import Line, SideBySide, side_by_side

pytestmark = pytest.mark.slow

TASKS = ("micro_mc", "uneven", "micro_math", "heldout_web", "choices", "words", "answers", "votes")
QUESTION = 'doc_to_text: "Question: {{question}}\\nAnswer:"\n'
CHOICES = 'doc_to_target: "{{answer}}"\ndoc_to_choice: "{{choices}}"\noutput_type: multiple_choice\n'
MEAN = "aggregation: mean, higher_is_better: true"


def more_tasks(data: Path) -> None:
    """A group that counts its tasks and not their items, two metrics, several answers a document, perplexities."""
    tasks = data / "tasks"
    world.write_lines(tasks / "three.jsonl", world.mc_items("metals")[:3])

    def task(name: str, items: Path, text: str) -> None:
        files = json.dumps({"data_files": {"test": str(items)}})
        head = f"task: {name}\ndataset_path: json\ndataset_kwargs: {files}\ntest_split: test\nnum_fewshot: 0\n"
        (tasks / f"{name}.yaml").write_text(head + text + "metadata: {version: 1.0}\n")

    one = f"metric_list: [{{metric: acc, {MEAN}}}]\n"
    task("uneven_three", tasks / "three.jsonl", QUESTION + CHOICES + one)
    task("uneven_six", tasks / "mc_animals.jsonl", QUESTION + CHOICES + one)
    (tasks / "uneven.yaml").write_text(
        "group: uneven\ntask: [uneven_three, uneven_six]\n"
        "aggregate_metric_list: [{metric: acc, weight_by_size: false}]\nmetadata: {version: 2.0}\n"
    )
    two = f"metric_list: [{{metric: acc, {MEAN}}}, {{metric: acc_norm, {MEAN}}}]\n"
    task("choices", tasks / "mc_animals.jsonl", QUESTION + CHOICES + two)
    perplexity = "{metric: perplexity, aggregation: perplexity, higher_is_better: false}"
    rolling = "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{text}}'\n"
    kinds = "metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]\n"
    task("words", data / "sources/web/heldout.jsonl", rolling + kinds)
    voted = "filter_list: [{name: majority, filter: [{function: majority_vote}, {function: take_first}]}]\nrepeats: 3\n"
    exact = f"doc_to_target: '{{{{answer}}}}'\nmetric_list: [{{metric: exact_match, {MEAN}}}]\n"
    until = "output_type: generate_until\ngeneration_kwargs: {until: ['\\n'], max_gen_toks: 8}\n"
    task("votes", tasks / "math.jsonl", QUESTION + exact + until + voted)
    answers = "output_type: loglikelihood\ndoc_to_target: '{{answer}}'\n"
    task(
        "answers", tasks / "math.jsonl", QUESTION + answers + f"metric_list: [{perplexity}, {{metric: acc, {MEAN}}}]\n"
    )


@dataclass(frozen=True)
class Outputs:
    """Folders given to `--output_path`."""

    a: Path
    b: Path
    data: Path
    models: tuple[Path, Path]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    folder = tmp_path_factory.mktemp("outputs")
    data = world.make_data(folder / "data")
    more_tasks(data)
    a = world.make_model(folder / "few", data, steps=40)
    b = world.make_model(folder / "more", data, seed=1, steps=80)
    started = [start_lm_eval(model, TASKS, data / "tasks", folder / f"out-{model.name}") for model in (a, b)]
    for process in started:
        finished(process)
    return Outputs(folder / "out-few", folder / "out-more", data, (a, b))


@pytest.fixture(scope="module")
def found(outputs: Outputs) -> SideBySide:
    return side_by_side(outputs.a, outputs.b, parts=True)


def line(found: SideBySide, task: str, metric: str, filter_: str = "none") -> Line:
    (one,) = [one for one in found.lines if one.delta.key == (task, metric, filter_)]
    return one


def test_scores_rebuilt_from_items_are_those_of_the_results(outputs: Outputs, found: SideBySide) -> None:
    told = results(outputs.a)["results"], results(outputs.b)["results"]
    for one in found.lines:
        key = f"{one.delta.metric},{one.delta.filter}"
        assert one.a == pytest.approx(told[0][one.delta.task][key], abs=1e-9), one.delta.key
        assert one.b == pytest.approx(told[1][one.delta.task][key], abs=1e-9), one.delta.key
        assert one.delta.delta == pytest.approx(one.b - one.a, abs=1e-12)
    assert {one.delta.task for one in found.lines if one.part_of is None} == set(TASKS)
    assert any(one.delta.delta > 0 for one in found.lines)


def test_a_difference_and_its_error_are_those_of_the_raw_files(outputs: Outputs, found: SideBySide) -> None:
    for filter_ in ("strict-match", "flexible-extract"):
        mine, other = (values(side, "micro_math", "exact_match", filter_) for side in (outputs.a, outputs.b))
        differences = np.array([other[doc] - mine[doc] for doc in mine])
        delta = line(found, "micro_math", "exact_match", filter_).delta
        assert delta.delta == pytest.approx(differences.mean(), abs=1e-12)
        assert delta.stderr == pytest.approx(differences.std(ddof=1) / math.sqrt(12), abs=1e-12)
        assert (delta.n, delta.clusters) == (12, 12)  # every problem of this world is a cluster of its own
    assert not np.all(differences == 0)


def test_bits_per_byte_are_all_bits_over_all_bytes(outputs: Outputs, found: SideBySide) -> None:
    pairs = [[row["bits_per_byte"] for row in rows(side, "heldout_web")] for side in (outputs.a, outputs.b)]
    bits = [-sum(nats for nats, _ in side) / math.log(2) / sum(size for _, size in side) for side in pairs]
    one = line(found, "heldout_web", "bits_per_byte")
    assert (one.a, one.b) == (pytest.approx(bits[0]), pytest.approx(bits[1]))
    assert one.delta.better is (
        False if one.delta.verdict == "higher" else True if one.delta.verdict == "lower" else None
    )


def test_several_answers_a_document_are_one_item(outputs: Outputs, found: SideBySide) -> None:
    assert {len(row["resps"][0]) for row in rows(outputs.a, "votes")} == {3}
    assert line(found, "votes", "exact_match", "majority").delta.n == 12


def test_a_group_is_clustered_by_its_tasks(outputs: Outputs, found: SideBySide) -> None:
    subjects = ("micro_mc_animals", "micro_mc_metals")
    sides = [[values(side, task, "acc") for task in subjects] for side in (outputs.a, outputs.b)]
    differences = [np.array([y[doc] - x[doc] for doc in x]) for x, y in zip(*sides, strict=True)]
    everything = np.concatenate(differences)
    sums = [(one - everything.mean()).sum() for one in differences]
    by_cluster = math.sqrt(2 * sum(s * s for s in sums)) / 12
    by_item = everything.std(ddof=1) / math.sqrt(12)
    delta = line(found, "micro_mc", "acc").delta
    assert delta.delta == pytest.approx(everything.mean())
    assert (delta.clusters, delta.few_clusters) == (2, True)
    assert delta.stderr == pytest.approx(max(by_cluster, by_item))


def test_a_group_that_does_not_weight_by_size_is_the_mean_of_its_tasks(outputs: Outputs, found: SideBySide) -> None:
    means = [
        [np.mean(list(values(side, task, "acc").values())) for task in ("uneven_three", "uneven_six")]
        for side in (outputs.a, outputs.b)
    ]
    one = line(found, "uneven", "acc")
    assert (one.a, one.b) == (pytest.approx(np.mean(means[0])), pytest.approx(np.mean(means[1])))
    by_size = (means[1][0] * 3 + means[1][1] * 6) / 9
    assert abs(by_size - one.b) > 0.01  # else this shows nothing


def test_what_is_no_mean_over_items_is_left_out_and_said(found: SideBySide) -> None:
    left = next(text for text in found.notes if "no mean over its items: they have no numbers" in text)
    assert "words word_perplexity, words byte_perplexity" in left
    (other,) = [text for text in found.notes if "answers perplexity" in text]
    assert "in the results of A" in other and "by its samples" in other
    assert line(found, "words", "bits_per_byte").delta.family == "headline"
    assert line(found, "answers", "acc").delta.family == "headline"


def test_each_task_has_one_headline_and_families_are_corrected_apart(found: SideBySide) -> None:
    families: dict[tuple[str, bool], list[Line]] = {}
    for one in found.lines:
        families.setdefault((one.delta.family, one.part_of is not None), []).append(one)
    headline = families["headline", False]
    assert sorted(one.delta.task for one in headline) == sorted(TASKS)
    assert {one.delta.key[1:] for one in families["other", False]} == {
        ("exact_match", "flexible-extract"),
        ("acc_norm", "none"),
    }
    assert {one.part_of for one in families["other", True]} == {"micro_mc", "uneven"}
    for members in families.values():
        least = min(members, key=lambda one: one.delta.p).delta
        assert least.p_adjusted == pytest.approx(min(1.0, least.p * len(members)))


def test_parts_are_shown_where_asked_and_change_nothing_else(outputs: Outputs, found: SideBySide) -> None:
    without = side_by_side(outputs.a, outputs.b)
    assert [one for one in found.lines if one.part_of is None] == list(without.lines)
    tasks = [one.delta.task for one in found.lines]
    place = tasks.index("micro_mc")
    assert tasks[place : place + 3] == ["micro_mc", "micro_mc_animals", "micro_mc_metals"]


def test_an_output_against_itself_shows_no_difference(outputs: Outputs) -> None:
    same = side_by_side(outputs.a, outputs.a)
    assert {(one.delta.delta, one.delta.p, one.delta.verdict) for one in same.lines} == {
        (0.0, 1.0, "no detectable difference")
    }
    assert "A and B are the same file" in same.notes


def test_what_joyctl_eval_wrote_compares_with_what_lm_eval_wrote(outputs: Outputs, tmp_path: Path) -> None:
    spec = world.spec(outputs.data, tasks=world.TASKS[:2], heldout=False)
    world.evaluate(outputs.models[0], spec, tmp_path / "joy", lm_eval_files=True)
    against_stock = side_by_side(outputs.a, tmp_path / "joy")
    assert {one.delta.key for one in against_stock.lines} == {
        ("micro_mc", "acc", "none"),
        ("micro_math", "exact_match", "strict-match"),
        ("micro_math", "exact_match", "flexible-extract"),
    }
    assert {one.delta.delta for one in against_stock.lines} == {0.0}
    assert any(text.startswith("B does not say") for text in against_stock.notes)


@pytest.mark.skipif(probe() is not None, reason=f"needs sandbox: {probe()}")
def test_generated_code_that_joyctl_eval_executed(outputs: Outputs, tmp_path: Path) -> None:
    from joyctl.evals import harness

    spec = world.spec(outputs.data, tasks=world.TASKS[2:], heldout=False)
    for model in outputs.models:
        world.evaluate(model, spec, tmp_path / model.name, lm_eval_files=True)
        harness.execute(spec, tmp_path / model.name, lm_eval_files=True)
    (one,) = side_by_side(tmp_path / "few", tmp_path / "more").lines
    assert one.delta.key == ("micro_code", "pass@1", "create_test")
    assert one.delta.n == 8 and one.delta.higher_is_better
    assert one.b == results(tmp_path / "more")["results"]["micro_code"]["pass@1,create_test"]


def test_fewer_items_on_one_side(outputs: Outputs, tmp_path: Path) -> None:
    finished(
        start_lm_eval(outputs.models[1], ["micro_mc", "micro_math"], outputs.data / "tasks", tmp_path, "--limit", "4")
    )
    with pytest.raises(Refused) as refused:
        side_by_side(outputs.a, tmp_path)
    said = str(refused.value)
    assert "micro_math: 12 items in A, 4 in B; the first that B lacks: document 4" in said
    assert "micro_mc_animals: 6 items in A, 4 in B" in said
    assert "limit  none → 4" in said and "--common" in said
    both = side_by_side(outputs.a, tmp_path, common=True)
    assert {one.delta.task: one.delta.n for one in both.lines} == {"micro_mc": 8, "micro_math": 4}
    assert "micro_mc: the 8 items that both have, of 12 in A and 8 in B" in both.notes
    mine = values(outputs.a, "micro_math", "exact_match", "flexible-extract")
    one = line(both, "micro_math", "exact_match", "flexible-extract")
    assert one.a == pytest.approx(np.mean([mine[doc] for doc in range(4)]))


def test_another_number_of_examples_is_refused(outputs: Outputs, tmp_path: Path) -> None:
    def more(found: dict[str, Any]) -> None:
        for task in ("micro_mc_animals", "micro_mc_metals"):
            found["n-shot"][task] = found["configs"][task]["num_fewshot"] = 5

    with pytest.raises(Refused) as refused:
        side_by_side(outputs.a, changed(outputs.b, tmp_path / "b", more))
    said = str(refused.value)
    assert "micro_mc_animals and 1 more: num_fewshot  0 → 5" in said
    assert set(said.rpartition("--tasks ")[2].split(",")) == set(TASKS) - {"micro_mc"}
    assert "version" not in said


@pytest.mark.parametrize(
    ("field", "what"), [("doc_hash", "document"), ("prompt_hash", "prompt"), ("target_hash", "target")]
)
def test_another_hash_is_refused_by_task_document_and_kind(
    outputs: Outputs, tmp_path: Path, field: str, what: str
) -> None:
    def other(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, field: "0" * 64} if row["doc_id"] == 3 else row for row in found]

    with pytest.raises(Refused, match=rf"micro_math, document 3: another {what} \({field}\)"):
        side_by_side(outputs.a, with_rows(outputs.b, tmp_path / "b", "micro_math", other))


def test_rows_in_another_order_are_the_same_items(outputs: Outputs, tmp_path: Path, found: SideBySide) -> None:
    turned = with_rows(outputs.b, tmp_path / "b", "micro_math", lambda found: found[::-1])
    again = side_by_side(outputs.a, turned, parts=True)
    assert [one.delta.stderr for one in again.lines] == pytest.approx([one.delta.stderr for one in found.lines])


def test_without_log_samples(outputs: Outputs, tmp_path: Path) -> None:
    shutil.copytree(outputs.b, tmp_path / "b")
    samples_file(tmp_path / "b", "micro_mc_metals").unlink()
    some = side_by_side(outputs.a, tmp_path / "b")
    assert "micro_mc" not in {one.delta.task for one in some.lines}
    assert any("left out: micro_mc: no samples of micro_mc_metals in B" in text for text in some.notes)
    for path in (tmp_path / "b").rglob("samples_*"):
        path.unlink()
    with pytest.raises(Missing, match=r"(?s)no items of .* in .*/b/.*--log_samples"):
        side_by_side(outputs.a, tmp_path / "b")


def test_a_torn_line_is_named(outputs: Outputs, tmp_path: Path) -> None:
    shutil.copytree(outputs.b, tmp_path / "b")
    path = samples_file(tmp_path / "b", "micro_math")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Refused, match=rf"{path} line 24 is torn"):
        side_by_side(outputs.a, tmp_path / "b")


def test_items_that_do_not_give_the_score_get_no_verdict(outputs: Outputs, tmp_path: Path) -> None:
    def better(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "exact_match": 1.0} for row in found]

    made = side_by_side(outputs.a, with_rows(outputs.b, tmp_path / "b", "micro_math", better))
    assert "micro_math" not in {one.delta.task for one in made.lines}
    assert any("micro_math exact_match,strict-match" in text and "1 by its samples" in text for text in made.notes)


def test_the_command(outputs: Outputs) -> None:
    done = CliRunner().invoke(app, ["compare", str(outputs.a), str(outputs.b), "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    value = json.loads(done.stdout)
    assert {"deltas", "a", "b", "notes"} <= value.keys()
    promised = "task metric filter n delta stderr low high p p_adjusted verdict"
    assert all(set(promised.split()) <= delta.keys() for delta in value["deltas"])
    screen = CliRunner().invoke(app, ["compare", str(outputs.a), str(outputs.b)], catch_exceptions=False).stdout
    assert screen.startswith(f"A  {outputs.models[0]} · {outputs.a}")
    assert all(task in screen for task in TASKS)


@needs_bench_data
def test_all_of_mmlus_subjects_are_one_benchmark_of_57_clusters(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path / "tokenizer")
    tasks = stock.write_tasks(tmp_path / "tasks", bench_data(), (stock.MMLU,))
    for n, name in enumerate("ab"):
        model = make_model(tmp_path / f"model-{name}", tokenizer, seed=n)
        stock.run(model, tasks, tmp_path / name, batch_size=8, limit=2)
    made = side_by_side(tmp_path / "a", tmp_path / "b", parts=True)
    first = made.lines[0]
    assert (first.delta.task, first.delta.n, first.delta.clusters) == ("mmlu", 114, 57)
    assert [one.part_of for one in made.lines[1:]] == ["mmlu"] * 61  # 57 subjects in 4 fields
    told = results(tmp_path / "a")["results"], results(tmp_path / "b")["results"]
    for one in made.lines:
        assert one.a == pytest.approx(told[0][one.delta.task]["acc,none"], abs=1e-9)
        assert one.b == pytest.approx(told[1][one.delta.task]["acc,none"], abs=1e-9)
    leaves = sorted(task for task in told[0] if task in made.a.leaves("mmlu"))
    sums = []
    for task in leaves:
        mine, other = values(tmp_path / "a", task, "acc"), values(tmp_path / "b", task, "acc")
        sums.append(sum(other[doc] - mine[doc] for doc in mine) - 2 * first.delta.delta)
    assert first.delta.stderr == pytest.approx(math.sqrt(57 / 56 * sum(s * s for s in sums)) / 114)


def test_mmlu_gsm8k_and_humaneval_of_the_stock_command_line(tmp_path: Path) -> None:
    """Made-up items under the stock task files: subjects, two filters, generated code."""
    data = make_bench(tmp_path / "bench")
    world_data = world.make_data(tmp_path / "world")
    entries = (
        *(stock.Entry(f"mmlu_{subject}", "cais/mmlu", n_shot=2) for subject in ("anatomy", "astronomy")),
        stock.Entry("gsm8k_cot", "openai/gsm8k", n_shot=1, max_gen_toks=8),
        stock.Entry("humaneval", "openai/openai_humaneval", max_gen_toks=8),
    )
    tasks = stock.write_tasks(tmp_path / "tasks", data, entries)
    models = [world.make_model(tmp_path / f"model{n}", world_data, seed=n, steps=5) for n in range(2)]
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(stock.run, model, tasks, tmp_path / name, batch_size=8, limit=5)
            for model, name in zip(models, "ab", strict=True)
        ]
    assert all(run.result().items for run in runs)
    made = side_by_side(tmp_path / "a", tmp_path / "b")
    assert {(one.delta.key, one.delta.n) for one in made.lines} == {
        (("mmlu_anatomy", "acc", "none"), 5),
        (("mmlu_astronomy", "acc", "none"), 5),
        (("gsm8k_cot", "exact_match", "strict-match"), 5),
        (("gsm8k_cot", "exact_match", "flexible-extract"), 5),
        (("humaneval", "pass@1", "create_test"), 5),
    }
    told = results(tmp_path / "b")["results"]
    for one in made.lines:
        assert one.b == pytest.approx(told[one.delta.task][f"{one.delta.metric},{one.delta.filter}"])
