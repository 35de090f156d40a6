"""A base run by torchtitan alone: its Trainer, optimizer, schedule and model builder, and a loader of its own kind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import training as world

from joyctl.campaign.spec import SegmentSpec


def train_stock(spec: SegmentSpec, folder: Path, *, fuse_qkv: bool = True, model_only: bool = False) -> Path:
    """Train steps 1..end_step of `spec` into `folder`, with losses.json; gives the checkpoint.

    torchtitan's linear schedule stays at the peak for a step more than ours, so its warm-up is a step shorter.
    """
    child = world._server.Process(target=_work, args=(spec.model_dump_json(), folder, fuse_qkv, model_only))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    return world.checkpoint(folder, spec.end_step)


def _work(spec_json: str, folder: Path, fuse_qkv: bool, model_only: bool) -> None:
    import torch
    from torchtitan.components.checkpointer import CheckpointManager
    from torchtitan.components.loss import CrossEntropyLoss
    from torchtitan.components.metrics import MetricsProcessor
    from torchtitan.components.optimizer import LRSchedulersContainer, default_adamw
    from torchtitan.config import CommConfig, DebugConfig, ParallelismConfig, TrainingConfig
    from torchtitan.distributed import ParallelDims
    from torchtitan.models.common import ComplexRoPE, Embedding, Linear, RMSNorm
    from torchtitan.models.common.attention import FlexAttention, ScaledDotProductAttention
    from torchtitan.models.llama3 import Llama3Model, _build_llama3_layers
    from torchtitan.models.llama3.state_dict_adapter import Llama3StateDictAdapter
    from torchtitan.protocols.model_spec import ModelSpec
    from torchtitan.trainer import Trainer

    from joyctl.train.loader import OrderedLoader
    from joyctl.train.ranks import be_alone, session
    from joyctl.train.trainer import NoTokenizer

    spec = SegmentSpec.model_validate_json(spec_json)
    shape, optimizer, size = spec.model, spec.optimizer, spec.training
    warmup = round(spec.schedule.warmup * spec.total_steps) - 1
    losses: list[float] = []

    class Loader(OrderedLoader):
        """The rows of the order, with a position in terms of its own."""

        @dataclass(kw_only=True, slots=True)
        class Config(OrderedLoader.Config):
            pass

        def state_dict(self) -> dict[str, Any]:
            return {"dp_rank_0": json.dumps({"position": self.row}).encode(), "world_size": 1}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.row = json.loads(state_dict["dp_rank_0"])["position"]

    class Metrics(MetricsProcessor):
        @dataclass(kw_only=True, slots=True)
        class Config(MetricsProcessor.Config):
            pass

        def log(self, step: int, global_avg_loss: float, *rest: Any, **more: Any) -> None:
            losses.append(global_avg_loss)

    class Stock(Trainer):
        @dataclass(kw_only=True, slots=True)
        class Config(Trainer.Config):
            pass

        def init_distributed(self) -> ParallelDims:
            be_alone("cpu")
            return ParallelDims.from_config(self.config.parallelism, 1)

    rope = ComplexRoPE.Config(dim=shape.dim // shape.n_heads, max_seq_len=shape.max_seq_len, theta=shape.rope_theta)
    layers = _build_llama3_layers(
        n_layers=shape.n_layers,
        dim=shape.dim,
        n_heads=shape.n_heads,
        n_kv_heads=shape.n_kv_heads,
        hidden_dim=shape.ffn_hidden,
        rope=rope,
        fuse_qkv=fuse_qkv,
        attn_backend="flex",
    )
    weights = {"weight": torch.nn.init.normal_, "bias": torch.nn.init.zeros_}
    model = Llama3Model.Config(
        dim=shape.dim,
        vocab_size=shape.vocab_size,
        tok_embeddings=Embedding.Config(
            num_embeddings=shape.vocab_size, embedding_dim=shape.dim, param_init={"weight": torch.nn.init.normal_}
        ),
        norm=RMSNorm.Config(normalized_shape=shape.dim, param_init={"weight": torch.nn.init.ones_}),
        lm_head=Linear.Config(in_features=shape.dim, out_features=shape.vocab_size, param_init=weights),
        layers=layers,
    )
    for _, _, parent, attribute in list(model.traverse(FlexAttention.Config)):
        setattr(parent, attribute, ScaledDotProductAttention.Config())
    config = Stock.Config(
        model_spec=ModelSpec(
            name="llama3",
            flavor="small",
            model=model,
            parallelize_fn=lambda model, **_: model,
            pipelining_fn=None,
            post_optimizer_build_fn=None,
            state_dict_adapter=Llama3StateDictAdapter,
        ),
        hf_assets_path="",
        dump_folder=str(folder),
        tokenizer=NoTokenizer.Config(),
        loss=CrossEntropyLoss.Config(global_vocab_size=shape.vocab_size),
        optimizer=default_adamw(
            lr=optimizer.lr, betas=optimizer.betas, eps=optimizer.eps, weight_decay=optimizer.weight_decay
        ),
        lr_scheduler=LRSchedulersContainer.Config(warmup_steps=warmup, total_steps=spec.total_steps),
        training=TrainingConfig(
            local_batch_size=size.batch_size,
            global_batch_size=size.batch_size,
            seq_len=size.seq_len,
            steps=spec.end_step,
            max_norm=optimizer.grad_clip,
            mixed_precision_param="float32",
            disable_cuda_graphs=True,
        ),
        dataloader=Loader.Config(order=spec.order, data_folder=spec.data_folder, global_batch_size=size.batch_size),
        metrics=Metrics.Config(log_freq=1),
        parallelism=ParallelismConfig(data_parallel_shard_degree=-1, spmd_backend="partial_dtensor"),
        checkpoint=CheckpointManager.Config(enable=True, interval=10_000, last_save_model_only=model_only),
        activation_checkpoint=None,
        comm=CommConfig(trace_buf_size=0),
        debug=DebugConfig(seed=3, enable_structured_logging=False),
    )
    if not hasattr(torch.distributed, "set_timeout"):  # torch 2.13 has it under another name
        torch.distributed.set_timeout = torch.distributed.distributed_c10d._set_pg_timeout
    with session(threads=1):
        trainer = config.build()
        trainer.train()
        trainer.close()
    (folder / "losses.json").write_text(json.dumps(losses))
