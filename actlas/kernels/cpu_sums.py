"""Sums over one concept's positives, from their ranks: bitmaps with prefix counts, and what each statistic adds up."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actlas.kernels.cpu_intrinsics import IS_WIDE, popcount, trailing_zeros, turn_words
from actlas.kernels.jit import jit, jit_apart, jit_in_order

#: Numbers of texts and ranks: uint16 beside 16-bit values, else uint32.
Index = NDArray[np.uint16] | NDArray[np.uint32]

_ONE = np.uint64(1)
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


class Scratch(NamedTuple):
    """Working memory for one neuron; contents mean nothing between neurons."""

    x: NDArray[np.float32]  # value per text
    text_at: Index  # text per rank; undefined at the ranks of zeros that were set apart
    ends: NDArray[np.uint64]  # bitmap: a group of ties ends at this rank
    end_of: Index  # per text: 1 + last rank of its group
    first_of: Index  # per end of a group: its first rank
    weight: NDArray[np.float64]  # per rank: 1 / (rank + 1) where a group ends, else 0
    carry: NDArray[np.float64]  # per rank: 0 where a group starts, else 1
    middle: NDArray[np.float64]  # per rank: first rank + last rank + 1 of a group where it ends, else 0
    walk: NDArray[np.float64]  # state of the dense walk
    ranked: NDArray[np.uint32]  # per rank: label word of its text
    bits: NDArray[np.uint64]  # bitmaps of eight concepts' positives by rank; see `prefix`
    member_ranked: NDArray[np.uint32]  # the same for member sets
    member_bits: NDArray[np.uint64]
    upto: Index  # per positive: 1 + last rank of its group
    found: Index  # per positive: positives up to there
    among: Index  # per positive: members up to there
    part: NDArray[np.float32]  # per positive: its value


@jit_apart
def rank_labels(words: Any, start: Any, stop: Any, text_at: Any, ranked: Any) -> None:
    """Label words by text -> by rank, for ranks start..stop-1."""
    for r in range(start, stop):
        ranked[r] = words[text_at[r]]


@jit_apart
def turn_plane(n: Any, ranked: Any, plane: Any, bits: Any) -> None:
    """Label words by rank -> bitmaps of the eight concepts of a plane, one row each; `prefix` makes a row countable."""
    for r in range(n, (n + 63) & ~63):
        ranked[r] = np.uint32(0)
    for h in range((n + 31) >> 5):
        turn_words(ranked, 32 * h, plane, bits, h, bits.shape[1])


@jit
def prefix(n: Any, bits: Any) -> None:
    """Per word 32 ranks in its lower half and, from here on, the number of marks before them in the upper.

    One read then answers for any rank <= `n`, which is worth twice as many words.
    """
    total = np.uint64(0)
    n_halves = (n + 31) >> 5
    for h in range(n_halves):
        word = bits[h]
        bits[h] = (total << _HALF) | word
        total += popcount(word)
    bits[n_halves] = total << _HALF


@jit
def count_before(bits: Any, rank: Any) -> Any:
    """Marks at ranks < `rank`."""
    word = bits[rank >> np.uint32(5)]
    return np.int64((word >> _HALF) + popcount(word & ((_ONE << np.uint64(rank & np.uint32(31))) - _ONE)))


@jit
def rank_of_mark(n: Any, bits: Any, k: Any) -> Any:
    """Rank of the mark that has `k` marks before it."""
    low = 0
    high = (n + 31) >> 5
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
def list_ends(texts: Any, s: Any) -> None:
    for j in range(texts.shape[0]):
        s.upto[j] = s.end_of[texts[j]]


@jit
def _sum_precision_wide(p: Any, among: Any, inverse: Any, bits: Any, s: Any) -> Any:
    """Sum over positives of the precision at the end of their group."""
    total = 0.0
    # nothing is written here, so that the loop becomes one of vectors
    for j in range(p):
        total += np.float64(count_before(bits, np.uint32(s.upto[j]))) * inverse[among[j]]
    return total


@jit_in_order
def _sum_precision_narrow(p: Any, among: Any, inverse: Any, bits: Any, s: Any) -> Any:
    """The same without vectors: where they cannot count bits, they take twice as long."""
    a = b = c = d = 0.0
    for i in range(p >> 2):
        j = 4 * i
        a += np.float64(count_before(bits, np.uint32(s.upto[j]))) * inverse[among[j]]
        b += np.float64(count_before(bits, np.uint32(s.upto[j + 1]))) * inverse[among[j + 1]]
        c += np.float64(count_before(bits, np.uint32(s.upto[j + 2]))) * inverse[among[j + 2]]
        d += np.float64(count_before(bits, np.uint32(s.upto[j + 3]))) * inverse[among[j + 3]]
    for j in range(p & ~3, p):
        a += np.float64(count_before(bits, np.uint32(s.upto[j]))) * inverse[among[j]]
    return (a + b) + (c + d)


sum_precision = _sum_precision_wide if IS_WIDE else _sum_precision_narrow


@jit
def sum_precision_found(p: Any, among: Any, inverse: Any, s: Any) -> Any:
    """The same where `found` is filled."""
    total = 0.0
    for j in range(p):
        total += np.float64(np.int32(s.found[j])) * inverse[among[j]]
    return total


@jit
def sum_precision_reversed(p: Any, n: Any, has_members: bool, inverse: Any, bits: Any, member_bits: Any, s: Any) -> Any:
    """The same for ranking from the lowest value up."""
    total = 0.0
    for j in range(p):
        e = np.uint32(s.first_of[s.upto[j]])
        t = p - count_before(bits, e)
        below = n - (count_before(member_bits, e) if has_members else np.int64(e))
        total += np.float64(t) * inverse[below]
    return total


@jit
def sum_middles(p: Any, has_members: bool, member_bits: Any, s: Any) -> Any:
    """Sum over positives of first rank + last rank + 1 of their group, counted among members."""
    total = np.int64(0)
    if has_members:
        for j in range(p):
            e = np.uint32(s.upto[j])
            a = np.uint32(s.first_of[e])
            total += count_before(member_bits, a) + count_before(member_bits, e)
    else:
        for j in range(p):
            e = np.uint32(s.upto[j])
            total += np.int64(e) + np.int64(np.uint32(s.first_of[e]))
    return total


@jit
def count_upto(p: Any, bits: Any, ends: Any, counts: Any) -> None:
    """Marks up to the end of each positive's group."""
    for j in range(p):
        counts[j] = count_before(bits, np.uint32(ends[j]))


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
def quantile(q: Any, p: Any, n: Any, bits: Any, zeros: Any, s: Any) -> Any:
    """Quantile of the positives' values, linear between order statistics as in `numpy.quantile`."""
    place = q * (p - 1)
    below = min(np.int64(place), max(p - 2, 0))
    a = value_at(rank_of_mark(n, bits, p - 1 - below), zeros, s)
    if p == 1:
        return a
    b = value_at(rank_of_mark(n, bits, p - 2 - below), zeros, s)
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
def sum_off(members: Any, is_whole: bool, words: Any, lane: Any, x: Any) -> Any:
    """Sum over the members, or all texts, that are no positives.

    Where those are few, the difference of two sums would lose what the many positives drown.
    """
    total = 0.0
    if is_whole:
        for i in range(x.shape[0]):
            if not (words[i] >> np.uint32(lane)) & np.uint32(1):
                total += np.float64(x[i])
    else:
        for i in members:
            if not (words[i] >> np.uint32(lane)) & np.uint32(1):
                total += np.float64(x[i])
    return total


@jit
def std(p: Any, part: Any, mean: float) -> Any:
    total = 0.0
    for j in range(p):
        d = np.float64(part[j]) - mean
        total += d * d
    return np.sqrt(total / p)
