"""MMLU, GSM8K and HumanEval on real data: what the stock command line gives, item by item, for several models."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import stock
from evals_bench import Spec, results, samples, score, suite
from small_models import (
    Shape,
    bench_data,
    make_model,
    make_tokenizer,
    make_trained_model,
    needs_bench_data,
    with_context,
)

from joyctl.evals.sandbox import probe

Stocks = dict[str, Future[stock.Stock]]

pytestmark = [pytest.mark.slow, needs_bench_data]

BATCH, TOKENS = 8, 12
GSM8K = stock.Entry("gsm8k_cot", "openai/gsm8k", n_shot=8, max_gen_toks=TOKENS)
HUMANEVAL = stock.Entry("humaneval", "openai/openai_humaneval", max_gen_toks=TOKENS)
FEW = ("anatomy", "astronomy", "computer_security", "high_school_us_history", "marketing", "moral_scenarios")
SOME = tuple(stock.Entry(f"mmlu_{subject}", "cais/mmlu", n_shot=5) for subject in FEW)
SOME_CONTINUED = tuple(stock.Entry(f"mmlu_{subject}_continuation", "cais/mmlu", n_shot=5) for subject in FEW)
TOLERANCE = 1e-4
"""Nats, in float32."""


@dataclass(frozen=True)
class Case:
    """A model, and how much of which tasks it is scored on."""

    entries: tuple[stock.Entry, ...]
    limit: int
    context: int = Shape.context


CASES = {
    "llama": Case((stock.MMLU, GSM8K, HUMANEVAL), limit=3),
    "trained": Case((stock.MMLU, stock.MMLU_CONTINUATION, GSM8K, HUMANEVAL), limit=2),
    "gpt_neox": Case((*SOME, GSM8K), limit=6),
    "qwen2": Case((*SOME, GSM8K), limit=6),
    # Most prompts are longer and lose their beginning; some are not.
    "short": Case((*SOME, *SOME_CONTINUED, GSM8K, HUMANEVAL), limit=6, context=640),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model folders by case; the trained one has a tokenizer that begins every text with a token."""
    folder = tmp_path_factory.mktemp("models")
    plain, begun = make_tokenizer(folder / "plain"), make_tokenizer(folder / "begun", bos=True)
    made = {name: make_model(folder / name, plain, family=name) for name in ("llama", "gpt_neox", "qwen2")}
    made["trained"] = make_trained_model(folder / "trained", begun)
    made["short"] = with_context(made["trained"], folder / "short", CASES["short"].context)
    return made


@pytest.fixture(scope="module")
def stocks(
    models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[stock.Stock]]]:
    """Runs of the stock command line, two at a time beside the tests."""
    folder = tmp_path_factory.mktemp("stock")
    tasks: dict[tuple[stock.Entry, ...], Path] = {}
    for case in CASES.values():
        if case.entries not in tasks:
            tasks[case.entries] = stock.write_tasks(folder / f"tasks{len(tasks)}", bench_data(), case.entries)
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(
                functools.partial(stock.run, batch_size=BATCH, limit=case.limit, home=folder / "home"),
                models[name],
                tasks[case.entries],
                folder / name,
            )
            for name, case in CASES.items()
        }


