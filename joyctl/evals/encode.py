"""Cuts texts into tokens exactly as lm-eval's Hugging Face model does, without the model's weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from lm_eval.models.huggingface import HFLM, _add_special_kwargs
from lm_eval.models.utils import has_bos_prefix, normalize_gen_kwargs

from joyctl.errors import Missing
from joyctl.evals.protocol import tokenizer_digest

_CHECK_EVERY = 64
"""Of so many pairs one is also encoded whole."""
_TAIL, _SHORT = 64, 400
"""Characters at a context's end that are encoded again with every continuation; contexts worth the trouble."""


class Encoder:
    """The tokenizer of a model folder behind lm-eval's rules, and what of a model decides how prompts are cut."""

    def __init__(self, folder: Path) -> None:
        """Raises Missing when the folder's configuration or tokenizer does not load."""
        try:
            config = transformers.AutoConfig.from_pretrained(folder)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            with torch.device("meta"):  # the shape of a model without its weights
                shape = transformers.AutoModelForCausalLM.from_config(config)
            self._lm = HFLM(pretrained=shape, tokenizer=tokenizer, batch_size=1)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            why = str(error).strip().partition("\n")[0]
            raise Missing(
                f"the model folder {folder} does not load: {why}",
                hint="Export it again, or see whether transformers loads it.",
            ) from error
        self.config = config
        self.tokenizer_sha256 = self._digest(tokenizer_digest(folder))
        self._rules = _safe_to_cut(tokenizer)

    @property
    def max_length(self) -> int:
        """Tokens that the model accepts."""
        return int(self._lm.max_length)

    @property
    def max_gen_toks(self) -> int:
        """Tokens that lm-eval generates where a task does not say."""
        return int(self._lm.max_gen_toks)

    @property
    def prefix_token(self) -> int:
        """What stands before a text without context."""
        return int(self._lm.prefix_token_id)

    def room(self, settings: Mapping[str, Any]) -> int:
        """Tokens left for a prompt, after those that are to be generated with lm-eval's generation settings."""
        return self.max_length - int(normalize_gen_kwargs(dict(settings), self.max_gen_toks)["max_gen_toks"])

    def lengths(self, texts: Sequence[str], chosen: Sequence[int]) -> list[int]:
        """Tokens of those texts whose numbers are chosen; 0 for all others."""
        found = [0] * len(texts)
        distinct = list(dict.fromkeys(chosen))
        for number, tokens in zip(distinct, self._batch([texts[number] for number in distinct]), strict=True):
            found[number] = len(tokens)
        return found

    def _digest(self, file: str) -> str:
        """Digest of the tokenizer as loaded: the same tokenizer.json cuts otherwise for another type of model, for
        which transformers may put rules of its own in, and with another tokenizer_config.json.
        """
        tokenizer = self._lm.tokenizer
        rules = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else str(tokenizer.init_kwargs)
        parts = (type(tokenizer).__name__, file, rules, self._lm.add_bos_token, self.prefix_token)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Token ids of one text."""
        ids: list[int] = self._lm.tok_encode(text)
        return ids

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> tuple[list[tuple[int, ...]], list[list[int]]]:
        """Token ids of contexts and of continuations, as lm-eval's `loglikelihood` cuts them.

        It encodes context + continuation and the context, and takes what the first has more. Here every distinct
        context is encoded once, and of the whole only its end, where that gives the same.
        """
        moved = [_move_spaces(context, continuation) for context, continuation in pairs]
        contexts = list(dict.fromkeys(context for context, _ in moved if context))
        ids = dict(zip(contexts, self._batch(contexts), strict=True))
        if self._rules:
            found = self._by_their_ends(moved, ids)
            if all(found[i] == self._whole(*moved[i]) for i in range(0, len(moved), _CHECK_EVERY)):
                return self._split(moved, found, ids)
        return self._split(moved, self._wholes(moved), ids)

    def _split(
        self, pairs: Sequence[tuple[str, str]], wholes: Sequence[list[int]], ids: dict[str, list[int]]
    ) -> tuple[list[tuple[int, ...]], list[list[int]]]:
        heads, tails = [], []
        distinct = {context: tuple(tokens) for context, tokens in ids.items()}
        for (context, _), whole in zip(pairs, wholes, strict=True):
            if context:
                heads.append(distinct[context])
                tails.append(whole[len(ids[context]) :])
            elif whole[0] != self.prefix_token:
                heads.append((self.prefix_token,))
                tails.append(whole)
            else:
                heads.append((whole[0],))
                tails.append(whole[1:])
        return heads, tails

    def _whole(self, context: str, continuation: str) -> list[int]:
        """One pair as lm-eval encodes it; without a context, without special tokens."""
        whole: list[int] = self._lm.tok_encode(context + continuation, add_special_tokens=None if context else False)
        return whole

    def _wholes(self, pairs: Sequence[tuple[str, str]]) -> list[list[int]]:
        with_context = self._batch([context + continuation for context, continuation in pairs if context])
        rest = iter(with_context)
        return [next(rest) if pair[0] else self._whole(*pair) for pair in pairs]

    def _by_their_ends(self, pairs: Sequence[tuple[str, str]], ids: dict[str, list[int]]) -> list[list[int]]:
        """Whole encodings from a context's and that of its last lines with the continuation.

        A cut before a line break is taken only where the rest of the context, encoded by itself, gives exactly the
        last tokens of the whole context: the two then agree on where tokens begin.
        """
        cuts = {context: _cut(context) for context in ids}
        rests = self._plain([context[cut:] for context, cut in cuts.items()])
        kept: dict[str, int] = {}
        for (context, cut), rest in zip(cuts.items(), rests, strict=True):
            tokens = ids[context]
            if cut and tokens[-len(rest) :] == rest:
                kept[context] = len(tokens) - len(rest)
        ends = self._plain([context[cuts[context] :] + end for context, end in pairs if context in kept])
        others = self._wholes([pair for pair in pairs if pair[0] not in kept])
        ending, other = iter(ends), iter(others)
        return [
            ids[context][: kept[context]] + next(ending) if context in kept else next(other) for context, _ in pairs
        ]

    def _batch(self, texts: Sequence[str]) -> list[list[int]]:
        """As `tok_encode` of each."""
        tokenizer = self._lm.tokenizer
        if not tokenizer.is_fast:
            return [self._lm.tok_encode(text) for text in texts]
        prefix = tokenizer.decode(self._lm.prefix_token_id)
        bare = [has_bos_prefix(text, prefix) for text in texts]
        special = _add_special_kwargs(None, self._lm.add_bos_token).get("add_special_tokens", True)
        found: list[list[int]] = [[]] * len(texts)
        for own in (True, False):
            chosen = [i for i, is_bare in enumerate(bare) if is_bare is own]
            encoded = self._fast([texts[i] for i in chosen], special=special and not own)
            for i, tokens in zip(chosen, encoded, strict=True):
                found[i] = tokens
        return found

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        return self._fast(texts, special=False)

    def _fast(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        backend = self._lm.tokenizer.backend_tokenizer
        found: list[list[int]] = []
        for start in range(0, len(texts), 512):  # not all at once: encodings hold far more than the ids
            batch = backend.encode_batch_fast(list(texts[start : start + 512]), add_special_tokens=special)
            found += [encoding.ids for encoding in batch]
        return found


def _move_spaces(context: str, continuation: str) -> tuple[str, str]:
    """Spaces at the end of a context belong to the continuation, as in lm-eval's `_encode_pair`."""
    bare = context.rstrip()
    return (bare, context[len(bare) :] + continuation) if context else (context, continuation)


def _cut(context: str) -> int:
    """Where the end of a context begins that is encoded with every continuation; 0 to encode all of it."""
    return max(0, context.rfind("\n", 0, len(context) - _TAIL)) if len(context) > _SHORT else 0


def _safe_to_cut(tokenizer: transformers.PreTrainedTokenizerBase) -> bool:
    """Whether tokens never reach over a word's borders and bytes stay as they are: byte-level BPE over split text."""
    if not tokenizer.is_fast:
        return False
    kept = json.loads(tokenizer.backend_tokenizer.to_str())
    return kept["normalizer"] is None and "ByteLevel" in json.dumps(kept["pre_tokenizer"])
