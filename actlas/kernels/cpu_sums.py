"""Sums over one concept's positives, from their ranks: bitmaps with prefix counts, and what each statistic adds up."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actlas.kernels.cpu_intrinsics import popcount, take_marks, trailing_zeros
from actlas.kernels.cpu_rank import first, upto
from actlas.kernels.jit import jit

#: Numbers of texts and ranks: uint16 beside 16-bit values, else uint32.
Index = NDArray[np.uint16] | NDArray[np.uint32]

_ONE = np.uint64(1)
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


class Scratch(NamedTuple):
    """Working memory for one neuron; contents mean nothing between neurons, except that `marks` is all zero."""

    x: NDArray[np.float32]  # value per text
    rank_of: Index  # rank per text
    text_at: Index  # text per rank; undefined at the ranks of zeros that were set apart
    ends: NDArray[np.uint64]  # bitmap: a group of ties ends at this rank
    next_end: Index  # per word: 1 + first end in a later word
    last_end: Index  # per word: 1 + last end in an earlier word
    weight: NDArray[np.float64]  # per rank: 1 / (rank + 1) where a group ends, else 0
    carry: NDArray[np.float64]  # per rank: 0 where a group starts, else 1
    middle: NDArray[np.float64]  # per rank: first rank + last rank + 1 of a group where it ends, else 0
    walk: NDArray[np.float64]  # state of the dense walk
    marks: NDArray[np.uint8]
    bits: NDArray[np.uint64]  # bitmap of a concept's positives by rank; see `prefix`
    member_bits: NDArray[np.uint64]  # of a concept's members
    upto: Index  # per positive: 1 + last rank of its group
    found: Index  # per positive: positives up to there
    among: Index  # per positive: members up to there
    part: NDArray[np.float32]  # per positive: its value


@jit
def prefix(n_words: Any, marks: Any, bits: Any) -> None:
    """Marks by rank -> bitmap: per word 32 ranks in its lower half and, in the upper, the number of marks before them.

    One read then answers for any rank <= n, which is worth twice as many words; `n_words` counts words of 64 ranks.
    """
    total = np.uint64(0)
    for w in range(n_words):
        word = take_marks(marks, 64 * w)
        bits[2 * w] = (total << _HALF) | (word & _LOW)
        total += popcount(word & _LOW)
        bits[2 * w + 1] = (total << _HALF) | (word >> _HALF)
        total += popcount(word >> _HALF)
    bits[2 * n_words] = total << _HALF


@jit
def count_before(bits: Any, rank: Any) -> Any:
    """Marks at ranks < `rank`."""
    word = bits[rank >> np.uint32(5)]
    return np.int64((word >> _HALF) + popcount(word & ((_ONE << np.uint64(rank & np.uint32(31))) - _ONE)))


@jit
def rank_of_mark(n_words: Any, bits: Any, k: Any) -> Any:
    """Rank of the mark that has `k` marks before it."""
    low = 0
    high = 2 * n_words
    while high - low > 1:
        middle = (low + high) >> 1
        if np.int64(bits[middle] >> _HALF) <= k:
            low = middle
        else:
            high = middle
    word = bits[low] & _LOW
    for _ in range(k - np.int64(bits[low] >> _HALF)):
        word &= word - _ONE
    return 32 * low + np.int64(trailing_zeros(word))


@jit
def mark(texts: Any, s: Any) -> None:
    for j in range(texts.shape[0]):
        r = np.uint32(s.rank_of[texts[j]])
        s.marks[r] = np.uint8(1)
        s.upto[j] = upto(r, s.ends, s.next_end)


@jit
def mark_members(texts: Any, n_words: Any, s: Any) -> None:
    for j in range(texts.shape[0]):
        s.marks[s.rank_of[texts[j]]] = np.uint8(1)
    prefix(n_words, s.marks, s.member_bits)


@jit
def sum_precision(p: Any, among: Any, inverse: Any, s: Any) -> Any:
    """Sum over positives of the precision at the end of their group."""
    total = 0.0
    # nothing is written here, so that the loop becomes one of vectors
    for j in range(p):
        total += np.float64(count_before(s.bits, np.uint32(s.upto[j]))) * inverse[among[j]]
    return total


@jit
def sum_precision_found(p: Any, among: Any, inverse: Any, s: Any) -> Any:
    """The same where `found` is filled."""
    total = 0.0
    for j in range(p):
        total += np.float64(np.int32(s.found[j])) * inverse[among[j]]
    return total


@jit
def sum_precision_reversed(p: Any, n: Any, has_members: bool, inverse: Any, s: Any) -> Any:
    """The same for ranking from the lowest value up."""
    total = 0.0
    for j in range(p):
        e = first(np.uint32(s.upto[j]) - np.uint32(1), s.ends, s.last_end)
        t = p - count_before(s.bits, e)
        below = n - (count_before(s.member_bits, e) if has_members else np.int64(e))
        total += np.float64(t) * inverse[below]
    return total


@jit
def sum_middles(p: Any, has_members: bool, s: Any) -> Any:
    """Sum over positives of first rank + last rank + 1 of their group, counted among members."""
    total = np.int64(0)
    if has_members:
        for j in range(p):
            e = np.uint32(s.upto[j])
            a = first(e - np.uint32(1), s.ends, s.last_end)
            total += count_before(s.member_bits, a) + count_before(s.member_bits, e)
    else:
        for j in range(p):
            e = np.uint32(s.upto[j])
            total += np.int64(e) + np.int64(first(e - np.uint32(1), s.ends, s.last_end))
    return total


@jit
def count_found(p: Any, s: Any) -> None:
    for j in range(p):
        s.found[j] = count_before(s.bits, np.uint32(s.upto[j]))


@jit
def count_among(p: Any, s: Any) -> None:
    for j in range(p):
        s.among[j] = count_before(s.member_bits, np.uint32(s.upto[j]))


@jit
def best_f1(p: Any, among: Any, found: Any) -> Any:
    """Highest found / (p + among), which is half the F1: equal fractions give equal quotients."""
    best = 0.0
    for j in range(p):
        best = max(best, np.float64(np.int32(found[j])) / np.float64(np.int32(among[j]) + p))
    return best


@jit
def best_text(p: Any, among: Any, found: Any, best: Any) -> Any:
    """Which positive has the highest value among those where the best F1 is reached."""
    fewest = np.int64(0x7FFFFFFF)
    place = 0
    for j in range(p):
        is_best = np.float64(np.int32(found[j])) / np.float64(np.int32(among[j]) + p) == best
        if is_best and np.int64(among[j]) < fewest:
            fewest = np.int64(among[j])
            place = j
    return place


@jit
def value_at(rank: Any, zeros: Any, s: Any) -> Any:
    if zeros[0] <= rank < zeros[0] + zeros[1]:
        return 0.0
    return np.float64(s.x[s.text_at[rank]])


@jit
def quantile(q: Any, p: Any, n_words: Any, zeros: Any, s: Any) -> Any:
    """Quantile of the positives' values, linear between order statistics as in `numpy.quantile`."""
    place = q * (p - 1)
    below = min(np.int64(place), max(p - 2, 0))
    a = value_at(rank_of_mark(n_words, s.bits, p - 1 - below), zeros, s)
    if p == 1:
        return a
    b = value_at(rank_of_mark(n_words, s.bits, p - 2 - below), zeros, s)
    t = place - below
    return a + (b - a) * t if t < 0.5 else b - (b - a) * (1.0 - t)


@jit
def moments(texts: Any, x: Any, part: Any, threshold: float) -> Any:
    """Sum and number above the threshold of the texts' values, which are left side by side in `part`."""
    total = 0.0
    n_active: Any = 0
    for j in range(texts.shape[0]):
        v = x[texts[j]]
        part[j] = v
        total += np.float64(v)
        n_active += np.float64(v) > threshold
    return total, n_active


@jit
def sum_all(x: Any, threshold: Any) -> Any:
    total = 0.0
    n_active: Any = 0
    for i in range(x.shape[0]):
        v = np.float64(x[i])
        total += v
        n_active += v > threshold
    return total, n_active


@jit
def std(p: Any, part: Any, mean: float) -> Any:
    total = 0.0
    for j in range(p):
        d = np.float64(part[j]) - mean
        total += d * d
    return np.sqrt(total / p)
