"""Test items looked for by the jobs of a real Slurm: what one machine finds."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from campaigns import CLUSTER, Place
from slurm.cluster import Cluster
from test_tokenise_campaign import write
from texts import documents, write_lines

LEAK = "which of these seven rivers does not reach any sea at all in spring"
LOOK = ("data", "overlap", "own.yaml")


def test_jobs_of_a_cluster_find_what_one_machine_finds(tmp_path: Path, clean_slurm: Cluster) -> None:
    place = Place(tmp_path, tmp_path / "data", clean_slurm.env)
    stages = {**CLUSTER["stages"], "data": {"partition": "cpu", "cpus_per_task": 1, "mem": "2G", "time": 20}}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump({**CLUSTER, "poll_s": 1, "stages": stages}))
    write(tmp_path, share=0.0)
    items = [{"question": LEAK, "choices": ["Oder", "Okavango"], "answer": 1}]
    (tmp_path / "suites/items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    write_lines(tmp_path / "texts/b1.jsonl", [*documents(20, 7), f"They ask: {LEAK.upper()}?"])
    built = place.call("data", "build", "own.yaml")
    assert built.returncode == 0, built.stderr
    told = place.call(*LOOK, "--cluster", "./cluster.yaml", "--jobs", "2", "--wait")
    assert told.returncode == 0, told.stderr
    assert "jobs queued in" in told.stderr and "1 of 1 test items found in a, b" in told.stdout
    (kept,) = place.data.glob("own-*/overlap/*.json")
    found = kept.read_bytes()
    kept.unlink()
    for part in (kept.parent / "parts").iterdir():
        part.unlink()
    here = place.call(*LOOK, "--json")
    assert here.returncode == 0, here.stderr
    assert kept.read_bytes() == found and json.loads(here.stdout)["found"] == 1
