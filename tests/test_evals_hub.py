"""Datasets by their names on the hub: from the cache without a network, else from the hub, else one clear error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import evals_world as world
import huggingface_hub.constants
import pytest

from joyctl.errors import Missing
from joyctl.evals import preload, tasks
from joyctl.recipe.types import SuiteTask

NAME = "someone/owls"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A task file that names a dataset of the hub."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "owls.yaml").write_text(f"""\
task: owls
dataset_path: {NAME}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["A", "B"]
doc_to_target: answer
num_fewshot: 0
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
""")
    source = tmp_path / "owls"
    source.mkdir()
    rows = [{"question": f"Owl {i}?", "answer": i % 2} for i in range(5)]
    (source / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def load(place: Path) -> Any:
    spec = world.spec(place, tasks=[], data_folder="", include_path=[str(place / "own")])
    return tasks.load(SuiteTask(task="owls"), spec)


def fill_cache(place: Path) -> Path:
    """What `datasets` leaves behind after a download."""
    cache = place / "cache"
    datasets.load_dataset(str(place / "owls"), cache_dir=str(cache))
    (cache / "owls").rename(cache / NAME.replace("/", "___"))
    return cache


def test_a_cached_dataset_needs_no_network(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "USERS_CACHE", fill_cache(place))
    monkeypatch.setattr(preload, "KEPT_OFFLINE", False)

    def reach_out() -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(tasks, "_online", reach_out)
    assert [doc["question"] for doc in load(place).docs("owls")] == [f"Owl {i}?" for i in range(5)]


def test_one_that_is_not_cached_comes_from_the_hub_unless_the_user_stays_offline(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[bool, bool]] = []
    real = datasets.load_dataset

    def hub(path: str, *args: Any, **kwargs: Any) -> Any:
        asked.append((datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE))
        if asked[-1] == (False, False):
            return real(str(place / "owls"), cache_dir=str(place / "fresh"))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(datasets, "load_dataset", hub)
    monkeypatch.setattr(tasks, "USERS_CACHE", place / "empty")
    monkeypatch.setattr(preload, "KEPT_OFFLINE", True)
    with pytest.raises(Missing, match="no data for task owls: dataset someone/owls is not in this machine's cache"):
        load(place)
    assert asked == [(True, True)]
    monkeypatch.setattr(preload, "KEPT_OFFLINE", False)
    assert len(load(place).docs("owls")) == 5
    assert asked[1:] == [(True, True), (False, False)]
    assert (datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE) == (True, True)
