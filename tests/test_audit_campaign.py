"""The audit through the command line, over a trunk that is damaged in every way; and trunks shared by two campaigns."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from campaigns import Place, numbers

from joyctl.store.files import sha256_file

RECIPE = """\
defaults: [tiny, _self_]
hypothesis: do forty steps say anything?
training: {tokens: 40_960}
phase: {durations: [0.25, 0.5], drop_at: [0.25]}
eval: {limit: 2}
"""
# Another question on the same base run: the trunk is cut at other steps, the phase has another mix.
OTHER = RECIPE.replace("0.5]", "0.4]") + "mixes: {upsampled: {web: 0.2, math: 0.4, code: 0.2, facts: 0.2}}\n"
PARENT = "trunk/s0/0-20"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Place:
    """A campaign whose trunk is trained, with one of its two durations: the other one is still to branch from it."""
    place = Place(tmp_path_factory.mktemp("done"), data, recipe=RECIPE)
    swept = place.call("sweep", "small.yaml", "--durations", "25")
    assert swept.returncode == 0, swept.stderr
    assert "audit: 1 branch, " in swept.stderr
    return place


@pytest.fixture
def place(done: Place, tmp_path: Path) -> Place:
    """A copy of it, to damage."""
    copy = Place(tmp_path, done.data, recipe=RECIPE)
    shutil.copytree(done.campaign, copy.campaign)
    return copy


def parent(place: Place) -> Path:
    return place.campaign / PARENT


def shard(place: Place) -> Path:
    return next((parent(place) / "checkpoint" / "step-20").glob("*.distcp"))


def missing_shard(place: Place) -> None:
    shard(place).unlink()


def truncated_shard(place: Place) -> None:
    content = shard(place).read_bytes()
    shard(place).write_bytes(content[:-1])


def flipped_byte(place: Place) -> None:
    content = bytearray(shard(place).read_bytes())
    content[len(content) // 2] ^= 1
    shard(place).write_bytes(content)


def torn_metadata(place: Place) -> None:
    path = parent(place) / "checkpoint" / "step-20" / ".metadata"
    path.write_bytes(path.read_bytes()[:-7])


def no_checkpoint(place: Place) -> None:
    shutil.rmtree(parent(place) / "checkpoint")


def torn_marker(place: Place) -> None:
    (parent(place) / "DONE.train.json").write_text('{"stage": "tr', encoding="utf-8")


def other_lr(place: Place) -> None:
    path = parent(place) / "metrics.jsonl"
    *lines, last = path.read_text().splitlines()
    value = json.loads(last)
    value["lr"] *= 0.5
    path.write_text("\n".join([*lines, json.dumps(value)]) + "\n")


def other_rows(place: Place) -> None:
    path = parent(place) / "metrics.jsonl"
    *lines, last = path.read_text().splitlines()
    value = json.loads(last)
    value["rows"]["math"] += 1
    path.write_text("\n".join([*lines, json.dumps(value)]) + "\n")


def without_optimizer(place: Place) -> None:
    """What torchtitan leaves by its defaults at the end of a run: the model alone, whole and well marked."""
    import torch
    from torch.distributed import checkpoint as dcp

    folder = parent(place) / "checkpoint" / "step-20"
    shutil.rmtree(folder)
    with pytest.warns(UserWarning, match="save in a single process"):
        dcp.save({"tok_embeddings.weight": torch.zeros(4, 4)}, checkpoint_id=folder, no_dist=True)
    marker = parent(place) / "DONE.train.json"
    value = json.loads(marker.read_text())
    value["files"] = {
        str(path.relative_to(parent(place))): {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in folder.iterdir()
    }
    marker.write_text(json.dumps(value))


BAD: list[tuple[Callable[[Place], None], str, str]] = [
    (missing_shard, "checkpoint", "__0_0.distcp is missing"),
    (truncated_shard, "checkpoint", "__0_0.distcp has "),
    (torn_metadata, "checkpoint", ".metadata has "),
    (no_checkpoint, "checkpoint", "step-20: is gone"),
    (torn_marker, "checkpoint", "DONE.train.json is damaged"),
    (without_optimizer, "checkpoint", "it lacks optimizer state, position in the LR schedule, position in the data"),
    (other_lr, "metrics", "step 20 was trained with LR "),
    (other_rows, "metrics", "it has seen other rows of the sources"),
]


@pytest.mark.parametrize(("damage", "check", "said"), BAD)
def test_a_parent_that_cannot_be_gone_on_from_is_refused_with_its_remedy(
    place: Place, damage: Callable[[Place], None], check: str, said: str
) -> None:
    damage(place)
    before = sorted(place.campaign.rglob("*"))
    refused = place.call("sweep", "small.yaml")
    assert refused.returncode == 4 and "Traceback" not in refused.stderr
    assert f"✗ {check}: {PARENT}: " in refused.stderr and said in refused.stderr
    assert f"rm -r {Path('results/small') / PARENT / 'DONE.train.json'}" in refused.stderr
    assert "--rerun" in refused.stderr
    assert sorted(place.campaign.rglob("*")) == before  # nothing queued, nothing trained


def audited(place: Place, *words: str) -> tuple[int, list[dict[str, Any]]]:
    said = place.call("plan", "small.yaml", "--audit", "--json", *words)
    return said.returncode, json.loads(said.stdout)["audit"]


def test_a_flipped_byte_is_found_where_bytes_are_read(place: Place) -> None:
    assert audited(place)[0] == 0
    flipped_byte(place)
    assert place.call("sweep", "small.yaml", "--dry-run").returncode == 0  # of sizes it says, not of bytes
    code, found = audited(place)
    failed = [f for f in found if f["level"] == "failure"]
    assert code == 4 and [(f["check"], f["run"]) for f in failed] == [("checkpoint", PARENT)]
    assert "the contents of __0_0.distcp have changed" in failed[0]["said"] and failed[0]["remedy"]
    shown = place.call("plan", "small.yaml", "--audit")
    assert shown.returncode == 4 and " ✗  checkpoint" in shown.stdout and " ✓  learning rate" in shown.stdout


def test_what_is_damaged_is_set_aside_and_trained_again_to_the_same_numbers(done: Place, place: Place) -> None:
    truncated_shard(place)
    again = place.call("sweep", "small.yaml", "--rerun")
    assert again.returncode == 0, again.stderr
    assert "set aside in results/small/replaced/" in again.stderr and PARENT in again.stderr
    shutil.rmtree(place.campaign / "replaced")
    here, there = numbers(place.campaign), numbers(done.campaign)
    assert {name: here[name] for name in there} == there and set(here) > set(there)


def test_a_finished_campaign_may_lose_its_checkpoints(place: Place) -> None:
    no_checkpoint(place)
    again = place.call("sweep", "small.yaml", "--durations", "25")
    assert again.returncode == 0 and "nothing to do" in again.stderr
    code, found = audited(place, "--durations", "25")
    (gone,) = [f for f in found if f["level"] != "ok"]
    assert code == 0 and gone["level"] == "warning" and gone["run"] == PARENT and "is gone" in gone["said"]


@pytest.mark.parametrize("same_size", [True, False])
def test_replaced_tokens_are_found(place: Place, tmp_path: Path, same_size: bool) -> None:
    shutil.copytree(place.data, tmp_path / "data")
    moved = Place(tmp_path, tmp_path / "data", recipe=RECIPE)
    path = next((tmp_path / "data").glob("*/sources/math/train.bin"))
    content = path.read_bytes()
    path.write_bytes(content[::-1] if same_size else content[:-2])
    refused = moved.call("plan", "small.yaml", "--audit") if same_size else moved.call("sweep", "small.yaml")
    assert refused.returncode == 4
    assert "✗ data: math: " in refused.stdout + refused.stderr
    assert "joyctl data build" in refused.stdout + refused.stderr


KILLED_WHILE_LINKING = """
import os, signal, sys
link, made = os.link, []
def once(source, target):
    if made:
        os.kill(os.getpid(), signal.SIGKILL)
    made.append(target)
    link(source, target)
