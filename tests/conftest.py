"""What all tests share: what this machine must offer, and quiet, offline libraries."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Continuous integration installs what these tests need; there, skipping one is a failure.
REQUIRED = {word for word in os.environ.get("JOYCTL_REQUIRE", "").split(",") if word}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    outcome = yield
    report = outcome.get_result()
    if report.skipped and any(f"needs {word}" in str(report.longrepr) for word in REQUIRED):
        report.outcome = "failed"
        report.longrepr = f"required here, but skipped: {report.longrepr}"
