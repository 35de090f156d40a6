"""A task's prompts with their token ids: made once, then read by every job that scores a model with that tokenizer.

lm-eval makes the texts (its `build_all_requests`) and its Hugging Face model's rules cut them into tokens; both cost
more than scoring a small model, and neither depends on the model's weights.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from lm_eval.api.instance import Instance
from lm_eval.utils import apply_template, get_rolling_token_windows, make_disjoint_window

from joyctl.evals.encode import Encoder
from joyctl.evals.tasks import Loaded
from joyctl.store.files import sha256_file, write_json
from joyctl.store.fingerprint import fingerprint

Key = tuple[int, int, int, int]
"""Number of the leaf task, document, request of the document (GOLD for its gold answer), repeat or window."""
GOLD = -1
Ints = np.ndarray[Any, np.dtype[Any]]
_NAME, _DATA = "PROMPTS.json", "prompts.npz"


class Ragged:
    """Sequences of token ids, one after the other in one array."""

    def __init__(self, values: Ints, ends: Ints) -> None:
        """`values` has shape (tokens,), `ends` (sequences,): where each sequence ends."""
        self.values, self.ends = values, ends

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> Ragged:
        """From lists."""
        lengths = np.array([len(each) for each in sequences], dtype=np.int64)
        flat = np.fromiter((token for each in sequences for token in each), dtype=np.int32, count=int(lengths.sum()))
        return cls(flat, np.cumsum(lengths))

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def lengths(self) -> Ints:
        """Tokens of every sequence, of shape (sequences,)."""
        return np.diff(self.ends, prepend=0)

    def __getitem__(self, index: int) -> Ints:
        return self.values[self.ends[index - 1] if index else 0 : self.ends[index]]


@dataclass(frozen=True, eq=False)
class Prompts:
    """All requests of one entry of a suite."""

    leaves: tuple[str, ...]
    """Leaf tasks, as keys number them."""
    sha256: str
    """Digest of every request's text."""
    texts: Sequence[str]
    """Distinct texts."""
    instances: Ints
    """One row a request of lm-eval's, in its order: leaf, document, index, first argument, second (texts; -1: none)."""
    types: Sequence[str]
    """lm-eval's request type, by leaf."""
    settings: Sequence[Mapping[str, Any] | None]
    """Generation settings, by leaf."""
    repeats: Sequence[int]
    """Answers wanted to each request, by leaf."""
    heads: Ragged
    """Distinct contexts."""
    pair_keys: Ints
    """(pairs, 4): keys of what is scored by log-likelihood."""
    pair_heads: Ints
    """(pairs,): index of each pair's context."""
    tails: Ragged
    """Continuation of each pair."""
    generation_keys: Ints
    """(generations, 4): keys of what is generated."""
    generation_texts: Ints
    """(generations,): index of each prompt's text."""

    def attach(self, loaded: Loaded) -> None:
        """Give lm-eval's tasks these requests, so that it does not make them again."""
        numbers = {name: number for number, name in enumerate(self.leaves)}
        rows = self.instances.tolist()
        for name, task in loaded.leaves.items():
            leaf, docs = numbers[name], loaded.docs(name)
            made = []
            for number, doc, index, first, second in rows:
                if number != leaf:
                    continue
                arguments: tuple[Any, ...] = (self.texts[first],)
                if second >= 0:
                    arguments += (self.texts[second],)
                elif self.settings[leaf] is not None:
                    arguments += (dict(self.settings[leaf] or {}),)
                metadata = (task.config.task, doc, self.repeats[leaf])
                made.append(Instance(self.types[leaf], docs[doc], arguments, index, metadata=metadata))
            task._instances = made
            task.build_all_requests = lambda **_: None


def requests_of(loaded: Loaded) -> dict[str, list[Instance]]:
    """lm-eval's requests by leaf task, built if they are not there yet."""
    for task in loaded.leaves.values():
        if getattr(task, "_instances", None) is None:
            task.build_all_requests(limit=loaded.limit)
    return {name: task.instances for name, task in loaded.leaves.items()}


def keys_of(loaded: Loaded) -> set[Key]:
    """What a model has to generate, and the gold answers it has to score, for an entry whose tasks all generate."""
    requests = enumerate(requests_of(loaded).values())
    wanted = {(leaf, each.doc_id, each.idx, n) for leaf, some in requests for each in some for n in range(each.repeats)}
    return wanted | ({(leaf, doc, GOLD, 0) for leaf, doc, _, _ in wanted} if loaded.entry.gold is not None else set())