os.link = once
from joyctl.cli.main import main
sys.argv = ["joyctl", "sweep", "other.yaml", "--durations", "25"]
main()
"""


def test_a_trunk_is_shared_whole_or_not_at_all_and_outlives_its_campaign(
    place: Place, data: Path, tmp_path: Path
) -> None:
    other = place.campaign.parent / "other"
    (place.folder / "other.yaml").write_text(OTHER, encoding="utf-8")
    planned = json.loads(place.call("plan", "other.yaml", "--durations", "25", "--json").stdout)
    assert {s["id"]: s["action"] for s in planned["segments"]} == {
        "trunk/s0/0-20": "share",
        "trunk/s0/20-24": "run",
        "trunk/s0/20-30": "share",
        "trunk/s0/30-40": "share",
        "runs/upsample-25/s0": "run",
    }
    assert planned["runs"][0]["reason"] == "trunk shared with small; export missing"
    assert planned["totals"]["tokens"] == (4 + 10) * 1_024

    command = [sys.executable, "-c", KILLED_WHILE_LINKING]
    env = {"PYTHONPATH": ":".join(sys.path), "JOYCTL_DATA": str(data), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    killed = subprocess.run(command, cwd=place.folder, env=env, capture_output=True, timeout=120)
    assert killed.returncode == -9
    assert not list(other.glob("trunk/*/*"))

    swept = place.call("sweep", "other.yaml", "--durations", "25")
    assert swept.returncode == 0, swept.stderr
    assert "trunk shared with small: 40 steps, 40,960 tokens not trained again" in swept.stderr
    assert not (other / ".taking").exists()
    for stretch in ("0-20", "20-30", "30-40"):
        here, there = other / "trunk/s0" / stretch, place.campaign / "trunk/s0" / stretch
        assert not (here / "attempts.jsonl").exists()
        assert json.loads((here / "shared.json").read_text())["campaign"] == "small"
        for path in there.rglob("*.distcp"):
            assert (here / path.relative_to(there)).samefile(path)

    alone = Place(tmp_path / "alone", data, recipe=OTHER)
    assert alone.call("sweep", "small.yaml", "--durations", "25").returncode == 0
    expected, found = numbers(alone.campaign), numbers(other)
    assert {n: v for n, v in found.items() if n.startswith("runs/")} == {
        n: v for n, v in expected.items() if n.startswith("runs/")
    }
    assert steps_of_trunk(found) == steps_of_trunk(expected)

    shutil.rmtree(place.campaign)
    whole = place.call("plan", "other.yaml", "--audit", "--json")
    assert whole.returncode == 0 and {f["level"] for f in json.loads(whole.stdout)["audit"]} == {"ok"}
    shown = place.call("plan", "other.yaml", "--audit")
    assert shown.returncode == 0 and " ✓  learning rate" in shown.stdout and "✗" not in shown.stdout
    report = place.call("report", "other")
    assert "41 k of trunk shared with small" in " ".join(report.stdout.split())
    cost = json.loads(place.call("report", "other", "--format", "json").stdout)["cost"]
    assert cost["tokens"] == 14 * 1_024 and cost["shared_tokens"] == {"small": 40 * 1_024}


def steps_of_trunk(found: dict[str, Any]) -> list[Any]:
    """Loss, norm and LR of every step of the trunk, however it is cut."""
    steps: dict[int, Any] = {}
    for name, lines in found.items():
        if name.startswith("trunk/"):
            first = int(name.split("/")[2].partition("-")[0]) + 1
            for step, line in enumerate(lines, first):
                assert steps.setdefault(step, line) == line
    return [steps[step] for step in sorted(steps)]


def test_a_damaged_trunk_is_not_taken_and_that_is_said(place: Place) -> None:
    (place.folder / "other.yaml").write_text(OTHER, encoding="utf-8")
    truncated_shard(place)
    planned = place.call("plan", "other.yaml", "--durations", "25")
    assert f"{PARENT} is not taken over: its checkpoint __0_0.distcp has " in planned.stderr
    actions = json.loads(place.call("plan", "other.yaml", "--durations", "25", "--json").stdout)["segments"]
    assert {s["id"]: s["action"] for s in actions}[PARENT] == "run"


def test_a_trunk_in_training_or_with_other_settings_is_left_alone(place: Place) -> None:
    (place.folder / "other.yaml").write_text(OTHER, encoding="utf-8")
    lr = place.call("plan", "other.yaml", "optimizer.lr=0.004", "--json")
    assert {s["action"] for s in json.loads(lr.stdout)["segments"]} == {"run"}
    (parent(place) / "DONE.train.json").unlink()
    planned = json.loads(place.call("plan", "other.yaml", "--json").stdout)["segments"]
    # What hangs on it is trained anew; its last stretch starts at a step where this trunk has a checkpoint too.
    assert {s["id"]: s["action"] for s in planned if s["id"].startswith("trunk/")} == {
        "trunk/s0/0-24": "run",
        "trunk/s0/24-30": "run",
        "trunk/s0/30-40": "share",
    }
