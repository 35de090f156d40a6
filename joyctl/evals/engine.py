"""A model that answers units: log-likelihoods with shared beginnings computed once, and generated text.

It is lm-eval's Hugging Face model; only what that does needlessly is left out. Where a model's cache is of a kind
that cannot be shared, log-likelihoods go lm-eval's own way.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from safetensors import SafetensorError
from transformers.cache_utils import DynamicCache, DynamicLayer

from joyctl.errors import Missing
from joyctl.evals.prompts import Key
from joyctl.evals.units import Batch, Row, Texts, Unit

Answer = tuple[Key, float, bool] | tuple[Key, str]
"""A log-likelihood in nats with whether every token was the likeliest, or a text."""
_TOLERANCE = 1e-3
"""Nats by which a shared beginning may move a log-likelihood in float32 before sharing is given up."""
_ROUGH = 0.1
"""The same in half precision, for every token."""


class NotSharable(Exception):
    """The model's cache cannot be handed from one batch to the next."""


class Engine:
    """A model's weights, ready to answer."""

    def __init__(self, folder: Path, batch_size: int, *, device: str | None = None) -> None:
        """float32 on the CPU, the folder's own dtype on a GPU.

        Raises Missing when the folder does not load.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype_name(device)
        try:
            self._lm = HFLM(pretrained=str(folder), device=device, dtype=dtype, batch_size=batch_size)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            why = str(error).strip().partition("\n")[0]
            raise Missing(
                f"the model folder {folder} does not load: {why}",
                hint="Export it again, or see whether transformers loads it.",
            ) from error
        self._model = self._lm.model
        self._keeps = "logits_to_keep" in inspect.signature(self._model.forward).parameters
        self._beginning: tuple[bytes, Any] = (b"", None)
        self._sharing: bool | None = None

    def answer(self, unit: Unit) -> list[Answer]:
        """The answers to one unit."""
        if isinstance(unit, Texts):
            return self._generate(unit)
        with torch.no_grad(), self._precision():
            if unit.prefix and self._may_share(unit):
                return self._score(unit, self._cache(unit))
            return self._stock(unit.rows) if unit.prefix else self._score(unit, None)

    def _precision(self) -> torch.autocast:
        kind = self._lm.mixed_precision_dtype
        return torch.autocast(device_type=self._lm.device.type, dtype=kind, enabled=kind is not None)

    def _generate(self, unit: Texts) -> list[Answer]:
        if unit.settings.get("do_sample"):
            # Draws belong to the unit, so that they do not depend on what was computed before.
            torch.manual_seed(hash_of(unit.keys))
        requests = [Instance("generate_until", {}, (text, dict(unit.settings)), 0) for text in unit.prompts]
        texts = self._lm.generate_until(requests, disable_tqdm=True)
        return list(zip(unit.keys, texts, strict=True))

    def _stock(self, rows: Sequence[Row]) -> list[Answer]:
        """As lm-eval scores them."""
        pairs = [(row, pair) for row in rows for pair in row.pairs]
        requests = [
            (None, row.ids[: len(row.ids) + 1 - len(pair.tail)].tolist(), pair.tail.tolist()) for row, pair in pairs
        ]
        found = self._lm._loglikelihood_tokens(requests, disable_tqdm=True)
        return [(pair.key, float(value), bool(greedy)) for (_, pair), (value, greedy) in zip(pairs, found, strict=True)]

    def _may_share(self, unit: Batch) -> bool:
        """Whether this model gives with a shared beginning what it gives without; tried on the first row."""
        if self._sharing is None:
            problem = self._problem(Batch(unit.prefix, unit.rows[:1]))
            self._sharing = problem is None
            if problem:
                print(f"shared beginnings are off, lm-eval's own way is taken: {problem}", file=sys.stderr)
        return self._sharing

    def _problem(self, unit: Batch) -> str | None:
        """Why beginnings cannot be shared, going by one unit; None when they can."""
        try:
            mine, stock = self._score(unit, self._cache(unit)), self._stock(unit.rows)
        except torch.OutOfMemoryError:
            raise
        except (NotSharable, TypeError, ValueError, AttributeError, RuntimeError) as error:
            return f"{type(error).__name__}: {error}".splitlines()[0]
        apart = max(abs(float(a[1]) - float(b[1])) for a, b in zip(mine, stock, strict=True))
        allowed = _TOLERANCE if self._model.dtype == torch.float32 else _ROUGH * unit.rows[0].wanted
        return None if apart <= allowed else f"they move a log-likelihood by {apart:.2g}"

    def _cache(self, unit: Batch) -> Any:
        """Keys and values of the unit's beginning; kept for the next unit, which mostly has the same."""
        ids = unit.rows[0].ids[: unit.prefix]
        if self._beginning[0] != ids.tobytes():
            self._beginning = (b"", None)  # the old one's memory first
            arguments = {"logits_to_keep": 1} if self._keeps else {}
            inputs = torch.tensor(ids[None].astype("int64"), device=self._lm.device)
            cache = self._model(inputs, use_cache=True, **arguments).past_key_values
            if type(cache) is not DynamicCache or any(type(layer) is not DynamicLayer for layer in cache.layers):
                kinds = {type(layer).__name__ for layer in getattr(cache, "layers", ())} or {type(cache).__name__}
                raise NotSharable(f"its cache holds {', '.join(sorted(kinds))}")
            self._beginning = (ids.tobytes(), cache)
        return self._beginning[1]

    def _score(self, unit: Batch, beginning: Any) -> list[Answer]:
        """Forward all rows from the beginning on; causal attention never looks at the padding on their right."""
        rests = [row.ids[unit.prefix :] for row in unit.rows]
        width = max(map(len, rests))
        inputs = torch.zeros(len(rests), width, dtype=torch.long)
        for place, rest in enumerate(rests):
            inputs[place, : len(rest)] = torch.from_numpy(rest.astype("int64"))
        first = min(len(rest) - row.wanted for rest, row in zip(rests, unit.rows, strict=True))
        arguments: dict[str, Any] = {"logits_to_keep": width - first} if self._keeps else {}
        if beginning is not None:
            arguments |= {"past_key_values": _repeated(beginning, len(rests)), "use_cache": True}
        logits = self._model(inputs.to(self._lm.device), **arguments).logits[:, -(width - first) :]
        answers: list[Answer] = []
        for row, rest, scores in zip(unit.rows, rests, logits, strict=True):
            end = len(rest) - first
            # As in lm-eval: over the vocabulary in the model's own precision.
            likelihoods = functional.log_softmax(scores[end - row.wanted : end], dim=-1, dtype=self._lm.softmax_dtype)
            greedy = likelihoods.argmax(dim=-1)
            for pair in row.pairs:
                tail = torch.from_numpy(pair.tail.astype("int64")).to(likelihoods.device)
                values = likelihoods[-len(tail) :].gather(1, tail[:, None])
                answers.append((pair.key, float(values.sum()), bool((greedy[-len(tail) :] == tail).all())))
        return answers


def dtype_name(device: str) -> str:
    """Precision in which a model is scored."""
    return "auto" if device.startswith("cuda") else "float32"


def scoring_dtype(config: Any) -> str:
    """That precision by name, for a model of this configuration."""
    if not torch.cuda.is_available():
        return "float32"
    return str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")


def hash_of(keys: Sequence[Key]) -> int:
    """A seed that depends on the keys alone."""
    seed = 0
    for part in (number for key in keys for number in key):
        seed = (seed * 1_000_003 + part + 2) % (1 << 63)
    return seed


def _repeated(cache: Any, rows: int) -> Any:
    """The same keys and values for every row of a batch, without a copy; what the model adds goes beside them."""
    made = DynamicCache()
    for layer in cache.layers:
        new = DynamicLayer()
        new.lazy_initialization(layer.keys, layer.values)
        new.keys = layer.keys.expand(rows, -1, -1, -1)
        new.values = layer.values.expand(rows, -1, -1, -1)
        made.layers.append(new)
    return made
