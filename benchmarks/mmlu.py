"""MMLU 5-shot on one model: the stock `lm_eval` command line beside joyctl, whole processes, seconds from the shell.

A small random llama in float32 on the CPU, context 4096, the same batch size and number of threads on both sides:
- stock: `lm_eval run`, offline, on the same folder of data;
- joyctl's first checkpoint of a campaign: prompts and their token ids are made;
- joyctl's later checkpoint, other weights: prompts and token ids are there. It is held against the same stock time,
  since stock does the same for every checkpoint.
Then what both forwarded, the fewest tokens possible, and how far apart the results are.

`--quick` takes a few subjects instead of all 57: starting weighs more there, so its ratios are lower.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import evals_bench  # noqa: E402
import small_models  # noqa: E402
import stock  # noqa: E402

THREADS, BATCH = 2, 8
SHAPE = small_models.Shape(layers=2, width=128, heads=4, context=4096)
VOCABULARY = 8192
QUICK = ("anatomy", "astronomy", "marketing", "high_school_us_history", "professional_law")
QUICK_LIMIT = 150
EVALUATE = """
import sys
from pathlib import Path
from joyctl.campaign.spec import EvalSpec
from joyctl.evals.harness import evaluate
model, spec, out, prompts, threads = sys.argv[1:]
evaluate(Path(model), EvalSpec.model_validate_json(spec), Path(out), prompts=Path(prompts), threads=int(threads))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{len(QUICK)} subjects, at most {QUICK_LIMIT} items each")
    quick = parser.parse_args().quick
    if small_models.WHERE is None:
        sys.exit("needs bench data: set JOYCTL_BENCH_DATA to a folder with bench/ and corpora/")
    entries, limit = (stock.MMLU,), None
    if quick:
        entries = tuple(stock.Entry(f"mmlu_{subject}", "cais/mmlu", n_shot=5) for subject in QUICK)
        limit = QUICK_LIMIT
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        tokenizer = small_models.make_tokenizer(place / "tokenizer", vocabulary=VOCABULARY)
        models = [small_models.make_model(place / f"m{i}", tokenizer, seed=i, shape=SHAPE) for i in (0, 1)]
        spec = evals_bench.suite(entries, small_models.bench_data(), batch_size=BATCH, limit=limit)
        tasks = stock.write_tasks(place / "tasks", small_models.bench_data(), entries)
        theirs = stock.run(
            models[0], tasks, place / "stock", batch_size=BATCH, limit=limit, threads=THREADS, home=place / "home"
        )
        first = _timed(models[0], spec, place / "first", place)
        later = _timed(models[1], spec, place / "later", place)
        print(f"model    {_describe(models[0])}, batches of {BATCH}, {THREADS} threads")
        print(f"data     {len(theirs.items):,} questions of MMLU, 5-shot{', a quick look' if quick else ''}")
        print(f"stock    {theirs.seconds:.0f} s, the whole process")
        print(f"first    {first:.0f} s: {theirs.seconds / first:.1f} times less (at least 5 for all questions)")
        print(f"later    {later:.0f} s: {theirs.seconds / later:.1f} times less (at least 7 for all questions)")
        _compare_tokens(theirs, tokenizer, [results(place / "first", entry.task) for entry in entries])
        _compare_results(theirs, place, [entry.task for entry in entries])


def results(out: Path, task: str) -> dict[str, Any]:
    return evals_bench.results(out, task)


def _timed(model: Path, spec: Any, out: Path, place: Path) -> float:
    """Seconds of scoring one checkpoint in a process of its own."""
    command = [sys.executable, "-c", EVALUATE, model, spec.model_dump_json(), out, place / "prompts", str(THREADS)]
    start = time.perf_counter()
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(THREADS)}, cwd=ROOT)
    return time.perf_counter() - start


def _describe(model: Path) -> str:
    config = json.loads((model / "config.json").read_text())
    return (
        f"llama, {config['num_hidden_layers']} layers of {config['hidden_size']}, vocabulary {config['vocab_size']:,}, "
        f"context {config['max_position_embeddings']:,}, float32"
    )


def _compare_tokens(theirs: stock.Stock, tokenizer: Path, mine: Sequence[dict[str, Any]]) -> None:
    """Print the tokens that a forward pass got: stock's by its own batches, the fewest by the distinct beginnings."""
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    prompts = sorted({prompt for item in theirs.items.values() for prompt, _ in item.arguments})
    rests = {rest for item in theirs.items.values() for _, rest in item.arguments}
    # Then a question's four requests differ in their last token alone, and are one row for stock too.
    assert all(len(encoder.encode(rest).ids) == 1 for rest in rests)
    rows = [encoded.ids[-SHAPE.context :] for encoded in encoder.encode_batch_fast(prompts)]
    lengths = sorted(map(len, rows), reverse=True)
    padded = sum(lengths[i] * len(lengths[i : i + BATCH]) for i in range(0, len(lengths), BATCH))
    fewest = fewest_tokens(rows)
    forwarded, with_padding = (sum(found[name] for found in mine) for name in ("tokens_forwarded", "tokens_padded"))
    print(f"tokens   stock {sum(lengths):,} ({padded:,} with padding)")
    print(f"         joyctl {forwarded:,} ({with_padding:,} with padding), {sum(lengths) / forwarded:.2f} times fewer")
    print(
        f"         the fewest possible {fewest:,}: every distinct beginning once; joyctl {forwarded / fewest:.2f} times"
    )


def fewest_tokens(rows: Sequence[Sequence[int]]) -> int:
    """Number of distinct beginnings of all rows: nodes of their trie."""
    ordered = sorted(rows)
    return sum(map(len, ordered)) - sum(_in_common(a, b) for a, b in pairwise(ordered))


def _in_common(first: Sequence[int], second: Sequence[int]) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _compare_results(theirs: stock.Stock, place: Path, tasks: Sequence[str]) -> None:
    """Print how far apart log-likelihoods, predictions and aggregates are."""
    worst, differing, compared = 0.0, 0, 0
    for task in tasks:
        mine = evals_bench.answers(place / "first" / task, place / "prompts")
        for leaf, doc in {key[:2] for key in mine}:
            expected = theirs.items[leaf, "none", doc].loglikelihoods
            got = [mine[leaf, doc, index][0] for index in range(len(expected))]
            worst = max(worst, *(abs(a - b) for a, b in zip(got, expected, strict=True)))
            differing += got.index(max(got)) != expected.index(max(expected))
            compared += 1
    assert compared == len(theirs.items)
    print(f"apart    {worst:.2g} nats in a log-likelihood at most (1e-4)")
    print(f"         {differing} of {compared:,} predictions differ (0)")
    gaps = [0.0]
    for task in tasks:
        for score in results(place / "first", task)["scores"]:
            key = f"{score['metric']},{score['filter']}"
            if key in theirs.scores[task]:
                stderr = theirs.scores[task][f"{score['metric']}_stderr,{score['filter']}"]
                gaps += [abs(score["value"] - theirs.scores[task][key]), abs(score["stderr"] - stderr)]
    assert len(gaps) > 2 * len(tasks)
    print(f"         {max(gaps):.2g} in an aggregate or its standard error at most (1e-9)")
    for task in tasks[:1]:
        found = theirs.scores[task]
        print(f"         {task}: {found['acc,none']:.4f} ± {found['acc_stderr,none']:.4f} by both")


if __name__ == "__main__":
    main()
