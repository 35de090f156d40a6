"""A keyed permutation of 0..n-1 that stores nothing: any element of it at once, for any n.

A Feistel network on the next power of two with cycle walking: what falls outside is sent through again until it is
inside (J. Black and P. Rogaway, Ciphers with arbitrary finite domains, CT-RSA 2002). The domain is below 2n, so that
takes less than two turns on average. The two halves have up to 32 bits each, so n above 2**32 works as below it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
UInt32 = npt.NDArray[np.uint32]
_ROUNDS = 6
_BLOCK = 16_384
"""Elements worked on at once: they and what is in between stay in the processor's cache."""
_TOGETHER = 1_024
"""So few elements of one permutation go through together with those of others: a call of numpy costs as much."""


@lru_cache(maxsize=4096)
def keys_of(seed: int, stream: str, name: str, epoch: int) -> UInt32:
    """The keys [6] of one permutation: of a source, in one of its epochs, for one purpose (`stream`)."""
    digest = hashlib.sha256(f"{seed}/{stream}/{name}/{epoch}".encode()).digest()
    return np.frombuffer(digest, "<u4")[:_ROUNDS].astype(np.uint32)


def permute_parts(x: Int64, counts: Sequence[int], sizes: Sequence[int], keys: Sequence[UInt32]) -> Int64:
    """Many permutations at once: the first counts[0] elements of x go through one of 0..sizes[0]-1, and so on."""
    y = x.copy()
    rest: list[Int64] = []  # of every part, the elements that are not inside yet
    start = 0
    for count, n, own in zip(counts, sizes, keys, strict=True):
        if n > 1 and count > _TOGETHER:
            rest.append(start + _most(y[start : start + count], n, own))
        else:
            rest.append(np.arange(start, start + (count if n > 1 else 0)))
        start += count
    outside = np.concatenate([np.empty(0, np.int64), *rest])
    if not len(outside):
        return y
    part = np.repeat(np.arange(len(rest)), [len(r) for r in rest])
    size, walking = np.array(sizes, np.int64), y[outside]
    bits = np.array([_bits(n) for n in sizes])
    table = np.array(keys).T  # [rounds, parts]
    while len(outside):
        walking = _feistel(walking, bits[part], table[:, part])
        inside = walking < size[part]
        y[outside[inside]] = walking[inside]
        walks_on = ~inside
        outside, part, walking = outside[walks_on], part[walks_on], walking[walks_on]
    return y


def _most(y: Int64, n: int, keys: UInt32) -> Int64:
    """Permute y in place but for a few elements that are still outside; where these are, rising."""
    bits = np.array(_bits(n))
    for start in range(0, len(y), _BLOCK):
        y[start : start + _BLOCK] = _feistel(y[start : start + _BLOCK], bits, keys)
    outside = np.flatnonzero(y >= n)
    while len(outside) > _TOGETHER:
        walking = _feistel(y[outside], bits, keys)
        y[outside] = walking
        outside = outside[walking >= n]
    return outside


def _bits(n: int) -> int:
    return max(2, (n - 1).bit_length())


def _feistel(x: Int64, bits: Int64, keys: UInt32) -> Int64:
    """x, each below 2**bits, once through the network; bits and every key are one for all or one an element."""
    low_bits = bits // 2
    low_mask = ((1 << low_bits) - 1).astype(np.uint32)
    high_mask = ((1 << (bits - low_bits)) - 1).astype(np.uint32)
    left = (x >> low_bits).astype(np.uint32)
    right = x.astype(np.uint32) & low_mask
    mixed, shifted = np.empty_like(left), np.empty_like(left)
    for i, key in enumerate(keys):  # alternating sides keep unequal halves at their width
        source, target, mask = (left, right, low_mask) if i % 2 else (right, left, high_mask)
        # Mixes 32 bits; the multipliers are those of C. Wellons' hash-prospector `lowbias32` (public domain).
        np.bitwise_xor(source, key, out=mixed)
        np.right_shift(mixed, np.uint32(16), out=shifted)
        mixed ^= shifted
        mixed *= np.uint32(0x7FEB352D)
        np.right_shift(mixed, np.uint32(15), out=shifted)
        mixed ^= shifted
        mixed *= np.uint32(0x846CA68B)
        np.right_shift(mixed, np.uint32(16), out=shifted)
        mixed ^= shifted
        mixed &= mask
        target ^= mixed
    return (left.astype(np.int64) << low_bits) | right
