"""The processes of one training: those that torchrun started together, or this one alone."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from joyctl.errors import Interrupted


def launched_together() -> bool:
    """Whether a launcher such as torchrun told this process where its companions meet."""
    return "MASTER_ADDR" in os.environ and "WORLD_SIZE" in os.environ


def count() -> int:
    """Processes of this training."""
    return int(os.environ["WORLD_SIZE"]) if launched_together() else 1


def index() -> int:
    """Which of them this is."""
    return int(os.environ["RANK"]) if launched_together() else 0


def tell_others(word: str) -> None:
    """On rank 0: give the other ranks a word, before any of them trains."""
    _meeting_point().set(_WORD, word)


def told_by_first() -> str:
    """On another rank: wait for rank 0's word. Raises torch's DistStoreError when none comes."""
    return str(_meeting_point().get(_WORD).decode())


_WORD = "joyctl/word"
# Rank 0 may have to wait for a dead process's hold on the folder to end.
_PATIENCE = timedelta(minutes=10)


def _meeting_point() -> Store:
    store: Store = next(rendezvous("env://", timeout=_PATIENCE))[0]
    return store


def be_alone(device_type: str) -> None:
    """Form a process group of one, without a port or a file that another training could collide with."""
    torch.autograd.set_multithreading_enabled(False)  # as torchtitan does where it forms the group
    backend = dist.Backend.default_device_backend_map.get(device_type, "gloo")
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]


@contextmanager
def session(threads: int) -> Iterator[None]:
    """Compute with `threads` CPU threads, and leave the process as it was, whatever torchtitan changed in it."""
    environment = dict(os.environ)
    os.environ.setdefault("LOCAL_RANK", "0")
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    collecting, broke = gc.isenabled(), True
    try:
        yield
        broke = False
    except Interrupted:
        broke = False
        raise
    finally:
        # A rank that broke ends at once, so that the others learn of it: taking leave might wait for them.
        if dist.is_initialized() and not (broke and count() > 1):
            dist.destroy_process_group()
        torch.autograd.set_multithreading_enabled(True)
        if collecting:
            gc.enable()
        torch.set_num_threads(threads_before)
        os.environ.clear()
        os.environ.update(environment)
