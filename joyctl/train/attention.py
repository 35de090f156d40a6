"""Attention inside a row: over all of it, or within each of its documents, by what the device can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchtitan.models.common.attention import FlexAttention, ScaledDotProductAttention
from torchtitan.protocols.module import Module

_FLEX_LEAST_HEAD = 16
"""torch compiles flex attention for heads of so many dimensions or more."""


class MaskedAttention(ScaledDotProductAttention):  # type: ignore[misc]
    """`scaled_dot_product_attention` with a mask of what each token may see, where one is given; else causal.

    torchtitan's own takes none, and its flex attention has no backward on a CPU.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(ScaledDotProductAttention.Config):  # type: ignore[misc]
        """Nothing to set."""

    _backends = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
    """The first that takes a mask: the flash kernel of a CPU does, that of a GPU does not."""

    def forward(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        *,
        attention_masks: torch.Tensor | None = None,
        scale: float | None = None,
        enable_gqa: bool = False,
        **given: Any,
    ) -> torch.Tensor:
        """q, k, v and the result are [batch, length, heads, head]; the mask, bool, [batch, 1, length, length]."""
        if attention_masks is None:
            whole: torch.Tensor = super().forward(q, k, v, scale=scale, enable_gqa=enable_gqa, **given)
            return whole
        with sdpa_kernel(list(self._backends), set_priority=True):
            found = functional.scaled_dot_product_attention(
                q.transpose(1, 2),
                k.transpose(1, 2),
                v.transpose(1, 2),
                attn_mask=attention_masks,
                scale=scale,
                enable_gqa=enable_gqa,
            )
        return found.transpose(1, 2)


def document_mask(positions: torch.Tensor) -> torch.Tensor:
    """Which token sees which: bool [batch, 1, length, length], by each one's position in its document, [batch, length].

    A token at position p sees itself and the p before it.
    """
    place = torch.arange(positions.shape[1], device=positions.device)
    back = place[:, None] - place
    return ((back >= 0) & (back <= positions[:, :, None])).unsqueeze(1)


def inner_attention(device_type: str, head_dim: int, *, apart: bool) -> Module.Config:
    """What computes attention: torchtitan's own where documents are joined, and where it can keep them apart.

    On CUDA that is flex attention, whose block mask torchtitan makes from the positions; elsewhere, and for heads too
    small for it, a mask of all pairs.
    """
    if not apart:
        return ScaledDotProductAttention.Config()
    if device_type == "cuda" and head_dim >= _FLEX_LEAST_HEAD:
        return FlexAttention.Config()
    return MaskedAttention.Config()
