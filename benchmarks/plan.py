"""How long a plan of 10,000 runs takes, process start to end, beside Hydra's own expansion of as many points.

joyctl says of every run which segments it needs, what they share with all others, their fingerprints, what lies on
disk, and tokens and epochs by source. Hydra's multirun of the same recipe, with a launcher that does nothing, only
composes one config a point. It is run on fewer points, in time that is worth waiting for, and scaled: its start, and
so much a point. Seconds are of the clock; those of the processor stand beside them, for a machine that is shared.

    python benchmarks/plan.py [--points 400] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
SEEDS = 17
"""With 98 weights and 6 durations 9,996 phases; the control has its seeds too."""
LAUNCHER = """
from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher


@dataclass
class Nothing:
    _target_: str = "hydra_plugins.nothing.NothingLauncher"


class NothingLauncher(Launcher):
    def setup(self, *, hydra_context, task_function, config):
        pass

    def launch(self, job_overrides, initial_job_idx):
        return []


ConfigStore.instance().store(group="hydra/launcher", name="nothing", node=Nothing)
"""
MULTIRUN = """
import hydra


@hydra.main(version_base="1.3", config_path={recipes!r}, config_name="tiny")
def main(config):
    raise AssertionError("the launcher does nothing")


main()
"""


@dataclass(frozen=True)
class Took:
    seconds: float
    processor: float
    megabytes: float
    """Largest resident size of the process."""


def run(command: list[str], here: Path, output: Path) -> Took:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(CHECKOUT)])}
    with output.open("wb") as out:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=here, env=env, stdout=out)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}: {output.read_text(encoding='utf-8')[-2000:]}")
    return Took(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def plan(here: Path) -> tuple[Took, int]:
    """A plan of 10,000 runs by joyctl, and how many they were."""
    words = ["plan", "tiny", "mixes.upsampled.web=range(0.01,0.99,0.01)", "--seeds", str(SEEDS), "--json"]
    took = run([sys.executable, "-m", "joyctl", *words], here, here / "plan.json")
    return took, len(json.loads((here / "plan.json").read_bytes())["runs"])


def multirun(here: Path, points: int) -> Took:
    """So many points by Hydra."""
    script = here / "multirun.py"
    script.write_text(MULTIRUN.format(recipes=str(CHECKOUT / "recipes")), encoding="utf-8")
    (here / "hydra_plugins").mkdir(exist_ok=True)
    (here / "hydra_plugins" / "nothing.py").write_text(LAUNCHER, encoding="utf-8")
    axis = f"mixes.upsampled.web=range(1,{points + 1})"
    words = ["--multirun", "hydra/launcher=nothing", f"hydra.sweep.dir={here / 'multirun'}", axis]
    return run([sys.executable, str(script), *words], here, here / "multirun.txt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=400, help="points that Hydra expands")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        plan(here)  # makes the micro-world's data, and reads all files once
        ours, theirs, runs = [], [], 0
        for _ in range(asked.rounds):
            took, runs = plan(here)
            ours.append(took)
            alone, many = multirun(here, 1), multirun(here, asked.points)
            point, busy = (
                (after - before) / (asked.points - 1)
                for after, before in ((many.seconds, alone.seconds), (many.processor, alone.processor))
            )
            theirs.append(Took(alone.seconds + point * (runs - 1), alone.processor + busy * (runs - 1), many.megabytes))
            print(
                f"joyctl plan {took.seconds:.2f} s (processor {took.processor:.2f} s), {took.megabytes:.0f} MB; Hydra"
                f" {asked.points} points {many.seconds:.2f} s, {point * 1e3:.1f} ms a point",
                file=sys.stderr,
            )
    mine, other = (statistics.median(t.seconds for t in side) for side in (ours, theirs))
    busy, theirs_busy = (statistics.median(t.processor for t in side) for side in (ours, theirs))
    print(
        f"joyctl plan of {runs:,} runs {mine:.2f} s (processor {busy:.2f} s), {max(t.megabytes for t in ours):.0f} MB;"
        f" at most 2 s and 300 MB\nHydra's multirun {other:.0f} s (processor {theirs_busy:.0f} s), scaled from"
        f" {asked.points} points, {max(t.megabytes for t in theirs):.0f} MB\n{other / mine:.0f} times less"
    )


if __name__ == "__main__":
    main()
