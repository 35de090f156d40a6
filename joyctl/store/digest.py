"""Digest of a folder of weights that is quick for any size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from joyctl.store.files import sha256_file
from joyctl.store.fingerprint import fingerprint

MODEL_FILES = (
    "*.safetensors", "*.bin", "*config.json", "*.index.json", "*.model", "tokenizer.json", "vocab.json", "merges.txt",
)  # fmt: skip
"""What of a Hugging Face folder says which model it is, and what is taken of a model on the hub."""
CHECKPOINT_FILES = ("*.distcp", ".metadata")
"""What torch.distributed.checkpoint writes."""
_SMALL = 16 << 20  # bytes: a file up to this size is read whole
_PROBES, _PROBE = 32, 64 << 10  # so many pieces of so many bytes are read of a larger one


def folder_digest(folder: Path, patterns: Sequence[str] = MODEL_FILES) -> str:
    """Digest of the files of a folder: names and sizes of all, what small ones hold, and pieces of larger ones.

    The pieces are spread evenly over a large file, the weights: training changes all of those.
    """
    files = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    return fingerprint({path.name: [path.stat().st_size, _content(path)] for path in files})


def _content(path: Path) -> str:
    size = path.stat().st_size
    if size <= _SMALL:
        return sha256_file(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in range(_PROBES):
            file.seek((size - _PROBE) * piece // (_PROBES - 1), os.SEEK_SET)
            digest.update(file.read(_PROBE))
    return digest.hexdigest()
