"""Do the report's statistics keep what they promise? Simulated campaigns with known truth, judged as reports are.

Every regime is drawn twice: with two true zeros and two effects, and with eight true zeros. Asked of each: 95 %
intervals cover within 1.5 points of 95 %, family-wise error at most 5.5 %, stated power within 4 points of what came.
The standard error of a coverage over 2,000 campaigns is about 0.3 points, of an error rate or power 0.5 to 1.

Takes about 4 minutes on two idle cores. With fewer `--campaigns` errors of the rates themselves are larger, at 400 more
than twice as large, so that a promise may then look broken by chance.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from pathlib import Path

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[name] = "1"  # before numpy: processes share the cores instead
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from simulated import REGIMES, Regime, Tally, all_null, simulate  # noqa: E402

BLOCK = 100  # campaigns a task, each block with a seed of its own


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaigns", type=int, default=2_000, help="simulated campaigns a regime")
    campaigns = parser.parse_args().campaigns
    began = time.perf_counter()
    print(f"{campaigns:,} campaigns a regime, twice; per cent\n")
    print(f"{'':44} {'interval covers':^23} {'family-wise':^11} {'FDR':>5}  power: stated / realised")
    print(f"{'':44} {'effects':>7} {'zeros':>7} {'boot':>7} {'some':>5} {'all 0':>5}")
    kept = True
    with multiprocessing.Pool() as pool:
        for regime in REGIMES:
            some = _together(regime, campaigns, pool)
            none = _together(all_null(regime), campaigns, pool)
            kept &= _row(regime, some, none)
    print("\nboot: bootstrap over items, where one run is compared with one; with several it leaves out their noise")
    print(f"all promises kept: {'yes' if kept else 'NO'}   ({time.perf_counter() - began:,.0f} s)")
    return 0 if kept else 1


def _together(regime: Regime, campaigns: int, pool: multiprocessing.pool.Pool) -> Tally:
    blocks = [(regime, min(BLOCK, campaigns - start), start) for start in range(0, campaigns, BLOCK)]
    whole = Tally(regime)
    for tally in pool.starmap(simulate, blocks):
        whole.add(tally)
    return whole


def _row(regime: Regime, some: Tally, none: Tally) -> bool:
    powers = some.powers()
    errors = (some.family_wise_error, none.family_wise_error, some.false_discoveries)
    boot = f"{100 * some.bootstrap_coverage:7.1f}" if regime.seeds * regime.phases == 1 else f"{'-':>7}"
    print(
        f"{regime.name:44} {100 * some.coverage:7.1f} {100 * none.coverage:7.1f} {boot}"
        + "".join(f" {100 * rate:5.1f}" for rate in errors)
        + "  "
        + "   ".join(f"{100 * stated:.1f} / {100 * real:.1f}" for _, stated, real in powers),
        flush=True,
    )
    return (
        all(abs(tally.coverage - 0.95) <= 0.015 for tally in (some, none))
        and all(tally.family_wise_error <= 0.055 for tally in (some, none))
        and all(abs(stated - real) <= 0.04 for _, stated, real in powers)
    )


if __name__ == "__main__":
    sys.exit(main())
