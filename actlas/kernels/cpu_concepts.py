"""One neuron against all concepts, from its ranks on.

Everything happens in rank space: rank 0 holds the highest value, and each concept has two ways to its rank statistics.
*Sparse*: mark the positives' ranks in a bitmap with prefix counts; the positives at or above any rank are then one masked
popcount, so only positives are visited. *Dense*: one walk over the ranks for up to 32 concepts at once, in vector registers and
without a branch, so its cost does not depend on how many positives there are. Each neuron and group of concepts takes the
cheaper way.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actlas.kernels.cpu_intrinsics import (
    LANES,
    walk8,
    walk8_middles,
    walk16,
    walk16_middles,
    walk24,
    walk24_middles,
    walk32,
    walk32_middles,
)
from actlas.kernels.cpu_rank import find_ties, rank16, rank32, rank_zeros
from actlas.kernels.cpu_sums import (
    Index,
    best_f1,
    best_text,
    count_among,
    count_found,
    mark,
    mark_members,
    moments,
    prefix,
    quantile,
    std,
    sum_all,
    sum_middles,
    sum_precision,
    sum_precision_found,
    sum_precision_reversed,
)
from actlas.kernels.jit import cached_kernel, jit

#: Slots of the output; quantiles follow.
AP, AP_ANTI, AUROC, P_ACTIVE, P_ACTIVE_OFF, MEAN, MEAN_OFF, STD, BEST_F1, BEST_F1_THRESHOLD = range(10)
N_SLOTS = 10

_ONE = np.uint64(1)


class Labels(NamedTuple):
    """Labels in the form that the inner loops read. Concepts stand in an order of their own."""

    concept: NDArray[np.int64]  # the caller's index of each
    starts: NDArray[np.int64]  # where a concept's positives start in `positives`
    positives: Index  # texts
    member_set: NDArray[np.int64]  # per concept: index of its member set; -1: every text
    member_starts: NDArray[np.int64]
    members: Index  # texts
    n_whole: int  # concepts that every text takes part in; they come first
    dense: NDArray[np.uint32]  # "groups texts": bit c of a group's word: the text is a positive of its concept c
    sparse_cost: NDArray[np.float64]  # nanoseconds of the sparse way, per group of up to 32 concepts
    dense_cost: NDArray[np.float64]  # nanoseconds of the dense way per rank, per group
    weigh_cost: float  # nanoseconds per rank to prepare dense walks


class Wanted(NamedTuple):
    """What to compute."""

    needs_rank: bool
    needs_texts: bool  # by rank: for quantiles and dense walks
    needs_values: bool
    slot: NDArray[np.bool_]  # the fixed slots
    quantiles: NDArray[np.float64]
    threshold: float


@jit
def _weigh_ranks(start: Any, stop: Any, with_middles: Any, inverse: Any, s: Any) -> None:
    """What the dense walk adds at ranks start..stop-1, which begin and end with whole groups of ties."""
    for w in range(start >> 6, (stop + 63) >> 6):
        word = s.ends[w]
        # a rank starts a group where the one before it ends one
        starts = (word << _ONE) | (s.ends[w - 1] >> np.uint64(63) if w > 0 else _ONE)
        for b in range(64):
            r = 64 * w + b
            s.weight[r] = np.float64(np.int64((word >> np.uint64(b)) & _ONE)) * inverse[r + 1]
            s.carry[r] = 1.0 - np.float64(np.int64((starts >> np.uint64(b)) & _ONE))
    if with_middles:
        begin = start
        for r in range(start, stop):
            is_end = (s.ends[r >> 6] >> np.uint64(r & 63)) & _ONE != np.uint64(0)
            s.middle[r] = np.float64(begin + r + 1) if is_end else 0.0
            begin = r + 1 if is_end else begin


@jit
def _walk(n_concepts: Any, with_middles: Any, words: Any, start: Any, stop: Any, s: Any) -> None:
    arrays = (s.text_at, s.weight, s.carry, s.middle, s.walk)
    if with_middles:
        if n_concepts <= 8:
            walk8_middles(arrays, words, start, stop)
        elif n_concepts <= 16:
            walk16_middles(arrays, words, start, stop)
        elif n_concepts <= 24:
            walk24_middles(arrays, words, start, stop)
        else:
            walk32_middles(arrays, words, start, stop)
    elif n_concepts <= 8:
        walk8(arrays, words, start, stop)
    elif n_concepts <= 16:
        walk16(arrays, words, start, stop)
    elif n_concepts <= 24:
        walk24(arrays, words, start, stop)
    else:
        walk32(arrays, words, start, stop)


@jit
def _dense_group(g: Any, n_whole: Any, with_middles: Any, zeros: Any, labels: Any, inverse: Any, s: Any) -> None:
    """Rank sums of the concepts of group `g`, left in `walk`: positives, precisions, middles."""
    words = labels.dense[g]
    walk = s.walk
    n = s.x.shape[0]
    n_above = zeros[0]
    n_seen = zeros[0] + zeros[1]
    n_concepts = min(n_whole - g * LANES, LANES)
    for i in range(walk.shape[0]):
        walk[i] = 0.0
    if n_seen < n:
        # how many positives lie below the zeros is only known after looking there
        _walk(n_concepts, False, words, n_seen, n, s)
        for c in range(LANES):
            walk[LANES + c] = 0.0
            walk[3 * LANES + c] = walk[c]
            walk[c] = 0.0
    _walk(n_concepts, with_middles, words, 0, n_above, s)
    if n_seen > n_above:
        for c in range(n_concepts):
            k = g * LANES + c
            p = np.float64(labels.starts[k + 1] - labels.starts[k])
            at_zero = p - walk[c] - walk[3 * LANES + c]
            walk[c] += at_zero
            walk[LANES + c] += at_zero * walk[c] * inverse[n_seen]
            walk[2 * LANES + c] += at_zero * np.float64(n_above + n_seen)
    if n_seen < n:
        _walk(n_concepts, with_middles, words, n_seen, n, s)


@jit
def _auroc(middles: Any, p: Any, n: Any) -> Any:
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
    mark(texts, s)
    prefix(n_words, s.marks, s.bits)
    among = s.upto
    if has_members and (wants_precision or wants_f1):
        count_among(p, s)
        among = s.among
    if wants_f1:
        count_found(p, s)
    if wants_precision:
        row[AP, c] = (sum_precision_found(p, among, inverse, s) if wants_f1 else sum_precision(p, among, inverse, s)) / p
    if wants_f1:
        best = best_f1(p, among, s.found)
        row[BEST_F1, c] = 2.0 * best
        if slot[BEST_F1_THRESHOLD]:
            row[BEST_F1_THRESHOLD, c] = np.float64(s.x[texts[best_text(p, among, s.found, best)]])
    if wants_middles:
        row[AUROC, c] = _auroc(np.float64(sum_middles(p, has_members, s)), p, n_member)
    if slot[AP_ANTI]:
        row[AP_ANTI, c] = sum_precision_reversed(p, n_member, has_members, inverse, s) / p
    for q in range(wanted.quantiles.shape[0]):
        row[N_SLOTS + q, c] = quantile(wanted.quantiles[q], p, n_words, zeros, s)


@jit
def _score_neuron(bits: Any, magnitude: Any, zeros: Any, labels: Any, wanted: Any, inverse: Any, s: Any, row: Any) -> None:
    slot = wanted.slot
    n = s.x.shape[0]
    wants_off = slot[P_ACTIVE_OFF] | slot[MEAN_OFF]
    wants_moments = slot[P_ACTIVE] | slot[MEAN] | slot[STD] | wants_off
    needs_marks = slot[AP_ANTI] | slot[BEST_F1] | slot[BEST_F1_THRESHOLD] | (wanted.quantiles.shape[0] > 0)
    n = s.x.shape[0]
    n_whole = labels.n_whole
    n_ranks = n - zeros[1]
    n_dense = 0
    saved = 0.0
    while n_dense < labels.sparse_cost.shape[0] and labels.sparse_cost[n_dense] > labels.dense_cost[n_dense] * n_ranks:
        saved += labels.sparse_cost[n_dense] - labels.dense_cost[n_dense] * n_ranks
        n_dense += 1
    if saved < labels.weigh_cost * n_ranks:
        n_dense = 0
    n_by_walk = min(n_dense * LANES, n_whole)
    if n_dense > 0:
        _weigh_ranks(0, zeros[0], slot[AUROC], inverse, s)
        if zeros[0] + zeros[1] < n:
            _weigh_ranks(zeros[0] + zeros[1], n, slot[AUROC], inverse, s)
    if zeros[1] > 0 and (needs_marks or n_by_walk < labels.concept.shape[0]):
        rank_zeros(bits, magnitude, zeros[0], s.rank_of)
    off_sum = 0.0
    off_active = 0
    if wants_off:
        off_sum, off_active = sum_all(s.x, wanted.threshold)
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
                mark_members(members, (n + 63) >> 6, s)
            if wants_off:
                off_sum, off_active = moments(members, s.x, s.part, wanted.threshold)
        is_dense = k < n_by_walk
        if is_dense:
            lane = k % LANES
            if lane == 0:
                _dense_group(k // LANES, n_whole, slot[AUROC], zeros, labels, inverse, s)
            row[AP, c] = s.walk[LANES + lane] / p
            row[AUROC, c] = _auroc(s.walk[2 * LANES + lane], p, n)
        wants_precision = slot[AP] and not is_dense
        wants_middles = slot[AUROC] and not is_dense
        if needs_marks or wants_precision or wants_middles:
            _score_concept(k, n_member, wants_precision, wants_middles, zeros, labels, wanted, inverse, s, row)
        if wants_moments:
            total, n_active = moments(texts, s.x, s.part, wanted.threshold)
            mean = total / p
            row[MEAN, c] = mean
            row[P_ACTIVE, c] = n_active / p
            if wants_off:
                row[MEAN_OFF, c] = (off_sum - total) / (n_member - p)
                row[P_ACTIVE_OFF, c] = (off_active - n_active) / (n_member - p)
            if slot[STD]:
                row[STD, c] = std(p, s.part, mean)


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
            _score_neuron(row, np.uint16(0x7FFF), zeros, labels, wanted, inverse, s, out[m])
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
            _score_neuron(row, np.uint32(0x7FFFFFFF), zeros, labels, wanted, inverse, s, out[m])
        return -1

    return score_block32
