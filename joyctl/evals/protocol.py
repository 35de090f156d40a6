"""What makes two scores comparable: everything about the measurement, and nothing about the model measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from joyctl.errors import Missing
from joyctl.store.files import sha256_file
from joyctl.store.fingerprint import fingerprint

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")


def tokenizer_digest(model_folder: Path) -> str:
    """Digest of a model folder's tokenizer: of tokenizer.json where there is one, else of the older files.

    Raises Missing when the folder has no tokenizer.
    """
    for name in _TOKENIZERS:
        if (model_folder / name).is_file():
            return sha256_file(model_folder / name)
    raise Missing(f"{model_folder} has no tokenizer", hint="a Hugging Face folder holds tokenizer.json")


def model_digest(model_folder: Path) -> str:
    """Digest of what a model folder computes: its configuration, weights and tokenizer."""
    files = [*model_folder.glob("*.safetensors"), *model_folder.glob("*.bin"), *model_folder.glob("*config.json")]
    digests = {path.name: sha256_file(path) for path in files}
    return fingerprint({**digests, "tokenizer": tokenizer_digest(model_folder)})


def protocol_hash(parts: Mapping[str, object]) -> str:
    """SHA-256 of the canonical JSON of `parts`."""
    return fingerprint(dict(parts))