def texts_digest(requests: Mapping[str, Sequence[Instance]]) -> str:
    """Digest of which requests there are, and of their texts."""
    digest = hashlib.sha256()
    for name, instances in requests.items():
        for each in instances:
            line = repr((name, each.doc_id, each.idx, [text for text in each.args if isinstance(text, str)]))
            digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def build(loaded: Loaded, encoder: Encoder) -> Prompts:
    """Have lm-eval make all requests of an entry, and cut them into tokens as its Hugging Face model does."""
    requests = requests_of(loaded)
    leaves = tuple(requests)
    texts: dict[str, int] = {}
    instances, pairs, windows, generations = [], [], [], []

    def number(text: str) -> int:
        return texts.setdefault(text, len(texts))

    for leaf, name in enumerate(leaves):
        for each in requests[name]:
            first = number(each.args[0])
            second = number(each.args[1]) if each.request_type == "loglikelihood" else -1
            instances.append((leaf, each.doc_id, each.idx, first, second))
            if each.request_type == "loglikelihood":
                pairs.append(((leaf, each.doc_id, each.idx, 0), first, second))
            elif each.request_type == "loglikelihood_rolling":
                windows.append(((leaf, each.doc_id, each.idx), first))
            else:
                generations += [((leaf, each.doc_id, each.idx, repeat), first) for repeat in range(each.repeats)]
                if loaded.entry.gold is not None and each.idx == 0:
                    gold = number(apply_template(loaded.entry.gold, each.doc))
                    pairs.append(((leaf, each.doc_id, GOLD, 0), first, gold))
    every = list(texts)
    heads, tails = encoder.pairs([(every[head], every[tail]) for _, head, tail in pairs])
    keys = [key for key, _, _ in pairs]
    for (leaf, doc, index), text in windows:
        for window, (head, tail) in enumerate(_windows(encoder, every[text])):
            keys.append((leaf, doc, index, window))
            heads.append(tuple(head))
            tails.append(tail)
    distinct = {head: place for place, head in enumerate(dict.fromkeys(heads))}
    firsts = [requests[name][0] for name in leaves]
    return Prompts(
        leaves=leaves,
        sha256=texts_digest(requests),
        texts=every,
        instances=_table(instances, 5),
        types=[each.request_type for each in firsts],
        settings=[each.args[1] if each.request_type == "generate_until" else None for each in firsts],
        repeats=[int(each.repeats or 1) for each in firsts],
        heads=Ragged.of(list(distinct)),
        pair_keys=_table(keys, 4),
        pair_heads=np.array([distinct[head] for head in heads], dtype=np.int64),
        tails=Ragged.of(tails),
        generation_keys=_table([key for key, _ in generations], 4),
        generation_texts=np.array([text for _, text in generations], dtype=np.int64),
    )


def _windows(encoder: Encoder, text: str) -> Iterable[tuple[list[int], list[int]]]:
    """A document in pieces of the model's length, as lm-eval's `loglikelihood_rolling` takes it apart."""
    pieces = get_rolling_token_windows(
        token_list=encoder.encode(text),
        prefix_token=encoder.prefix_token,
        max_seq_len=encoder.max_length,
        context_len=1,
    )
    return map(make_disjoint_window, pieces)


def _table(rows: Sequence[Sequence[int]], width: int) -> Ints:
    return np.array(rows, dtype=np.int64).reshape(-1, width)


def cached(root: Path, parts: Mapping[str, object], loaded: Loaded, encoder: Encoder) -> Prompts:
    """The prompts of an entry from the folder `root`, made there first when they are not in it.

    `parts` say all that they depend on. Several processes may ask at once: one makes them, the others wait. Entries
    appear whole or not at all, and one that is damaged is made again.
    """
    folder = root / f"{loaded.name}-{fingerprint(dict(parts))[:16]}"
    root.mkdir(parents=True, exist_ok=True)
    found = read(folder)
    if found is not None:
        return found
    with FileLock(root / f".{folder.name}.lock"):
        found = read(folder)
        if found is None:
            found = build(loaded, encoder)
            _write(folder, found, parts)
    return found


def read(folder: Path) -> Prompts | None:
    """The prompts in a folder of the cache; None when there are none, or not whole."""
    try:
        kept = json.loads((folder / _NAME).read_bytes())
        if kept["data_sha256"] != sha256_file(folder / _DATA):
            return None
        with np.load(folder / _DATA, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Prompts(
        leaves=tuple(kept["leaves"]),
        sha256=kept["sha256"],
        texts=_unfold(json.loads(arrays["texts"].tobytes())),
        instances=arrays["instances"],
        types=kept["types"],
        settings=kept["settings"],
        repeats=kept["repeats"],
        heads=Ragged(arrays["heads"], arrays["head_ends"]),
        pair_keys=arrays["pair_keys"],
        pair_heads=arrays["pair_heads"],
        tails=Ragged(arrays["tails"], arrays["tail_ends"]),
        generation_keys=arrays["generation_keys"],
        generation_texts=arrays["generation_texts"],
    )


def _write(folder: Path, prompts: Prompts, parts: Mapping[str, object]) -> None:
    """Write all beside, then rename: a folder that is there is whole."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        buffer = io.BytesIO()
        texts = json.dumps(_fold(prompts.texts)).encode()
        np.savez(
            buffer,
            texts=np.frombuffer(texts, dtype=np.uint8),
            instances=prompts.instances,
            heads=prompts.heads.values,
            head_ends=prompts.heads.ends,
            pair_keys=prompts.pair_keys,
            pair_heads=prompts.pair_heads,
            tails=prompts.tails.values,
            tail_ends=prompts.tails.ends,
            generation_keys=prompts.generation_keys,
            generation_texts=prompts.generation_texts,
        )
        (beside / _DATA).write_bytes(buffer.getbuffer())
        write_json(
            beside / _NAME,
            {
                "leaves": prompts.leaves,
                "types": prompts.types,
                "settings": prompts.settings,
                "repeats": prompts.repeats,
                "sha256": prompts.sha256,
                "data_sha256": sha256_file(beside / _DATA),
                "parts": dict(parts),
            },
        )
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _fold(texts: Sequence[str]) -> list[tuple[int, str]]:
    """Every text as how much it shares with the one before, and the rest: prompts of a task mostly share examples."""
    folded, before = [], ""
    for text in texts:
        shared = _in_common(before, text)
        folded.append((shared, text[shared:]))
        before = text
    return folded


def _in_common(first: str, second: str) -> int:
    """Characters that two texts begin with alike; by halving, since comparing slices is far faster than a loop."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _unfold(folded: Sequence[tuple[int, str]]) -> list[str]:
    texts: list[str] = []
    before = ""
    for shared, rest in folded:
        before = before[:shared] + rest
        texts.append(before)
    return texts
