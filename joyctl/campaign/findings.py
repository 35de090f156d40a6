"""What a check before training found: whether it passed, in which words, and what to do where it did not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One check of an audit."""

    check: str
    """What was looked at, in two or three words."""
    ok: bool
    said: str
    """What was found, with the numbers."""
    remedy: str | None = None
    """What to do; only where the check failed."""
