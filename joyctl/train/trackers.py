"""TensorBoard, Weights & Biases and trackio beside metrics.jsonl: opt-in, local, never a reason for a training to fail.

All of them write below the segment's folder, `tracker/`. wandb is offline unless the user's WANDB_MODE says otherwise;
`wandb sync` takes it up later.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from torchtitan.tools.logging import logger

from joyctl.errors import Missing
from joyctl.recipe.scaling import Tracker

FOLDER = "tracker"


@dataclass(frozen=True)
class Named:
    """What is tracked, where."""

    folder: Path
    """The segment's."""
    project: str
    """Name of the campaign."""
    run: str
    """id of the segment."""
    done: int
    """Step after which this attempt goes on; later ones of an earlier attempt are to be forgotten where that can be."""
    about: Mapping[str, Any]
    """Settings of the training, as JSON has them."""


class _Open(Protocol):
    """A tracker of one run."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of one step."""

    def close(self) -> None:
        """Write what is left."""


class Trackers:
    """Those that a cluster file asks for; one that fails is named in the log once, and no longer asked."""

    def __init__(self, names: Sequence[Tracker], named: Named) -> None:
        """Open them. Raises Missing for one whose package is not installed."""
        missing = [name for name in names if find_spec(name) is None]
        if missing:
            hint = "Install them: pip install 'joyctl[trackers]'"
            raise Missing(f"trackers of the cluster file are not installed: {', '.join(missing)}", hint=hint)
        self._open: dict[Tracker, _Open] = {}
        for name in names:
            self._guarded(name, lambda name=name: self._open.__setitem__(name, _OPENERS[name](named)))  # type: ignore[misc]

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Hand on the numbers of one step."""
        for name, tracker in list(self._open.items()):
            self._guarded(name, lambda tracker=tracker: tracker.log(step, values))  # type: ignore[misc]

    def close(self) -> None:
        """Close them all."""
        for name, tracker in list(self._open.items()):
            self._guarded(name, tracker.close)
        self._open.clear()

    def _guarded(self, name: Tracker, act: Callable[[], None]) -> None:
        try:
            act()
        except _FAILURES[name]() as error:
            self._open.pop(name, None)
            logger.warning("%s failed, training goes on without it: %s: %s", name, type(error).__name__, error)


class _TensorBoard:
    def __init__(self, named: Named) -> None:
        from torch.utils.tensorboard import SummaryWriter

        place = named.folder / FOLDER / "tensorboard"
        self._writer = SummaryWriter(str(place), purge_step=named.done + 1 if named.done else None)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    def __init__(self, named: Named) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # wandb reads it when it is imported
        import wandb

        place = named.folder / FOLDER
        self._run = wandb.init(
            project=named.project,
            name=named.run,
            id=_id(place / "run-id"),
            resume="allow",
            dir=place,
            mode=None if "WANDB_MODE" in os.environ else "offline",
            config=dict(named.about),
            settings=wandb.Settings(
                console="off", silent=True, disable_git=True, save_code=False, x_disable_stats=True, x_disable_meta=True
            ),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    def __init__(self, named: Named) -> None:
        # trackio reads it when it is imported; a process trains one segment.
        os.environ["TRACKIO_DIR"] = str(named.folder / FOLDER / "trackio")
        import trackio

        self._run = trackio.init(
            project=named.project,
            name=named.run,
            resume="allow",
            config=dict(named.about),
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


def _id(path: Path) -> str:
    """The run's id: the same for all attempts, another one where the folder begins anew."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid.uuid4().hex, encoding="utf-8")
    return path.read_text(encoding="utf-8")


def _of_wandb() -> tuple[type[BaseException], ...]:
    try:
        from wandb.errors import Error
    except ImportError:  # broken: that is the failure
        return _ANY
    return (*_ANY, Error)


# A full disk, a folder that cannot be written, a service that died, a package that does not fit the others.
_ANY: tuple[type[BaseException], ...] = (OSError, ValueError, RuntimeError, ImportError, sqlite3.Error)
_FAILURES: dict[Tracker, Callable[[], tuple[type[BaseException], ...]]] = {
    "tensorboard": lambda: _ANY,
    "wandb": _of_wandb,
    "trackio": lambda: _ANY,
}
_OPENERS: dict[Tracker, Callable[[Named], _Open]] = {
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
    "trackio": _Trackio,
}
