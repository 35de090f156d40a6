"""How fast, and in how much memory, test items are looked for in tokens; whether planted ones are found.

    JOYCTL_BENCH_DATA=DIR python benchmarks/overlap.py [--size 1000] [--vocabulary 32768] [--processes 2] [--json]

`--size` is in MB of tokens, two bytes each: real corpora over and over, every copy with other tokens exchanged, cut by
a byte-level BPE that is learned here. Items are all of MMLU, GSM8K (test and training split) and HumanEval, as
lm-eval's task files have them. 100 test items of GSM8K are planted: upper case, other white space. Measured are wall
time and the most memory of all processes together, from the files to the findings; making the items' texts, once for
a suite, is told apart.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import sys
import tempfile
import threading
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tokenise import BOS, EOS, corpora, learn

from joyctl.campaign.spec import EvalSpec
from joyctl.data.overlap.findings import read_findings
from joyctl.data.overlap.work import begin, overlap_folder
from joyctl.data.work import run_here
from joyctl.evals.items import gathered
from joyctl.recipe.suite import load_suite

PLANTED = 100
SWAPPED = 0.03


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--size", type=int, default=1000)
    asked.add_argument("--vocabulary", type=int, default=32768)
    asked.add_argument("--processes", type=int, default=2)
    asked.add_argument("--json", action="store_true")
    given = asked.parse_args()
    if "JOYCTL_BENCH_DATA" not in os.environ:
        sys.exit("needs real texts and benchmarks: set JOYCTL_BENCH_DATA to the folder that has corpora/ and bench/")
    with tempfile.TemporaryDirectory(dir=os.environ.get("JOYCTL_BENCH_SPACE")) as folder:
        measured = measure(Path(folder), given.size, given.vocabulary, given.processes)
    if given.json:
        print(json.dumps(measured))
        return
    print(
        "{tokens:,} tokens ({megabytes:,} MB, about {text_megabytes:,} MB of text) against {items:,} test items and "
        "{training_items:,} of training splits\n"
        "found in {seconds:.1f} s on {processes} processes: {speed:.1f} M tokens/s; at most {memory_mb:,} MB in all\n"
        "texts of the items, once a suite: {gather_seconds:.1f} s\n"
        "planted {planted}, found {planted_found}; items found in all: {found}".format(**measured)
    )


def measure(folder: Path, size: int, vocabulary: int, processes: int) -> dict[str, object]:
    bench = Path(os.environ["JOYCTL_BENCH_DATA"]) / "bench"
    with get_context("spawn").Pool(1) as apart:  # what making the tokens needs of memory is not the check's
        tokens, planted, text_bytes = apart.apply(make, (folder, bench, size * 500_000, vocabulary))
    started = time.monotonic()
    items = gathered([_spec(bench)], overlap_folder(folder) / "items")
    gather_seconds = time.monotonic() - started
    sidecar = json.loads((folder / "sources/big/source.json").read_text())
    started = time.monotonic()
    with Memory() as memory:
        looking = begin(folder, {"big": sidecar["sha256"]}, items)
        run_here(looking, processes)
    seconds = time.monotonic() - started
    findings = read_findings(looking.result)
    gsm8k = {item.doc_id for item in findings.items["gsm8k_cot"].found}
    return {
        "tokens": tokens,
        "megabytes": tokens * 2 // 10**6,
        "text_megabytes": text_bytes // 10**6,
        "items": findings.n,
        "training_items": sum(task.train.n for task in findings.items.values()),
        "seconds": round(seconds, 2),
        "speed": tokens / seconds / 1e6,
        "processes": processes,
        "memory_mb": memory.most // 10**6,
        "gather_seconds": round(gather_seconds, 2),
        "planted": len(planted),
        "planted_found": len(planted & gsm8k),
        "found": findings.found,
    }


def _spec(bench: Path) -> EvalSpec:
    suite = load_suite("core")
    return EvalSpec(
        suite="core", tasks=suite.tasks, heldout=False, batch_size=1, data=str(bench), data_folder="", data_sha256=""
    )


def make(folder: Path, bench: Path, number: int, vocabulary: int) -> tuple[int, set[int], int]:
    """Write a tokenizer and about `number` tokens; gives how many, the items of GSM8K in them, and bytes of text."""
    from tokenizers import Tokenizer

    texts = corpora()
    learn(texts[:8000], vocabulary, folder / "tokenizer")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer/tokenizer.json"))
    bos, eos = tokenizer.token_to_id(BOS), tokenizer.token_to_id(EOS)
    encoded = [each.ids for each in tokenizer.encode_batch(texts)]
    corpus = np.array([i for ids in encoded for i in (bos, *ids, eos)], np.uint16)
    each_bytes = sum(len(text.encode()) for text in texts) / len(corpus)
    test = (bench / "openai/gsm8k/main/test.jsonl").read_bytes().splitlines()
    rng = np.random.default_rng(1)
    planted = {int(i) for i in rng.choice(len(test), PLANTED, replace=False)}
    leaks = [f"\n\n  {'  '.join(json.loads(test[i])['question'].upper().split())}\n" for i in sorted(planted)]
    leaked = [np.array([bos, *tokenizer.encode(text).ids, eos], np.uint16) for text in leaks]
    place = folder / "sources/big"
    place.mkdir(parents=True)
    digest, written, documents = hashlib.sha256(), 0, 0
    with (place / "train.bin").open("wb") as out:
        copy = 0
        while written < number:
            ids = corpus[: number - written].copy()
            swapped = np.flatnonzero(rng.random(len(ids)) < SWAPPED)
            swapped = swapped[(ids[swapped] != bos) & (ids[swapped] != eos)]
            ids[swapped] = rng.permutation(ids[swapped])
            content = np.concatenate([ids, *(leaked if copy == 0 else ())])
            out.write(content.tobytes())
            digest.update(content.tobytes())
            written, documents, copy = written + len(content), documents + int((content == bos).sum()), copy + 1
    about = {
        "name": "big", "tokens": written, "documents": documents, "sha256": digest.hexdigest(),
        "boundary": {"token": bos, "begins": True},
    }  # fmt: skip
    (place / "source.json").write_text(json.dumps(about))
    return written, planted, int(written * each_bytes)


class Memory:
    """The most that this process and its children had in memory together, without pages of mapped files."""

    def __init__(self) -> None:
        self.most = 0
        self._over = threading.Event()

    def __enter__(self) -> Memory:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        page = resource.getpagesize()
        while not self._over.wait(0.2):
            children = [p for t in Path("/proc/self/task").iterdir() for p in (t / "children").read_text().split()]
            total = 0
            for pid in ["self", *children]:
                try:
                    resident, shared = map(int, Path(f"/proc/{pid}/statm").read_text().split()[1:3])
                except (FileNotFoundError, ProcessLookupError):
                    continue
                total += (resident - shared) * page
            self.most = max(self.most, total)


if __name__ == "__main__":
    sys.exit(main())
