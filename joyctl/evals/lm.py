"""lm-eval's Hugging Face model with progress by item, a count of cut prompts, and less padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from safetensors import SafetensorError

from joyctl.errors import Missing


class ProgressLM(HFLM):  # type: ignore[misc]
    """HFLM as it is; nothing here changes a response, a log-likelihood changes by rounding at most."""

    on_requests: Callable[[int], None] | None = None
    """Called with the number of requests done since the last call."""
    truncated = 0
    """Prompts of which the beginning was cut off because they exceed the model's length."""

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As in HFLM, without its progress bar."""
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return found

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """As in HFLM, which batches documents in the order given: here the longest first, so that batches hold
        documents of like length and little padding. Causal attention never looks at the padding on the right.
        """
        order = sorted(range(len(requests)), key=lambda i: -len(requests[i].args[0]))
        values = super().loglikelihood_rolling([requests[i] for i in order], disable_tqdm=True)
        found = [0.0] * len(requests)
        for i, value in zip(order, values, strict=True):
            found[i] = value
        return found

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """As in HFLM, without its progress bar."""
        found: list[str] = super().generate_until(requests, disable_tqdm=True)
        return found

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], *args: Any, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        self.truncated += sum(len(ctx) + len(rest) > self.max_length + 1 for _, ctx, rest in requests)
        kwargs["disable_tqdm"] = True
        found: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, *args, **kwargs)
        return found

    def tok_batch_encode(
        self, strings: list[str], padding_side: str = "left", left_truncate_len: int | None = None, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As in HFLM; counts the prompts that are longer than `left_truncate_len` tokens."""
        ids, mask = super().tok_batch_encode(
            strings, padding_side=padding_side, left_truncate_len=left_truncate_len, **kwargs
        )
        if left_truncate_len is not None and ids.shape[1] >= left_truncate_len:
            self.truncated += sum(len(self.tok_encode(text)) > left_truncate_len for text in strings)
        return ids, mask

    def _model_call(self, inps: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        logits: torch.Tensor = super()._model_call(inps, *args, **kwargs)
        self._done(len(inps))
        return logits

    def _model_generate(self, context: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        tokens: torch.Tensor = super()._model_generate(context, *args, **kwargs)
        self._done(len(context))
        return tokens

    def _done(self, requests: int) -> None:
        if self.on_requests is not None:
            self.on_requests(requests)


def load(folder: Path, batch_size: int) -> ProgressLM:
    """The model of a Hugging Face folder: float32 on the CPU, its own dtype on a GPU.

    Raises Missing when the folder does not load.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = "auto" if device == "cuda" else "float32"
    try:
        return ProgressLM(pretrained=str(folder), device=device, dtype=dtype, batch_size=batch_size)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise Missing(f"the model folder {folder} does not load: {error}", hint="export it again") from error
