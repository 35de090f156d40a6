"""A segment's settings in torchtitan's terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torchtitan.components.checkpointer import CheckpointManager
from torchtitan.components.loss import CrossEntropyLoss
from torchtitan.config import CommConfig, CompileConfig, DebugConfig, ParallelismConfig, TrainingConfig
from torchtitan.distributed.activation_checkpoint import ActivationCheckpointing, FullAC, SelectiveAC
from torchtitan.tools import utils as titan

from joyctl.campaign.spec import SegmentSpec
from joyctl.data.documents import keeps_apart
from joyctl.errors import Refused
from joyctl.recipe.scaling import PLAIN, Scaling, Torchtitan
from joyctl.recipe.scaling_rules import check_fit, check_torchtitan
from joyctl.store import layout
from joyctl.train import checkpoints
from joyctl.train.loader import OrderedLoader
from joyctl.train.lr import GlobalStepLR
from joyctl.train.metrics import JsonlMetrics
from joyctl.train.model import model_spec
from joyctl.train.optimizers import optimizer_config
from joyctl.train.trainer import NoTokenizer, SegmentTrainer


def trainer_config(
    spec: SegmentSpec,
    folder: Path,
    parent_checkpoint: Path | None,
    *,
    ranks: int,
    scaling: Scaling = PLAIN,
    project: str = "",
) -> SegmentTrainer.Config:
    """Settings for training `spec` in `folder` on `ranks` processes, as `scaling` says; trackers file it by `project`.

    It begins with the folder's own newest checkpoint, else `parent_checkpoint`, else the segment's base, else scratch.
    Raises Refused when the two contradict, such as rows that cannot be shared out evenly.
    """
    settings = scaling.torchtitan
    _require_fit(spec, settings, ranks)
    batch_size = spec.training.batch_size
    apart = keeps_apart(spec)
    return SegmentTrainer.Config(
        segment=spec,
        model_spec=model_spec(spec.model, apart=apart),
        hf_assets_path="",  # rows are tokens already, and nothing is loaded from or saved as Hugging Face files
        dump_folder=str(folder.absolute()),
        tokenizer=NoTokenizer.Config(),
        loss=CrossEntropyLoss.Config(global_vocab_size=spec.model.vocab_size),
        optimizer=optimizer_config(spec.optimizer),
        lr_scheduler=GlobalStepLR.Config(segment=spec),
        training=TrainingConfig(
            local_batch_size=settings.training.local_batch_size or batch_size // settings.data_parallel(ranks),
            global_batch_size=batch_size,
            seq_len=spec.training.seq_len,
            steps=spec.end_step,
            max_norm=spec.optimizer.grad_clip,
            mixed_precision_param=spec.training.dtype,
            mixed_precision_reduce=settings.training.mixed_precision_reduce,
            disable_cuda_graphs=True,
        ),
        dataloader=OrderedLoader.Config(
            order=spec.order, data_folder=spec.data_folder, global_batch_size=batch_size, positions=apart
        ),
        metrics=JsonlMetrics.Config(
            segment=spec.id, project=project, trackers=scaling.trackers, log_freq=1, disable_color_printing=True
        ),
        # This backend is the one that torch 2.13 and gloo can run.
        parallelism=ParallelismConfig(**settings.parallelism.model_dump(), spmd_backend="partial_dtensor"),
        checkpoint=CheckpointManager.Config(
            enable=True,
            folder=layout.CHECKPOINTS,
            interval=1,  # SegmentTrainer says when
            async_mode=settings.checkpoint.async_mode,
            last_save_model_only=False,
            keep_latest_k=0,  # torchtitan's default deletes branch points
            **_beginning(spec, folder, parent_checkpoint),
        ),
        activation_checkpoint=_activation_checkpoint(settings),
        compile=CompileConfig(
            **settings.compile.model_dump(exclude={"components"}), components=list(settings.compile.components)
        ),
        comm=CommConfig(trace_buf_size=0),
        debug=DebugConfig(seed=spec.init_seed, enable_structured_logging=False),
    )


def _beginning(spec: SegmentSpec, folder: Path, parent_checkpoint: Path | None) -> dict[str, Any]:
    """What is loaded where the folder has no checkpoint of its own."""
    if parent_checkpoint is not None:
        return {"initial_load_path": str(parent_checkpoint.absolute()), "initial_load_model_only": False}
    if spec.base is None:
        return {"initial_load_model_only": False}
    if spec.base.kind == "hf":
        return {"initial_load_path": spec.base.path, "initial_load_in_hf": True}
    # Its position in data and schedule is in another's terms; SegmentTrainer sets them. torchtitan would leave them
    # out of the segment's own checkpoints as well.
    foreign = ["dataloader", "lr_scheduler"] if checkpoints.resumable(folder, spec.kept_steps) is None else []
    return {
        "initial_load_path": spec.base.path,
        "initial_load_model_only": False,
        "exclude_from_loading": foreign,
    }


def _require_fit(spec: SegmentSpec, settings: Torchtitan, ranks: int) -> None:
    where = "that take part"
    found = list(check_torchtitan(settings, ranks, where))
    found = found or list(check_fit(settings, ranks, spec.model, spec.training, where, ("stages", "train")))
    messages = [f"{'.'.join(map(str, finding.loc))}: {finding.message}" for finding in found]
    if settings.checkpoint.async_mode == "async_with_pinned_mem" and titan.device_type == "cpu":
        messages.append("torchtitan.checkpoint.async_mode: 'async_with_pinned_mem' needs a GPU; give 'async'")
    if messages:
        raise Refused(f"{spec.id}: {'; '.join(messages)}", hint="Change the cluster file.")


def _activation_checkpoint(settings: Torchtitan) -> ActivationCheckpointing.Config | None:
    asked = settings.activation_checkpoint
    mode = asked.mode if asked is not None else "none" if titan.device_type == "cpu" else "selective"
    return {"none": None, "selective": SelectiveAC.Config(), "full": FullAC.Config()}[mode]
