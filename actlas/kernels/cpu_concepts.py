"""One neuron against all concepts, from its ranks on.

Everything happens in rank space: rank 0 holds the highest value, and each concept has two ways to its rank statistics.
*Sparse*: mark the positives' ranks in a bitmap with prefix counts; the positives at or above any rank are then one masked
popcount, so only positives are visited. *Dense*: one walk over the ranks for 16 concepts at once, in vector registers and
without a branch, so its cost does not depend on how many positives there are. Each neuron and group of concepts takes the
cheaper way.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actlas.kernels.cpu_intrinsics import LANES, popcount, take_marks, trailing_zeros, walk_ranks
from actlas.kernels.cpu_rank import find_ties, first, rank16, rank32, upto
from actlas.kernels.jit import cached_kernel, jit

#: Slots of the output; quantiles follow.
AP, AP_ANTI, AUROC, P_ACTIVE, P_ACTIVE_OFF, MEAN, MEAN_OFF, STD, BEST_F1, BEST_F1_THRESHOLD = range(10)
N_SLOTS = 10

_ONE = np.uint64(1)


class Labels(NamedTuple):
    """Labels in the form that the inner loops read. Concepts stand in an order of their own."""

    concept: NDArray[np.int64]  # the caller's index of each
    starts: NDArray[np.int64]  # where a concept's positives start in `positives`
    positives: NDArray[np.uint32]  # texts
    member_set: NDArray[np.int64]  # per concept: index of its member set; -1: every text
    member_starts: NDArray[np.int64]
    members: NDArray[np.uint32]  # texts
    dense: NDArray[np.uint16]  # "groups texts": bit c of a group's word: the text is a positive of its concept c
    sparse_cost: NDArray[np.float64]  # per group of 16 concepts: cost of the sparse way, in steps of the dense walk
    weigh_cost: float  # per rank: cost of preparing dense walks


class Wanted(NamedTuple):
    """What to compute."""

    needs_rank: bool
    needs_texts: bool  # by rank: for quantiles and dense walks
    needs_values: bool
    slot: NDArray[np.bool_]  # the fixed slots
    quantiles: NDArray[np.float64]
    threshold: float


class Scratch(NamedTuple):
    """Working memory for one neuron; contents mean nothing between neurons, except that `marks` is all zero."""

    x: NDArray[np.float32]  # value per text
    rank_of: NDArray[np.uint32]  # rank per text
    text_at: NDArray[np.uint32]  # text per rank; undefined at the ranks of zeros that were set apart
    ends: NDArray[np.uint64]  # bitmap: a group of ties ends at this rank
    next_end: NDArray[np.uint32]  # per word: 1 + first end in a later word
    last_end: NDArray[np.uint32]  # per word: 1 + last end in an earlier word
    weight: NDArray[np.float64]  # per rank: 1 / (rank + 1) where a group ends, else 0
    carry: NDArray[np.float64]  # per rank: 0 where a group starts, else 1
    middle: NDArray[np.float64]  # per rank: first rank + last rank + 1 of a group where it ends, else 0
    walk: NDArray[np.float64]  # state of the dense walk
    marks: NDArray[np.uint8]
    bits: NDArray[np.uint64]
    before: NDArray[np.uint32]
    member_bits: NDArray[np.uint64]
    members_before: NDArray[np.uint32]
    upto: NDArray[np.uint32]  # per positive: 1 + last rank of its group
    found: NDArray[np.uint32]  # per positive: positives up to there
    among: NDArray[np.uint32]  # per positive: members up to there
    part: NDArray[np.float32]  # per positive: its value


@jit
def _prefix(n_words: Any, marks: Any, bits: Any, before: Any) -> None:
    """Marks by rank -> bitmap and, per word, the marks before it; one word more, so that any rank <= n may be asked for."""
    total = np.uint32(0)
    for w in range(n_words):
        word = take_marks(marks, 64 * w)
        bits[w] = word
        before[w] = total
        total += np.uint32(popcount(word))
    bits[n_words] = np.uint64(0)
    before[n_words] = total


@jit
def _count_before(bits: Any, before: Any, rank: Any) -> Any:
    """Marks at ranks < `rank`."""
    w = rank >> np.uint32(6)
    return np.uint32(before[w] + np.uint32(popcount(bits[w] & ((_ONE << np.uint64(rank & np.uint32(63))) - _ONE))))


@jit
def _rank_of_mark(n_words: Any, bits: Any, before: Any, k: Any) -> Any:
    """Rank of the mark that has `k` marks before it."""
    low = 0
    high = n_words
    while high - low > 1:
        middle = (low + high) >> 1
        if np.int64(before[middle]) <= k:
            low = middle
        else:
            high = middle
    word = bits[low]
    for _ in range(k - np.int64(before[low])):
        word &= word - _ONE
    return 64 * low + np.int64(trailing_zeros(word))


@jit
def _mark(texts: Any, s: Any) -> None:
    for j in range(texts.shape[0]):
        r = s.rank_of[texts[j]]
        s.marks[r] = np.uint8(1)
        s.upto[j] = upto(r, s.ends, s.next_end)


@jit
def _mark_members(texts: Any, n_words: Any, s: Any) -> None:
    for j in range(texts.shape[0]):
        s.marks[s.rank_of[texts[j]]] = np.uint8(1)
    _prefix(n_words, s.marks, s.member_bits, s.members_before)


@jit
def _sum_precision(p: Any, among: Any, inverse: Any, s: Any) -> Any:
    """Sum over positives of the precision at the end of their group; leaves `found` filled."""
    total = 0.0
    for j in range(p):
        t = _count_before(s.bits, s.before, s.upto[j])
        s.found[j] = t
        total += np.float64(np.int32(t)) * inverse[among[j]]
    return total


@jit
def _sum_precision_reversed(p: Any, n: Any, has_members: bool, inverse: Any, s: Any) -> Any:
    """The same for ranking from the lowest value up."""
    total = 0.0
    for j in range(p):
        e = first(s.upto[j] - np.uint32(1), s.ends, s.last_end)
        t = np.uint32(p) - _count_before(s.bits, s.before, e)
        if has_members:
            e = _count_before(s.member_bits, s.members_before, e)
        total += np.float64(np.int32(t)) * inverse[np.uint32(n) - e]
    return total


@jit
def _sum_middles(p: Any, has_members: bool, s: Any) -> Any:
    """Sum over positives of first rank + last rank + 1 of their group, counted among members."""
    total = np.int64(0)
    if has_members:
        for j in range(p):
            e = s.upto[j]
            a = first(e - np.uint32(1), s.ends, s.last_end)
            total += np.int64(_count_before(s.member_bits, s.members_before, a))
            total += np.int64(_count_before(s.member_bits, s.members_before, e))
    else:
        for j in range(p):
            e = s.upto[j]
            total += np.int64(e) + np.int64(first(e - np.uint32(1), s.ends, s.last_end))
    return total


@jit
def _count_found(p: Any, s: Any) -> None:
    for j in range(p):
        s.found[j] = _count_before(s.bits, s.before, s.upto[j])


@jit
def _count_among(p: Any, s: Any) -> None:
    for j in range(p):
        s.among[j] = _count_before(s.member_bits, s.members_before, s.upto[j])


@jit
def _best_f1(p: Any, among: Any, found: Any) -> Any:
    """Highest found / (p + among), which is half the F1: equal fractions give equal quotients."""
    best = 0.0
    for j in range(p):
        best = max(best, np.float64(np.int32(found[j])) / np.float64(np.int32(among[j]) + p))
    return best


@jit
def _best_text(p: Any, among: Any, found: Any, best: Any) -> Any:
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
def _value_at(rank: Any, zeros: Any, s: Any) -> Any:
    if zeros[0] <= rank < zeros[0] + zeros[1]:
        return 0.0
    return np.float64(s.x[s.text_at[rank]])


@jit
def _quantile(q: Any, p: Any, n_words: Any, zeros: Any, s: Any) -> Any:
    """Quantile of the positives' values, linear between order statistics as in `numpy.quantile`."""
    place = q * (p - 1)
    below = min(np.int64(place), max(p - 2, 0))
    a = _value_at(_rank_of_mark(n_words, s.bits, s.before, p - 1 - below), zeros, s)
    if p == 1:
        return a
    b = _value_at(_rank_of_mark(n_words, s.bits, s.before, p - 2 - below), zeros, s)
    t = place - below
    return a + (b - a) * t if t < 0.5 else b - (b - a) * (1.0 - t)


