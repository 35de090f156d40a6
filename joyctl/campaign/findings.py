"""What one check of an audit found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One check of one thing."""

    check: str
    """What was looked at: `optimizer state`, `tokenizer`."""
    ok: bool
    said: str
    """What was found, for a person."""
    remedy: str | None = None
    """What to do where it is not as it must be."""
