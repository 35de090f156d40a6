"""Building data by the jobs of a real Slurm: a killed command, a broken file, and the same data as made here."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
import yaml
from campaigns import CLUSTER, Place
from slurm.cluster import Cluster

from joyctl.data.world import tokenizer as bpe
from joyctl.launch.slurm.ledger import Ledger

SOURCES = ("web", "math", "code", "facts")
RECIPE = {
    "defaults": ["tiny", "_self_"],
    "data": {"world": None, "tokenizer": "tokenizer"},
    "sources": {name: {"text": {"files": f"texts/{name}*.jsonl"}} for name in SOURCES},
}
BUILD = ("data", "build", "small.yaml", "--cluster", "./cluster.yaml", "--jobs", "3")


@pytest.fixture
def place(tmp_path: Path, clean_slurm: Cluster) -> Place:
    """A recipe of four sources in six files of text."""
    place = Place(tmp_path, tmp_path / "data", clean_slurm.env, yaml.safe_dump(RECIPE))
    stages = {**CLUSTER["stages"], "data": {"partition": "cpu", "cpus_per_task": 2, "mem": "2G", "time": 20}}
    value = {**CLUSTER, "poll_s": 1, "stages": stages}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(value), encoding="utf-8")
    documents = [f"the cat sat on mat number {i} of house {i % 7}" for i in range(400)]
    bpe.save(bpe.train(documents, []), tmp_path / "tokenizer")
    (tmp_path / "texts").mkdir()
    for name in (*SOURCES, "web-2", "math-2"):
        lines = (json.dumps({"text": f"{name}: {document}"}) for document in documents)
        (tmp_path / "texts" / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


def folder_of(place: Place) -> Path:
    return next(place.data.glob("small-*"))


def test_from_a_killed_command_and_a_broken_file_to_the_same_data_as_here(place: Place, slurm: Cluster) -> None:
    broken = place.folder / "texts" / "math-2.jsonl"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-3] + b"\n")

    # Killed while it submits: the jobs of before and after are one of each.
    for node in slurm.nodes:
        slurm.drain(node)
    process = place.start(*BUILD)
    while process.poll() is None and not list(place.data.glob("jobs/*/slurm/arrays/*.sh")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    again = place.call(*BUILD, "--json")
    assert again.returncode == 0, again.stderr
    jobs = next(place.data.glob("jobs/*"))
    arrays = {a.manifest.name: a.manifest.elements for a in Ledger(jobs).read()}
    rows = [line.split("|") for line in slurm.run("squeue", "-h", "-r", "-o", "%j|%K|%r").stdout.splitlines()]
    queued = sorted(arrays[name][int(index)].folder for name, index, _ in rows)
    assert queued == ["finish", "share/0/3", "share/1/3", "share/2/3"]
    assert not [reason for _, _, reason in rows if "Held" in reason]

    # Here nothing is built meanwhile.
    local = place.call("data", "build", "small.yaml")
    assert local.returncode == 4 and "in the queue of a cluster" in local.stderr

    # Waited for, the broken file is named and nothing counts as finished.
    for node in slurm.nodes:
        slurm.resume(node)
    waited = place.call(*BUILD, "--wait")
    assert waited.returncode == 5 and "Traceback" not in waited.stderr, waited.stderr
    assert "math-2.jsonl: line 400 is not JSON" in waited.stderr
    assert not list(place.data.glob("small-*"))
    status = json.loads(place.call("data", "status", "small.yaml", "--json").stdout)
    assert not status["finished"] and 0 < status["parts_done"] < status["parts"]
    assert [job["state"] for job in status["jobs"]].count("failed") == 1
    last = status["jobs"][-1]
    assert (last["id"], last["state"]) == ("finish", "blocked") and last["cause"].startswith("share/")

    # Mended, the same command does only what is missing.
    broken.write_bytes(whole)
    mended = place.call(*BUILD, "--wait")
    assert mended.returncode == 0, mended.stderr
    assert Path(mended.stdout.strip()) == folder_of(place)
    assert len(max(Ledger(jobs).read(), key=lambda a: a.manifest.wave).manifest.elements) == 1
    before = len(Ledger(jobs).read())
    once_more = place.call(*BUILD, "--json")
    assert json.loads(once_more.stdout)["path"] == str(folder_of(place)) and len(Ledger(jobs).read()) == before

    # A build of this machine makes the same files.
    made = {path.relative_to(folder_of(place)): path.read_bytes() for path in folder_of(place).rglob("*.bin")}
    marker = json.loads((folder_of(place) / "DATA.json").read_bytes())
    place.data = place.folder / "here"
    assert place.call("data", "build", "small.yaml", "--processes", "1").returncode == 0
    assert made == {path.relative_to(folder_of(place)): path.read_bytes() for path in folder_of(place).rglob("*.bin")}
    assert json.loads((folder_of(place) / "DATA.json").read_bytes())["sources"] == marker["sources"]
