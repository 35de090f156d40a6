"""Small campaigns through the command line, here or on a Slurm, and every number they came to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

RECIPE = """\
defaults: [tiny, _self_]
hypothesis: does a hundred steps say anything?
training: {tokens: 102_400}
phase: {durations: [0.2, 0.4], drop_at: [0.2]}
eval: {limit: 40}
"""
GRID = ("--drop", "math")
FAULTS = Path(__file__).parent / "faults"
CLUSTER: dict[str, Any] = {
    "kind": "slurm",
    "partition": "gpu",
    "signal_grace_s": 60,
    # All the GPUs of a node, so that no more train at once than a small machine can bear.
    "exclude": "n[3-4]",
    "stages": {
        "train": {"gpus_per_node": 8, "processes_per_node": 1, "cpus_per_task": 1, "mem": "3G", "time": 30},
        "eval": {"gpus_per_node": 1, "cpus_per_task": 1, "mem": "3G", "time": 20},
        "score": {"partition": "cpu", "cpus_per_task": 1, "mem": "2G", "time": 20},
    },
}


Status = dict[str, dict[str, Any]]


class Place:
    """A folder of its own in which joyctl is called as a person would."""

    def __init__(self, folder: Path, data: Path, env: Mapping[str, str] | None = None, recipe: str = RECIPE) -> None:
        self.folder, self.data, self.env = folder, data, dict(env or {})
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "small.yaml").write_text(recipe, encoding="utf-8")

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "joyctl", *words]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, "JOYCTL_DATA": str(self.data), **self.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    @property
    def campaign(self) -> Path:
        return self.folder / "results" / "small"

    # -- on a Slurm

    def cluster(self, changes: Mapping[str, Any] | None = None, faults: Mapping[str, Any] | None = None) -> None:
        """Write cluster.yaml: the tests' own with some keys changed (dotted), and what is to break."""
        value = json.loads(json.dumps(CLUSTER))
        env = {"PYTHONPATH": str(FAULTS), "JOYCTL_TEST_FAULTS": str(self.folder / "faults.json")}
        for key, to in {"env": env, **(changes or {})}.items():
            node = value
            *above, last = key.split(".")
            for part in above:
                node = node.setdefault(part, {})
            node[last] = to
        (self.folder / "cluster.yaml").write_text(yaml.safe_dump(value), encoding="utf-8")
        (self.folder / "faults.json").write_text(json.dumps(dict(faults or {})), encoding="utf-8")

    def mend(self) -> None:
        """Let nothing break or be slow any more."""
        (self.folder / "faults.go").touch()
        (self.folder / "faults.json").write_text("{}", encoding="utf-8")

    def sweep(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.call("sweep", "small.yaml", *words, "--cluster", "./cluster.yaml")

    def status(self) -> Status:
        """What `joyctl status --json` says of every run and segment, by id."""
        said = self.call("status", "small", "--json")
        assert said.returncode == 0, said.stderr
        return {run["id"]: run for run in json.loads(said.stdout)["runs"]}

    def wait(
        self, until: Callable[[dict[str, dict[str, Any]]], bool], seconds: float = 300
    ) -> dict[str, dict[str, Any]]:
        """The first status for which `until` holds."""
        end = time.monotonic() + seconds
        while not until(now := self.status()):
            assert time.monotonic() < end, json.dumps(now, indent=1)
            time.sleep(1)
        return now

    def wait_step(self, folder: str, step: int, seconds: float = 300) -> None:
        """Return when a training has written down a step."""
        path = self.campaign / folder / "metrics.jsonl"
        end = time.monotonic() + seconds
        while not (path.exists() and f'"step": {step},' in path.read_text()):
            assert time.monotonic() < end, f"{folder} never came to step {step}"
            time.sleep(0.2)

    def job(self, folder: str, stage: str = "train") -> str:
        """Slurm's id of the newest job that does a stage of a folder: `202_3`."""
        from joyctl.launch.slurm.ledger import Ledger, newest

        array, index = newest(Ledger(self.campaign).read())[(folder, stage)][-1]  # type: ignore[index]
        return array.job_id(index)

    def attempts(self, folder: str, stage: str = "train") -> list[str]:
        """How each attempt at a stage ended, in order."""
        lines = map(json.loads, (self.campaign / folder / "attempts.jsonl").read_text().splitlines())
        return [line["outcome"] for line in lines if line["stage"] == stage and "outcome" in line]


def numbers(campaign: Path) -> dict[str, Any]:
    """Every number a campaign came to, without times; no step may stand twice or be left out."""
    found: dict[str, Any] = {}
    for path in sorted(campaign.rglob("metrics.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line["step"] for line in lines] == list(range(lines[0]["step"], lines[-1]["step"] + 1)), path
        found[str(path.relative_to(campaign))] = [[line["loss"], line["grad_norm"], line["lr"]] for line in lines]
    for path in sorted(campaign.rglob("results.json")):
        found[str(path.relative_to(campaign))] = json.loads(path.read_text())["scores"]
    for path in sorted(campaign.rglob("samples.jsonl")):
        found[str(path.relative_to(campaign))] = path.read_text()
    return found


def over(status: Status) -> bool:
    """Whether nothing is queued, running or about to be."""
    return not {run["state"] for run in status.values()} & {"queued", "running", "retrying"}
