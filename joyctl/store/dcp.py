"""Checkpoints of torch.distributed.checkpoint, as far as they can be judged without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from joyctl.store.files import sha256_file

METADATA = ".metadata"
"""Written last, under a temporary name: a checkpoint without it is not complete."""
NEEDED = {
    "optimizer.": "optimizer state",
    "lr_scheduler.": "position in the LR schedule",
    "dataloader.": "position in the data",
    "train_state.": "step",
}
"""What training needs to go on from a checkpoint: beginning of its keys there -> what it is."""


def faults(checkpoint: Path, kept: Mapping[str, Mapping[str, Any]], folder: Path, *, digests: bool) -> Iterator[str]:
    """What is wrong with a checkpoint, in words; nothing where it is as its marker says.

    `kept` are the marker's files by path below `folder`, each with `bytes` and `sha256`; digests are computed
    only with `digests`, since they take the time of reading every byte.
    """
    if not checkpoint.is_dir():
        yield "is gone"
        return
    if not kept:
        yield "is listed nowhere: its marker names no files"
    for name, facts in kept.items():
        path = folder / name
        if not path.is_file():
            yield f"{path.name} is missing"
        elif (size := path.stat().st_size) != facts["bytes"]:
            yield f"{path.name} has {size:,} bytes instead of {facts['bytes']:,}"
        elif digests and sha256_file(path) != facts["sha256"]:
            yield f"the contents of {path.name} have changed"
    yield from _unfit(checkpoint / METADATA)


def _unfit(metadata: Path) -> Iterator[str]:
    """What its index lacks. It is a pickle, which is only looked at: loading one executes what it says."""
    if not metadata.is_file():
        return
    content = metadata.read_bytes()
    lacking = [what for prefix, what in NEEDED.items() if prefix.encode() not in content]
    if lacking:
        yield f"it lacks {', '.join(lacking)}"
