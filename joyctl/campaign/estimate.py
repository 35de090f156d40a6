"""What a training needs of each GPU's memory, and how long it takes: formulas before anything runs. Pure.

Memory of one process, in bytes, as torchtitan trains (parameters, gradients and optimizer state in float32):

    parameters    4 N / s t, gradients the same; s shards of FSDP, t tensor parallel
    optimizer     AdamW two moments, 8 N / s t; LionW one, 4 N / s t
    gathered      what FSDP holds whole at once: the two largest pieces (a block, the embedding, the head) in the
                  compute type, and the gradient of one
    activations   counted as Korthikanti et al. do (arXiv 2205.05198, sections 4 and 5), for torchtitan's Llama block
                  in elements a token: width h, keys and values k (n_kv_heads heads), feed-forward f. Attention is
                  fused, so that no matrix of scores is kept
                  none        6 h + 2 k + 4 f      two norms with their outputs; q, k, v and what attention gives; four
                                                   of the feed-forward layer
                  selective   4 h + 2 k + f        torchtitan's rule: every second matrix product, attention, the input
                  full        h                    the input of each block
                  With the last two, one block is whole while it is computed again. t divides all of it but what the
                  projections take in (2 h, gathered) and, without sequence parallelism, the residual stream
    logits        V numbers a token: in float32, as logarithms of probabilities, as gradient, and in the compute type if
                  that is another; divided by t

Time: tokens x FLOPs a token over all processes' peak x MFU, where the speed is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from joyctl.recipe.scaling import Torchtitan
from joyctl.recipe.types import Model, Optimizer, Training

Mode = Literal["none", "selective", "full"]
_FLOAT32 = 4
USABLE = 0.95
"""Share of a GPU's memory that a training can have: the rest is the driver's, NCCL's and lost between blocks."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one process."""

    parameters: float
    gradients: float
    optimizer: float
    gathered: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.parameters + self.gradients + self.optimizer + self.gathered + self.activations + self.logits


def block_parameters(model: Model) -> int:
    """Parameters of one block: attention, feed-forward, two norms."""
    head = model.dim // model.n_heads
    attention = model.dim * head * (2 * model.n_heads + 2 * model.n_kv_heads)
    return attention + 3 * model.dim * model.ffn_hidden + 2 * model.dim


def flops_per_token(model: Model, seq_len: int) -> int:
    """FLOPs of training on one token, as torchtitan counts them for its MFU (models/utils.py of torchtitan 0.3).

    6 for each parameter outside the embedding (Kaplan et al., arXiv 2001.08361); of attention 12 * width * seq_len a
    block, without regard to its mask (PaLM, arXiv 2204.02311, appendix B).
    """
    outside = model.n_layers * block_parameters(model) + model.vocab_size * model.dim + model.dim
    return 6 * outside + 12 * model.n_layers * model.dim * seq_len


def saved_per_token(model: Model, mode: Mode) -> int:
    """Elements that one block keeps of one token for the backward pass."""
    keys = model.dim // model.n_heads * model.n_kv_heads
    if mode == "full":
        return model.dim
    if mode == "selective":
        return 4 * model.dim + 2 * keys + model.ffn_hidden
    return 6 * model.dim + 2 * keys + 4 * model.ffn_hidden


def memory(
    model: Model, training: Training, optimizer: Optimizer, settings: Torchtitan, processes: int, mode: Mode
) -> Memory:
    """What one of `processes` holds at its most, in the middle of a step; `mode` is of activation checkpointing."""
    tensor, shards = settings.parallelism.tensor_parallel_degree, settings.shards(processes)
    compute = 2 if training.dtype == "bfloat16" else _FLOAT32
    block, embedding = block_parameters(model), model.vocab_size * model.dim
    whole = model.n_layers * block + 2 * embedding + model.dim
    mine = _FLOAT32 * whole / (shards * tensor)
    tokens = training.seq_len * (
        settings.training.local_batch_size or training.batch_size // settings.data_parallel(processes)
    )
    largest = sorted([*[block] * min(2, model.n_layers), embedding, embedding])[-2:]
    gathered = compute * (sum(largest) + largest[-1]) / tensor if shards > 1 or compute != _FLOAT32 else 0.0
    kept = _divided(model, settings, mode) * model.n_layers + (
        _divided(model, settings, "none") if mode != "none" else 0.0
    )
    return Memory(
        parameters=mine,
        gradients=mine,
        optimizer=mine * (2 if optimizer.name == "adamw" else 1),
        gathered=gathered,
        activations=compute * tokens * (kept + 2 * model.dim / _along(settings)),  # and the last norm
        logits=tokens * model.vocab_size * (3 * _FLOAT32 + (compute if compute != _FLOAT32 else 0)) / tensor,
    )


def _divided(model: Model, settings: Torchtitan, mode: Mode) -> float:
    """Elements of one token and block that one of the tensor parallel processes keeps."""
    tensor, elements = settings.parallelism.tensor_parallel_degree, saved_per_token(model, mode)
    taken_in = 2 * model.dim if mode == "none" else 0
    stream = (2 if mode == "none" else 1) * model.dim
    return (elements - stream - taken_in) / tensor + stream / _along(settings) + taken_in


def _along(settings: Torchtitan) -> int:
    """By how much the residual stream is divided."""
    shared = settings.parallelism
    return shared.tensor_parallel_degree if shared.enable_sequence_parallel else 1


def tokens_per_second(model: Model, seq_len: int, *, peak_flops: float, mfu: float, processes: int) -> float:
    """Tokens a second of one training on `processes` GPUs that reach `mfu` of their peak."""
    return peak_flops * mfu * processes / flops_per_token(model, seq_len)
