"""Texts to token ids, batch by batch: every document as BOS (where there is one), its ids, EOS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from joyctl.data.shards import Ids, Int64
from joyctl.data.tokenizers import Special, one_thread

_CHARACTERS = 1 << 19
"""Of texts given to the tokenizer at once; what it makes of them takes some hundred times as much memory."""


def encoded(tokenizer: Any, special: Special, dtype: str, texts: Iterable[str]) -> Iterator[tuple[Ids, Int64]]:
    """For every batch of texts the ids of its documents, and each document's number of ids.

    What looks like a special token in a text is encoded as text, so that only joyctl itself begins and ends documents.
    """
    tokenizer.encode_special_tokens = True
    for batch in _batches(texts):
        with one_thread():
            found = [each.ids for each in tokenizer.encode_batch_fast(batch, add_special_tokens=False)]
        begin = 0 if special.bos is None else 1
        lengths = np.array([len(ids) + begin + 1 for ids in found], np.int64)
        ids = np.empty(int(lengths.sum()), np.dtype(dtype).newbyteorder("<"))
        at = 0
        for document in found:
            if special.bos is not None:
                ids[at] = special.bos
                at += 1
            ids[at : at + len(document)] = document
            at += len(document)
            ids[at] = special.eos
            at += 1
        yield ids, lengths


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= _CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
