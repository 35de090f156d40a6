"""1,000 runs onto a real Slurm: `joyctl sweep` beside submitit one by one, and `joyctl status`; calls, seconds, memory.

Starts a Slurm of its own on this machine, whose nodes are drained: everything is queued and nothing runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from slurm.cluster import Cluster  # noqa: E402

COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "sinfo", "sacctmgr", "scancel")
GRID = ["--seeds", "100", "--durations", "5,8,10,12,15,18,20,22,25,30"]  # 1,000 runs and 100 controls
ONE_BY_ONE = 20
CALL = """
import sys
from joyctl.cli.main import main
try:
    main()
finally:
    heavy = {"torch", "transformers", "datasets", "lm_eval", "pandas"} & set(sys.modules)
    print("imported:", *sorted(heavy), file=sys.stderr) if heavy else None
"""
SUBMITIT = f"""
import submitit, sys, time
executor = submitit.AutoExecutor(folder=sys.argv[1])
executor.update_parameters(timeout_min=10, slurm_partition="gpu")
start = time.perf_counter()
for _ in range({ONE_BY_ONE}):
    executor.submit(print, 1)
print((time.perf_counter() - start) / {ONE_BY_ONE})
"""


@dataclass
class Call:
    seconds: float
    slurm: list[str]
    """Commands of Slurm that it called."""
    megabytes: float
    out: str


def counted(folder: Path, env: dict[str, str]) -> dict[str, str]:
    """An environment in which every command of Slurm leaves a line in `folder`/calls."""
    shims = folder / "bin"
    shims.mkdir()
    for command in COMMANDS:
        real = shutil.which(command)
        shim = shims / command
        shim.write_text(f'#!/bin/sh\necho {command} >> "{folder}/calls"\nexec {real} "$@"\n')
        shim.chmod(0o755)
    return {**env, "PATH": f"{shims}:{env['PATH']}"}


def joyctl(folder: Path, env: dict[str, str], *words: str) -> Call:
    (folder / "calls").write_text("")
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", CALL, *words],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process.stdout as out, process.stderr as err:  # type: ignore[union-attr]
        stdout, stderr = out.read(), err.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status or "imported:" in stderr:
        sys.exit(f"joyctl {' '.join(words)}: {stderr}")
    return Call(seconds, (folder / "calls").read_text().split(), used.ru_maxrss / 1024, stdout)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cluster = Cluster(folder / "slurm")
        cluster.up()
        try:
            measure(folder, cluster, counted(folder, {**os.environ, **cluster.env}))
        finally:
            cluster.down()


def measure(folder: Path, cluster: Cluster, env: dict[str, str]) -> None:
    for node in cluster.nodes:
        cluster.drain(node)
    subprocess.run(
        [sys.executable, "-m", "joyctl", "data", "build"], cwd=folder, env=env, check=True, capture_output=True
    )
    where = ["--cluster", str(ROOT / "clusters" / "test-slurm.yaml"), "--json"]
    sent = joyctl(folder, env, "sweep", "tiny", *GRID, *where)
    told = json.loads(sent.out)
    arrays, jobs = len(told["arrays"]), sum(len(a["jobs"]) for a in told["arrays"])
    queued = len(cluster.run("squeue", "-h", "-r").stdout.splitlines())
    assert queued == jobs, f"{jobs} jobs were told, {queued} are in the queue"
    again = joyctl(folder, env, "sweep", "tiny", *GRID, *where)
    assert not json.loads(again.out)["arrays"], "the same command submitted more"
    looked = joyctl(folder, env, "status", "tiny", "--json")
    states = {run["state"] for run in json.loads(looked.out)["runs"]}
    single = subprocess.run(
        [sys.executable, "-c", SUBMITIT, str(folder / "submitit")], env=env, check=True, capture_output=True, text=True
    )
    each = float(single.stdout)
    print(f"{len(told['runs']):,} runs, {jobs:,} jobs in {arrays} arrays")
    print(
        f"joyctl sweep   {sent.seconds:6.2f} s (at most 5)"
        f"   {len(sent.slurm)} calls to Slurm (at most {2 * arrays + 5})"
    )
    print(f"               {sent.megabytes:6.0f} MB (at most 150)")
    print(f"  again        {again.seconds:6.2f} s   {len(again.slurm)} calls")
    print(
        f"joyctl status  {looked.seconds:6.2f} s (at most 1)   {len(looked.slurm)} calls (at most 2)   states {states}"
    )
    print(f"               {looked.megabytes:6.0f} MB (at most 150)")
    print(
        f"submitit one by one: {each * 1e3:.0f} ms a job over {ONE_BY_ONE} jobs, {each * jobs:,.0f} s for as many;"
        f" ratio {each * jobs / sent.seconds:.0f}"
    )


if __name__ == "__main__":
    main()