@jit
def _moments(texts: Any, x: Any, part: Any, threshold: float) -> Any:
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
def _sum_all(x: Any, threshold: Any) -> Any:
    total = 0.0
    n_active: Any = 0
    for i in range(x.shape[0]):
        v = np.float64(x[i])
        total += v
        n_active += v > threshold
    return total, n_active


@jit
def _std(p: Any, part: Any, mean: float) -> Any:
    total = 0.0
    for j in range(p):
        d = np.float64(part[j]) - mean
        total += d * d
    return np.sqrt(total / p)


@jit
def _weigh_ranks(n: Any, inverse: Any, s: Any) -> None:
    """What the dense walk adds at each rank."""
    first = 0
    carry = 0.0
    for r in range(n):
        is_end = (s.ends[r >> 6] >> np.uint64(r & 63)) & _ONE != np.uint64(0)
        s.carry[r] = carry
        s.weight[r] = inverse[r + 1] if is_end else 0.0
        s.middle[r] = np.float64(first + r + 1) if is_end else 0.0
        first = r + 1 if is_end else first
        carry = 0.0 if is_end else 1.0


@jit
def _dense_group(g: Any, n: Any, zeros: Any, labels: Any, inverse: Any, s: Any) -> None:
    """Rank sums of the 16 concepts of group `g`, left in `walk`: positives, precisions, middles."""
    words = labels.dense[g]
    walk = s.walk
    arrays = (s.text_at, s.weight, s.carry, s.middle, walk)
    n_above = zeros[0]
    n_seen = zeros[0] + zeros[1]
    walk[:] = 0.0
    if n_seen < n:
        # how many positives lie below the zeros is only known after looking there
        walk_ranks(arrays, words, n_seen, n)
        for c in range(LANES):
            walk[LANES + c] = 0.0
            walk[2 * LANES + c] = 0.0
            walk[3 * LANES + c] = walk[c]
            walk[c] = 0.0
    walk_ranks(arrays, words, 0, n_above)
    if n_seen > n_above:
        for c in range(LANES):
            k = g * LANES + c
            if k >= labels.concept.shape[0]:
                break
            p = np.float64(labels.starts[k + 1] - labels.starts[k])
            at_zero = p - walk[c] - walk[3 * LANES + c]
            walk[c] += at_zero
            walk[LANES + c] += at_zero * walk[c] * inverse[n_seen]
            walk[2 * LANES + c] += at_zero * np.float64(n_above + n_seen)
    if n_seen < n:
        walk_ranks(arrays, words, n_seen, n)


