"""One neuron against all concepts, from its ranks on.

Everything happens in rank space: rank 0 holds the highest value, and each concept has two ways to its rank statistics.
*Sparse*: turn the labels, in the order of the ranks, into a bitmap per concept, and bring the ends of the positives' groups of
ties together by it: statistics are sums over that list. *Dense*: one walk over the ranks for many concepts at once, in
vector registers and without a branch, so its cost does not depend on how many positives there are. Each neuron and group of
concepts takes the cheaper way. AUROC needs neither: it adds up mid-ranks by text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actlas.compiled.jit import cached_kernel, jit, jit_apart
from actlas.compiled.vectors import (
    IS_WIDE,
    LANES,
    walk8,
    walk16,
    walk24,
    walk32,
)
from actlas.kernels.cpu.rank import find_ties, magnitudes_of, place_zeros, rank
from actlas.kernels.cpu.sums import (
    Index,
    add_middles,
    best_f1,
    count_ends,
    count_upto,
    end_groups,
    first_best,
    list_ends,
    list_groups,
    middles_of,
    moments,
    place_middles,
    prefix,
    quantile,
    rank_labels,
    start_groups,
    std,
    sum_all,
    sum_middles,
    sum_off,
    sum_precision,
    sum_precision_apart,
    sum_precision_reversed,
    turn_plane,
    value_at,
)

#: Slots of the output; quantiles follow.
AP, AP_ANTI, AUROC, P_ACTIVE, P_ACTIVE_OFF, MEAN, MEAN_OFF, STD, BEST_F1, BEST_F1_THRESHOLD = range(10)
N_SLOTS = 10

_ONE = np.uint64(1)


class Labels(NamedTuple):
    """Labels in the form that the inner loops read. Concepts stand in an order of their own."""

    concept: NDArray[np.int64]  # the caller's index of each
    starts: NDArray[np.int64]  # where a concept's positives start in `positives`
    positives: Index  # texts, if a statistic needs them
    member_set: NDArray[np.int64]  # per concept: index of its member set; -1: every text
    member_starts: NDArray[np.int64]
    members: Index  # texts
    n_whole: int  # concepts that every text takes part in; they come first
    words: NDArray[np.uint32]  # "groups texts": bit c of a group's word: the text is a positive of its concept c
    member_words: NDArray[np.uint32]  # the same for member sets
    sparse_cost: NDArray[np.float64]  # nanoseconds of the sparse way, per group of up to 32 concepts
    dense_cost: NDArray[np.float64]  # nanoseconds of the dense way per rank, per group
    weigh_cost: float  # nanoseconds per rank to prepare dense walks
    end_cost: float  # nanoseconds per rank to prepare the sparse way
    adds_all: NDArray[np.bool_]  # per group of up to 32 concepts: AUROC looks at every text, not at each concept's positives


class Wanted(NamedTuple):
    """What to compute."""

    needs_rank: bool
    needs_values: bool
    slot: NDArray[np.bool_]  # the fixed slots
    quantiles: NDArray[np.float64]
    threshold: float


@jit_apart
def _weigh(start: Any, stop: Any, inverse: Any, ends: Any, weight: Any, carry: Any) -> None:
    """What the dense walk adds at ranks start..stop-1, which begin and end with whole groups of ties."""
    for w in range(start >> 6, (stop + 63) >> 6):
        word = ends[w]
        # a rank starts a group where the one before it ends one
        starts = (word << _ONE) | (ends[w - 1] >> np.uint64(63) if w > 0 else _ONE)
        for b in range(64):
            r = 64 * w + b
            weight[r] = np.float64(np.int64((word >> np.uint64(b)) & _ONE)) * inverse[r + 1]
            carry[r] = 1.0 - np.float64(np.int64((starts >> np.uint64(b)) & _ONE))


@jit
def _walk(n_concepts: Any, start: Any, stop: Any, s: Any) -> None:
    arrays = (s.ranked, s.weight, s.carry, s.walk)
    if not IS_WIDE:  # the sums of eight concepts are all that the registers hold
        for plane in range((n_concepts + 7) >> 3):
            walk8(arrays, plane, start, stop)
    elif n_concepts <= 8:
        walk8(arrays, 0, start, stop)
    elif n_concepts <= 16:
        walk16(arrays, 0, start, stop)
    elif n_concepts <= 24:
        walk24(arrays, 0, start, stop)
    else:
        walk32(arrays, 0, start, stop)


@jit
def _dense_group(g: Any, n_whole: Any, zeros: Any, labels: Any, inverse: Any, s: Any) -> None:
    """Rank sums of the concepts of group `g`, whose labels stand in `ranked`; left in `walk`: positives, precisions."""
    walk = s.walk
    n = s.x.shape[0]
    n_above = zeros[0]
    n_seen = zeros[0] + zeros[1]
    n_concepts = min(n_whole - g * LANES, LANES)
    for i in range(walk.shape[0]):
        walk[i] = 0.0
    if n_seen < n:
        # how many positives lie below the zeros is only known after looking there
        _walk(n_concepts, n_seen, n, s)
        for c in range(LANES):
            walk[LANES + c] = 0.0
            walk[2 * LANES + c] = walk[c]
            walk[c] = 0.0
    _walk(n_concepts, 0, n_above, s)
    if n_seen > n_above:
        for c in range(n_concepts):
            k = g * LANES + c
            p = np.float64(labels.starts[k + 1] - labels.starts[k])
            at_zero = p - walk[c] - walk[2 * LANES + c]
            walk[c] += at_zero
            walk[LANES + c] += at_zero * walk[c] * inverse[n_seen]
    if n_seen < n:
        _walk(n_concepts, n_seen, n, s)


@jit
def _auroc(middles: Any, p: Any, n: Any) -> Any:
    # middles / 2 + p / 2 is the sum of the positives' mid-ranks, counted from 1 at the highest value
    return 1.0 - 0.5 * (middles - np.float64(p) * np.float64(p)) / (np.float64(p) * np.float64(n - p))


@jit
def _mean_precision(total: Any, p: Any) -> Any:
    """Average precision; exactly 1 where no negative stands before a positive, which rounding must not hide.

    Any other ranking lacks 1 / (p * (p + 1)) at least.
    """
    mean = total / p
    return 1.0 if (1.0 - mean) * np.float64(p) * np.float64(p + 1) < 0.5 else mean


@jit
def _score_concept(
    k: Any,
    n_member: Any,
    wants_precision: Any,
    wants_middles: Any,
    has_few_ties: Any,
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
    p = labels.starts[k + 1] - labels.starts[k]
    n = s.x.shape[0]
    member_set = labels.member_set[k]
    has_members = member_set >= 0
    wants_f1 = slot[BEST_F1] | slot[BEST_F1_THRESHOLD]
    member_bits = s.member_bits[max(member_set, 0) & 7]
    list_ends(n, p, s.bits[k & 7], s.end_at, s.upto)
    among = s.upto
    if has_members and (wants_precision or wants_f1):
        count_upto(p, member_bits, s.upto, s.among)
        among = s.among
    by_groups = wants_precision and not (has_members or has_few_ties)
    n_groups = 0
    if by_groups or slot[AP_ANTI]:
        n_groups = list_groups(p, s.numbers, s.upto, s.group_end, s.found)
    if by_groups:
        row[AP, c] = _mean_precision(sum_precision(n_groups, s.group_end, inverse, s.found), p)
    elif wants_precision:
        row[AP, c] = _mean_precision(sum_precision_apart(p, s.upto, among, inverse), p)
    if wants_f1:
        best = best_f1(p, among)
        row[BEST_F1, c] = 2.0 * best
        if slot[BEST_F1_THRESHOLD]:
            row[BEST_F1_THRESHOLD, c] = value_at(np.int64(s.upto[first_best(p, among, best)]) - 1, zeros, s)
    if wants_middles:
        row[AUROC, c] = _auroc(np.float64(sum_middles(p, member_bits, s)), p, n_member)
    if slot[AP_ANTI]:
        row[AP_ANTI, c] = _mean_precision(sum_precision_reversed(p, n_member, n_groups, has_members, inverse, member_bits, s), p)
    for q in range(wanted.quantiles.shape[0]):
        row[N_SLOTS + q, c] = quantile(wanted.quantiles[q], p, zeros, s)


@jit
def _n_dense(labels: Any, n_ranks: Any, needs_ends: Any) -> Any:
    """How many groups of concepts take the dense way; those with the most positives come first."""
    n_groups = labels.sparse_cost.shape[0]
    n_dense = 0
    saved = 0.0
    while n_dense < n_groups and labels.sparse_cost[n_dense] > labels.dense_cost[n_dense] * n_ranks:
        saved += labels.sparse_cost[n_dense] - labels.dense_cost[n_dense] * n_ranks
        n_dense += 1
    # the last few may go along if that leaves nobody who needs what the sparse way prepares
    rest = 0.0
    for g in range(n_dense, n_groups):
        rest += labels.dense_cost[g] * n_ranks - labels.sparse_cost[g]
    ends = 0.0 if needs_ends or labels.n_whole < labels.concept.shape[0] else labels.end_cost * n_ranks
    if ends > rest:
        n_dense = n_groups
        saved += ends - rest
    return n_dense if saved > labels.weigh_cost * n_ranks else 0


@jit
def _turn_members(k: Any, text_at: Any, labels: Any, s: Any) -> None:
    """Bitmap of the members of concept `k`, ready to count in. Concepts come in the order of their member sets."""
    member_set = labels.member_set[k]
    n = s.x.shape[0]
    if member_set % LANES == 0:
        rank_labels(labels.member_words[member_set // LANES], 0, n, text_at, s.member_ranked)
    if member_set & 7 == 0:
        turn_plane(n, s.member_ranked, (member_set >> 3) & 3, s.member_bits)
    prefix(n, s.member_bits[member_set & 7])


@jit
def _score_neuron(bits: Any, magnitude: Any, zeros: Any, labels: Any, wanted: Any, inverse: Any, s: Any, row: Any) -> None:
    slot = wanted.slot
    n = s.x.shape[0]
    wants_off = slot[P_ACTIVE_OFF] | slot[MEAN_OFF]
    wants_moments = slot[P_ACTIVE] | slot[MEAN] | slot[STD] | wants_off
    needs_bits = slot[AP_ANTI] | slot[BEST_F1] | slot[BEST_F1_THRESHOLD] | (wanted.quantiles.shape[0] > 0)
    wants_ranks = needs_bits | slot[AP] | slot[AUROC]
    n_concepts = labels.concept.shape[0]
    n_whole = labels.n_whole
    n_ranks = n - zeros[1]
    n_by_walk = min(_n_dense(labels, n_ranks, needs_bits | slot[AUROC]) * LANES, n_whole) if slot[AP] else 0
    if n_by_walk > 0:
        _weigh(0, zeros[0], inverse, s.ends, s.weight, s.carry)
        if zeros[0] + zeros[1] < n:
            _weigh(zeros[0] + zeros[1], n, inverse, s.ends, s.weight, s.carry)
    has_member_middles = slot[AUROC] & (n_whole < n_concepts)
    has_bits = needs_bits | (slot[AP] & (n_by_walk < n_concepts)) | has_member_middles
    if has_bits & (zeros[1] > 0):
        place_zeros(bits, magnitude, zeros[0], s.text_at)
    if has_bits | slot[AUROC]:
        end_groups(n, s.ends, s.end_at)
    has_few_ties = has_bits and 2 * count_ends(n, s.ends) >= n
    if slot[AUROC] | slot[AP_ANTI]:
        start_groups(n, s.ends, s.first_at)
    if slot[AUROC]:
        if zeros[1] > 0:
            for i in range(n):
                s.middle[i] = 2 * zeros[0] + zeros[1]
        place_middles(0, zeros[0], s.text_at, s.first_at, s.end_at, s.middle)
        place_middles(zeros[0] + zeros[1], n, s.text_at, s.first_at, s.end_at, s.middle)
    member_sum = 0.0
    member_active = 0
    if wants_off:
        member_sum, member_active = sum_all(s.x, wanted.threshold)
    n_member = n
    current = -1
    members = labels.members[:0]
    for k in range(labels.concept.shape[0]):
        c = labels.concept[k]
        texts = labels.positives[labels.starts[k] : labels.starts[k + 1]]
        p = labels.starts[k + 1] - labels.starts[k]
        if labels.member_set[k] != current:
            current = labels.member_set[k]
            members = labels.members[labels.member_starts[current] : labels.member_starts[current + 1]]
            n_member = members.shape[0]
            if wants_ranks:
                _turn_members(k, s.text_at, labels, s)
            if wants_off:
                member_sum, member_active = moments(members, s.x, s.part, wanted.threshold)
        is_dense = k < n_by_walk
        lane = k % LANES
        words = labels.words[k // LANES]
        if lane == 0 and has_bits:
            rank_labels(words, 0, n, s.text_at, s.ranked)
        elif lane == 0 and is_dense:  # nobody asks which texts are the zeros that were set apart
            rank_labels(words, 0, zeros[0], s.text_at, s.ranked)
            rank_labels(words, zeros[0] + zeros[1], n, s.text_at, s.ranked)
        if is_dense:
            if lane == 0:
                _dense_group(k // LANES, n_whole, zeros, labels, inverse, s)
            row[AP, c] = _mean_precision(s.walk[LANES + lane], p)
        if slot[AUROC] and k < n_whole:
            if not labels.adds_all[k // LANES]:
                total = middles_of(texts, s.middle)
            else:
                if lane == 0:
                    add_middles(n, words, s.middle, s.middles)
                total = np.int64(s.middles[lane])
            row[AUROC, c] = _auroc(np.float64(total), p, n)
        wants_precision = slot[AP] and not is_dense
        wants_middles = slot[AUROC] and k >= n_whole
        first_sparse = 0 if needs_bits else n_by_walk if slot[AP] else n_whole
        if has_bits and k & 7 == 0 and k + 7 >= first_sparse:
            turn_plane(n, s.ranked, lane >> 3, s.bits)
        if needs_bits or wants_precision or wants_middles:
            _score_concept(k, n_member, wants_precision, wants_middles, has_few_ties, zeros, labels, wanted, inverse, s, row)
        if wants_moments:
            total, n_active = moments(texts, s.x, s.part, wanted.threshold)
            mean = total / p
            row[MEAN, c] = mean
            row[P_ACTIVE, c] = n_active / p
            if wants_off:
                off_sum = member_sum - total
                if slot[MEAN_OFF] and 2 * p >= n_member:
                    off_sum = sum_off(members, current < 0, labels.words[k // LANES], lane, s.x)
                row[MEAN_OFF, c] = off_sum / (n_member - p)
                row[P_ACTIVE_OFF, c] = (member_active - n_active) / (n_member - p)
            if slot[STD]:
                row[STD, c] = std(p, s.part, mean)


@cached_kernel(Path(__file__).parent)
def score_block(sources: int) -> Any:
    def score_block(rows: Any, form: Any, wanted: Any, labels: Any, inverse: Any, work: Any, s: Any, out: Any) -> Any:
        """Scores the neurons of a block of floats, given as their bits, into `out` "neurons slots concepts".

        `form`: first magnitude that is not finite, shift to float32's mantissa, scale that puts the exponent right.

        Returns:
            The first row that holds a value that is not finite, or -1.
        """
        limit, shift, scale = form
        n = rows.shape[1]
        bits = s.x.view(np.uint32)
        n_bits = 8 * rows.itemsize
        sign = np.uint32(1 << (n_bits - 1))
        magnitude = type(limit)((1 << (n_bits - 1)) - 1)
        for m in range(rows.shape[0]):
            row = rows[m]
            span = magnitudes_of(row)
            if sources < 0 or span[1] >= limit:
                return m
            zeros = (n, 0)
            if wanted.needs_rank:
                zeros = rank(row, span, work, s.text_at)
                find_ties(n, work.packed, s)
            if wanted.needs_values:
                for i in range(n):
                    u = np.uint32(row[i])
                    bits[i] = ((u & sign) << np.uint32(32 - n_bits)) | ((u & np.uint32(magnitude)) << shift)
                for i in range(n):
                    s.x[i] = s.x[i] * scale
            _score_neuron(row, magnitude, zeros, labels, wanted, inverse, s, out[m])
        return -1

    return score_block
