"""Campaigns from base runs trained elsewhere, through the command line: from torchtitan's checkpoint, from a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import stock_training as stock
from campaigns import Place

from joyctl.campaign.grid import DataFacts, Grid, Point
from joyctl.campaign.plan import plan
from joyctl.campaign.schedule import segment_lr
from joyctl.campaign.spec import SegmentSpec
from joyctl.data.folder import open_folder
from joyctl.data.order import Order
from joyctl.recipe.load import load_recipe

RECIPE = """\
defaults: [tiny, _self_]
hypothesis: what are a hundred steps of a tiny model worth?
training: {tokens: 102_400}
model: {dim: 32, n_heads: 2, n_kv_heads: 2, ffn_hidden: 64, init_std: 0.1}
phase: {durations: [0.2, 0.4], drop_at: [0.2]}
eval: {suite: quick, limit: 4}
"""
SUITE = "tasks: [{task: micro_mc}]\nheldout: false\n"
STEP = 60


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def there(folder: Path, root: Path, base: str) -> Place:
    place = Place(folder, root, recipe=f"{RECIPE}{base}\n")
    (folder / "suites").mkdir()
    (folder / "suites" / "quick.yaml").write_text(SUITE, encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory, root: Path) -> SegmentSpec:
    """The base run's first steps, as the recipe would train them without a base."""
    place = there(tmp_path_factory.mktemp("plain"), root, "")
    built = place.call("data", "build", "small.yaml")
    assert built.returncode == 0, built.stderr
    data = open_folder(Path(built.stdout.strip()))
    facts = DataFacts(
        folder=str(data.path),
        tokens={name: source.tokens for name, source in data.sources.items()},
        sha256={name: source.sha256 for name, source in data.sources.items()},
        tokenizer_sha256=data.tokenizer_sha256,
        tasks_sha256=data.tasks_sha256,
    )
    recipe = load_recipe(str(place.folder / "small.yaml"))
    first = plan(recipe, [Point(recipe)], Grid(durations=(0.4,)), facts).segments[0]
    assert (first.start_step, first.end_step) == (0, STEP)
    return first


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, trunk: SegmentSpec) -> Path:
    """A checkpoint of that run, trained by torchtitan alone."""
    return stock.train_stock(trunk, tmp_path_factory.mktemp("elsewhere"))


def seen(trunk: SegmentSpec) -> dict[str, int]:
    rows = Order(trunk.order).counts(STEP * trunk.training.batch_size)
    return {name: n * trunk.training.seq_len for name, n in rows.items()}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, root: Path, base: Path, trunk: SegmentSpec) -> Place:
    """A finished campaign from it."""
    tokenizer = Path(trunk.data_folder) / "tokenizer"
    section = {"dcp": str(base), "tokenizer": str(tokenizer), "seen": seen(trunk)}
    place = there(tmp_path_factory.mktemp("done"), root, f"base: {json.dumps(section)}")
    swept = place.call("sweep", "small.yaml", "--durations", "20")
    assert swept.returncode == 0, swept.stderr
    return place


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_campaign_from_a_stock_checkpoint_trains_what_is_left_and_scores_it(done: Place, trunk: SegmentSpec) -> None:
    trained = {path.parent.relative_to(done.campaign).as_posix() for path in done.campaign.rglob("metrics.jsonl")}
    assert trained == {"trunk/s0/60-80", "trunk/s0/80-100", "runs/upsample-20/s0"}
    for run in ("control", "upsample-20"):
        assert json.loads((done.campaign / f"runs/{run}/s0/eval/micro_mc/results.json").read_text())["status"] == "ok"
        assert (done.campaign / f"runs/{run}/s0/hf/config.json").exists()
    first = lines(done.campaign / "trunk/s0/60-80")
    assert [line["step"] for line in first] == list(range(61, 81))
    assert [line["lr"] for line in first] == [segment_lr(trunk, step) for step in range(61, 81)]
    assert first[-1]["rows"] == Order(trunk.order).counts(80 * trunk.training.batch_size), "its rows and those before"
    assert first[0]["loss"] < lines(done.campaign / "trunk/s0/80-100")[0]["loss"] + 1.0, "it is trained already"
    assert "trained elsewhere" in (done.campaign / "runs/control/s0/hf/README.md").read_text()


