"""Attention inside a row: over all of it, or within each of its documents, by what the device can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import flex_attention
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
        q_BLNH: torch.Tensor,  # noqa: N803  (tensor parallelism finds them by torchtitan's names)
        k_BLNH: torch.Tensor,  # noqa: N803
        v_BLNH: torch.Tensor,  # noqa: N803
        *,
        attention_masks: torch.Tensor | None = None,
        scale: float | None = None,
        enable_gqa: bool = False,
        **given: Any,
    ) -> torch.Tensor:
        """Queries, keys, values, result: [batch, length, heads, head]; the mask: bool [batch, 1, length, length]."""
        if attention_masks is None:
            whole: torch.Tensor = super().forward(q_BLNH, k_BLNH, v_BLNH, scale=scale, enable_gqa=enable_gqa, **given)
            return whole
        with sdpa_kernel(list(self._backends), set_priority=True):
            found = functional.scaled_dot_product_attention(
                q_BLNH.transpose(1, 2),
                k_BLNH.transpose(1, 2),
                v_BLNH.transpose(1, 2),
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


def fix_flex_kernels() -> None:
    """Let flex attention take its kernels by rule and not by timing, in this process from now on.

    What timing picks differs from one start to the next, and numbers with it: a training that goes on would not be the
    one that was never stopped, and every short phase would pay for the search. torchtitan does the same where it is to
    be deterministic (torchtitan.distributed.utils.set_determinism).
    """
    options = FlexAttention.inductor_configs
    if options["max_autotune"]:
        options.update({"max_autotune": False, "coordinate_descent_tuning": False})
        FlexAttention._compiled_flex_attn = torch.compile(flex_attention, options=options)


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
