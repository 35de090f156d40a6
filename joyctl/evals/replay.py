"""A language model that gives answers it was given: lm-eval scores them as it would score those of the model itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from joyctl.evals.answers import Key, Value


class ReplayLM(LM):  # type: ignore[misc]
    """Answers every request with what was computed for it; it has no weights."""

    def __init__(self, leaves: Sequence[str], answers: Mapping[Key, Value]) -> None:
        """`leaves` are the names of leaf tasks in the order of their numbers in the keys."""
        super().__init__()
        self._numbers = {name: number for number, name in enumerate(leaves)}
        self._answers = answers

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Log-likelihood in nats, and whether the continuation is the likeliest."""
        return [self._scored(self._key(request)) for request in requests]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Log-likelihood of whole texts: the sum over their windows."""
        return [sum(self._windows(request)) for request in requests]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Texts; of a request that stands several times, one after the other."""
        seen: Counter[Key] = Counter()
        found = []
        for request in requests:
            leaf, doc, index, number = first = self._key(request)
            found.append(str(self._answers[leaf, doc, index, number + seen[first]]))
            seen[first] += 1
        return found

    def _key(self, request: Instance) -> Key:
        return self._numbers[request.task_name], request.doc_id, request.idx, 0

    def _scored(self, key: Key) -> tuple[float, bool]:
        value = self._answers[key]
        if isinstance(value, str):
            raise TypeError(f"the answer {key} is a text, not a log-likelihood")
        return value

    def _windows(self, request: Instance) -> list[float]:
        leaf, doc, index, number = self._key(request)
        found = []
        while (leaf, doc, index, number) in self._answers:
            found.append(self._scored((leaf, doc, index, number))[0])
            number += 1
        return found
