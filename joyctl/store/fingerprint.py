"""Fingerprints: SHA-256 of canonical JSON (RFC 8785), and the keys in which two identities differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import rfc8785


def fingerprint(identity: object) -> str:
    """SHA-256 in hexadecimal of the canonical JSON of `identity`."""
    return hashlib.sha256(rfc8785.dumps(identity)).hexdigest()  # type: ignore[arg-type]


def changed_keys(old: object, new: object) -> list[tuple[str, str, str]]:
    """(key, old value, new value) for every leaf that differs, keys dotted; `-` where one side lacks it."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    return [
        (key, before.get(key, "-"), after.get(key, "-"))
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]


def _leaves(value: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple) and value:
        for i, inner in enumerate(value):
            yield from _leaves(inner, f"{prefix}[{i}]")
    else:
        yield prefix, str(value)
