"""torchtitan's Trainer for one segment: stops when asked, keeps what it has done, and checks where it starts."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import _CHECKPOINT_PREFIX
from torch.distributed.tensor import DTensor, distribute_tensor
from torchtitan.components.tokenizer import BaseTokenizer
from torchtitan.distributed import ParallelDims
from torchtitan.tools import utils as titan
from torchtitan.tools.logging import logger
from torchtitan.trainer import Trainer

from joyctl.campaign.schedule import segment_lr
from joyctl.campaign.spec import SegmentSpec
from joyctl.errors import Refused
from joyctl.store import layout
from joyctl.train import checkpoints, ranks
from joyctl.train.adopt import begin_after, own_settings
from joyctl.train.attention import MaskedAttention, document_mask, fix_flex_kernels
from joyctl.train.lr import lr_in_use
from joyctl.train.metrics import diverged
from joyctl.train.optimizers import Settings, refuse_changed_settings, settings_of


class NoTokenizer(BaseTokenizer):  # type: ignore[misc]
    """Stands where torchtitan wants a tokenizer: the rows are tokens already."""

    @dataclass(kw_only=True, slots=True)
    class Config(BaseTokenizer.Config):  # type: ignore[misc]
        """Nothing to set."""

    def __init__(self, config: Config, *, tokenizer_path: str) -> None:
        super().__init__()

    def encode(self, *args: Any, **kwargs: Any) -> list[int]:
        """Never asked."""
        raise NotImplementedError

    def decode(self, *args: Any, **kwargs: Any) -> str:
        """Never asked."""
        raise NotImplementedError

    def get_vocab_size(self) -> int:
        """Never asked."""
        raise NotImplementedError


class _Next(IntEnum):
    """What to do before the next step; of several ranks' wishes the highest is done."""

    TRAIN = 0
    SAVE = 1
    STOP = 2


