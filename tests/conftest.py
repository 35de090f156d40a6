"""What all tests share: what this machine must offer, and quiet, offline libraries."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from slurm.cluster import Cluster, running
from slurm.config import missing

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Continuous integration installs what these tests need; there, skipping one is a failure.
REQUIRED = {word for word in os.environ.get("JOYCTL_REQUIRE", "").split(",") if word}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs on the one Slurm; those tests mostly wait, so `make test` runs them beside all others."""
    for item in items:
        if "slurm" in getattr(item, "fixturenames", ()) or item.path.name == "test_slurm_cluster.py":
            item.add_marker("slurm")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    outcome = yield
    report = outcome.get_result()
    if report.skipped and any(f"needs {word}" in str(report.longrepr) for word in REQUIRED):
        report.outcome = "failed"
        report.longrepr = f"required here, but skipped: {report.longrepr}"


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real Slurm of four nodes, one for all tests: partitions gpu, spot, short and cpu. See `clean_slurm`."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    with running(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def clean_slurm(slurm: Cluster) -> Iterator[Cluster]:
    """The same cluster without jobs, all daemons up and all nodes free, whatever the test before did to it."""
    slurm.clean()
    yield slurm
    slurm.cancel_all()
