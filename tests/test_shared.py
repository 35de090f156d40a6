"""Taking over a trunk from another campaign's folder: what is offered, what is copied, what is left behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from recipes_for_tests import facts, point, recipe

from joyctl.campaign.compare import compare
from joyctl.campaign.grid import Grid
from joyctl.campaign.plan import Plan, plan
from joyctl.errors import Refused
from joyctl.launch.disk import find
from joyctl.launch.shared import Offers, offers, take_over, trunks_elsewhere
from joyctl.report.cost import campaign_cost
from joyctl.store import layout
from joyctl.store.dcp import NEEDED
from joyctl.store.files import append_line, sha256_file, write_json, write_text, write_texts

GRID = Grid(durations=(0.1, 0.2))
LIKE = frozenset({(1_000, 0.005, 32, "digest of the tokenizer")})


def planned() -> Plan:
    r = recipe()
    return plan(r, [point(r)], GRID, facts())


def train(campaign: Path, p: Plan) -> None:
    """Leave of every stretch of trunk what its training would, of a few bytes."""
    for spec in p.segments:
        here = campaign / spec.id
        if not spec.id.startswith("trunk/"):
            continue
        checkpoint = layout.checkpoint(here, spec.end_step)
        write_texts({here / layout.SEGMENT: spec.model_dump_json(), checkpoint / "__0_0.distcp": f"w{spec.end_step}"})
        write_text(checkpoint / ".metadata", " ".join(NEEDED))
        append_line(here / layout.METRICS, {"step": spec.end_step})
        append_line(here / layout.ATTEMPTS, {"stage": "train", "start": 0.0})
        files = {
            str(path.relative_to(here)): {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
            for path in checkpoint.iterdir()
        }
        write_json(layout.marker(here, "train"), {"stage": "train", "files": files})


def offered(campaign: Path, p: Plan) -> Offers:
    return offers(campaign, p, trunks_elsewhere(campaign, LIKE))


@pytest.fixture
def first(tmp_path: Path) -> Path:
    train(tmp_path / "first", planned())
    return tmp_path / "first"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("links", [True, False])
def test_a_stretch_is_linked_or_else_copied_and_leaves_attempts_behind(
    first: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source), None, str(target))

    if not links:
        monkeypatch.setattr("os.link", refuse)
    p, second = planned(), first.parent / "second"
    take_over(second, p, offered(second, p))
    for spec in (s for s in p.segments if s.id.startswith("trunk/")):
        here, there = contents(second / spec.id), contents(first / spec.id)
        said = json.loads(here.pop(layout.SHARED))
        assert said["campaign"] == "first" and said["folder"] == str(first / spec.id)
        del here[layout.SEGMENT], there[layout.SEGMENT], there[layout.ATTEMPTS]
        assert here == there
        shard = Path("checkpoint") / f"step-{spec.end_step}" / "__0_0.distcp"
        assert (second / spec.id / shard).samefile(first / spec.id / shard) == links
    assert sorted(path.name for path in second.iterdir()) == ["trunk"]
    work = compare(p, find(second, p, sandbox=True))
    assert not [job for job in work.jobs if job.folder.startswith("trunk/")]


def test_the_one_that_trained_it_is_named_however_it_came_here(first: Path) -> None:
    p, second, third = planned(), first.parent / "second", first.parent / "third"
    take_over(second, p, offered(second, p))
    shutil.rmtree(first)
    take_over(third, p, offered(third, p))
    assert {json.loads(path.read_bytes())["campaign"] for path in third.rglob(layout.SHARED)} == {"first"}


def test_costs_count_where_it_was_trained(first: Path) -> None:
    p, second = planned(), first.parent / "second"
    take_over(second, p, offered(second, p))
    here, there = campaign_cost(second), campaign_cost(first)
    assert here is not None and there is not None
    assert (here.tokens, here.hours, here.shared_tokens) == (0, 0.0, {"first": 128_000})
    assert (there.tokens, there.shared_tokens) == (128_000, {})


def test_a_whole_one_is_taken_where_another_is_damaged(first: Path) -> None:
    shutil.copytree(first, first.parent / "later")
    next((first / "trunk/s0/0-700").rglob("*.distcp")).write_text("another size")
    p, second = planned(), first.parent / "second"
    found = offered(second, p)
    assert found.damaged == () and found.by_segment["trunk/s0/0-700"].campaign == "later"


def test_one_that_goes_away_meanwhile_leaves_nothing_half(first: Path) -> None:
    p, second = planned(), first.parent / "second"
    found = offered(second, p)
    next((first / "trunk/s0/0-700").rglob("*.distcp")).unlink()
    with pytest.raises(Refused, match="went away while trunk trunk/s0/0-700 was shared with first"):
        take_over(second, p, found)
    assert not list(second.iterdir())


def test_nothing_is_offered_that_lies_here_already_or_is_of_another_trunk(first: Path) -> None:
    p = planned()
    assert offered(first, p).by_segment == {}
    r = recipe(optimizer={"lr": 0.004})
    other = plan(r, [point(r)], GRID, facts())
    assert offers(first.parent / "second", other, trunks_elsewhere(first.parent / "second", LIKE)).by_segment == {}
