"""How long `joyctl report` takes for 60 runs on MMLU, GSM8K and HumanEval, beside reading their answers with pandas.

Whole processes by the wall clock, with the most memory each held. The report reads everything, computes every
difference with its interval, and writes its files; pandas only reads the same samples.jsonl, one after the other, and
keeps nothing but their numbers of rows. In turn, medians. `--quick` takes one base run instead of six: starting weighs
more there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import made_campaign

AT_MOST_SECONDS, AT_MOST_MEGABYTES = 5.0, 1_000
TRUNKS, QUICK, ROUNDS = 6, 1, 3
PANDAS = """
import glob, sys
import pandas
paths = glob.glob(sys.argv[1] + "/runs/*/*/eval/*/samples.jsonl")
print(sum(len(pandas.read_json(path, lines=True)) for path in paths))
"""


@dataclass(frozen=True)
class Call:
    seconds: float
    megabytes: float
    """The most it held at once."""
    processor: float
    """Seconds of processor time, over all cores."""
    out: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} base run instead of {TRUNKS}")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as name:
        campaign = Path(name) / "made"
        start = time.perf_counter()
        runs = made_campaign.write(campaign, QUICK if quick else TRUNKS)
        paths = list(campaign.glob("runs/*/*/eval/*/samples.jsonl"))
        megabytes = sum(path.stat().st_size for path in paths) / 1e6
        items = f"{sum(made_campaign.SUBJECTS):,} + {made_campaign.PROBLEMS:,} + {made_campaign.PROGRAMS} items"
        print(f"made     {time.perf_counter() - start:6.1f} s   {runs} runs x ({items}), {megabytes:.0f} MB of answers")
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(_measured([sys.executable, "-m", "joyctl", "report", str(campaign)]))
            _require_whole(campaign, ours[-1], runs)
            theirs.append(_measured([sys.executable, "-c", PANDAS, str(campaign)]))
    goal = "" if quick else f" (at most {AT_MOST_SECONDS:.0f} s, {AT_MOST_MEGABYTES:,} MB)"
    mine, other = (statistics.median(call.seconds for call in calls) for calls in (ours, theirs))
    ratio = statistics.median(b.seconds / a.seconds for a, b in zip(ours, theirs, strict=True))
    print(f"report   {mine:6.2f} s   {_held(ours)}{goal}")
    print(f"pandas   {other:6.2f} s   {_held(theirs)} to read {int(theirs[0].out):,} rows, ratio {ratio:.1f}")


def _held(calls: Sequence[Call]) -> str:
    processor = statistics.median(call.processor for call in calls)
    return f"{max(call.megabytes for call in calls):5.0f} MB   {processor:5.2f} s of processor time"


def _measured(command: Sequence[str]) -> Call:
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        out.seek(0)
        err.seek(0)
        if status:
            sys.exit(f"{' '.join(command)}: {err.read()}")
        return Call(seconds, used.ru_maxrss / 1024, used.ru_utime + used.ru_stime, out.read())


def _require_whole(campaign: Path, call: Call, runs: int) -> None:
    """A report that left anything out would be fast too."""
    text = (campaign / "report" / "report.md").read_text(encoding="utf-8")
    if "## Missing" in text or text.count("| mmlu | acc |") < runs or "upsample-20" not in call.out:
        sys.exit("report: it does not have every score")


if __name__ == "__main__":
    main()