class SegmentTrainer(Trainer):  # type: ignore[misc]
    """Trains from wherever the newest checkpoint is to the segment's last step.

    torchtitan's own loop is replaced, of the same parts, because it has no way to stop early, saves by step
    number alone and ends with two seconds of sleep.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(Trainer.Config):  # type: ignore[misc]
        """torchtitan's settings and the segment they were made from."""

        segment: SegmentSpec

        def to_dict(self) -> dict[str, Any]:
            """What loggers are told about the run; torchtitan would walk every setting."""
            return self.segment.identity()

    step: int
    """Optimizer steps done, of the whole run."""

    def __init__(self, config: Config) -> None:
        fix_flex_kernels()
        super().__init__(config)
        self.segment = config.segment
        self.folder = Path(config.dump_folder)
        self._from_base = (
            config.segment.base is not None and config.checkpoint.initial_load_path == config.segment.base.path
        )

    def init_distributed(self) -> ParallelDims:
        """Join the ranks that torchrun started, or be the only one."""
        if ranks.launched_together():
            return super().init_distributed()
        ranks.be_alone(titan.device_type)
        return ParallelDims.from_config(self.config.parallelism, 1)

    def post_dataloading_process(
        self, input_dict: dict[str, torch.Tensor], labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
        """What the model is given: torchtitan makes masks for its own attention from positions, this for ours."""
        inputs, labels, further = super().post_dataloading_process(input_dict, labels)
        if isinstance(self.model_config.first_attention.inner_attention, MaskedAttention.Config):
            further["attention_masks"] = document_mask(further["positions"])
        return inputs, labels, further

    def run(self, asked_to_stop: Callable[[], bool], *, save_seconds: float, save_share: float) -> bool:
        """Train to the end and save; False when stopped before, saved as well.

        In between a checkpoint is written when `save_seconds` have passed since the last and writing takes
        less than `save_share` of the time; only the newest is kept, and the segment's `kept_steps`.
        `asked_to_stop` is asked at every step. Raises Refused when the checkpoint does not fit the segment,
        Diverged when the loss is not finite.
        """
        loaded = self._restore()
        saved_at, saving = time.monotonic(), 0.0
        batches = self.batch_generator(self.dataloader)
        while self.step < self.segment.end_step:
            wish = _Next.TRAIN
            if asked_to_stop():
                wish = _Next.STOP
            elif time.monotonic() - saved_at > max(save_seconds, saving / save_share):
                wish = _Next.SAVE
            act = self._agree(wish)
            if act is not _Next.TRAIN:
                begin = time.monotonic()
                if self.step > loaded:
                    self._save(wait=act is _Next.STOP)
                if act is _Next.STOP:
                    logger.info("Stopped at step %d as asked", self.step)
                    return False
                saved_at, saving = time.monotonic(), time.monotonic() - begin
            self.step += 1
            self.gc_handler.run(self.step)
            self._step(batches)
            if self.step in self.segment.kept_steps[:-1]:
                self._save()
        self._save()
        return True

    def _restore(self) -> int:
        """Load the newest checkpoint that will do, own or parent's; returns the step it was taken at."""
        segment, batch_size = self.segment, self.segment.training.batch_size
        own = self._make_way()
        asked, own_groups = settings_of(self.optimizers), own_settings(self.optimizers)
        with checkpoints.reading(*self._beginning(own)):
            restored = self.checkpointer.load(step=-1)
        if not restored:
            self._init_whole()
        if own is None and segment.base is not None and segment.base.step == segment.start_step:
            self.step = begin_after(segment, self.step, own_groups, self.optimizers)
        expected = segment.start_step if own is None else own
        if self.step != expected:
            raise Refused(f"{segment.id}: training would begin at step {self.step}, not at step {expected}")
        if self.dataloader.row != expected * batch_size:
            raise Refused(
                f"{segment.id}: the checkpoint of step {expected} stands at row {self.dataloader.row} of the data, "
                f"{batch_size} rows a step make {expected * batch_size}"
            )
        self._check_optimizer(expected, asked, restored)
        self.metrics_processor.take_shown = self._take_shown
        if dist.get_rank() == 0:
            checkpoints.keep_only(self.folder, {expected, *self.segment.kept_steps})
            self.metrics_processor.start(
                self.folder,
                self.dataloader.order,
                first=segment.start_step,
                done=expected,
                batch_size=batch_size,
                seq_len=segment.training.seq_len,
            )
        logger.info("Training %s from step %d to %d", segment.id, expected, segment.end_step)
        return expected

    def _beginning(self, own: int | None) -> tuple[Path, str]:
        """The checkpoint that is loaded, and what to do where it is damaged."""
        if own is not None:
            before = "Remove it: the same command then goes on from the one before it, or begins the segment anew."
            return layout.checkpoint(self.folder, own), before
        audit = "joyctl plan RECIPE --audit compares its checksum with what was written, and says what to do."
        return Path(self.config.checkpoint.initial_load_path or self.folder), audit

    def _take_shown(self) -> list[int]:
        """Rows by source that all ranks were given since this was asked last."""
        shown = torch.tensor(self.dataloader.take_shown(), device=self.device)
        if self.parallel_dims.dp_enabled:  # ranks that share a row, as those of tensor parallelism do, count it once
            dist.all_reduce(shown, group=self.parallel_dims.get_mesh("batch").get_group())
        counts: list[int] = shown.tolist()
        return counts

    def _check_optimizer(self, step: int, asked: Settings, restored: bool) -> None:
        """Refuse what a checkpoint of `step` restored that is not the segment's, and hold the LR that is due."""
        segment = self.segment
        checkpoint = f"{segment.id}: the checkpoint of step {step}"
        refuse_changed_settings(checkpoint, asked, settings_of(self.optimizers))
        if restored and (lr := lr_in_use(self.optimizers)) != (due := segment_lr(segment, step + 1)):
            raise Refused(f"{checkpoint} would go on with LR {lr:g}, the schedule says {due:g}")
        self.lr_schedulers.stand_at(step)

    def _make_way(self) -> int | None:
        """Own step to go on from, if any; what lies after it goes, for torchtitan loads the newest."""
        own = checkpoints.resumable(self.folder, self.segment.kept_steps)
        later = [step for step in checkpoints.steps(self.folder) if own is None or step > own]
        if dist.get_world_size() > 1:
            dist.barrier()  # every rank has looked before anything goes
        if dist.get_rank() == 0:
            for step in later:
                checkpoints.remove(layout.checkpoint(self.folder, step))
        if dist.get_world_size() > 1:
            dist.barrier()
        return own

    def _init_whole(self) -> None:
        """Give sharded parameters on the CPU the initial values that one process would draw.

        There every rank draws for its own shard (on accelerators torch keeps the draws apart from the
        sharding), and the model would depend on the number of ranks.
        """
        named = self.model_parts[0].named_parameters()
        parameters = {name.replace(_CHECKPOINT_PREFIX, ""): value for name, value in named}
        if titan.device_type != "cpu" or not any(isinstance(p, DTensor) for p in parameters.values()):
            return
        with torch.device("meta"):
            whole = self.model_config.build()
        whole.to_empty(device="cpu")
        torch.manual_seed(self.segment.init_seed)
        with torch.no_grad():
            whole.init_weights(buffer_device=None)
            for name, value in whole.named_parameters():
                mine = parameters[name]
                if isinstance(mine, DTensor):
                    value = distribute_tensor(value, mine.device_mesh, mine.placements)
                mine.copy_(value)

    def _agree(self, wish: _Next) -> _Next:
        """The highest wish of all ranks, so that all save and stop at the same step."""
        if dist.get_world_size() == 1:
            return wish
        highest = torch.tensor(int(wish), device=self.device)
        dist.all_reduce(highest, dist.ReduceOp.MAX)
        return _Next(int(highest))

    def _step(self, batches: Any) -> None:
        self.metrics_processor.lr_in_use = lr_in_use(self.optimizers)
        try:
            self.train_step(batches)
        except RuntimeError as error:
            # torchtitan's words; it raises nothing narrower.
            found = re.match(r"Loss is not finite \(global_avg_loss=(\S+)\)", str(error))
            if found is None:
                raise
            raise diverged(self.segment.id, self.step, "loss", found[1]) from error

    def _save(self, *, wait: bool = True) -> None:
        """Write a full checkpoint of the current step and drop the earlier ones that are not to be kept.

        Unless it is to `wait`, an asynchronous checkpointer may still be writing afterwards; the one before is kept
        until then.
        """
        self.metrics_processor.sync()
        self.checkpointer.maybe_wait_for_saving()  # what is written here is whole from now on
        if dist.get_rank() == 0:
            newest = checkpoints.newest(self.folder)
            checkpoints.keep_only(self.folder, {*self.segment.kept_steps, *(() if newest is None else (newest,))})
        self.checkpointer.save(self.step, last_step=wait)
        if self.checkpointer.save_future is None and dist.get_rank() == 0:
            checkpoints.keep_only(self.folder, {self.step, *self.segment.kept_steps})

    def close(self) -> None:
        """Let go of all; alone, wait for a checkpoint that is still being written.

        One of several that broke ends at once instead, so that the others learn of it.
        """
        if dist.is_initialized() and dist.get_world_size() == 1:
            self.checkpointer.maybe_wait_for_saving()
        super().close()
