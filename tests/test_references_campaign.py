"""References through the command line, with the real lm-eval: scored beside the runs, under their protocol."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from campaigns import RECIPE, Place, numbers, over
from slurm.cluster import Cluster
from small_models import Shape, make_model, make_tokenizer

# As many positions as the demo's model has, so that its own tokenizer makes a reference differ in nothing.
SHAPE = Shape(layers=1, width=32, heads=2, context=512)
REFERENCES = """\
references:
  same: {model: models/same, about: the same tokenizer}
  other: {model: models/other}
"""
TEXTS = ["the old mill stands by a river and nobody knows who built it", "0 1 2 3 4 5 6 7 8 9 plus minus"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A random model with the world's own tokenizer, and one with another."""
    place = Place(tmp_path_factory.mktemp("building"), data)
    built = place.call("data", "build", "small.yaml")
    assert built.returncode == 0, built.stderr
    folder = tmp_path_factory.mktemp("models")
    make_model(folder / "same", Path(built.stdout.strip()) / "tokenizer", shape=SHAPE)
    tokenizer = make_tokenizer(folder / "tokenizer", vocabulary=400, sample=TEXTS * 20)
    make_model(folder / "other", tokenizer, shape=SHAPE, seed=1)
    shutil.rmtree(tokenizer)
    return folder


def there(folder: Path, data: Path, models: Path) -> Place:
    place = Place(folder, data, recipe=RECIPE.replace("limit: 40", "limit: 12") + REFERENCES)
    shutil.copytree(models, folder / "models")
    (folder / "three-cores.yaml").write_text("kind: local\ncores: 3\n", encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, data: Path, models: Path) -> Iterator[Place]:
    """A finished campaign of a control, two durations and two references."""
    place = there(tmp_path_factory.mktemp("done"), data, models)
    swept = place.call("sweep", "small.yaml", "--cluster", "./three-cores.yaml", "--json")
    assert swept.returncode == 0, swept.stderr
    (place.folder / "swept.json").write_text(swept.stdout, encoding="utf-8")
    yield place


@pytest.fixture
def copied(tmp_path: Path, data: Path, models: Path, done: Place) -> Place:
    place = there(tmp_path, data, models)
    shutil.copytree(done.campaign, place.campaign)
    return place


def report(place: Place) -> dict[str, Any]:
    said = place.call("report", "small", "--format", "json")
    assert said.returncode == 0, said.stderr
    value: dict[str, Any] = json.loads(said.stdout)
    return value


def add_reference(place: Place, text: str) -> None:
    with (place.folder / "small.yaml").open("a", encoding="utf-8") as file:
        file.write(text)


def test_each_is_scored_on_all_that_the_runs_are_and_trains_nothing(done: Place) -> None:
    tasks = {path.name for path in (done.campaign / "runs/control/s0/eval").iterdir()}
    for name in ("ref-same", "ref-other"):
        here = done.campaign / "runs" / name / "s0"
        assert {path.name for path in here.glob("DONE.*.json")} == {"DONE.eval.json", "DONE.score.json"}
        assert {path.name for path in (here / "eval").iterdir()} == tasks
        assert not (here / "hf").exists() and not (here / "segment.json").exists()
    assert {run["state"] for run in done.status().values()} == {"done"}
    plan = json.loads(done.call("plan", "small.yaml", "--json").stdout)
    mine = {run["id"]: run for run in plan["runs"] if run["reference"]}
    assert {(run["action"], run["tokens"], run["lr_at_branch"]) for run in mine.values()} == {("skip", 0, None)}
    assert mine["ref-same/s0"]["reference"]["about"] == "the same tokenizer"


def test_no_other_job_gets_fewer_cores_for_them(done: Place) -> None:
    jobs = json.loads((done.folder / "swept.json").read_text())["jobs"]
    trunk = next(job for job in jobs if job["folder"].startswith("trunk/s0/0-"))
    assert trunk["threads"] == 3, "all cores, although two references could start as well"


