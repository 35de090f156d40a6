"""`joyctl status`, `logs` and `cancel` as a person types them, on a campaign of files; Slurm is not on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from report_campaign import put, write_campaign

from joyctl.launch.slurm.ledger import Element, Ledger, Manifest

RUN = "runs/upsample-20/s0"
TRUNK = "trunk/s0/0-1000"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_campaign(tmp_path / "tiny", scored=False)
    return tmp_path


def joyctl(results: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": "/nonexistent", "JOYCTL_RESULTS": str(results), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "joyctl", *words], env=environment, capture_output=True, text=True, check=False
    )


def fail(folder: Path, **more: Any) -> None:
    """Its training failed on ranks 0 and 5, the latter first."""
    (folder / "DONE.train.json").unlink()
    start = {"stage": "train", "start": time.time() - 9, "pid": 5, "host": "n1", "job": None, "restart": 0, **more}
    ended = {**start, "end": time.time(), "outcome": "failed", "error": "loss became NaN"}
    (folder / "attempts.jsonl").write_text(f"{json.dumps(start)}\n{json.dumps(ended)}\n")
    for rank, ago in ((0, 1), (5, 2)):
        facts = {"time": time.time() - ago, "rank": rank, "host": "n1", "job": start["job"], "restart": 0, "pid": 5}
        put(folder / f"log/error-train-{rank}.json", {**facts, "exception": "x", "traceback": f"Traceback of {rank}"})
    (folder / "log/train.log").write_text("".join(f"step {i}\n" for i in range(100)))


def submitted(campaign: Path, folder: str, dependency: str | None = None, name: str = "w") -> None:
    ledger = Ledger(campaign)
    ledger.place(None, campaign)
    ledger.write_manifest(Manifest(name, "train", 1, {0: Element(folder, ("train",))}, dependency))
    ledger.record("submitted", name=name, job="202")
    ledger.record("released", names=[name])


def test_status_says_what_to_do_next(results: Path) -> None:
    assert joyctl(results, "status").stdout.endswith("next:  joyctl report tiny\n")
    fail(results / "tiny" / RUN)
    done = joyctl(results, "status")
    assert done.returncode == 0
    assert "FAILED" in done.stdout and "loss became NaN" in done.stdout
    assert done.stdout.endswith("why:   joyctl logs upsample-20/s0 --failed\nnext:  joyctl sweep\n")


def test_status_as_json(results: Path) -> None:
    submitted(results / "tiny", RUN)
    (results / "tiny" / RUN / "DONE.train.json").unlink()
    found = json.loads(joyctl(results, "status", "--json").stdout)
    run = next(run for run in found["runs"] if run["id"] == "upsample-20/s0")
    assert {"id", "stage", "state", "cause", "step", "of_steps", "loss", "job", "stages"} <= run.keys()
    assert (run["stage"], run["state"], run["job"]) == ("train", "queued", "202_0")
    assert "squeue is not on this machine" in found["notes"][0]


def test_watch_ends_by_itself_when_nothing_is_under_way(results: Path) -> None:
    done = joyctl(results, "status", "--watch")
    assert done.returncode == 0 and "16 of 16 stages done" in done.stdout
    assert joyctl(results, "status", "--watch", "--json").returncode == 2


def test_logs_of_a_run_are_the_end_of_its_newest_log(results: Path) -> None:
    fail(results / "tiny" / RUN)
    for word in ("upsample-20/s0", RUN, "upsample-2"):
        done = joyctl(results, "logs", word)
        assert done.returncode == 0
        assert done.stdout.splitlines() == [f"step {i}" for i in range(60, 100)]
        assert done.stderr.strip().endswith(f"{RUN}/log/train.log")


def test_logs_of_a_failure_are_the_traceback_of_the_rank_that_failed_first(results: Path) -> None:
    fail(results / "tiny" / RUN)
    done = joyctl(results, "logs", "upsample-20/s0", "--failed")
    assert done.stdout == "Traceback of 5\n"
    assert "upsample-20/s0 train FAILED: loss became NaN" in done.stderr
    assert "rank 5 on n1" in done.stderr and "the first of 2 that failed" in done.stderr


def test_what_died_without_a_word_is_told_by_its_log_and_slurms_output(results: Path) -> None:
    here = results / "tiny" / RUN
    fail(here, job="202_0")
    submitted(results / "tiny", RUN)
    for path in (here / "log").glob("error-*.json"):
        path.unlink()
    (results / "tiny/slurm/log/202_0_0_log.out").write_text("srun: error: n1: task 0: Killed\n")
    (results / "tiny/slurm/log/202_01_0_log.out").write_text("of another job\n")
    done = joyctl(results, "logs", "upsample-20/s0", "--failed")
    assert done.stdout.endswith("step 99\nsrun: error: n1: task 0: Killed\n")


def test_what_is_blocked_leads_to_what_failed(results: Path) -> None:
    campaign = results / "tiny"
    fail(campaign / TRUNK, job="202_0")
    submitted(campaign, TRUNK, name="t")
    (campaign / RUN / "DONE.train.json").unlink()
    ledger = Ledger(campaign)
    ledger.write_manifest(Manifest("w", "train", 1, {0: Element(RUN, ("train",))}, "afterok:t_0"))
    ledger.record("submitted", name="w", job="203")
    squeue = campaign / "bin/squeue"
    put(squeue, None)
    squeue.write_text("#!/bin/sh\nexit 0\n")
    squeue.with_name("sacct").write_text(
        "#!/bin/sh\necho '203_0|CANCELLED|0:0|0:0|Dependency|Unknown|Unknown|01:00:00|None assigned'\n"
        "echo '202_0|FAILED|1:0|0:0|None|Unknown|Unknown|01:00:00|n1'\n"
    )
    for path in squeue.parent.iterdir():
        path.chmod(0o755)
    environment = {**os.environ, "PATH": str(squeue.parent), "JOYCTL_RESULTS": str(results)}
    done = subprocess.run(
        [sys.executable, "-m", "joyctl", "logs", "upsample-20", "--failed"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"upsample-20/s0 train is BLOCKED: {TRUNK} failed" in done.stderr
    assert done.stdout == "Traceback of 5\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["upsample"], "could be upsample-10/s0, upsample-20/s0"),
        (["upsmaple-20/s0"], "Did you mean 'upsample-20/s0'?"),
        (["control/s0"], "has written no log yet"),
    ],
)
def test_what_logs_cannot_find_is_said(results: Path, words: list[str], said: str) -> None:
    done = joyctl(results, "logs", *words)
    assert done.returncode == 6 and said in done.stderr and not done.stdout


def test_an_unknown_stage_is_a_usage_error(results: Path) -> None:
    assert joyctl(results, "logs", "control/s0", "--stage", "trian").returncode == 2


def test_a_campaign_of_this_machine_is_not_cancelled_but_stopped(results: Path) -> None:
    done = joyctl(results, "cancel")
    assert done.returncode == 4 and "Ctrl-C" in done.stderr


def test_status_loads_nothing_heavy(results: Path) -> None:
    code = (
        "import sys, json, atexit;"
        "atexit.register(lambda: print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})), file=sys.stderr));"
        "sys.argv = ['joyctl', 'status'];"
        "from joyctl.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "JOYCTL_RESULTS": str(results)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert done.returncode == 0
    assert not loaded & {"torch", "pandas", "numpy", "hydra", "submitit", "lm_eval", "transformers", "datasets"}
