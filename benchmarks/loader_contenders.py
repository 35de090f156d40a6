"""Other loaders behind one face, each reading the same rows by the same mix, for benchmarks/loader.py.

Every row carries who it is in its first three tokens, so what a loader shows is read from what it hands out. Heavy
imports are inside: a contender that is not installed raises ImportError when it is made.
"""

from __future__ import annotations

import importlib.machinery
import json
import os
import sys
import tracemalloc
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

SEQ, BATCH = 4096, 8
BASE = (0.3435, 0.367, 0.0717, 0.2178)
UPSAMPLED = (0.1, 0.2, 0.4, 0.3)
NAMES = ("web", "books", "math", "code")
DOCUMENT, LAST = 1000, 2999
"""Tokens of a document on average, and the one that ends it."""
Rows = Iterator[torch.Tensor]
"""Batches of int64 ids, [rows, SEQ]."""


@dataclass(frozen=True)
class World:
    """Flat files of two bytes an id, sources/<name>/train.bin of a data folder: rows and one token behind the last."""

    folder: Path
    rows: tuple[int, ...]

    def file(self, s: int) -> Path:
        return self.folder / "data" / "sources" / NAMES[s] / "train.bin"

    def tokens(self, s: int) -> np.ndarray:
        return np.memmap(self.file(s), "<u2", "r").view(np.ndarray)

    def table(self, s: int) -> np.ndarray:
        """[rows, SEQ] of a source."""
        return self.tokens(s)[:-1].reshape(-1, SEQ)


