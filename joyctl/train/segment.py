"""Trains one segment in its folder, from wherever an earlier attempt got."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from torchtitan.observability.structured_logger import init_structured_logger
from torchtitan.tools.logging import logger

from joyctl.campaign.documents import APART, JOINED
from joyctl.campaign.spec import SegmentSpec
from joyctl.data.documents import attention_of
from joyctl.data.sidecar import SIDECAR, read_sidecar
from joyctl.errors import Interrupted, Refused
from joyctl.recipe.scaling import PLAIN, Scaling
from joyctl.train import checkpoints, ranks
from joyctl.train.config import trainer_config
from joyctl.train.inspect import require_base

SAVE_SECONDS = 30.0
"""Least time between two checkpoints inside a segment: what a killed process loses."""
SAVE_SHARE = 0.01
"""Largest share of the time that writing them may take."""


def train_segment(
    spec: SegmentSpec,
    folder: Path,
    parent_checkpoint: Path | None,
    *,
    threads: int = 1,
    save_seconds: float = SAVE_SECONDS,
    scaling: Scaling = PLAIN,
    project: str = "",
) -> str:
    """Train `spec` in `folder`, from `parent_checkpoint`, its base or scratch, or from the folder's newest checkpoint.

    Leaves checkpoint/step-<end_step> (model, optimizer, LR and data position) and those that are averaged with it,
    metrics.jsonl with one line a step, and log/. A segment that is done is left as it is. `threads` is CPU threads of
    each process, `scaling` how the cluster file has it run, `project` the campaign's name for trackers. Gives what the
    documents of a row are to each other, in words (joyctl.campaign.documents); the log says it too.

    SIGTERM and SIGINT save at the next step and raise Interrupted; the same call goes on from there with the
    same numbers. Raises Missing or Refused when the parent, the base, the data or the folder does not fit, Diverged
    when the loss is not finite.
    """
    with _asked_to_stop() as asked, ranks.session(threads), _log_to(folder / "log"):
        finished, attention = True, attention_of(spec)
        if checkpoints.resumable(folder, spec.kept_steps) != spec.end_step:
            _check(spec, folder, parent_checkpoint)
            logger.log(logging.INFO if attention in (APART, JOINED) else logging.WARNING, "Attention: %s", attention)
            config = trainer_config(
                spec, folder, parent_checkpoint, ranks=ranks.count(), scaling=scaling, project=project
            )
            trainer = config.build()
            try:
                finished = trainer.run(asked, save_seconds=save_seconds, save_share=SAVE_SHARE)
            finally:
                trainer.close()
        elif ranks.index() == 0:
            checkpoints.keep_only(folder, spec.kept_steps)
        if asked() or not finished:
            raise Interrupted(
                f"{spec.id}: stopped as asked at step {checkpoints.newest(folder) or spec.start_step}, all saved",
                hint="The same command goes on from there.",
            )
    return attention


def _check(spec: SegmentSpec, folder: Path, parent_checkpoint: Path | None) -> None:
    begins = spec.base.step if spec.base else 0
    if (parent_checkpoint is None) != (spec.start_step == begins):
        raise Refused(f"{spec.id} starts at step {spec.start_step}; parent checkpoint: {parent_checkpoint}")
    if checkpoints.resumable(folder, spec.kept_steps) is None:
        if parent_checkpoint is not None:
            checkpoints.require_full(parent_checkpoint, spec.optimizer.name)
        elif spec.base is not None:
            require_base(spec.base, spec)
    for name, expected in spec.source_sha256.items():
        found = read_sidecar(Path(spec.data_folder), name).sha256
        if found != expected:
            path = Path(spec.data_folder) / "sources" / name / SIDECAR
            raise Refused(
                f"{path}: the tokens of source '{name}' are not those the campaign was planned for "
                f"({found[:12]} instead of {expected[:12]})",
                hint="Plan the campaign again under another name.",
            )


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM or SIGINT came. Only the main thread can listen.

    A second one of a kind acts as usual, but not where torchrun started this process: there whoever stops it
    may tell it twice, once itself and once through torchrun.
    """
    came = threading.Event()
    before: dict[signal.Signals, object] = {}

    def note(number: int, frame: FrameType | None) -> None:
        came.set()
        if not ranks.launched_together():
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, note)
    try:
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


@contextmanager
def _log_to(folder: Path) -> Iterator[None]:
    """Send what torchtitan says to `train.log` (`train-<rank>.log` on the other ranks), appending."""
    folder.mkdir(parents=True, exist_ok=True)
    rank = ranks.index()
    handler = logging.FileHandler(folder / (f"train-{rank}.log" if rank else "train.log"), encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()  # torchtitan logs to the root
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    init_structured_logger("joyctl", "", enable=False)  # without a word it makes log records that nobody reads
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()
