"""What the order of rows costs by itself: to reach any row of a trillion tokens, to name many rows, to deal a mix.

Each time of reaching a row is of a fresh process with nothing kept: Order from its spec, and the places of the first
batch; imports are not counted. `benchmarks/loader.py` measures the loader with all it reads.

    python benchmarks/order.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import tracemalloc

from joyctl.campaign.spec import OrderPhase, OrderSpec
from joyctl.data.deal import deal
from joyctl.data.order import Order

FAR = 250_000_000
"""Rows of 4,096 tokens: a trillion."""
MIXES = {
    "4 sources, period 10,000": (3_435, 3_670, 717, 2_178),
    "4 sources, period 65,536": (16_000, 16_384, 16_500, 16_652),
    "20 sources, period 65,536": (4_014, *range(3_229, 3_248)),
}


def spec(weights: tuple[int, ...]) -> OrderSpec:
    """A trunk on these weights, and a phase over the last tenth with the first two exchanged."""
    names = [f"source{i:02}" for i in range(len(weights))]
    changed = (weights[1], weights[0], *weights[2:])
    return OrderSpec(
        rows={name: FAR // len(names) for name in names},
        phases=(
            OrderPhase(start_row=0, weights=dict(zip(names, weights, strict=True))),
            OrderPhase(start_row=FAR // 10 * 9 + 1, weights=dict(zip(names, changed, strict=True))),
        ),
        seed=1,
    )


def reach(weights: tuple[int, ...]) -> dict[str, float]:
    """Milliseconds to the first 1,024 rows from FAR - 1,024 on, and megabytes held and at most in use."""
    asked = spec(weights)
    start = time.perf_counter()
    order = Order(asked)
    order.rows(FAR - 1_024, FAR)
    took = time.perf_counter() - start
    del order
    deal.cache_clear()
    tracemalloc.start()
    order = Order(asked)
    order.rows(FAR - 1_024, FAR)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"ms": took * 1e3, "held": held / 1e6, "peak": peak / 1e6}


def rate(weights: tuple[int, ...], rows: int) -> float:
    """Millions of rows a second, so many a call."""
    order = Order(spec(weights))
    times = []
    for i in range(12):
        start = time.perf_counter()
        order.rows(FAR // 2 + i * rows, FAR // 2 + (i + 1) * rows)
        times.append(time.perf_counter() - start)
    return rows / min(times) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reach", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.reach:
        print(json.dumps(reach(MIXES[asked.reach])))
        return
    for name, weights in MIXES.items():
        command = [sys.executable, __file__, "--reach", name]
        found = [
            json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(asked.rounds)
        ]
        took = statistics.median(each["ms"] for each in found)
        deal.cache_clear()
        start = time.perf_counter()
        deal(weights).source  # noqa: B018 (deals)
        dealt = (time.perf_counter() - start) * 1e3
        rates = "  ".join(f"{rows:,}: {rate(weights, rows):.1f}" for rows in (1_024, 4_096, 65_536))
        most = max(found, key=lambda each: each["peak"])
        print(
            f"{name}\n  row {FAR:,} reached in {took:.1f} ms (at most 60), {most['held']:.2f} MB held (at most 10),"
            f" {most['peak']:.1f} MB while it is made"
        )
        print(f"  one deal {dealt:.1f} ms\n  M rows/s by rows a call  {rates}")


if __name__ == "__main__":
    main()
