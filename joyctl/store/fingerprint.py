"""Fingerprints: SHA-256 of canonical JSON (RFC 8785), and the keys in which two identities differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache

import rfc8785


def fingerprint(identity: object) -> str:
    """SHA-256 in hexadecimal of the canonical JSON of `identity`."""
    whole = _object(identity) if type(identity) is dict else canonical(identity)  # a whole seldom comes twice
    return hashlib.sha256(whole).hexdigest()


def canonical(value: object) -> bytes:
    """Canonical JSON (RFC 8785) of plain data, byte for byte that of `rfc8785.dumps`.

    Identities of one campaign share nearly all their parts, so the text of a part is kept. Its `repr` is the key: it
    tells 1 from 1.0 and True, and is made in a fraction of the time.
    """
    if type(value) is list:
        return b"[" + b",".join([canonical(item) for item in value]) + b"]"
    if type(value) is not dict:
        return _scalar(value)
    key = repr(value)
    known = _texts.get(key)
    if known is None:
        if len(_texts) >= _MOST:
            _texts.clear()
        known = _texts[key] = _object(value)
    return known


_MOST = 4096
_texts: dict[str, bytes] = {}


def _object(value: dict[str, object]) -> bytes:
    parts = []
    for key, text in _keys(tuple(value)):
        inner = value[key]
        if type(inner) is int and -(2**53) < inner < 2**53:
            parts.append(b"%b%d" % (text, inner))
        else:
            parts.append(text + canonical(inner))
    return b"{" + b",".join(parts) + b"}"


@lru_cache(maxsize=_MOST, typed=True)
def _scalar(value: object) -> bytes:
    return rfc8785.dumps(value)  # type: ignore[arg-type]


@lru_cache(maxsize=_MOST)
def _keys(keys: tuple[str, ...]) -> tuple[tuple[str, bytes], ...]:
    """The keys of an object in canonical order, each with its text and the colon."""
    if not all(isinstance(key, str) for key in keys):
        raise rfc8785.CanonicalizationError("object keys must be strings")
    return tuple((key, rfc8785.dumps(key) + b":") for key in sorted(keys, key=lambda key: key.encode("utf-16-be")))


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
