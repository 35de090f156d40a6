"""Small texts and a tokenizer that building tests start from."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes_for_tests import recipe
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from joyctl.recipe.types import Recipe

BOS, EOS = "<|begin|>", "<|end|>"
WORDS = ("river", "Größe", "naïve", "日本語", "def f(x):\n    return x", "3.14", "—", "🙂", BOS, EOS, "the", "of")


def write_tokenizer(folder: Path, *, bos: str | None = BOS, eos: str | None = EOS, more: int = 0) -> Path:
    """Every byte is a token, BOS and EOS are, and `more` tokens that no text has."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*alphabet, *(f"unused{i}" for i in range(more))]
    tokenizer = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in (BOS, EOS)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"bos_token": bos, "eos_token": eos, "pad_token": eos, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in named.items() if v is not None}))
    return folder


def documents(number: int, seed: int = 0) -> list[str]:
    """So many texts, all different, with letters of many scripts, line ends, and the names of special tokens."""
    draw = random.Random(seed)
    return [f"{seed}-{i}: {' '.join(draw.choices(WORDS, k=draw.randrange(1, 30)))}" for i in range(number)]


def write_lines(path: Path, texts: Sequence[str], column: str = "text") -> Path:
    """One JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"id": i, column: text}) + "\n" for i, text in enumerate(texts)))
    return path


def text_recipe(tokenizer: Path, texts: Mapping[str, Any], **data: Any) -> Recipe:
    """A recipe of the sources in `texts`, each with its `files` or all of its `text`."""
    weights = dict.fromkeys(texts, 1.0)
    return recipe(
        data={"tokenizer": str(tokenizer), "heldout": {"share": 0.1, "documents": 5}, **data},
        sources={
            name: {"category": "domain", "text": text if isinstance(text, dict) else {"files": text}}
            for name, text in texts.items()
        },
        mixes={"base": weights, "upsampled": weights},
    )
