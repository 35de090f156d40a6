"""Tokenising against the bare library: `joyctl data build` from files to a finished folder, `encode_batch` in memory.

    JOYCTL_BENCH_DATA=DIR python benchmarks/tokenise.py [--megabytes 200] [--vocabulary 16384] [--processes 2] [--json]

The text is real corpora over and over, every copy with other words exchanged, as JSON lines. The bare side holds all
texts in memory and calls tokenizers' `encode_batch`, 1,000 documents at a time, on as many threads as the build has
processes; it reads and writes nothing. The build starts its processes, reads the files, holds documents out, encloses
documents, writes shards, document ends and digests, and puts the folder together, all made durable.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

EOS, BOS = "<|end|>", "<|begin|>"
SWAPPED = 0.05  # share of words exchanged in every copy


def corpora() -> list[str]:
    """The documents of the real corpora."""
    folder = os.environ.get("JOYCTL_BENCH_DATA")
    if folder is None:
        sys.exit("needs real texts: set JOYCTL_BENCH_DATA to the folder that has corpora/")
    files = sorted(Path(folder).glob("corpora/*/*.jsonl"))
    rows = (json.loads(line) for file in files for line in file.open(encoding="utf-8"))
    return [row["text"] for row in rows if isinstance(row.get("text"), str)]


def learn(texts: list[str], vocabulary: int, folder: Path) -> None:
    """A byte-level BPE as GPT-2 has it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": BOS, "eos_token": EOS}))


def copies(texts: list[str], size: int) -> Iterator[str]:
    """Documents of about `size` bytes in all, no copy equal to another."""
    draw = random.Random(1)
    words = [word for text in texts[:2000] for word in text.split(" ")]
    while True:
        for text in texts:
            parts = text.split(" ")
            for _ in range(int(len(parts) * SWAPPED) + 1):
                parts[draw.randrange(len(parts))] = draw.choice(words)
            made = " ".join(parts)
            yield made
            size -= len(made.encode())
            if size <= 0:
                return


BARE = """
import json, sys, time
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[1])
texts = [json.loads(line)["text"] for file in sys.argv[2:] for line in open(file, encoding="utf-8")]
begun, worked = time.perf_counter(), time.process_time()
tokens = 0
for i in range(0, len(texts), 1000):
    tokens += sum(len(each) for each in tokenizer.encode_batch(texts[i : i + 1000], add_special_tokens=False))
taken = {"seconds": time.perf_counter() - begun, "processor": time.process_time() - worked}
print(json.dumps({**taken, "tokens": tokens, "documents": len(texts)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--vocabulary", type=int, default=16384)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measured = measure(Path(name), given.megabytes, given.vocabulary, given.processes)
    if given.json:
        print(json.dumps(measured))
        return
    documents, tokens = measured["documents"], measured["tokens"] / 1e6
    print(f"{measured['megabytes']:,.0f} MB, {documents:,} documents, {tokens:,.1f} M tokens")
    for side in ("bare", "build"):
        seconds = measured[f"{side}_seconds"]
        print(f"{side:<6}{seconds:8.2f} s {tokens / seconds:8.2f} M tokens/s")
    print(f"build / bare encode_batch: {measured['ratio']:.2f}, by processor time {measured['processor_ratio']:.2f}")


def measure(folder: Path, megabytes: float, vocabulary: int, processes: int) -> dict[str, float]:
    """Both sides on the same files, one after the other, each in processes of its own."""
    texts = corpora()
    learn(texts, vocabulary, folder / "tokenizer")
    files = [folder / f"text-{i}.jsonl" for i in range(2)]
    with files[0].open("w", encoding="utf-8") as first, files[1].open("w", encoding="utf-8") as second:
        for i, text in enumerate(copies(texts, int(megabytes * 1e6))):
            (first, second)[i % 2].write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    sources = {"text": {"category": "large_cc", "text": {"files": [str(file) for file in files]}}}
    recipe = {
        "hypothesis": "how fast is it?",
        "data": {"tokenizer": str(folder / "tokenizer")},
        "sources": sources,
        "mixes": {"base": {"text": 1}, "upsampled": {"text": 1}},
        "model": {"dim": 32, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2, "ffn_hidden": 64, "vocab_size": vocabulary},
        "training": {"tokens": 128_000, "seq_len": 16, "batch_size": 8},
        "optimizer": {"lr": 0.005},
        "phase": {"durations": [0.1]},
    }
    (folder / "speed.yaml").write_text(json.dumps(recipe))
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": str(processes)}
    told = subprocess.run(
        [sys.executable, "-c", BARE, str(folder / "tokenizer" / "tokenizer.json"), *map(str, files)],
        check=True, capture_output=True, text=True, env=environment,
    ).stdout  # fmt: skip
    bare = json.loads(told)
    begun, before = time.perf_counter(), _processor()
    built = subprocess.run(
        [sys.executable, "-m", "joyctl", "data", "build", str(folder / "speed.yaml"), "--data", str(folder / "data"),
         "--processes", str(processes), "--json"],
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    seconds, processor = time.perf_counter() - begun, _processor() - before
    return {
        "megabytes": sum(file.stat().st_size for file in files) / 1e6,
        "documents": bare["documents"],
        "tokens": bare["tokens"],
        "built_tokens": json.loads(built)["tokens"]["text"],
        "bare_seconds": bare["seconds"],
        "build_seconds": seconds,
        "ratio": seconds / bare["seconds"],
        "processor_ratio": processor / bare["processor"],
    }


def _processor() -> float:
    """Seconds of processor time of all processes that this one has waited for: others on the machine spoil it less."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
