"""metrics.jsonl: one line a step, written as the step ends, none twice."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from torchtitan.components.metrics import MetricsProcessor
from torchtitan.tools.logging import logger

from joyctl.data.order import Order
from joyctl.errors import Diverged, Refused
from joyctl.store import layout
from joyctl.store.files import read_lines, write_text

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

    _file: TextIO | None = None
    lr_in_use: float
    """LR that the optimizer holds as the step begins; to be set before every step."""

    def start(self, folder: Path, order: Order, *, first: int, done: int, batch_size: int, seq_len: int) -> None:
        """Keep the lines of steps first+1..done, drop later ones, and append from there.

        Raises Refused when a line of a step that the checkpoint covers is missing.
        """
        path = folder / layout.METRICS
        _keep(path, first, done)
        self._order, self._batch_size, self._seq_len = order, batch_size, seq_len
        self._file = path.open("a", encoding="utf-8", buffering=1)  # a reader sees whole lines as they come

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
        if self._file is None:
            return
        row = step * self._batch_size
        line = {
            "step": step,
            "loss": global_avg_loss,
            "lr": self.lr_in_use,
            "grad_norm": grad_norm,
            "tokens": row * self._seq_len,
            "rows": self._order.counts(row),
            "time": time.time(),
        }
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        if step % LOG_EVERY == 0:
            logger.info("step %d loss %.5f grad_norm %.4f lr %.3e", step, global_avg_loss, grad_norm, line["lr"])

    def sync(self) -> None:
        """Make all lines so far durable, so that no checkpoint is newer than they are."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
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


def _keep(path: Path, first: int, done: int) -> None:
    lines = [line for line in read_lines(path) if isinstance(step := line.get("step"), int) and step <= done]
    if [line["step"] for line in lines] != list(range(first + 1, done + 1)):
        raise Refused(
            f"{path} does not have one line for each of the steps {first + 1} to {done} that are trained",
            hint=f"Delete {path.parent} to train this segment again.",
        )
    if lines:
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
    else:
        path.unlink(missing_ok=True)