def test_the_plan_says_what_it_goes_on_from_and_that_all_is_done(done: Place, base: Path) -> None:
    said = done.call("plan", "small.yaml", "--durations", "20")
    assert (said.returncode, said.stderr) == (0, "")
    assert f"{base} · dcp · step 60" in said.stdout.replace("\n", "")
    assert "carried on with its state" in said.stdout and "all of it is done" in said.stdout
    value = json.loads(done.call("plan", "small.yaml", "--durations", "20", "--json").stdout)
    assert (value["base"]["step"], value["base"]["optimizer"]) == (STEP, "carried on")
    assert {segment["start_step"] for segment in value["segments"] if segment["parent"] is None} == {STEP}
    assert all(run["sources"]["web"]["seen_before"] > value["base"]["seen"]["web"] for run in value["runs"])


def test_a_report_reads_it_as_any_campaign(done: Place) -> None:
    said = done.call("report", "small", "--format", "json")
    assert said.returncode == 0, said.stderr
    assert {delta["run"] for delta in json.loads(said.stdout)["deltas"]} == {"upsample-20/s0"}


def test_a_duration_that_begins_before_the_base_is_refused_with_those_that_fit(done: Place) -> None:
    said = done.call("sweep", "small.yaml", "--durations", "20,50")
    assert said.returncode == 4
    assert "stands at step 60 of 100, after the branch point of 50 % at step 50" in said.stderr
    assert "durations up to 40 %: --durations 20, or give an earlier checkpoint" in said.stderr


def test_another_checkpoint_under_the_same_name_is_drift(done: Place, base: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(base, tmp_path / f"step-{STEP}"))
    shard = next(other.glob("*.distcp"))
    shard.write_bytes(shard.read_bytes() + b"\0")
    moved = Path(shutil.copytree(base, tmp_path / "moved" / f"step-{STEP}"))
    assert done.call("sweep", "small.yaml", "--durations", "20", f"base.dcp={moved}").returncode == 0, "only moved"
    said = done.call("sweep", "small.yaml", "--durations", "20", f"base.dcp={other}")
    assert said.returncode == 4 and "was trained with other settings" in said.stderr


def test_a_base_that_is_not_there_or_torn_stops_the_command(done: Place, base: Path, tmp_path: Path) -> None:
    gone = done.call("plan", "small.yaml", "base.dcp=nowhere/step-60")
    assert gone.returncode == 6 and "nowhere/step-60 is no folder" in gone.stderr
    torn = Path(shutil.copytree(base, tmp_path / f"step-{STEP}"))
    (torn / ".metadata").write_bytes((torn / ".metadata").read_bytes()[:100])
    said = done.call("sweep", "small.yaml", f"base.dcp={torn}", "campaign=torn")
    assert said.returncode == 4 and "torn" in said.stderr and "Copy or save it again" in said.stderr
    assert not (done.folder / "results" / "torn").exists()


def test_a_campaign_from_a_hugging_face_folder_starts_the_optimizer_anew(
    tmp_path: Path, root: Path, base: Path, trunk: SegmentSpec
) -> None:
    from joyctl.train.export import export_model

    export_model(trunk, base, tmp_path / "llama", tokenizer=Path(trunk.data_folder) / "tokenizer", card="")
    place = there(tmp_path / "place", root, "base: {hf: ../llama, step: 60, rewarm: 10}")
    planned = place.call("plan", "small.yaml", "--durations", "40")
    words = " ".join(planned.stdout.split())
    assert "started anew: a Hugging Face folder has no state of it; the LR rises over 10 steps, 61 to 70" in words
    assert "in all arms and in the control" in words
    swept = place.call("sweep", "small.yaml", "--durations", "40")
    assert swept.returncode == 0, swept.stderr
    arm, control = place.campaign / "runs/upsample-40/s0", place.campaign / "trunk/s0/60-80"
    spec = SegmentSpec.model_validate_json((arm / "segment.json").read_bytes())
    assert spec.parent is None and spec.base is not None and spec.base.rewarm == 10, "it branches at the base itself"
    rates = [line["lr"] for line in lines(arm)]
    assert rates == [segment_lr(spec, step) for step in range(61, 101)]
    assert rates[:20] == [line["lr"] for line in lines(control)], "the control has the same"
    assert lines(arm)[0]["rows"]["web"] < 20, "nothing seen before was told of"
    status = json.loads((place.campaign / "runs/upsample-40/s0/eval/micro_mc/results.json").read_text())["status"]
    assert status == "ok"
