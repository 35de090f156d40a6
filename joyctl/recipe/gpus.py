"""What GPUs can do: dense bfloat16 FLOPs a second, as torchtitan counts them for its MFU, and memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU."""

    peak_flops: float
    """Dense bfloat16 FLOPs a second (torchtitan.tools.utils.get_peak_flops, which names its sources)."""
    memory_gib: float
    """What the maker's data sheet names; the driver keeps a few per cent of it."""


def _gpu(tera_flops: float, gibibytes: float) -> Gpu:
    return Gpu(tera_flops * 1e12, gibibytes)


# A name without a size is the one that most machines have.
KINDS: dict[str, Gpu] = {
    "A100": _gpu(312, 80),
    "A100-40GB": _gpu(312, 40),
    "A6000": _gpu(154.85, 48),
    "L40S": _gpu(362, 48),
    "H20": _gpu(148, 96),
    "H100": _gpu(989, 80),
    "H100-PCIe": _gpu(756, 80),
    "H100-NVL": _gpu(835, 94),
    "H200": _gpu(989, 141),
    "B200": _gpu(2250, 180),
    "B300": _gpu(2250, 288),
    "GB200": _gpu(2500, 186),
    "GB300": _gpu(2500, 288),
    "MI250X": _gpu(191.5, 64),
    "MI300X": _gpu(1300, 192),
    "MI325X": _gpu(1300, 256),
    "MI355X": _gpu(2500, 288),
}
NAMES = tuple(KINDS)


def is_known(device: str) -> bool:
    """Whether torchtitan knows the peak of a device by its name; of others it takes that of an A100."""
    families = {name.partition("-")[0] for name in NAMES} - {"L40S"}  # torchtitan looks for "l40s"
    return any(family in device for family in families) or "l40s" in device
