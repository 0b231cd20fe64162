"""A neuron's texts in order: keys that sort as the values do, radix sorts, and the bitmap of where groups of ties end."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actlas.kernels.cpu_intrinsics import key_changes, leading_zeros, trailing_zeros
from actlas.kernels.jit import jit

#: Zeros are set apart before sorting when they are more than one in this many texts.
ZERO_SPLIT = 8

_ONE = np.uint64(1)
_ZERO_KEY16 = np.uint32(0x7FFF)
_ZERO_KEY32 = np.uint64(0x7FFFFFFF)


class Sorting(NamedTuple):
    """Working memory of ranking; `packed` ends up holding key and text of each rank."""

    packed: Any  # uint32 (16-bit values) or uint64
    spare: Any
    counts: NDArray[np.uint32]


@jit
def _split_zeros(n: Any, packed: Any, zero: Any, shift: Any) -> Any:
    """Moves the texts whose value is not zero together; returns how many they are."""
    m = 0
    for i in range(n):
        v = packed[i]
        packed[m] = v
        m += (v >> shift) != zero
    return m


@jit
def rank_zeros(row: Any, magnitude: Any, n_above: Any, rank_of: Any) -> None:
    """Ranks of texts whose value is zero, where those were set apart; only the sparse way needs them."""
    rank = np.uint32(n_above)
    for i in range(row.shape[0]):
        is_zero = (row[i] & magnitude) == type(magnitude)(0)
        rank_of[i] = rank if is_zero else rank_of[i]
        rank += np.uint32(is_zero)


@jit
def rank16(row: Any, work: Any, rank_of: Any) -> Any:
    """Ranks the texts of one neuron of finite 16-bit floats.

    Returns:
        First rank of the zeros and how many there are, if they were set apart before sorting; else (texts, 0). Ranks of those
        that were set apart are left to `rank_zeros`.
    """
    n = row.shape[0]
    packed = work.packed
    ranked = work.spare
    n_zero = 0
    for i in range(n):
        n_zero += np.uint16(row[i] & np.uint16(0x7FFF)) == np.uint16(0)
    for i in range(n):
        u = np.uint32(row[i])
        # ascending keys are descending values; -0.0 gets the key of 0.0
        k = u if u > np.uint32(0x8000) else _ZERO_KEY16 ^ (u & np.uint32(0x7FFF))
        packed[i] = (k << np.uint32(16)) | np.uint32(i)
    n_above = n
    m = n
    if ZERO_SPLIT * n_zero > n:
        n_above = 0
        for i in range(n):
            n_above += np.uint16(row[i] - np.uint16(1)) < np.uint16(0x7FFF)
        m = _split_zeros(n, packed, _ZERO_KEY16, np.uint32(16))
    else:
        n_zero = 0
    low = work.counts[0]
    high = work.counts[1]
    low[:256] = np.uint32(0)
    high[:256] = np.uint32(0)
    for i in range(m):
        v = packed[i]
        low[(v >> np.uint32(16)) & np.uint32(255)] += np.uint32(1)
        high[v >> np.uint32(24)] += np.uint32(1)
    a = np.uint32(0)
    b = np.uint32(0)
    for d in range(256):
        if d == 128:  # keys of negative values start here
            b += np.uint32(n_zero)
        c = low[d]
        low[d] = a
        a += c
        c = high[d]
        high[d] = b
        b += c
    for i in range(m):
        v = packed[i]
        d = (v >> np.uint32(16)) & np.uint32(255)
        p = low[d]
        low[d] = p + np.uint32(1)
        ranked[p] = v
    for i in range(m):
        v = ranked[i]
        d = v >> np.uint32(24)
        p = high[d]
        high[d] = p + np.uint32(1)
        rank_of[v & np.uint32(0xFFFF)] = p
        packed[p] = v
    for r in range(n_above, n_above + n_zero):
        packed[r] = _ZERO_KEY16 << np.uint32(16)
    return n_above, n_zero


@jit
def rank32(row: Any, work: Any, rank_of: Any) -> Any:
    """As `rank16`, for float32 bits and any number of texts: three passes of 11 bits; one that would move nothing is left out."""
    n = row.shape[0]
    n_zero = 0
    for i in range(n):
        n_zero += np.uint32(row[i] & np.uint32(0x7FFFFFFF)) == np.uint32(0)
    source = work.packed
    target = work.spare
    for i in range(n):
        u = np.uint32(row[i])
        k = u if u > np.uint32(0x80000000) else np.uint32(0x7FFFFFFF) ^ (u & np.uint32(0x7FFFFFFF))
        source[i] = (np.uint64(k) << np.uint64(32)) | np.uint64(i)
    n_above = n
    m = n
    if ZERO_SPLIT * n_zero > n:
        n_above = 0
        for i in range(n):
            n_above += np.uint32(row[i] - np.uint32(1)) < np.uint32(0x7FFFFFFF)
        m = _split_zeros(n, source, _ZERO_KEY32, np.uint64(32))
    else:
        n_zero = 0
    counts = work.counts
    counts[:] = np.uint32(0)
    digit = np.uint64(2047)
    for i in range(m):
        v = source[i]
        counts[0, (v >> np.uint64(32)) & digit] += np.uint32(1)
        counts[1, (v >> np.uint64(43)) & digit] += np.uint32(1)
        counts[2, v >> np.uint64(54)] += np.uint32(1)
    is_moved = False
    for step in range(3):
        shift = np.uint64(32 + 11 * step)
        count = counts[step]
        a = np.uint32(0)
        is_idle = False
        for d in range(2048):
            c = count[d]
            is_idle |= np.int64(c) == m
            count[d] = a
            a += c
        if is_idle:
            continue
        for i in range(m):
            v = source[i]
            d = (v >> shift) & digit
            p = count[d]
            count[d] = p + np.uint32(1)
            target[p] = v
        source, target = target, source
        is_moved = not is_moved
    for i in range(m):
        v = source[i]
        r = i if i < n_above else i + n_zero
        rank_of[v & np.uint64(0xFFFFFFFF)] = np.uint32(r)
        target[r] = v
    for r in range(n_above, n_above + n_zero):
        target[r] = _ZERO_KEY32 << np.uint64(32)
    if not is_moved:
        for r in range(n):
            work.packed[r] = target[r]
    return n_above, n_zero


@jit
def find_ties(n: Any, packed: Any, s: Any) -> None:
    """Bitmap of the ranks at which a group of tied texts ends, and the nearest such rank outside of each word."""
    ends = s.ends
    n_words = (n + 63) >> 6
    for w in range(n_words):
        ends[w] = key_changes(packed, 64 * w)
    # the last text ends a group whatever lies behind it, and nothing behind it counts
    last = np.uint64((n - 1) & 63)
    ends[n_words - 1] = (ends[n_words - 1] & ((_ONE << last) - _ONE)) | (_ONE << last)
    e = np.uint32(n)
    for i in range(n_words):
        w = n_words - 1 - i
        s.next_end[w] = e
        if ends[w] != np.uint64(0):
            e = np.uint32(64 * w + 1) + np.uint32(trailing_zeros(ends[w]))
    e = np.uint32(0)
    for w in range(n_words):
        s.last_end[w] = e
        if ends[w] != np.uint64(0):
            e = np.uint32(64 * w + 64) - np.uint32(leading_zeros(ends[w]))


@jit
def upto(r: Any, ends: Any, next_end: Any) -> Any:
    """1 + last rank of the group of rank `r`."""
    w = r >> np.uint32(6)
    later = ends[w] >> np.uint64(r & np.uint32(63))
    within = r + np.uint32(1) + np.uint32(trailing_zeros(later))
    beyond = np.uint32(next_end[w])
    return np.uint32(within) if later != np.uint64(0) else beyond


@jit
def first(r: Any, ends: Any, last_end: Any) -> Any:
    """First rank of the group of rank `r`."""
    w = r >> np.uint32(6)
    earlier = ends[w] & ((_ONE << np.uint64(r & np.uint32(63))) - _ONE)
    within = (w << np.uint32(6)) + np.uint32(64) - np.uint32(leading_zeros(earlier))
    beyond = np.uint32(last_end[w])
    return np.uint32(within) if earlier != np.uint64(0) else beyond
