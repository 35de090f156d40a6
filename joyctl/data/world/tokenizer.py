"""The world's tokenizer: byte-level BPE, digits and newlines alone, closed-world names whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from joyctl.data.tokenizers import one_thread

VOCABULARY = 1024
BOS, EOS = "<|begin_of_text|>", "<|end_of_text|>"

# A newline, a run of blanks (indentation), one digit, a word, a run of signs: each alone, the last three
# with the blank before them.
_PIECES = r"\n| {2,}| ?[0-9]| ?[A-Za-z]+| ?[^\sA-Za-z0-9]+|\s"


def train(sample: Iterable[str], names: Sequence[str]) -> Any:
    """Train on `sample`, then add each of `names` (with the blank before it) as one token.

    The names are entries without merges: the model looks a whole piece up before it merges
    (`ignore_merges`, as in Llama 3), so a name costs one entry instead of all its parts.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    def pieces() -> Any:
        split = pre_tokenizers.Split(Regex(_PIECES), "isolated")
        to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([split, to_bytes])

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pieces()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS, EOS],
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    with one_thread():
        learner.train_from_iterator(sample, trainer)
    learned = json.loads(learner.to_str())["model"]
    vocabulary = _make_room(learned["vocab"], ["Ġ" + name for name in names])  # a blank is written as Ġ
    merges = [(a, b) for a, b in learned["merges"] if {a, b, a + b} <= vocabulary.keys()]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pieces()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (BOS, EOS)])
    return tokenizer


def encode(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of every text, without BOS and EOS."""
    with one_thread():
        return [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]


def save(tokenizer: Any, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, as transformers and torchtitan load them."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": EOS,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _make_room(learned: dict[str, int], names: Sequence[str]) -> dict[str, int]:
    """The first learned entries, as many as fit, and then every name that is not among them."""
    keep = VOCABULARY
    while keep + sum(learned.get(name, keep) >= keep for name in names) > VOCABULARY:
        keep -= 1
    vocabulary = {token: i for token, i in sorted(learned.items(), key=lambda entry: entry[1]) if i < keep}
    for name in names:
        vocabulary.setdefault(name, len(vocabulary))
    return vocabulary
