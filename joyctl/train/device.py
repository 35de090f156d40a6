"""Makes torchtitan run where there is no accelerator, and makes CPU numerics the same for any thread count.

torchtitan 0.3 resolves two names when `torchtitan.tools.utils` is imported, `device_type` and `device_module`,
and falls back to "cuda". Most of its modules copy them with `from ... import`, so they have to be right before
any other torchtitan module is imported. No function of torchtitan is replaced.
"""

from __future__ import annotations

import os
import resource
import sys
from types import SimpleNamespace


class CpuDevice:
    """The part of a `torch.<device>` module that torchtitan calls, for the CPU."""

    @staticmethod
    def set_device(device: object) -> None:
        """Nothing to choose."""

    @staticmethod
    def device_count() -> int:
        """One: every local rank computes on `cpu:0`."""
        return 1

    @staticmethod
    def current_device() -> int:
        """Index of the only device."""
        return 0

    @staticmethod
    def synchronize(device: object = None) -> None:
        """Nothing runs behind the caller's back."""

    @staticmethod
    def empty_cache() -> None:
        """There is no allocator cache."""

    @staticmethod
    def reset_peak_memory_stats(device: object = None) -> None:
        """The system's peak cannot be reset."""

    @staticmethod
    def get_device_name(device: object = None) -> str:
        """Name that torchtitan logs."""
        return "CPU"

    @staticmethod
    def get_device_properties(device: object = None) -> SimpleNamespace:
        """Name and memory in bytes."""
        pages = os.sysconf("SC_PHYS_PAGES")
        return SimpleNamespace(name="CPU", total_memory=os.sysconf("SC_PAGE_SIZE") * pages)

    @staticmethod
    def memory_stats(device: object = None) -> dict[str, int]:
        """Peak resident memory of this process in bytes, under torch.cuda's names."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {"active_bytes.all.peak": peak, "reserved_bytes.all.peak": peak, "num_alloc_retries": 0, "num_ooms": 0}


def prepare() -> str:
    """Prepare this process for torchtitan; returns its device type. Idempotent, starts no thread.

    Where an accelerator is there, torchtitan's own choice stands. Raises RuntimeError when torchtitan's
    modules were imported before without this.
    """
    # MKL otherwise splits sums by the number of threads; with this, 1 and 2 threads give the same bits.
    os.environ.setdefault("MKL_CBWR", "AVX2,STRICT")
    # A thread that waits for its companion spins for a whole time slice by default; where another process
    # shares the cores, two threads then train ten times slower than one. This is as fast on idle cores.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    # Ask the driver's library, not the driver, whether a GPU is there: initialising CUDA here would break
    # it in every process forked from this one.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    import torch
    import torchtitan.tools.utils as titan

    if torch.accelerator.is_available():
        return str(titan.device_type)
    if titan.device_type != "cpu":
        if "torchtitan.trainer" in sys.modules:
            raise RuntimeError("torchtitan.trainer was imported before joyctl.train, and took the CPU for a GPU")
        titan.device_type, titan.device_module = "cpu", CpuDevice
    return "cpu"