@jit
def _auroc(middles: float, p: Any, n: Any) -> Any:
    # middles / 2 + p / 2 is the sum of the positives' mid-ranks, counted from 1 at the highest value
    return 1.0 - 0.5 * (middles - np.float64(p) * np.float64(p)) / (np.float64(p) * np.float64(n - p))


@jit
def _score_concept(
    k: Any,
    n_member: Any,
    wants_precision: Any,
    wants_middles: Any,
    zeros: Any,
    labels: Any,
    wanted: Any,
    inverse: Any,
    s: Any,
    row: Any,
) -> None:
    """Statistics of concept `k` that need the positives' ranks, into `row` "slots concepts"."""
    slot = wanted.slot
    c = labels.concept[k]
    texts = labels.positives[labels.starts[k] : labels.starts[k + 1]]
    p = texts.shape[0]
    n_words = (s.x.shape[0] + 63) >> 6
    has_members = labels.member_set[k] >= 0
    wants_f1 = slot[BEST_F1] | slot[BEST_F1_THRESHOLD]
    _mark(texts, s)
    _prefix(n_words, s.marks, s.bits, s.before)
    among = s.upto
    if has_members and (wants_precision or wants_f1):
        _count_among(p, s)
        among = s.among
    if wants_precision:
        row[AP, c] = _sum_precision(p, among, inverse, s) / p
    elif wants_f1:
        _count_found(p, s)
    if wants_f1:
        best = _best_f1(p, among, s.found)
        row[BEST_F1, c] = 2.0 * best
        if slot[BEST_F1_THRESHOLD]:
            row[BEST_F1_THRESHOLD, c] = np.float64(s.x[texts[_best_text(p, among, s.found, best)]])
    if wants_middles:
        row[AUROC, c] = _auroc(np.float64(_sum_middles(p, has_members, s)), p, n_member)
    if slot[AP_ANTI]:
        row[AP_ANTI, c] = _sum_precision_reversed(p, n_member, has_members, inverse, s) / p
    for q in range(wanted.quantiles.shape[0]):
        row[N_SLOTS + q, c] = _quantile(wanted.quantiles[q], p, n_words, zeros, s)