def make_world(folder: Path, rows: int) -> World:
    sizes = tuple(int(rows * share) for share in (0.3, 0.3, 0.15, 0.25))
    world = World(folder, sizes)
    for s, size in enumerate(sizes):
        tokens = np.random.default_rng(s).integers(3000, 50_000, size * SEQ + 1, dtype=np.uint16)
        table = tokens[:-1].reshape(size, SEQ)
        number = np.arange(size)
        tokens[np.random.default_rng(s + 100).integers(0, len(tokens), len(tokens) // DOCUMENT)] = LAST
        table[:, 0], table[:, 1], table[:, 2] = s, number // 2000, number % 2000
        world.file(s).parent.mkdir(parents=True)
        world.file(s).write_bytes(tokens.tobytes())
    return world


def identify(batch: torch.Tensor, at: int = 0) -> list[tuple[int, int]]:
    """(source, row) of every row; they stand `at` tokens from its beginning."""
    return [(s, high * 2000 + low) for s, high, low in batch[:, at : at + 3].tolist()]


class Contender(Protocol):
    name: str
    note: str
    at: int
    """Tokens that it puts before a row's own."""
    change: str
    """How it goes over to another mix."""

    def stream(self, weights: Sequence[float], ranks: int = 1, rank: int = 0) -> Rows:
        """From the beginning; batches of BATCH // ranks rows."""

    def changed(self, count: int) -> Rows:
        """What comes after `count` rows of the base mix where the upsampled one follows."""


class Grain:
    name, at = "grain MapDataset.mix", 0
    note = "memmapped rows behind its random access, shuffled"
    change = "the index goes on in the new mix"

    def __init__(self, world: World) -> None:
        import grain.python as grain

        class Table:
            def __init__(self, table: np.ndarray) -> None:
                self._table = table

            def __len__(self) -> int:
                return len(self._table)

            def __getitem__(self, i: int) -> np.ndarray:
                return self._table[i].astype(np.int64)

        self._grain = grain
        self._tables = [Table(world.table(s)) for s in range(len(NAMES))]

    def _mix(self, weights: Sequence[float]) -> Any:
        parts = [
            self._grain.MapDataset.source(t).seed(7).shuffle().repeat()  # type: ignore[arg-type]
            for t in self._tables
        ]
        return self._grain.MapDataset.mix(parts, weights)

    def _batches(self, mixed: Any, ranks: int, rank: int, start: int = 0) -> Rows:
        for batch in mixed[start + rank :: ranks].batch(BATCH // ranks):
            yield torch.from_numpy(batch)

    def stream(self, weights: Sequence[float], ranks: int = 1, rank: int = 0) -> Rows:
        return self._batches(self._mix(weights), ranks, rank)

    def changed(self, count: int) -> Rows:
        return self._batches(self._mix(UPSAMPLED), 1, 0, count)


class GrainState(Grain):
    name = "grain IterDataset.mix"
    change = "each source's iterator state is carried over"

    def _iterators(self, weights: Sequence[float]) -> Any:
        parts = [self._grain.MapDataset.source(t).seed(7).shuffle().repeat().to_iter_dataset() for t in self._tables]  # type: ignore[arg-type]
        return self._grain.IterDataset.mix(parts, weights).batch(BATCH)

    def stream(self, weights: Sequence[float], ranks: int = 1, rank: int = 0) -> Rows:
        if ranks > 1:
            raise NotImplementedError("its mix cannot be cut into ranks by row")
        for batch in self._iterators(weights):
            yield torch.from_numpy(batch)

    def changed(self, count: int) -> Rows:
        before = iter(self._iterators(BASE))
        for _ in range(count // BATCH):
            next(before)
        state, after = before.get_state(), iter(self._iterators(UPSAMPLED))
        after.set_state(state)
        return (torch.from_numpy(batch) for batch in after)


class Megatron:
    name, at = "Megatron-core blended", 0
    note = "indices built before; ids, labels, positions and loss mask, the last two cached"
    change = "consumed samples go on in the new blend"

    def __init__(self, world: World) -> None:
        from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
        from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
        from megatron.core.datasets.indexed_dataset import DType, _IndexWriter

        class Tokenizer:
            eod, pad, vocab_size = 60_000, 60_001, 60_002

            def __init__(self) -> None:
                self.unique_identifiers: dict[str, str] = {}

        self._parts = BlendedMegatronDatasetBuilder, GPTDataset, GPTDatasetConfig, Tokenizer
        self._size = sum(world.rows) * 3 // 4
        self._prefixes = []
        for s, size in enumerate(world.rows):
            prefix = world.folder / f"megatron-{NAMES[s]}"
            prefix.with_suffix(".bin").symlink_to(world.file(s))
            with _IndexWriter(str(prefix.with_suffix(".idx")), DType.dtype_from_code(8)) as writer:
                writer.write([SEQ] * size, None, list(range(size + 1)))
            self._prefixes.append(str(prefix))

    def blend(self, weights: Sequence[float]) -> Any:
        builder, dataset, config, tokenizer = self._parts
        settings = config(
            random_seed=7, sequence_length=SEQ, blend=(self._prefixes, list(weights)), split="1,0,0",
            tokenizer=tokenizer(), reset_position_ids=False,
            reset_attention_mask=False, eod_mask_loss=False, create_attention_mask=False,
            mid_level_dataset_surplus=0.005,
        )  # fmt: skip
        return builder(dataset, [self._size, 0, 0], lambda: True, settings).build()[0]

    def bytes_a_row(self) -> float:
        """Of the blend's two indices and, within the sources, of document, sample and shuffle index; held in files."""
        blended = self.blend(BASE)
        parts = [(d.document_index, d.sample_index, d.shuffle_index) for d in blended.datasets]
        found = [blended.dataset_index, blended.dataset_sample_index, *(index for part in parts for index in part)]
        return sum(index.nbytes for index in found) / len(blended)

    def _batches(self, blended: Any, ranks: int, rank: int, start: int = 0) -> Rows:
        share = BATCH // ranks
        for first in range(start + rank * share, len(blended) - BATCH, BATCH):
            samples = [blended[i] for i in range(first, first + share)]
            yield torch.stack([sample["tokens"] for sample in samples])

    def stream(self, weights: Sequence[float], ranks: int = 1, rank: int = 0) -> Rows:
        return self._batches(self.blend(weights), ranks, rank)

    def changed(self, count: int) -> Rows:
        return self._batches(self.blend(UPSAMPLED), 1, 0, count)


class Litdata:
    name, at = "litdata", 0
    note = "TokensLoader, shuffled, CombinedStreamingDataset"
    change = "a new run: its state does not go over to other weights"

    def __init__(self, world: World) -> None:
        import litdata
        from litdata.streaming.item_loader import TokensLoader
        from litdata.streaming.writer import BinaryWriter

        os.environ.setdefault("LITDATA_DISABLE_VERSION_CHECK", "1")
        self._litdata, self._loader = litdata, TokensLoader
        self._folders = []
        for s in range(len(NAMES)):
            folder = world.folder / f"litdata-{NAMES[s]}"
            folder.mkdir()
            writer = BinaryWriter(str(folder), chunk_size=SEQ * 1024, item_loader=TokensLoader(SEQ))
            for i, row in enumerate(world.table(s)):
                writer[i] = torch.from_numpy(row.view(np.int16).copy())  # it has no name for unsigned ids
            writer.done()
            writer.merge()
            self._folders.append(str(folder))

    def stream(self, weights: Sequence[float], ranks: int = 1, rank: int = 0) -> Rows:
        from litdata.utilities.env import _DistributedEnv

        parts = []
        for folder in self._folders:
            part = self._litdata.StreamingDataset(folder, item_loader=self._loader(SEQ), shuffle=True, drop_last=True)
            part.distributed_env = _DistributedEnv(ranks, rank, 1)
            parts.append(part)
        mixed = self._litdata.CombinedStreamingDataset(
            parts, seed=7, weights=list(weights), iterate_over_all=False, batching_method="stratified"
        )
        loader = self._litdata.StreamingDataLoader(mixed, batch_size=BATCH // ranks, num_workers=0)
        for batch in loader:
            yield batch.to(torch.int64) & 0xFFFF

    def changed(self, count: int) -> Rows:
        return self.stream(UPSAMPLED)


class Streaming:
    name, at = "mosaicml-streaming", 0
    note = "MDS shards, py1e shuffle, streams by proportion"
    change = "state_dict carried over to the new proportions"

    def __init__(self, world: World) -> None:
        _without_torchvision()
        import streaming

        self._streaming = streaming
        self._size = sum(world.rows) * 3 // 4
        self._folders = []
        for s in range(len(NAMES)):
            folder = world.folder / f"mds-{NAMES[s]}"
            with streaming.MDSWriter(
                out=str(folder), columns={"x": f"ndarray:uint16:{SEQ}"}, size_limit=1 << 26
            ) as out:
                for row in world.table(s):
                    out.write({"x": row})
            self._folders.append(str(folder))

    def _dataset(self, weights: Sequence[float], size: int = 0) -> Any:
        self._streaming.base.util.clean_stale_shared_memory()
        streams = [self._streaming.Stream(local=f, proportion=w) for f, w in zip(self._folders, weights, strict=True)]
        return self._streaming.StreamingDataset(
            streams=streams, epoch_size=size or self._size, batch_size=BATCH, shuffle=True, shuffle_seed=7,
            num_canonical_nodes=2, shuffle_block_size=1 << 18,
        )  # fmt: skip

    def _batches(self, dataset: Any) -> Rows:
        for batch in self._streaming.StreamingDataLoader(dataset, batch_size=BATCH, num_workers=0):
            yield batch["x"].to(torch.int64)

    def stream(self, weights: Sequence[float], ranks: int = 1, rank: int = 0) -> Rows:
        if ranks == 1:
            return self._batches(self._dataset(weights))
        return self._planned(weights, ranks, rank)

    def _planned(self, weights: Sequence[float], ranks: int, rank: int) -> Rows:
        """What it would give a rank, from its own partition: several processes are not started here."""
        from streaming.base.batching import generate_work
        from streaming.base.world import World as Ranks

        dataset = self._dataset(weights)
        dataset.batch_size = BATCH // ranks
        work = generate_work(dataset.batching_method, dataset, Ranks(1, ranks, 1, 0), 0, 0)
        for batch in work[0, rank, 0]:
            yield torch.from_numpy(np.stack([dataset[int(i)]["x"] for i in batch if i >= 0])).to(torch.int64)

    def bytes_a_row(self) -> float:
        """Peak memory of its plan of an epoch of 2 M rows."""
        from streaming.base.batching import generate_work
        from streaming.base.world import World as Ranks

        dataset = self._dataset(BASE, 2_000_000)
        tracemalloc.start()
        generate_work(dataset.batching_method, dataset, Ranks(1, 1, 1, 0), 0, 0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak / 2_000_000

    def changed(self, count: int) -> Rows:
        state = self._dataset(BASE).state_dict(count, True)
        dataset = self._dataset(UPSAMPLED)
        dataset.load_state_dict(state)
        return self._batches(dataset)


class Titan:
    name, at = "torchtitan interleaved", 1  # a token that begins the text
    note = "tokenises as it goes (a word a token, which is quicker than BPE)"
    change = "its state is loaded into a loader of the new weights"

    def __init__(self, world: World) -> None:
        from datasets import Dataset
        from tokenizers import Tokenizer, models, pre_tokenizers
        from torchtitan.hf_datasets import DatasetConfig, text_datasets

        words = Tokenizer(models.WordLevel({str(i): i for i in range(50_000)}, unk_token="0"))
        words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()

        class Words:
            def encode(self, text: str, **_: bool) -> list[int]:
                return [60_000, *words.encode(text).ids, 60_001]

        self._module, self._tokenizer = text_datasets, Words()
        for s in range(len(NAMES)):
            # SEQ - 1 words: with both tokens around them a text is just one row and its last label.
            texts = [" ".join(map(str, row[:-1])) for row in world.table(s)[:600].tolist()]
            found = Dataset.from_dict({"text": texts})
            text_datasets.DATASETS[NAMES[s]] = DatasetConfig(
                path=NAMES[s], loader=lambda _, found=found: found, sample_processor=lambda sample: sample["text"]
            )

    def _loader(self, weights: Sequence[float], ranks: int = 1, rank: int = 0) -> Any:
        module = self._module
        kind = module.InterleavedHuggingFaceTextDataLoader
        sources = [module.HFDataSource(dataset=n, weight=w) for n, w in zip(NAMES, weights, strict=True)]
        return kind(
            kind.Config(sources=sources, seed=7), dp_world_size=ranks, dp_rank=rank, tokenizer=self._tokenizer,
            seq_len=SEQ, local_batch_size=BATCH // ranks,
        )  # fmt: skip

    def stream(self, weights: Sequence[float], ranks: int = 1, rank: int = 0) -> Rows:
        for given, _ in self._loader(weights, ranks, rank):
            yield given["input"]

    def changed(self, count: int) -> Rows:
        before = self._loader(BASE)
        batches = iter(before)
        for _ in range(count // BATCH):
            next(batches)
        after = self._loader(UPSAMPLED)
        after.load_state_dict(before.state_dict())
        return (given["input"] for given, _ in after)


CONTENDERS: tuple[type[Contender], ...] = (Streaming, Titan, Megatron, Litdata, Grain, GrainState)


def _without_torchvision() -> None:
    """Stand in for torchvision, which streaming imports for its images: the registry's does not fit torch 2.13."""

    class Stub(types.ModuleType):
        def __getattr__(self, name: str) -> type:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

    for name in ("", ".datasets", ".transforms", ".transforms.functional", ".models"):
        stub = Stub(f"torchvision{name}")
        stub.__path__ = []
        stub.__spec__ = importlib.machinery.ModuleSpec(stub.__name__, None)
        sys.modules.setdefault(stub.__name__, stub)


def source_json(world: World) -> None:
    """What joyctl wants beside each train.bin."""
    for s, size in enumerate(world.rows):
        described = {"name": NAMES[s], "tokens": size * SEQ + 1, "sha256": ""}
        (world.file(s).parent / "source.json").write_text(json.dumps(described))
