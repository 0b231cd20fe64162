"""Sums over one concept's positives, from the ends of their groups of ties: what each statistic adds up."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actlas.compiled.jit import jit, jit_apart
from actlas.compiled.vectors import LANES, add_labelled, changes, popcount, trailing_zeros, transpose_words
from actlas.kernels.cpu.registers import FILLED, fill_back, fill_on, pack

#: Numbers of texts and ranks: uint16 beside 16-bit values, else uint32.
Index = NDArray[np.uint16] | NDArray[np.uint32]

_ONE = np.uint64(1)
_HALF = np.uint64(32)


class Scratch(NamedTuple):
    """Working memory for one neuron; contents mean nothing between neurons."""

    x: NDArray[np.float32]  # value per text
    text_at: Index  # text per rank; undefined at the ranks of zeros that were set apart
    ends: NDArray[np.uint64]  # bitmap: a group of ties ends at this rank
    weight: NDArray[np.float64]  # per rank: 1 / (rank + 1) where a group ends, else 0
    carry: NDArray[np.float64]  # per rank: 0 where a group starts, else 1
    mid_rank: NDArray[np.uint32]  # per text: first rank + last rank + 1 of its group: twice its mid-rank
    mid_rank_sum: NDArray[np.uint64]  # per concept of a group of 32: sum of `mid_rank` over its positives
    walk: NDArray[np.float64]  # state of the dense walk
    ranked: NDArray[np.uint32]  # per rank: label word of its text
    bits: NDArray[np.uint32]  # bitmaps of eight concepts' positives by rank
    member_ranked: NDArray[np.uint32]  # the same for member sets
    member_bits: NDArray[np.uint64]  # in the form of `prefix`
    numbers: Index  # 1, 2, 3 and so on, always
    first_at: Index  # per rank: first rank of its group
    end_at: Index  # per rank: 1 + last rank of its group
    n_at_least: Index  # per positive, in the order of their ranks: texts with its value or a higher one
    group_end: Index  # per group of ties that holds a positive: 1 + its last rank
    n_found: Index  # per such group, from 1 on: positives up to its end; the first entry is 0
    n_members_at_least: Index  # per positive: members up to the end of its group
    positive_values: NDArray[np.float32]  # per positive: its value


@jit_apart
def rank_labels(words: Any, start: Any, stop: Any, text_at: Any, ranked: Any) -> None:
    """Label words by text -> by rank, for ranks start..stop-1."""
    for r in range(start, stop):
        ranked[r] = words[text_at[r]]


@jit_apart
def transpose_plane(n: Any, ranked: Any, plane: Any, bits: Any) -> None:
    """Label words by rank -> bitmaps of the eight concepts of a plane, one row each, filled up to whole 64 ranks."""
    for r in range(n, (n + 63) & ~63):
        ranked[r] = np.uint32(0)
    for w in range((n + 63) >> 6):
        transpose_words(ranked, 64 * w, plane, bits, 2 * w, bits.shape[1])


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


@jit_apart
def end_groups(n: Any, ends: Any, end_at: Any) -> None:
    """Per rank: 1 + the last rank of its group."""
    carry = np.uint64(0xFFFFFFFF)
    for first in range((n - 1) // FILLED * FILLED, -1, -FILLED):
        word = np.uint32((ends[first >> 6] >> np.uint64(first & 63)) & np.uint64(0xFFFFFFFF))
        carry = fill_back(word, first, end_at, carry)


@jit
def count_ends(n: Any, ends: Any) -> Any:
    """How many groups there are."""
    total = np.uint64(0)
    for w in range((n + 63) >> 6):
        total += popcount(ends[w])
    return np.int64(total)


@jit_apart
def start_groups(n: Any, ends: Any, first_at: Any) -> None:
    """Per rank: the first rank of its group."""
    carry = np.uint64(0)
    for first in range(0, n, FILLED):
        word = np.uint32((ends[first >> 6] >> np.uint64(first & 63)) & np.uint64(0xFFFFFFFF))
        carry = fill_on(word, first, first_at, carry)


@jit_apart
def place_mid_ranks(start: Any, stop: Any, text_at: Any, first_at: Any, end_at: Any, mid_rank: Any) -> None:
    """Per text at ranks start..stop-1: first rank + last rank + 1 of its group."""
    for r in range(start, stop):
        mid_rank[text_at[r]] = np.uint32(first_at[r]) + np.uint32(end_at[r])


@jit_apart
def add_mid_ranks(n: Any, words: Any, mid_rank: Any, mid_rank_sum: Any) -> None:
    """Sums of `mid_rank` over the positives of 32 concepts, by a look at every text."""
    for c in range(LANES):
        mid_rank_sum[c] = np.uint64(0)
    step = (1 << 31) // n  # so many numbers of at most 2 n add up to less than 2^32
    for first in range(0, n, step):
        add_labelled(words, mid_rank, first, min(first + step, n), mid_rank_sum)


@jit
def sum_mid_ranks(texts: Any, mid_rank: Any) -> Any:
    """Sum of `mid_rank` over a few texts."""
    total: Any = 0
    for j in range(texts.shape[0]):
        total += np.int64(mid_rank[texts[j]])
    return total


@jit_apart
def list_ends(n: Any, p: Any, bits: Any, end_at: Any, n_at_least: Any) -> None:
    """`end_at` of each of the `p` positives, whose bitmap by rank is `bits`, in the order of their ranks; then 0."""
    n_listed = 0
    for h in range((n + 31) >> 5):
        n_listed = pack(end_at, 32 * h, bits[h], n_at_least, n_listed)
    n_at_least[p] = 0


@jit_apart
def list_groups(p: Any, numbers: Any, n_at_least: Any, group_end: Any, n_found: Any) -> Any:
    """Groups of ties that hold a positive, in the order of their ranks.

    Args:
        p: Positives.
        numbers: 1, 2, 3 and so on.
        n_at_least: What `list_ends` left.
        group_end: Takes 1 + the last rank of each group.
        n_found: Takes 0, then the number of positives up to the end of each group.

    Returns:
        How many groups there are.
    """
    n_found[0] = 0
    g = 0
    for h in range((p + 31) >> 5):
        word = _first_bits(changes(n_at_least, 32 * h), p - 32 * h)
        pack(n_at_least, 32 * h, word, group_end, g)
        g = pack(numbers, 32 * h, word, n_found, g + 1) - 1
    return g


@jit
def _first_bits(word: Any, n: Any) -> Any:
    return word & ((np.uint32(1) << np.uint32(n)) - np.uint32(1)) if n < 32 else word


@jit
def count_members_at_least(p: Any, bits: Any, n_at_least: Any, n_members_at_least: Any) -> None:
    """Members up to the end of the group of each positive; `bits` is their bitmap, in the form of `prefix`."""
    for i in range(p):
        n_members_at_least[i] = count_before(bits, np.uint32(n_at_least[i]))


@jit_apart
def sum_precision_apart(p: Any, n_at_least: Any, n_members_at_least: Any, inverse: Any) -> Any:
    """Sum over positives of the precision at the end of their group, where few are tied.

    Each is taken as if it stood alone; then what it and those before it in its group lack is added for each that is tied with the
    next one.
    """
    total = 0.0
    for i in range(p):
        total += np.float64(i + 1) * inverse[n_members_at_least[i]]
    last: Any = -2
    n_behind: Any = 0
    for h in range((p + 31) >> 5):
        ties = np.uint64(_first_bits(np.uint32(~changes(n_at_least, 32 * h)), p - 32 * h))
        while ties != np.uint64(0):
            tied = 32 * h + np.int64(trailing_zeros(ties))
            ties &= ties - _ONE
            n_behind = n_behind + 1 if tied == last + 1 else 1
            last = tied
            total += np.float64(n_behind) * inverse[n_members_at_least[tied]]
    return total


@jit
def _positives(n_found: Any, k: Any) -> Any:
    """Positives of a group."""
    return np.int32(n_found[k + 1]) - np.int32(n_found[k])


@jit
def sum_precision(n_groups: Any, group_end: Any, inverse: Any, n_found: Any) -> Any:
    """The same by groups, however many are tied, where every text is a member."""
    total = 0.0
    for k in range(n_groups):
        total += np.float64(_positives(n_found, k)) * np.float64(np.int32(n_found[k + 1])) * inverse[group_end[k]]
    return total


@jit
def sum_precision_reversed(p: Any, n: Any, n_groups: Any, has_members: bool, inverse: Any, member_bits: Any, s: Any) -> Any:
    """Sum over positives of the precision at the end of their group, for ranking from the lowest value up."""
    total = 0.0
    for k in range(n_groups):
        first = np.uint32(s.first_at[s.group_end[k] - 1])
        below = n - (count_before(member_bits, first) if has_members else np.int64(first))
        total += np.float64(_positives(s.n_found, k)) * np.float64(p - np.int32(s.n_found[k])) * inverse[below]
    return total


@jit
def sum_member_mid_ranks(p: Any, member_bits: Any, s: Any) -> Any:
    """Sum over positives of first rank + last rank + 1 of their group, counted among members."""
    total = np.int64(0)
    for i in range(p):
        end = np.uint32(s.n_at_least[i])
        total += count_before(member_bits, np.uint32(s.first_at[end - 1])) + count_before(member_bits, end)
    return total


@jit
def _half_f1(p: Any, n_members_at_least: Any, i: Any) -> Any:
    return np.float64(i + 1) / np.float64(np.int32(n_members_at_least[i]) + p)


@jit
def best_f1(p: Any, n_members_at_least: Any) -> Any:
    """Highest (positives found) / (p + n_members_at_least), which is half the F1: equal fractions give equal quotients.

    Of tied positives the last one gives the highest, as most are found by then.
    """
    best = 0.0
    for i in range(p):
        best = max(best, _half_f1(p, n_members_at_least, i))
    return best


@jit
def first_best(p: Any, n_members_at_least: Any, best: Any) -> Any:
    """The first positive, which has the highest value, where the best F1 is reached."""
    i = 0
    while i < p - 1 and _half_f1(p, n_members_at_least, i) != best:
        i += 1
    return i


@jit
def value_at(rank: Any, zeros: Any, s: Any) -> Any:
    if zeros[0] <= rank < zeros[0] + zeros[1]:
        return 0.0
    return np.float64(s.x[s.text_at[rank]])


@jit
def quantile(q: Any, p: Any, zeros: Any, s: Any) -> Any:
    """Quantile of the positives' values, linear between order statistics as in `numpy.quantile`."""
    place = q * (p - 1)
    below = min(np.int64(place), max(p - 2, 0))
    a = value_at(np.int64(s.n_at_least[p - 1 - below]) - 1, zeros, s)
    if p == 1:
        return a
    b = value_at(np.int64(s.n_at_least[p - 2 - below]) - 1, zeros, s)
    t = place - below
    return a + (b - a) * t if t < 0.5 else b - (b - a) * (1.0 - t)


@jit
def moments(texts: Any, x: Any, positive_values: Any, threshold: float) -> Any:
    """Sum and number above the threshold of the texts' values, which are left side by side in `positive_values`."""
    total = 0.0
    n_active: Any = 0
    for j in range(texts.shape[0]):
        v = x[texts[j]]
        positive_values[j] = v
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
def std(p: Any, positive_values: Any, mean: float) -> Any:
    total = 0.0
    for j in range(p):
        d = np.float64(positive_values[j]) - mean
        total += d * d
    return np.sqrt(total / p)
