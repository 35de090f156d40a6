"""MMLU 5-shot on one model: the stock `lm_eval` command line beside joyctl's, whole processes, by the wall clock.

A small random llama in float32 on the CPU, context 4096, the same batch size and the same two cores on both sides:
- stock: `lm_eval run`, offline, on the same folder of data, with two threads;
- joyctl's first checkpoint: `joyctl eval` makes the prompts and their token ids as well;
- joyctl's later checkpoint, other weights: prompts and token ids are there. It is held against the same stock time,
  since stock does the same for every checkpoint.
Both write results and samples. Then what both forwarded, the fewest tokens possible, and how far apart the results are.

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
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import small_models  # noqa: E402
import stock  # noqa: E402

CORES, BATCH = 2, 8
SHAPE = small_models.Shape(layers=2, width=128, heads=4, context=4096)
VOCABULARY = 8192
QUICK = ("anatomy", "astronomy", "marketing", "high_school_us_history", "professional_law")
QUICK_LIMIT = 150


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{len(QUICK)} subjects, at most {QUICK_LIMIT} items each")
    quick = parser.parse_args().quick
    if small_models.WHERE is None:
        sys.exit("needs bench data: set JOYCTL_BENCH_DATA to a folder with bench/ and corpora/")
    entries: tuple[stock.Entry, ...] = (stock.MMLU,)
    if quick:
        entries = tuple(stock.Entry(f"mmlu_{subject}", "cais/mmlu", n_shot=5) for subject in QUICK)
    limit = QUICK_LIMIT if quick else None
    data = small_models.bench_data()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        tokenizer = small_models.make_tokenizer(place / "tokenizer", vocabulary=VOCABULARY)
        models = [small_models.make_model(place / f"m{seed}", tokenizer, seed=seed, shape=SHAPE) for seed in (0, 1)]
        suite = place / "suite.yaml"
        suite.write_text(json.dumps({"tasks": [{"task": entry.task, "n_shot": entry.n_shot} for entry in entries]}))
        first = _timed(models[0], suite, place / "first", place, limit)
        later = _timed(models[1], suite, place / "later", place, limit)
        tasks = stock.write_tasks(place / "tasks", data, entries)
        how = {"batch_size": BATCH, "limit": limit, "threads": CORES, "home": place / "home"}
        theirs = stock.run(models[0], tasks, place / "stock", **how)
        mine = stock.read(place / "first")

        items = f"{len(theirs.items):,} questions of MMLU, 5-shot" + (", a quick look" if quick else "")
        print(f"{items}, {_describe(models[0])}, batches of {BATCH}, {CORES} cores")
        print(f"stock    {theirs.seconds:6.1f} s")
        for name, seconds, wanted in (("first", first, 5), ("later", later, 7)):
            goal = "" if quick else f" (at least {wanted})"
            print(f"{name}    {seconds:6.1f} s, {theirs.seconds / seconds:.1f} times less{goal}")
        _compare_tokens(theirs, tokenizer, place / "cache")
        _compare_results(theirs, mine, [entry.task for entry in entries])


def _timed(model: Path, suite: Path, out: Path, place: Path, limit: int | None) -> float:
    """Seconds of scoring one checkpoint in a process of its own."""
    command = [
        *(sys.executable, "-m", "joyctl", "eval", str(model), "--suite", str(suite), "--batch-size", str(BATCH)),
        *("--data", str(small_models.bench_data()), "--output", str(out), "--processes", str(CORES), "--json"),
        *(("--limit", str(limit)) if limit else ()),
    ]
    env = {**os.environ, "XDG_CACHE_HOME": str(place / "cache"), "OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    subprocess.run(command, check=True, env=env, cwd=ROOT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _describe(model: Path) -> str:
    config = json.loads((model / "config.json").read_text())
    layers, width, words = (config[key] for key in ("num_hidden_layers", "hidden_size", "vocab_size"))
    return f"llama of {layers} layers x {width}, vocabulary {words:,}, context {SHAPE.context:,}, float32"


def _compare_tokens(theirs: stock.Stock, tokenizer: Path, cache: Path) -> None:
    """Print the tokens that a forward pass got: of stock by its batches, of joyctl by its own, and the fewest.

    Stock's are counted from the prompts that it logged, cut into tokens here; joyctl's from the prompts in its cache.
    """
    from tokenizers import Tokenizer

    from joyctl.evals import prefixes, prompts, units

    encoder = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    texts = sorted({prompt for item in theirs.items.values() for prompt, _ in item.arguments})
    # The four requests of a question then differ in their last token alone, and are one row for stock too.
    assert all(
        len(encoder.encode(rest).ids) == 1 for rest in {r for i in theirs.items.values() for _, r in i.arguments}
    )
    rows = [encoded.ids[-SHAPE.context :] for encoded in encoder.encode_batch_fast(texts)]
    lengths = sorted(map(len, rows), reverse=True)
    total = sum(lengths)
    padded = sum(lengths[i] * len(lengths[i : i + BATCH]) for i in range(0, len(lengths), BATCH))
    forwarded = with_padding = 0
    for path in cache.rglob("PROMPTS.json"):
        kept = prompts.read(path.parent)
        assert kept is not None
        here, here_padded = units.tokens_forwarded(units.batches(units.sequences(kept, SHAPE.context), BATCH))
        forwarded, with_padding = forwarded + here, with_padding + here_padded
    fewest = prefixes.fewest_tokens([np.array(row) for row in rows])
    print(f"tokens   stock   {total:11,} ({padded:,} with padding)")
    print(f"         joyctl  {forwarded:11,} ({with_padding:,} with padding), {total / forwarded:.2f} times fewer")
    print(f"         fewest  {fewest:11,} distinct beginnings, {total / fewest:.2f} times fewer")


def _compare_results(theirs: stock.Stock, mine: stock.Stock, tasks: Sequence[str]) -> None:
    """Print how far apart log-likelihoods, predictions and aggregates are."""
    if mine.items.keys() != theirs.items.keys():
        sys.exit(f"joyctl scored {len(mine.items):,} items, stock {len(theirs.items):,}")
    worst, differing = 0.0, 0
    for key, item in theirs.items.items():
        values = zip(mine.items[key].loglikelihoods, item.loglikelihoods, strict=True)
        worst = max(worst, *(abs(a - b) for a, b in values))
        differing += mine.items[key].choice != item.choice
    gaps = [
        abs(float(value) - float(mine.scores[task][name]))
        for task in theirs.scores
        for name, value in theirs.scores[task].items()
        if "," in name and task != stock.ITS_TASKS
    ]
    print(f"apart    {worst:.2g} nats in a log-likelihood at most (1e-4 allowed)")
    print(f"         {differing} of {len(theirs.items):,} predictions")
    print(f"         {max(gaps):.2g} in {len(gaps)} aggregates and standard errors at most (1e-9 allowed)")
    for task in tasks[:1]:
        found: dict[str, Any] = theirs.scores[task]
        print(f"         {task}: {found['acc,none']:.4f} ± {found['acc_stderr,none']:.4f} by both")


if __name__ == "__main__":
    main()
