"""All a model has to answer for a task, cut into units of one batch each (PURE).

The units depend on the prompts, the model's length and the batch size alone, and a unit is always computed as a
whole. So an answer is the same whichever process computes its unit, and whether or not the work was interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from joyctl.evals.prefixes import Group, Ints, groups
from joyctl.evals.prompts import Key, Prompts


@dataclass(frozen=True)
class Scored:
    """A pair of context and continuation inside a sequence."""

    key: Key
    tail: Ints
    """Token ids whose log-likelihood is wanted: the continuation."""


@dataclass(frozen=True, eq=False)
class Row:
    """What one row of a batch forwards: context and continuation without its last token, cut to the model's length."""

    ids: Ints
    pairs: tuple[Scored, ...]
    """Pairs whose continuations end one token after `ids`: those that differ in their last token share a row."""

    @property
    def wanted(self) -> int:
        """Positions at the end whose logits are needed."""
        return max(len(pair.tail) for pair in self.pairs)


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences scored together; the first `prefix` tokens are the same in all, and in the batches beside it."""

    prefix: int
    rows: tuple[Row, ...]

    @property
    def keys(self) -> list[Key]:
        """What it answers."""
        return [pair.key for row in self.rows for pair in row.pairs]


@dataclass(frozen=True, eq=False)
class Texts:
    """Prompts that are gone on from together."""

    keys: list[Key]
    prompts: list[str]
    settings: Mapping[str, Any]
    """lm-eval's generation settings."""


Unit = Batch | Texts


def sequences(prompts: Prompts, max_length: int) -> list[Row]:
    """The distinct rows that a model of `max_length` tokens has to forward, in the order of the prompts.

    What is too long loses its beginning, as in lm-eval: the last max_length + 1 tokens of context and continuation
    stay, of which the very last is only predicted.
    """
    found: dict[tuple[int, bytes, int], tuple[Ints, list[Scored]]] = {}
    for number, (key, head) in enumerate(zip(prompts.pair_keys.tolist(), prompts.pair_heads.tolist(), strict=True)):
        tail = prompts.tails[number]
        context = prompts.heads[head]
        cut = max(0, len(context) + len(tail) - (max_length + 1))
        place = (head, tail[:-1].tobytes(), cut)
        if place not in found:
            found[place] = (np.concatenate([context, tail[:-1]])[cut:], [])
        found[place][1].append(Scored((key[0], key[1], key[2], key[3]), tail))
    return [Row(ids, tuple(pairs)) for ids, pairs in found.values()]


def batches(rows: Sequence[Row], batch_size: int) -> list[Batch]:
    """Rows in batches: those with a shared beginning together, the longest first, then all others by length."""
    gathered = groups([row.ids for row in rows], [len(row.ids) - row.wanted for row in rows])
    alone = tuple(group.members[0] for group in gathered if not group.prefix)
    made = []
    for group in [*(group for group in gathered if group.prefix), Group(0, alone)]:
        members = sorted(group.members, key=lambda i: (-len(rows[i].ids), rows[i].ids.tolist()))
        for start in range(0, len(members), batch_size):
            made.append(Batch(group.prefix, tuple(rows[i] for i in members[start : start + batch_size])))
    return made


def generations(prompts: Prompts, lengths: Sequence[int], batch_size: int) -> list[Texts]:
    """Prompts to go on from, in the batches that lm-eval's Hugging Face model makes of them.

    `lengths[i]` are the tokens of text i. Prompts with equal settings are sorted by tokens, longest first, then by
    text; a prompt with several answers stands in a row as often.
    """
    by_settings: dict[str, list[tuple[Key, int, Mapping[str, Any]]]] = {}
    for key, text in zip(prompts.generation_keys.tolist(), prompts.generation_texts.tolist(), strict=True):
        settings = prompts.settings[key[0]] or {}
        entry = ((key[0], key[1], key[2], key[3]), text, settings)
        by_settings.setdefault(repr(sorted(settings.items(), key=str)), []).append(entry)
    made = []
    for asked in by_settings.values():
        asked.sort(key=lambda each: (-lengths[each[1]], prompts.texts[each[1]]))
        for start in range(0, len(asked), batch_size):
            part = asked[start : start + batch_size]
            made.append(Texts([key for key, _, _ in part], [prompts.texts[text] for _, text, _ in part], part[0][2]))
    return made


def cut_items(prompts: Prompts, max_length: int, lengths: Sequence[int], room: Mapping[int, int]) -> int:
    """Items of which a prompt loses its beginning: a pair longer than the model's length and one more, or a prompt
    longer than `room`, by leaf task, that generating leaves. `lengths` as for `generations`.
    """
    long = prompts.heads.lengths[prompts.pair_heads] + prompts.tails.lengths > max_length + 1
    rolling = np.array([kind == "loglikelihood_rolling" for kind in prompts.types])
    cut = {(key[0], key[1]) for key in prompts.pair_keys[long].tolist() if not rolling[key[0]]}
    for key, text in zip(prompts.generation_keys.tolist(), prompts.generation_texts.tolist(), strict=True):
        if lengths[text] > room[key[0]]:
            cut.add((key[0], key[1]))
    return len(cut)


def tokens_forwarded(made: Sequence[Batch]) -> tuple[int, int]:
    """Tokens that a list of batches forwards, each shared beginning once: without padding, and with it."""
    real = padded = 0
    before: bytes | None = None
    for batch in made:
        beginning = batch.rows[0].ids[: batch.prefix].tobytes()
        if batch.prefix and beginning != before:
            real += batch.prefix
            padded += batch.prefix
        before = beginning
        lengths = [len(row.ids) - batch.prefix for row in batch.rows]
        real += sum(lengths)
        padded += max(lengths) * len(lengths)
    return real, padded
