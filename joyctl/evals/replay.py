"""A language model that gives stored responses: lm-eval scores it as it would the one that generated them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from joyctl.errors import Refused
from joyctl.evals.responses import Responses


class ReplayLM(LM):  # type: ignore[misc]
    """Answers every request with what was stored for it; it has no weights."""

    on_requests: Callable[[int], None] | None = None
    """Not called: a stored response takes no time."""
    truncated = 0
    """As counted when the responses were generated."""

    def __init__(self, stored: Responses) -> None:
        super().__init__()
        self._stored = stored

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The stored responses. Raises Refused when they are not those to exactly these requests."""
        answers = self._stored.answers
        if [request_key(r) for r in requests] != [{k: v for k, v in a.items() if k != "response"} for a in answers]:
            raise Refused(
                f"the stored responses of {self._stored.task} answer other prompts than the task asks now",
                hint="Its data changed since they were generated: have them generated again.",
            )
        self.truncated = self._stored.truncated
        return [answer["response"] for answer in answers]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Nothing is stored that could answer this."""
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Nothing is stored that could answer this."""
        raise NotImplementedError


def request_key(request: Instance) -> dict[str, Any]:
    """Which request it is, and of what prompt."""
    digest = hashlib.sha256(request.args[0].encode("utf-8", "surrogatepass")).hexdigest()
    return {"task": request.task_name, "doc_id": request.doc_id, "prompt_sha256": digest}
