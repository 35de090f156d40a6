"""What a plan takes of a cluster: hours, money and memory, each with what it rests on."""

from __future__ import annotations

from typing import Any

import pytest
from recipes_for_tests import facts, point, recipe

from joyctl.campaign.estimate import flops_per_token
from joyctl.campaign.grid import Grid
from joyctl.campaign.outlook import Outlook, outlook
from joyctl.campaign.plan import plan
from joyctl.recipe.cluster import SlurmCluster

STAGES: dict[str, Any] = {
    "train": {"time": 60, "nodes": 2, "gpus_per_node": 4},
    "eval": {"time": 30, "gpus_per_node": 1},
    "score": {"time": 30},
}
RECIPE = recipe()
SEGMENTS = plan(RECIPE, [point(RECIPE)], Grid(durations=(0.1, 0.2)), facts()).segments
LEFT = {segment.id: segment.end_step - segment.start_step for segment in SEGMENTS}
TOKENS = sum(LEFT.values()) * RECIPE.training.tokens_per_step


def ahead(measured: float | None = None, left: dict[str, int] = LEFT, **keys: Any) -> Outlook:
    cluster = SlurmCluster.model_validate({"kind": "slurm", "stages": STAGES, **keys})
    found = outlook(SEGMENTS, left, cluster, measured)
    assert found is not None
    return found


def test_hours_by_the_assumed_share_of_the_peak() -> None:
    found = ahead(gpu="H100", mfu=0.5)
    speed = 989e12 * 0.5 * 8 / flops_per_token(RECIPE.model, RECIPE.training.seq_len)
    assert found.basis == "assumed"
    assert list(found.speeds.values()) == [pytest.approx(speed)] * len(SEGMENTS)
    assert found.gpu_hours == pytest.approx(8 * TOKENS / speed / 3600)
    assert sum(found.hours.values()) == pytest.approx(TOKENS / speed / 3600)


def test_what_was_measured_counts_more_than_what_is_assumed_and_what_is_given_most() -> None:
    assert ahead(1000.0, gpu="H100").basis == "measured"
    assert ahead(1000.0, gpu="H100").gpu_hours == pytest.approx(8 * TOKENS / 1000 / 3600)
    given = ahead(1000.0, gpu="H100", tokens_per_second=500.0)
    assert (given.basis, given.gpu_hours) == ("given", pytest.approx(8 * TOKENS / 500 / 3600))


def test_only_what_is_left_to_train_counts() -> None:
    half = {identifier: steps // 2 for identifier, steps in LEFT.items()}
    left = sum(half.values()) * RECIPE.training.tokens_per_step
    assert ahead(1000.0, half).gpu_hours == pytest.approx(8 * left / 1000 / 3600)
    assert ahead(1000.0, {}).gpu_hours == 0


def test_money_is_the_price_of_these_hours() -> None:
    found = ahead(1000.0, price_per_gpu_hour=2.5, currency="EUR")
    assert found.gpu_hours is not None
    assert (found.money, found.currency) == (pytest.approx(2.5 * found.gpu_hours), "EUR")


def test_without_a_speed_there_are_no_hours() -> None:
    found = ahead()
    assert (found.basis, found.gpu_hours, found.money, dict(found.hours)) == (None, None, None, {})


def test_memory_is_held_against_that_of_the_gpu() -> None:
    assert ahead().fits is None
    assert ahead(gpu="H100").fits is True
    need = ahead().memory.total / 2**30
    assert ahead(gpu_memory_gib=need * 1.01).fits is False  # a part of it is the driver's
    assert ahead(gpu="H100", gpu_memory_gib=need * 1.1).fits is True


def test_activation_checkpointing_is_torchtitans_default_unless_given() -> None:
    assert ahead().mode == "selective"
    full = ahead(torchtitan={"activation_checkpoint": {"mode": "full"}})
    assert full.mode == "full" and full.memory.activations < ahead().memory.activations


def test_without_gpus_there_is_nothing_to_say() -> None:
    stages = {**STAGES, "train": {"time": 60}}
    assert outlook(SEGMENTS, LEFT, SlurmCluster.model_validate({"kind": "slurm", "stages": stages}), None) is None