@jit
def _score_neuron(zeros: Any, labels: Any, wanted: Any, inverse: Any, s: Any, row: Any) -> None:
    slot = wanted.slot
    n = s.x.shape[0]
    wants_off = slot[P_ACTIVE_OFF] | slot[MEAN_OFF]
    wants_moments = slot[P_ACTIVE] | slot[MEAN] | slot[STD] | wants_off
    needs_marks = slot[AP_ANTI] | slot[BEST_F1] | slot[BEST_F1_THRESHOLD] | (wanted.quantiles.shape[0] > 0)
    n_dense = 0
    saved = 0.0
    steps = np.float64(n - zeros[1])
    while n_dense < labels.sparse_cost.shape[0] and labels.sparse_cost[n_dense] > steps:
        saved += labels.sparse_cost[n_dense] - steps
        n_dense += 1
    if saved < labels.weigh_cost * n:
        n_dense = 0
    if n_dense > 0:
        _weigh_ranks(n, inverse, s)
    off_sum = 0.0
    off_active = 0
    if wants_off:
        off_sum, off_active = _sum_all(s.x, wanted.threshold)
    n_member = n
    current = -1
    for k in range(labels.concept.shape[0]):
        c = labels.concept[k]
        texts = labels.positives[labels.starts[k] : labels.starts[k + 1]]
        p = texts.shape[0]
        if labels.member_set[k] != current:
            current = labels.member_set[k]
            members = labels.members[labels.member_starts[current] : labels.member_starts[current + 1]]
            n_member = members.shape[0]
            if needs_marks or slot[AP] or slot[AUROC]:
                _mark_members(members, (n + 63) >> 6, s)
            if wants_off:
                off_sum, off_active = _moments(members, s.x, s.part, wanted.threshold)
        is_dense = k < n_dense * LANES and current < 0
        if is_dense:
            lane = k % LANES
            if lane == 0:
                _dense_group(k // LANES, n, zeros, labels, inverse, s)
            row[AP, c] = s.walk[LANES + lane] / p
            row[AUROC, c] = _auroc(s.walk[2 * LANES + lane], p, n)
        wants_precision = slot[AP] and not is_dense
        wants_middles = slot[AUROC] and not is_dense
        if needs_marks or wants_precision or wants_middles:
            _score_concept(k, n_member, wants_precision, wants_middles, zeros, labels, wanted, inverse, s, row)
        if wants_moments:
            total, n_active = _moments(texts, s.x, s.part, wanted.threshold)
            mean = total / p
            row[MEAN, c] = mean
            row[P_ACTIVE, c] = n_active / p
            if wants_off:
                row[MEAN_OFF, c] = (off_sum - total) / (n_member - p)
                row[P_ACTIVE_OFF, c] = (off_active - n_active) / (n_member - p)
            if slot[STD]:
                row[STD, c] = _std(p, s.part, mean)


@jit
def _largest_magnitude(row: Any, mask: Any) -> Any:
    largest = type(mask)(0)
    for i in range(row.shape[0]):
        # numba widens every integer operation; the cast lets it work on short ones
        largest = max(largest, type(mask)(row[i] & mask))
    return largest


@cached_kernel
def score_block16(sources: int) -> Any:
    def score_block16(rows: Any, form: Any, wanted: Any, labels: Any, inverse: Any, work: Any, s: Any, out: Any) -> Any:
        """Scores the neurons of a block of 16-bit floats into `out` "neurons slots concepts".

        `form`: first magnitude that is not finite, shift to float32's mantissa, scale that puts the exponent right.

        Returns:
            The first row that holds a value that is not finite, or -1.
        """
        limit, shift, scale = form
        n = rows.shape[1]
        bits = s.x.view(np.uint32)
        for m in range(rows.shape[0]):
            row = rows[m]
            if sources < 0 or _largest_magnitude(row, np.uint16(0x7FFF)) >= limit:
                return m
            zeros = (n, 0)
            if wanted.needs_rank:
                zeros = rank16(row, work, s.rank_of)
                find_ties(n, work.packed, s)
            if wanted.needs_texts:
                for r in range(n):
                    s.text_at[r] = work.packed[r] & np.uint32(0xFFFF)
            if wanted.needs_values:
                for i in range(n):
                    u = np.uint32(row[i])
                    bits[i] = ((u & np.uint32(0x8000)) << np.uint32(16)) | ((u & np.uint32(0x7FFF)) << shift)
                for i in range(n):
                    s.x[i] = s.x[i] * scale
            _score_neuron(zeros, labels, wanted, inverse, s, out[m])
        return -1

    return score_block16


@cached_kernel
def score_block32(sources: int) -> Any:
    def score_block32(rows: Any, form: Any, wanted: Any, labels: Any, inverse: Any, work: Any, s: Any, out: Any) -> Any:
        """As `score_block16`, for the bits of float32."""
        n = rows.shape[1]
        bits = s.x.view(np.uint32)
        for m in range(rows.shape[0]):
            row = rows[m]
            if sources < 0 or _largest_magnitude(row, np.uint32(0x7FFFFFFF)) >= form[0]:
                return m
            zeros = (n, 0)
            if wanted.needs_rank:
                zeros = rank32(row, work, s.rank_of)
                find_ties(n, work.packed, s)
            if wanted.needs_texts:
                for r in range(n):
                    s.text_at[r] = np.uint32(work.packed[r] & np.uint64(0xFFFFFFFF))
            if wanted.needs_values:
                for i in range(n):
                    bits[i] = row[i]
            _score_neuron(zeros, labels, wanted, inverse, s, out[m])
        return -1

    return score_block32