def test_the_same_tokenizer_has_the_runs_protocol_and_another_is_named(done: Place) -> None:
    value = report(done)
    of = {run["id"]: run["reference"] for run in value["runs"]}
    assert of["ref-same/s0"]["protocol"] == []
    assert [part["part"] for part in of["ref-other/s0"]["protocol"]] == ["tokenizer_sha256"]
    by_run: dict[str, set[str]] = {}
    for score in value["scores"]:
        if score["metric"] != "rescaled":
            by_run.setdefault(score["run"], set()).add(score["protocol"])
    assert by_run["ref-same/s0"] == by_run["control/s0"]
    assert not by_run["ref-other/s0"] & by_run["control/s0"]


def test_both_are_compared_with_the_control_on_every_score(done: Place) -> None:
    value = report(done)
    assert value["missing"] == []
    keys = {run: {(d["task"], d["metric"], d["filter"]) for d in value["deltas"] if d["run"] == run}
            for run in ("ref-same/s0", "ref-other/s0", "upsample-20/s0")}  # fmt: skip
    assert keys["ref-same/s0"] == keys["ref-other/s0"] == keys["upsample-20/s0"] != set()
    mine = [d for d in value["deltas"] if d["run"].startswith("ref-")]
    assert {(d["control"], d["family"]) for d in mine} == {("control/s0", "reference")}
    losses = [d for d in mine if d["task"] == "heldout_web"]
    assert len(losses) == 2 and all(d["verdict"] == "higher" for d in losses), (
        "random models know less than the control"
    )


def test_the_bits_of_another_tokenizer_are_of_the_same_bytes(done: Place) -> None:
    def size(run: str) -> list[int]:
        path = done.campaign / "runs" / run / "s0/eval/heldout_web/samples.jsonl"
        return [json.loads(line)["bytes"] for line in path.read_text().splitlines()]

    assert size("ref-other") == size("control") and sum(size("control")) > 0


def test_the_screen_sets_them_apart(done: Place) -> None:
    shown = done.call("report", "small").stdout
    assert shown.index("\nreferences") < shown.index("\nref-same") < shown.index("\nref-other")
    planned = done.call("plan", "small.yaml").stdout
    assert "3 runs and 2 references" in planned and "models/other" in planned.replace("\n", "")


def test_a_model_scored_as_a_reference_has_exactly_the_scores_it_has_as_a_run(copied: Place) -> None:
    add_reference(copied, "  itself: {model: results/small/runs/control/s0/hf}\n")
    before = numbers(copied.campaign)
    swept = copied.call("sweep", "small.yaml", "--json")
    assert swept.returncode == 0, swept.stderr
    jobs = [(job["folder"], job["stage"]) for job in json.loads(swept.stdout)["jobs"]]
    assert jobs == [("runs/ref-itself/s0", "eval"), ("runs/ref-itself/s0", "score")], "and nothing else is done again"
    after = numbers(copied.campaign)
    assert {key: after[key] for key in before} == before
    mine = [d for d in report(copied)["deltas"] if d["run"] == "ref-itself/s0"]
    assert mine and {(d["delta"], d["verdict"]) for d in mine} == {(0.0, "no detectable difference")}


def test_another_model_in_the_same_place_is_refused_and_rerun_sets_the_old_one_aside(copied: Place) -> None:
    assert "nothing to do" in copied.call("sweep", "small.yaml").stderr
    shutil.rmtree(copied.folder / "models/same")
    shutil.copytree(copied.folder / "models/other", copied.folder / "models/same")
    refused = copied.call("sweep", "small.yaml")
    assert refused.returncode == 4 and "Traceback" not in refused.stderr
    assert "ref-same/s0 is another model" in refused.stderr and "model.sha256" in refused.stderr
    again = copied.call("sweep", "small.yaml", "--rerun", "--json")
    assert again.returncode == 0, again.stderr
    assert {job["folder"] for job in json.loads(again.stdout)["jobs"]} == {"runs/ref-same/s0"}
    assert [p.name for p in (copied.campaign / "replaced").glob("*/runs/*")] == ["ref-same"]
    scores = {run: numbers(copied.campaign / "runs" / run) for run in ("ref-same", "ref-other")}
    assert scores["ref-same"] == scores["ref-other"] != {}


