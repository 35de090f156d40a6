"""torchtitan's model for a recipe: a Llama 3 decoder."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule
from torchtitan.models.common import ComplexRoPE, Embedding, Linear, RMSNorm
from torchtitan.models.common.config_utils import make_ffn_config, make_gqa_config
from torchtitan.models.common.param_init import depth_scaled_std
from torchtitan.models.llama3 import Llama3Model, parallelize_llama
from torchtitan.models.llama3.model import Llama3TransformerBlock
from torchtitan.models.llama3.state_dict_adapter import Llama3StateDictAdapter
from torchtitan.protocols.model_spec import ModelSpec
from torchtitan.tools import utils as titan

from joyctl.recipe.types import Model
from joyctl.train.attention import inner_attention


def model_spec(model: Model, *, apart: bool = False) -> ModelSpec:
    """The bundle torchtitan trains: sizes as in the recipe, initial values as in its Llama 3.

    Attention is causal inside a row. Where documents are kept `apart` it needs the positions that the loader gives;
    else it is `scaled_dot_product_attention` over the whole row. The weights are the same either way.
    """
    attention = inner_attention(titan.device_type, model.dim // model.n_heads, apart=apart)
    ones = {"weight": torch.nn.init.ones_}
    layers = [
        Llama3TransformerBlock.Config(
            attention_norm=RMSNorm.Config(normalized_shape=model.dim, param_init=ones),
            ffn_norm=RMSNorm.Config(normalized_shape=model.dim, param_init=ones),
            attention=make_gqa_config(
                dim=model.dim,
                n_heads=model.n_heads,
                n_kv_heads=model.n_kv_heads,
                wqkv_param_init=_truncated(model.init_std),
                wo_param_init=_truncated(depth_scaled_std(model.init_std, layer)),
                inner_attention=replace(attention),
                fuse_qkv=True,
                rope=ComplexRoPE.Config(
                    dim=model.dim // model.n_heads,
                    max_seq_len=model.max_seq_len,
                    theta=model.rope_theta,
                    scaling="none",
                ),
            ),
            feed_forward=make_ffn_config(
                dim=model.dim,
                hidden_dim=model.ffn_hidden,
                w1_param_init=_truncated(model.init_std),
                w2w3_param_init=_truncated(depth_scaled_std(model.init_std, layer)),
            ),
        )
        for layer in range(model.n_layers)
    ]
    head_std = model.dim**-0.5
    config = Llama3Model.Config(
        dim=model.dim,
        vocab_size=model.vocab_size,
        tok_embeddings=Embedding.Config(
            num_embeddings=model.vocab_size,
            embedding_dim=model.dim,
            param_init={"weight": partial(torch.nn.init.normal_, std=model.embedding_init_std)},
        ),
        norm=RMSNorm.Config(normalized_shape=model.dim, param_init=ones),
        lm_head=Linear.Config(
            in_features=model.dim,
            out_features=model.vocab_size,
            param_init=_truncated(head_std, a=-3 * head_std, b=3 * head_std),
        ),
        layers=layers,
    )
    return ModelSpec(
        name=model.family,
        flavor=f"{model.dim}x{model.n_layers}",
        model=config,
        parallelize_fn=_parallelize,
        pipelining_fn=None,
        post_optimizer_build_fn=None,
        state_dict_adapter=Llama3StateDictAdapter,
    )


def _truncated(std: float, a: float = -2.0, b: float = 2.0) -> dict[str, Any]:
    weight = partial(torch.nn.init.trunc_normal_, std=std, a=a, b=b)
    return {"weight": weight, "bias": torch.nn.init.zeros_}


def _parallelize(
    model: Any, *, parallel_dims: Any, training: Any, ac_config: Any, compile_config: Any, **settings: Any
) -> Any:
    """torchtitan's own (FSDP), but for what a CPU needs.

    One process in float32 has nothing to shard and nothing to cast: unless it is to checkpoint activations or to
    compile, it is left unwrapped. On several, torchtitan divides gradients by a factor of 1, which FSDP turns into a
    reduction that gloo lacks; it is told to sum instead.
    """
    cpu = titan.device_type == "cpu"
    plain = training.mixed_precision_param == "float32" and ac_config is None and not compile_config.enable
    if cpu and parallel_dims.world_size == 1 and plain:
        return model
    model = parallelize_llama(
        model,
        parallel_dims=parallel_dims,
        training=training,
        ac_config=ac_config,
        compile_config=compile_config,
        **settings,
    )
    if cpu:
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.set_force_sum_reduction_for_comms(True)
    return model
