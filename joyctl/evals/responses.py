"""What a model answered to a task that runs code: kept between generating, on the GPU, and executing, elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joyctl.store.files import write_json
from joyctl.store.fingerprint import fingerprint

RESPONSES = "responses.json"


@dataclass(frozen=True)
class Responses:
    """Every response to one task or group, in the order in which lm-eval asks."""

    task: str
    protocol: str
    protocol_parts: Mapping[str, Any]
    """All that determines the scores of the task, given the model."""
    model: str
    """Digest of the model that answered."""
    truncated: int
    """Prompts that lost their beginning because they are longer than the model accepts."""
    seconds: float
    """Wall time of generating."""
    answers: Sequence[Mapping[str, Any]]
    """`task` (the leaf), `doc_id`, `prompt_sha256` and `response` of every request."""

    def write(self, folder: Path) -> None:
        """Write them into a task's folder, atomically and durably."""
        write_json(
            folder / RESPONSES,
            {
                "task": self.task,
                "protocol": self.protocol,
                "protocol_parts": self.protocol_parts,
                "model": self.model,
                "truncated_prompts": self.truncated,
                "seconds": self.seconds,
                "responses_sha256": fingerprint(self.answers),
                "responses": self.answers,
            },
        )


def read_responses(folder: Path) -> Responses | None:
    """The responses in a task's folder; None when there are none, or not whole."""
    try:
        kept = json.loads((folder / RESPONSES).read_bytes())
        if kept["responses_sha256"] != fingerprint(kept["responses"]):
            return None
        return Responses(
            task=kept["task"],
            protocol=kept["protocol"],
            protocol_parts=kept["protocol_parts"],
            model=kept["model"],
            truncated=kept["truncated_prompts"],
            seconds=kept["seconds"],
            answers=kept["responses"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
