"""A segment's settings in torchtitan's terms."""

from __future__ import annotations

import sys
from pathlib import Path

from torchtitan.components.checkpointer import CheckpointManager
from torchtitan.components.loss import CrossEntropyLoss
from torchtitan.config import CommConfig, DebugConfig, ParallelismConfig, TrainingConfig
from torchtitan.distributed.activation_checkpoint import SelectiveAC
from torchtitan.tools import utils as titan

from joyctl.campaign.spec import SegmentSpec
from joyctl.errors import Refused
from joyctl.store import layout
from joyctl.train.loader import OrderedLoader
from joyctl.train.lr import GlobalStepLR
from joyctl.train.metrics import JsonlMetrics
from joyctl.train.model import model_spec
from joyctl.train.optimizers import optimizer_config
from joyctl.train.trainer import NoTokenizer, SegmentTrainer


def trainer_config(
    spec: SegmentSpec, folder: Path, parent_checkpoint: Path | None, *, ranks: int, microbatches: int = 1
) -> SegmentTrainer.Config:
    """Settings for training `spec` in `folder` on `ranks` processes.

    Every rank takes its share of a step's rows in `microbatches` equal parts. Raises Refused when the rows
    cannot be shared out evenly.
    """
    batch_size = spec.training.batch_size
    if batch_size % (ranks * microbatches):
        raise Refused(
            f"training.batch_size {batch_size} cannot be shared out evenly among {ranks} processes",
            hint="Give the cluster a number of ranks that divides it.",
        )
    model = model_spec(spec.model)
    return SegmentTrainer.Config(
        segment=spec,
        model_spec=model,
        hf_assets_path="",  # rows are tokens already, and nothing is loaded from or saved as Hugging Face files
        dump_folder=str(folder.absolute()),
        tokenizer=NoTokenizer.Config(),
        loss=CrossEntropyLoss.Config(global_vocab_size=spec.model.vocab_size),
        optimizer=optimizer_config(spec.optimizer),
        lr_scheduler=GlobalStepLR.Config(segment=spec),
        training=TrainingConfig(
            local_batch_size=batch_size // (ranks * microbatches),
            global_batch_size=batch_size,
            seq_len=spec.training.seq_len,
            steps=spec.end_step,
            max_norm=spec.optimizer.grad_clip,
            mixed_precision_param=spec.training.dtype,
            disable_cuda_graphs=True,
        ),
        dataloader=OrderedLoader.Config(order=spec.order, data_folder=spec.data_folder, global_batch_size=batch_size),
        metrics=JsonlMetrics.Config(segment=spec.id, log_freq=1, disable_color_printing=True),
        # FSDP over all ranks; this backend is the one that torch 2.13 and gloo can run.
        parallelism=ParallelismConfig(data_parallel_shard_degree=-1, spmd_backend="partial_dtensor"),
        checkpoint=CheckpointManager.Config(
            enable=True,
            folder=layout.CHECKPOINTS,
            interval=sys.maxsize,  # SegmentTrainer says when
            initial_load_path=None if parent_checkpoint is None else str(parent_checkpoint.absolute()),
            initial_load_model_only=False,
            last_save_model_only=False,
            keep_latest_k=0,  # torchtitan's default deletes branch points
        ),
        activation_checkpoint=None if titan.device_type == "cpu" else SelectiveAC.Config(),
        comm=CommConfig(trace_buf_size=0),
        debug=DebugConfig(seed=spec.init_seed, enable_structured_logging=False),
    )
