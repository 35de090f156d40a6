"""metrics.jsonl: one line a step, written as the step ends, none twice."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch.distributed as dist
from torchtitan.components.metrics import MetricsProcessor
from torchtitan.tools import utils as titan
from torchtitan.tools.logging import logger

from joyctl.data.order import Order
from joyctl.errors import Diverged, Refused
from joyctl.recipe import gpus
from joyctl.recipe.scaling import Tracker
from joyctl.store import layout
from joyctl.store.files import read_lines, write_text
from joyctl.train.trackers import Named, Trackers

_NOT_TRACKED = ("step", "rows", "time")
LOG_EVERY = 100
"""Steps between two lines in the log for people."""


class JsonlMetrics(MetricsProcessor):  # type: ignore[misc]
    """Appends what torchtitan hands out at every step to the segment's metrics.jsonl.

    `start` opens the file; until then, and on ranks that do not call it, nothing is written. Numbers are
    written with all their digits, so two files can be compared bit for bit.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(MetricsProcessor.Config):  # type: ignore[misc]
        """torchtitan's settings; its own log lines, TensorBoard and W&B stay off."""

        segment: str
        """id of the segment, for messages."""
        trackers: tuple[Tracker, ...] = ()
        """Where rank 0 logs as well."""
        project: str = ""
        """Name of the campaign, for trackers."""

    _file: TextIO | None = None
    lr_in_use: float
    """LR that the optimizer holds as the step begins; to be set before every step."""
    take_shown: Callable[[], Sequence[int]]
    """Rows that all ranks were given since it was asked last, by source; to be set on every rank, which all ask it."""
    _trackers: Trackers | None = None
    _ended: float | None = None
    """When the step before ended, by time.perf_counter(); None before the first of an attempt."""

    def __init__(self, config: Config, **given: Any) -> None:
        super().__init__(config, **given)
        self._about: Mapping[str, Any] = given.get("config_dict") or {}

    def start(self, folder: Path, order: Order, *, first: int, done: int, batch_size: int, seq_len: int) -> None:
        """Keep the lines of steps first+1..done, drop later ones, and append from there.

        Raises Refused when a line of a step that the checkpoint covers is missing.
        """
        path = folder / layout.METRICS
        kept = _keep(path, first, done, order.names)
        self._shown = order.counts(first * batch_size) if kept is None else {name: kept[name] for name in order.names}
        self._batch_size, self._seq_len = batch_size, seq_len
        self._file = path.open("a", encoding="utf-8", buffering=1)  # a reader sees whole lines as they come
        if self.config.trackers:
            named = Named(folder, self.config.project, self.config.segment, done, self._about)
            self._trackers = Trackers(self.config.trackers, named)

    def log(
        self,
        step: int,
        global_avg_loss: float,
        global_max_loss: float,
        grad_norm: float,
        extra_metrics: Mapping[str, Any] | None = None,
    ) -> None:
        """Write one step, with the LR that the optimizer used in it; torchtitan's word for it is the schedule's.

        Raises Diverged for a gradient that is not finite: the parameters are spoilt, though the loss that
        torchtitan looks at was computed before.
        """
        if not math.isfinite(grad_norm):
            raise diverged(self.config.segment, step, "norm of the gradient", str(grad_norm))
        self.data_loading_times.clear()
        self.ntokens_since_last_log = 0
        shown = self.take_shown()
        if self._file is None:
            return
        for name, count in zip(self._shown, shown, strict=True):
            self._shown[name] += count
        line: dict[str, Any] = {
            "step": step,
            "loss": global_avg_loss,
            "lr": self.lr_in_use,
            "grad_norm": grad_norm,
            "tokens": step * self._batch_size * self._seq_len,
            "rows": self._shown,
            **self._speed(),
            "time": time.time(),
        }
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        if self._trackers is not None:
            rows = {f"rows/{source}": count for source, count in line["rows"].items()}
            self._trackers.log(step, {k: v for k, v in line.items() if k not in _NOT_TRACKED} | rows)
        if step % LOG_EVERY == 0:
            logger.info("step %d loss %.5f grad_norm %.4f lr %.3e", step, global_avg_loss, grad_norm, line["lr"])

    def _speed(self) -> dict[str, float]:
        """Tokens a second over all ranks, since the step before ended, and the share of the peak that they take.

        Nothing at the first step of an attempt; no share of a device whose peak nobody knows, such as a CPU. A step
        counts as torchtitan does (model.get_nparams_and_flops): 6 FLOPs for each parameter outside the embedding, and
        attention without regard to its mask; the peak is that of bfloat16.
        """
        now, before = time.perf_counter(), self._ended
        self._ended = now
        if before is None:
            return {}
        found = {"tokens_per_second": self._batch_size * self._seq_len / (now - before)}
        if titan.device_type != "cpu" and gpus.is_known(self.device_memory_monitor.device_name):
            peak = self.gpu_peak_flops * dist.get_world_size()
            found["mfu"] = self.num_flops_per_token * found["tokens_per_second"] / peak
        return found

    def sync(self) -> None:
        """Make all lines so far durable, so that no checkpoint is newer than they are."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close file and trackers."""
        if self._trackers is not None:
            self._trackers.close()
            self._trackers = None
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()


def diverged(segment: str, step: int, what: str, value: str) -> Diverged:
    """The error for a number of step `step` that is not finite."""
    return Diverged(
        f"{segment}: the {what} became {value} at step {step}",
        hint="Lower optimizer.lr, or look for broken data in the rows of that step.",
    )


def _keep(path: Path, first: int, done: int, sources: Sequence[str]) -> dict[str, int] | None:
    """Cut the file to the lines of steps first+1..done; the rows by source in the last of them, None without lines."""
    lines = [line for line in read_lines(path) if isinstance(step := line.get("step"), int) and step <= done]
    if [line["step"] for line in lines] != list(range(first + 1, done + 1)):
        raise Refused(
            f"{path} does not have one line for each of the steps {first + 1} to {done} that are trained",
            hint=f"Delete {path.parent} to train this segment again.",
        )
    if not lines:
        path.unlink(missing_ok=True)
        return None
    rows = lines[-1].get("rows")
    if not isinstance(rows, dict) or any(type(rows.get(name)) is not int for name in sources):
        raise Refused(
            f"{path} does not say at step {done} how many rows of each source were shown",
            hint=f"Delete {path.parent} to train this segment again.",
        )
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
    return rows
