"""Small recipes and facts that planning tests start from."""

from __future__ import annotations

from typing import Any

from joyctl.campaign.grid import DataFacts, Point
from joyctl.recipe.types import Recipe, Suite

SUITE = Suite.model_validate({"tasks": [{"task": "choices"}, {"task": "programs", "runs_code": True}]})
SOURCES = ("web", "math", "code", "facts")


def recipe(**changes: Any) -> Recipe:
    """A recipe of 1,000 steps, with top-level keys replaced."""
    values: dict[str, Any] = {
        "name": "small",
        "campaign": "small",
        "hypothesis": "does it work?",
        "data": {"world": {"seed": 1}},
        "sources": {
            "web": {"category": "large_cc"},
            "math": {"category": "domain"},
            "code": {"category": "code"},
            "facts": {"category": "domain"},
        },
        "mixes": {
            "base": {"web": 0.9, "math": 0.045, "code": 0.015, "facts": 0.04},
            "upsampled": {"web": 0.1, "math": 0.37, "code": 0.15, "facts": 0.38},
        },
        "model": {"dim": 32, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2, "ffn_hidden": 64, "vocab_size": 256},
        "training": {"tokens": 128_000, "seq_len": 16, "batch_size": 8},
        "optimizer": {"lr": 0.005},
        "phase": {"durations": [0.1, 0.2, 0.3], "drop_at": [0.2]},
    }
    return Recipe.model_validate({**values, **changes})


def facts(**changes: Any) -> DataFacts:
    """Data of a million tokens a source."""
    values: dict[str, Any] = {
        "folder": "/data/small",
        "tokens": dict.fromkeys(SOURCES, 1_000_000),
        "sha256": {name: f"digest of {name}" for name in SOURCES},
        "tokenizer_sha256": "digest of the tokenizer",
        "tasks_sha256": "digest of the tasks",
    }
    return DataFacts(**{**values, **changes})


def point(of: Recipe, changed: dict[str, str] | None = None, **changes: Any) -> Point:
    """A recipe with a suite that runs code."""
    return Point(of, changed or {}, **{"suite": SUITE, **changes})