def test_a_model_that_was_moved_is_no_change(copied: Place) -> None:
    (copied.folder / "models").rename(copied.folder / "elsewhere")
    recipe = copied.folder / "small.yaml"
    recipe.write_text(recipe.read_text().replace("models/", "elsewhere/"))
    again = copied.call("sweep", "small.yaml")
    assert again.returncode == 0 and "nothing to do" in again.stderr, again.stderr


def test_what_is_no_model_is_exit_code_6_and_nothing_is_begun(tmp_path: Path, data: Path, models: Path) -> None:
    place = there(tmp_path, data, models)
    (place.folder / "models/same/config.json").unlink()
    before = sorted(tmp_path.rglob("*"))
    failed = place.call("sweep", "small.yaml")
    assert failed.returncode == 6 and "references.same" in failed.stderr and "has no config.json" in failed.stderr
    recipe = place.folder / "small.yaml"
    recipe.write_text(RECIPE + "references: {far: {model: org/name-that-is-not-cached}}\n")
    failed = place.call("sweep", "small.yaml")
    assert failed.returncode == 6 and "hf download org/name-that-is-not-cached" in failed.stderr
    assert "Traceback" not in failed.stderr and sorted(tmp_path.rglob("*")) == before
    recipe.write_text(RECIPE + "references: {far: {modell: org/name}}\n")
    assert place.call("plan", "small.yaml").returncode == 3


def test_sweeping_over_references_is_refused(tmp_path: Path, data: Path, models: Path) -> None:
    failed = there(tmp_path, data, models).call("plan", "small.yaml", "references.same.about=one,two")
    assert failed.returncode == 3 and "each has its row" in failed.stderr


def test_there_is_no_order_of_data_for_one(done: Place) -> None:
    failed = done.call("data", "order", "small.yaml", "--run", "ref-same")
    assert failed.returncode == 6 and "ref-same/s0 is a reference" in failed.stderr and "Traceback" not in failed.stderr


def test_by_hand_a_stage_of_one_says_what_is_wrong(copied: Place) -> None:
    here = copied.campaign / "runs/ref-same/s0"
    kept = json.loads((here / "run.json").read_text())
    kept["reference"]["sha256"] = "0" * 64
    (here / "run.json").write_text(json.dumps(kept))
    for stage in ("eval", "export"):
        (here / f"DONE.{stage}.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "joyctl.worker", str(here), stage]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
        said = {"eval": "has changed since it was planned", "export": "nothing of it to export"}[stage]
        assert ended.returncode == 4 and said in ended.stderr and "Traceback" not in ended.stderr


def test_on_slurm_they_are_drawn_without_a_dependency(tmp_path: Path, data: Path, models: Path) -> None:
    place = there(tmp_path, data, models)
    place.cluster()
    drawn = place.sweep("--dry-run", "--json")
    assert drawn.returncode == 0, drawn.stderr
    arrays = json.loads(drawn.stdout)["arrays"]
    mine = [a for a in arrays if any("/ref-" in job["folder"] for job in a["jobs"])]
    assert [(a["kind"], [j["stages"] for j in a["jobs"]]) for a in mine] == [
        ("eval", [["eval"], ["eval"]]),
        ("score", [["score"], ["score"]]),
    ]
    assert mine[0]["dependency"] is None and mine[1]["dependency"] == f"aftercorr:{mine[0]['name']}"


def test_on_a_real_slurm_they_come_to_the_same_scores(
    tmp_path: Path, data: Path, models: Path, done: Place, clean_slurm: Cluster
) -> None:
    place = there(tmp_path, data, models)
    place.env.update(clean_slurm.env)
    place.cluster()
    shutil.copytree(done.campaign, place.campaign)
    for run in ("ref-same", "ref-other"):
        shutil.rmtree(place.campaign / "runs" / run)
    swept = place.sweep()
    assert swept.returncode == 0 and "4 jobs in 2 arrays" in swept.stderr, swept.stderr
    assert {run["state"] for run in place.wait(over).values()} == {"done"}
    assert numbers(place.campaign) == numbers(done.campaign)