@pytest.fixture(scope="module")
def ours(models: dict[str, Path], stocks: object, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of joyctl's results of a case, scored on first use; prompts are shared by all cases."""
    folder = tmp_path_factory.mktemp("ours")

    @functools.cache
    def scored(name: str) -> Path:
        return score(models[name], spec_of(name), folder / name, prompts=folder / "prompts", execute=probe() is None)

    return scored


def spec_of(name: str) -> Spec:
    case = CASES[name]
    return suite(case.entries, bench_data(), batch_size=BATCH, limit=case.limit)


PAIRS = [(name, entry.task) for name, case in CASES.items() for entry in case.entries]
CHOICES = [(name, task) for name, task in PAIRS if task.startswith("mmlu")]
TEXTS = [(name, task) for name, task in PAIRS if not task.startswith("mmlu")]


@pytest.mark.parametrize(("name", "task"), CHOICES)
def test_log_likelihoods_of_every_choice(name: str, task: str, ours, stocks) -> None:
    mine = {key: item for key, item in stock.read(ours(name)).items.items() if is_of(key[0], task)}
    theirs = {key: item for key, item in stocks[name].result().items.items() if is_of(key[0], task)}
    assert len({leaf for leaf, _, _ in theirs}) == leaves(task)
    assert len(theirs) == leaves(task) * CASES[name].limit
    worst, choices = 0.0, set()
    assert mine.keys() == theirs.keys()
    for key, item in theirs.items():
        got = mine[key]
        assert got.arguments == item.arguments, key
        for value, expected in zip(got.loglikelihoods, item.loglikelihoods, strict=True):
            worst = max(worst, abs(value - expected))
            assert abs(value - expected) <= TOLERANCE, (key, value, expected)
        assert got.greedy == item.greedy, key
        assert got.choice == item.choice, key
        choices.add(item.choice)
    print(f"{name} {task}: largest difference {worst:.2g}")
    # Else predictions would be equal whatever was computed.
    assert leaves(task) == 1 or len(choices) > 1


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_every_item_and_every_metric(name: str, task: str, ours, stocks) -> None:
    if task == "humaneval":
        needs_sandbox()
    rows = {(row["task"], row["filter"], row["doc_id"]): row for row in samples(ours(name), task)}
    found = stocks[name].result()
    theirs = {key: item for key, item in found.items.items() if is_of(key[0], task)}
    assert {key for key in rows if key[1] != "gold"} == theirs.keys()
    for key, item in theirs.items():
        for metric, value in item.metrics.items():
            if task != "humaneval":  # there stock has no verdict without the hub
                assert rows[key][metric] == value, (key, metric)
        if item.loglikelihoods:
            expected = -item.loglikelihoods[int(item.target)]
            assert rows[key]["gold_nll"] == pytest.approx(expected, abs=TOLERANCE), key


@pytest.mark.parametrize(("name", "task"), TEXTS)
def test_generated_texts(name: str, task: str, ours, stocks) -> None:
    if task == "humaneval":
        needs_sandbox()
    rows = {(row["filter"], row["doc_id"]): row for row in samples(ours(name), task)}
    theirs = {key: item for key, item in stocks[name].result().items.items() if is_of(key[0], task)}
    assert len(theirs) == CASES[name].limit * (2 if task == "gsm8k_cot" else 1)
    for (_, filter_name, doc), item in theirs.items():
        assert item.responses == [rows[filter_name, doc]["response"]], (doc, filter_name)
    assert any(response for item in theirs.values() for response in item.responses)


@pytest.mark.parametrize(("name", "task"), [pair for pair in PAIRS if pair[1] != "humaneval"])
def test_aggregates_and_their_standard_errors(name: str, task: str, ours, stocks) -> None:
    scores = {(s["metric"], s["filter"]): s for s in results(ours(name), task)["scores"]}
    stock_scores = stocks[name].result().scores[task]
    keys = [tuple(key.split(",")) for key in stock_scores if "," in key and "_stderr," not in key]
    assert keys
    for metric, filter_name in keys:
        mine = scores[metric, filter_name]
        assert mine["value"] == pytest.approx(stock_scores[f"{metric},{filter_name}"], abs=1e-9)
        assert mine["stderr"] == pytest.approx(stock_scores[f"{metric}_stderr,{filter_name}"], abs=1e-9)
        assert mine["n"] == stock_scores["sample_len"]


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_cut_prompts_are_counted(name: str, task: str, ours, models, stocks) -> None:
    if task == "humaneval":
        needs_sandbox()
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(models[name])
    cut = set()
    for (leaf, _, doc), item in stocks[name].result().items.items():
        for prompt, rest in item.arguments if is_of(leaf, task) else ():
            if isinstance(rest, str):
                length, room = len(tokenizer(prompt + rest)["input_ids"]), CASES[name].context + 1
            else:
                length, room = len(tokenizer(prompt)["input_ids"]), CASES[name].context - TOKENS
            if length > room:
                cut.add((leaf, doc))
    assert results(ours(name), task)["truncated_prompts"] == len(cut)
    if name != "short":
        assert not cut
    elif task in ("mmlu_high_school_us_history", "gsm8k_cot"):
        assert cut
    elif task == "mmlu_marketing":
        assert len(cut) < CASES[name].limit


def test_proxies_follow_from_the_choices(ours, stocks) -> None:
    """Probabilities of the choices, and the gold one's nats and bytes, from stock's log-likelihoods."""
    rows = {(row["task"], row["doc_id"]): row for row in samples(ours("trained"), "mmlu_continuation")}
    nats, size = [], 0
    for (leaf, _, doc), item in stocks["trained"].result().items.items():
        if not is_of(leaf, "mmlu_continuation"):
            continue
        row, gold = rows[leaf, doc], int(item.target)
        total = math.fsum(map(math.exp, item.loglikelihoods))
        right = math.exp(item.loglikelihoods[gold])
        assert row["correct_prob"] == pytest.approx(right, rel=1e-4)
        assert row["norm_correct_prob"] == pytest.approx(right / total, rel=1e-4)
        assert row["gold_bytes"] == len(item.arguments[gold][1].encode())
        nats.append(-item.loglikelihoods[gold])
        size += row["gold_bytes"]
    scores = {s["metric"]: s for s in results(ours("trained"), "mmlu_continuation")["scores"]}
    assert scores["gold_bits_per_byte"]["value"] == pytest.approx(math.fsum(nats) / math.log(2) / size, rel=1e-6)


def is_of(leaf: str, task: str) -> bool:
    """Whether a leaf belongs to a task or group."""
    if task in ("mmlu", "mmlu_continuation"):
        return leaf.startswith("mmlu_") and leaf.endswith("_continuation") is (task == "mmlu_continuation")
    return leaf == task


def leaves(task: str) -> int:
    return 57 if task in ("mmlu", "mmlu_continuation") else 1


def needs_sandbox() -> None:
    if (reason := probe()) is not None:
        pytest.skip(f"needs sandbox: {reason}")
