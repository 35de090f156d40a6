"""Long pieces of work on a data folder, cut into parts that processes or the jobs of an array share.

`python -m joyctl.data.work FOLDER build|overlap --share I/N` does every N-th part from the I-th on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Part:
    """What one process does in one go."""

    name: str
    bytes: int
    """How much it reads: longest first."""


class Work(Protocol):
    """A piece of work whose state is files alone: whoever opens its folder sees what is done."""

    folder: Path
    """Where its parts leave their results; shared by all who take part."""

    def parts(self) -> Sequence[Part]:
        """All of them, done or not, in a fixed order."""

    def done(self, part: Part) -> bool:
        """Whether the part's result is whole."""

    def do(self, part: Part, progress: Callable[[int], None]) -> None:
        """Do one part; its last act makes it done. `progress` hears of tokens as they come. Again is harmless."""

    def finish(self) -> None:
        """With all parts done: put their results together, so that the whole counts as finished."""
