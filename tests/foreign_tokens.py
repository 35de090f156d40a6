"""Token files as other tools write them, byte for byte, and data folders that name them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from training import make_tokenizer

from joyctl.data.folder import SourceFacts, digest, tasks_digest, tokenizer_digest
from joyctl.data.formats import expand, facts_of
from joyctl.data.sidecar import Boundary, Shard, describe
from joyctl.recipe.sources import Tokenised
from joyctl.store.files import write_json

CODES = {"uint8": 1, "int32": 4, "int64": 5, "float32": 7, "uint16": 8}
VOCABULARY = 28
"""Tokens of the tokenizer in `make_folder`: 26 letters, <bos> (26), <pad> (27)."""


def documents(seed: int, count: int = 20, most: int = 60, vocabulary: int = 26) -> list[np.ndarray]:
    """Documents of 1 to `most` random ids."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocabulary, rng.integers(1, most + 1)) for _ in range(count)]


def write_megatron(path: Path, texts: Sequence[np.ndarray], dtype: str = "uint16", sequences: int = 1) -> Path:
    """.bin and .idx, as megatron-core's IndexedDatasetBuilder writes them; each document cut into so many sequences."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [part for text in texts for part in (np.array_split(text, sequences) if len(text) else [])]
    begins = np.concatenate([[0], np.cumsum([sequences if len(text) else 0 for text in texts])])
    np.concatenate([*parts, []]).astype(dtype).tofile(path)
    sizes = np.array([len(part) for part in parts], "<i4")
    starts = np.concatenate([[0], np.cumsum(sizes.astype("<i8") * np.dtype(dtype).itemsize)])[:-1].astype("<i8")
    head = struct.pack("<9sQBQQ", b"MMIDIDX\x00\x00", 1, CODES[dtype], len(parts), len(begins))
    tables = (sizes, starts, begins.astype("<i8"))
    path.with_suffix(".idx").write_bytes(head + b"".join(table.tobytes() for table in tables))
    return path


def write_datatrove(path: Path, texts: Sequence[np.ndarray], width: int = 2, tokenizer: str | None = None) -> Path:
    """.ds, .ds.index and, with a tokenizer's name, .ds.metadata, as datatrove's TokenizedFile writes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = np.concatenate(texts)
    whole.astype(f"<u{width}").tofile(path)
    np.cumsum([len(text) for text in texts]).astype("<u8").tofile(f"{path}.index")
    if tokenizer is not None:
        Path(f"{path}.metadata").write_text(f"{tokenizer}|{width}\n{len(whole)}\n{len(whole) / 1000:.2f} KT")
    return path


def starts_of(texts: Sequence[np.ndarray]) -> list[int]:
    """Positions at which documents begin; ones without tokens begin nowhere."""
    ends = np.cumsum([len(text) for text in texts])
    return sorted({int(end) - len(text) for end, text in zip(ends, texts, strict=True) if len(text)})


def shards_of(spec: Tokenised, boundary: Boundary | None = None, vocabulary: int = VOCABULARY) -> list[Shard]:
    return [facts_of(path, spec, vocabulary, boundary=boundary) for path in expand(spec)]


def make_folder(
    folder: Path, sources: Mapping[str, Tokenised], boundary: Boundary | None = None, vocabulary: int = VOCABULARY
) -> Path:
    """A finished data folder whose sources are read in place."""
    (folder / "tokenizer").mkdir(parents=True)
    make_tokenizer(folder / "tokenizer")
    tokenizer_sha256 = tokenizer_digest(folder)
    facts = {}
    for name, spec in sources.items():
        about = describe(
            name, shards_of(spec, boundary, vocabulary), tokenizer_sha256=tokenizer_sha256, boundary=boundary
        )
        write_json(folder / "sources" / name / "source.json", about)
        facts[name] = SourceFacts(*(about[key] for key in ("tokens", "documents", "sha256")))
    tasks = tasks_digest(folder)
    marker = {
        "settings": {},
        "sources": {name: vars(of) for name, of in facts.items()},
        "tokenizer_sha256": tokenizer_sha256,
        "vocab_size": VOCABULARY,
        "tasks_sha256": tasks,
        "sha256": digest(facts, tokenizer_sha256, VOCABULARY, tasks),
    }
    (folder / "DATA.json").write_text(json.dumps(marker))
    return folder


def one_source(folder: Path, shards: Sequence[Shard], boundary: Boundary | None = None, **settings: object) -> Path:
    """A folder with the sidecar of one source, `web`, of these shards."""
    about = describe("web", shards, tokenizer_sha256="", boundary=boundary, **settings)  # type: ignore[arg-type]
    write_json(folder / "sources" / "web" / "source.json", about)
    return folder


TEXTS = {name: documents(i, 150, 40) for i, name in enumerate(("megatron", "datatrove", "npy", "flat"))}
WHOLE = {name: np.concatenate(texts) for name, texts in TEXTS.items()}


def write_four(place: Path) -> dict[str, Tokenised]:
    """One file of each format; the flat one in two parts."""
    write_megatron(place / "m.bin", TEXTS["megatron"], "int32")
    write_datatrove(place / "d.ds", TEXTS["datatrove"], 2, tokenizer="some/tokenizer")
    np.save(place / "n.npy", WHOLE["npy"].astype(np.int64))
    for part, ids in enumerate(np.array_split(WHOLE["flat"], 2)):
        ids.astype("<u4").tofile(place / f"f{part}.bin")
    of = {"megatron": "m.bin", "datatrove": "d.ds", "npy": "n.npy", "flat": "f*.bin"}
    return {
        name: Tokenised(files=(str(place / file),), dtype="uint32" if name == "flat" else None)
        for name, file in of.items()
    }
