"""Checkpoint folders of a segment: which are complete, which can be branched from, which may go."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader

from joyctl.errors import Missing, Refused
from joyctl.store import layout
from joyctl.store.dcp import METADATA, NEEDED


def is_complete(checkpoint: Path) -> bool:
    """Whether writing it came to its end."""
    return (checkpoint / METADATA).is_file()


@contextmanager
def reading(checkpoint: Path, hint: str) -> Iterator[None]:
    """Raise Refused, with what to do, where what is read of a checkpoint inside the block is not what was written."""
    try:
        yield
    except CheckpointException as error:
        causes = {f"{type(cause).__name__}: {cause}" for cause, _ in error.failures.values()}
        raise Refused(f"{checkpoint} cannot be read: {'; '.join(sorted(causes))}", hint=hint) from error


def steps(folder: Path) -> list[int]:
    """Steps of which a checkpoint folder exists, complete or torn, rising."""
    found = (folder / layout.CHECKPOINTS).glob("step-*")
    return sorted(int(path.name[5:]) for path in found if re.fullmatch(r"step-\d+", path.name))


def newest(folder: Path) -> int | None:
    """Newest step with a complete checkpoint."""
    return max((step for step in steps(folder) if is_complete(layout.checkpoint(folder, step))), default=None)


def resumable(folder: Path, kept: Collection[int]) -> int | None:
    """Newest step from which training can go on so that all of `kept` will be there at its end.

    A checkpoint after one of `kept` that is lost or torn does not do: that one is to be made again.
    """
    whole = {step for step in steps(folder) if is_complete(layout.checkpoint(folder, step))}
    lost = min((step for step in kept if step not in whole), default=None)
    return max((step for step in whole if lost is None or step < lost), default=None)


def keep_only(folder: Path, kept: Collection[int]) -> None:
    """Remove every checkpoint but those of steps `kept`, torn ones too."""
    for other in steps(folder):
        if other not in kept:
            remove(layout.checkpoint(folder, other))


def remove(checkpoint: Path) -> None:
    """Delete a checkpoint; killed half-way, it leaves one that is not complete."""
    (checkpoint / METADATA).unlink(missing_ok=True)
    shutil.rmtree(checkpoint)


def require_full(checkpoint: Path, optimizer: str) -> None:
    """Raise unless training with `optimizer` can go on from it.

    Missing when it is not there; Refused when it is not whole, or was written with another optimizer: AdamW's state has
    all that LionW looks for, so torchtitan would take AdamW's first moment for LionW's without a word.
    """
    if not checkpoint.is_dir():
        raise Missing(f"{checkpoint}: the parent's checkpoint is not there", hint="Train the parent segment first.")
    if not is_complete(checkpoint):
        raise Refused(
            f"{checkpoint} is not complete: writing it was cut short",
            hint="Train the parent segment again; it goes on from its last complete checkpoint.",
        )
    there = FileSystemReader(checkpoint).read_metadata().state_dict_metadata
    lacking = [what for prefix, what in NEEDED.items() if not any(key.startswith(prefix) for key in there)]
    if lacking:
        raise Refused(f"{checkpoint} cannot be branched from: it lacks {', '.join(lacking)}")
    adamw = any(key.startswith("optimizer.state.") and key.endswith(".exp_avg_sq") for key in there)
    if adamw != (optimizer == "adamw"):
        raise Refused(
            f"{checkpoint} holds the state of {'AdamW' if adamw else 'LionW'}, the optimizer here is {optimizer}",
            hint=f"Give optimizer.name: {'adamw' if adamw else 'lionw'}, or train the base run with {optimizer} too.",
        )
