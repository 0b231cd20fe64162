"""One neuron against all concepts, from its ranks on.

Everything happens in rank space: rank 0 holds the highest value, and each concept has two ways to its rank statistics.
*Sparse*: transpose the labels, in the order of the ranks, into a bitmap per concept, and bring the ends of the positives' groups
of ties together by it: statistics are sums over that list. *Dense*: one walk over the ranks for many concepts at once, in
vector registers and without a branch, so its cost does not depend on how many positives there are. Each neuron and group of
concepts takes the cheaper way. AUROC needs neither: it adds up mid-ranks by text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actlas.compiled.jit import jit, jit_apart, jit_kernel
from actlas.compiled.vectors import LANES
from actlas.kernels.cpu.rank import find_ties, magnitudes_of, place_zeros, rank
from actlas.kernels.cpu.registers import walk
from actlas.kernels.cpu.sums import (
    Index,
    add_mid_ranks,
    best_f1,
    count_ends,
    count_members_at_least,
    end_groups,
    first_best,
    list_ends,
    list_groups,
    moments,
    place_mid_ranks,
    prefix,
    quantile,
    rank_labels,
    start_groups,
    std,
    sum_all,
    sum_member_mid_ranks,
    sum_mid_ranks,
    sum_off,
    sum_precision,
    sum_precision_apart,
    sum_precision_reversed,
    transpose_plane,
    value_at,
)

#: Slots of the output; quantiles follow.
AP, AP_ANTI, AUROC, P_ACTIVE, P_ACTIVE_OFF, MEAN, MEAN_OFF, STD, BEST_F1, BEST_F1_THRESHOLD = range(10)
N_SLOTS = 10

_ONE = np.uint64(1)


class LabelArrays(NamedTuple):
    """Labels in the form that the inner loops read. Concepts stand in an order of their own, in groups of `LANES`."""

    concept: NDArray[np.int64]  # the caller's index of each
    starts: NDArray[np.int64]  # where a concept's positives start in `positives`
    positives: Index  # texts, if a statistic needs them
    member_set: NDArray[np.int64]  # per concept: index of its member set; -1: every text
    member_starts: NDArray[np.int64]
    members: Index  # texts
    n_whole: int  # concepts that every text takes part in; they come first
    words: NDArray[np.uint32]  # "groups texts": bit c of a group's word: the text is a positive of its concept c
    member_words: NDArray[np.uint32]  # the same for member sets
    sparse_cost: NDArray[np.float64]  # nanoseconds of the sparse way, per group
    dense_cost: NDArray[np.float64]  # nanoseconds of the dense way per rank, per group
    weigh_cost: float  # nanoseconds per rank to prepare dense walks
    end_cost: float  # nanoseconds per rank to prepare the sparse way
    adds_all: NDArray[np.bool_]  # per group: AUROC looks at every text, not at each concept's positives


class Request(NamedTuple):
    """What to compute."""

    ap: bool
    ap_anti: bool
    auroc: bool
    mean_off: bool
    std: bool
    best_f1: bool  # and perhaps its threshold
    best_f1_threshold: bool
    quantiles: NDArray[np.float64]
    threshold: float  # a value above it is active
    needs_rank: bool
    needs_values: bool
    needs_list: bool  # statistics that need the list of the positives' ends, whichever way average precision takes
    needs_moments: bool
    needs_off: bool  # moments of the negatives


class Call(NamedTuple):
    """What is the same for every neuron of a call."""

    labels: LabelArrays
    request: Request
    inverse: NDArray[np.float64]  # 1 / i


class Neuron(NamedTuple):
    """What is known of a neuron once it is ranked."""

    zeros: tuple[int, int]  # first rank of the zeros that were set apart, and how many there are
    n_dense: int  # concepts that take the dense way; they come first
    has_bitmaps: bool  # labels are needed as bitmaps by rank
    has_few_ties: bool


class Members(NamedTuple):
    """The texts that the concepts at hand count among."""

    number: int  # of the member set; -1: every text
    start: int  # where they stand in `LabelArrays.members`, if not every text takes part
    stop: int
    n: int
    total: float  # sum of their values, if a statistic of the negatives needs it
    n_active: int


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
def _dense_group(g: Any, zeros: Any, call: Any, s: Any) -> None:
    """Rank sums of the concepts of group `g`, whose labels stand in `ranked`; left in `walk`: positives, precisions."""
    labels, inverse = call.labels, call.inverse
    sums = s.walk
    arrays = (s.ranked, s.weight, s.carry, sums)
    n = s.x.shape[0]
    n_above = zeros[0]
    n_seen = zeros[0] + zeros[1]
    n_concepts = min(labels.n_whole - g * LANES, LANES)
    for i in range(sums.shape[0]):
        sums[i] = 0.0
    if n_seen < n:
        # how many positives lie below the zeros is only known after looking there
        walk(n_concepts, n_seen, n, arrays)
        for c in range(LANES):
            sums[LANES + c] = 0.0
            sums[2 * LANES + c] = sums[c]
            sums[c] = 0.0
    walk(n_concepts, 0, n_above, arrays)
    if n_seen > n_above:
        for c in range(n_concepts):
            k = g * LANES + c
            p = np.float64(labels.starts[k + 1] - labels.starts[k])
            at_zero = p - sums[c] - sums[2 * LANES + c]
            sums[c] += at_zero
            sums[LANES + c] += at_zero * sums[c] * inverse[n_seen]
    if n_seen < n:
        walk(n_concepts, n_seen, n, arrays)


@jit
def _auroc(mid_rank_sum: Any, p: Any, n: Any) -> Any:
    # half of the doubled mid-ranks, and p / 2, is the sum of the positives' mid-ranks, counted from 1 at the highest value
    return 1.0 - 0.5 * (mid_rank_sum - np.float64(p) * np.float64(p)) / (np.float64(p) * np.float64(n - p))


@jit
def _mean_precision(total: Any, p: Any) -> Any:
    """Average precision; exactly 1 where no negative stands before a positive, which rounding must not hide.

    Any other ranking lacks 1 / (p * (p + 1)) at least.
    """
    mean = total / p
    return 1.0 if (1.0 - mean) * np.float64(p) * np.float64(p + 1) < 0.5 else mean


@jit
def _n_dense_groups(labels: Any, n_ranks: Any, needs_ends: Any) -> Any:
    """How many groups of concepts take the dense way; those with the most positives come first."""
    n_groups = labels.sparse_cost.shape[0]
    n_dense = 0
    saved = 0.0
    while n_dense < n_groups and labels.sparse_cost[n_dense] > labels.dense_cost[n_dense] * n_ranks:
        saved += labels.sparse_cost[n_dense] - labels.dense_cost[n_dense] * n_ranks
        n_dense += 1
    # the last few may go along if then no group needs what the sparse way prepares
    rest = 0.0
    for g in range(n_dense, n_groups):
        rest += labels.dense_cost[g] * n_ranks - labels.sparse_cost[g]
    ends = 0.0 if needs_ends or labels.n_whole < labels.concept.shape[0] else labels.end_cost * n_ranks
    if ends > rest:
        n_dense = n_groups
        saved += ends - rest
    return n_dense if saved > labels.weigh_cost * n_ranks else 0


@jit
def _prepare_mid_ranks(zeros: Any, s: Any) -> None:
    """Mid-ranks by text, doubled, from the starts and ends of the groups by rank."""
    n = s.x.shape[0]
    if zeros[1] > 0:
        for i in range(n):
            s.mid_rank[i] = 2 * zeros[0] + zeros[1]
    place_mid_ranks(0, zeros[0], s.text_at, s.first_at, s.end_at, s.mid_rank)
    place_mid_ranks(zeros[0] + zeros[1], n, s.text_at, s.first_at, s.end_at, s.mid_rank)


@jit
def _prepare_neuron(bits: Any, magnitude: Any, zeros: Any, call: Any, s: Any) -> Neuron:
    """Chooses the way of each group of concepts, and prepares by rank what all concepts share."""
    labels, request = call.labels, call.request
    n = s.x.shape[0]
    n_concepts = labels.concept.shape[0]
    n_dense = 0
    if request.ap:
        n_groups = _n_dense_groups(labels, n - zeros[1], request.needs_list | request.auroc)
        n_dense = min(n_groups * LANES, labels.n_whole)
    if n_dense > 0:
        _weigh(0, zeros[0], call.inverse, s.ends, s.weight, s.carry)
        if zeros[0] + zeros[1] < n:
            _weigh(zeros[0] + zeros[1], n, call.inverse, s.ends, s.weight, s.carry)
    counts_members = request.auroc & (labels.n_whole < n_concepts)
    has_bitmaps = request.needs_list | (request.ap & (n_dense < n_concepts)) | counts_members
    if has_bitmaps & (zeros[1] > 0):
        place_zeros(bits, magnitude, zeros[0], s.text_at)
    if has_bitmaps | request.auroc:
        end_groups(n, s.ends, s.end_at)
    has_few_ties = has_bitmaps and 2 * count_ends(n, s.ends) >= n
    if request.auroc | request.ap_anti:
        start_groups(n, s.ends, s.first_at)
    if request.auroc:
        _prepare_mid_ranks(zeros, s)
    return Neuron(zeros, n_dense, has_bitmaps, has_few_ties)


@jit
def _prepare_group(g: Any, neuron: Any, call: Any, s: Any) -> None:
    """Brings the labels of a group of concepts into the order of the ranks, and adds up what its concepts share."""
    labels = call.labels
    n = s.x.shape[0]
    zeros = neuron.zeros
    words = labels.words[g]
    is_dense = g * LANES < neuron.n_dense
    if neuron.has_bitmaps:
        rank_labels(words, 0, n, s.text_at, s.ranked)
    elif is_dense:  # which texts are the zeros that were set apart does not matter
        rank_labels(words, 0, zeros[0], s.text_at, s.ranked)
        rank_labels(words, zeros[0] + zeros[1], n, s.text_at, s.ranked)
    if is_dense:
        _dense_group(g, zeros, call, s)
    if call.request.auroc and g * LANES < labels.n_whole and labels.adds_all[g]:
        add_mid_ranks(n, words, s.mid_rank, s.mid_rank_sum)


@jit
def _next_members(number: Any, call: Any, s: Any) -> Members:
    """The members of a set, with their bitmap ready to count in. Concepts come in the order of their member sets."""
    labels, request = call.labels, call.request
    n = s.x.shape[0]
    start, stop = labels.member_starts[number], labels.member_starts[number + 1]
    if request.needs_rank:
        if number % LANES == 0:
            rank_labels(labels.member_words[number // LANES], 0, n, s.text_at, s.member_ranked)
        if number & 7 == 0:
            transpose_plane(n, s.member_ranked, (number >> 3) & 3, s.member_bits)
        prefix(n, s.member_bits[number & 7])
    total, n_active = 0.0, 0
    if request.needs_off:
        total, n_active = moments(labels.members[start:stop], s.x, s.positive_values, request.threshold)
    return Members(number, start, stop, stop - start, total, n_active)


@jit
def _score_list(k: Any, members: Any, neuron: Any, call: Any, s: Any, row: Any) -> None:
    """Statistics of concept `k` that need the list of the ends of its positives' groups."""
    request, inverse = call.request, call.inverse
    c = call.labels.concept[k]
    p = call.labels.starts[k + 1] - call.labels.starts[k]
    has_members = members.number >= 0
    needs_precision = request.ap and k >= neuron.n_dense
    member_bits = s.member_bits[max(members.number, 0) & 7]
    list_ends(s.x.shape[0], p, s.bits[k & 7], s.end_at, s.n_at_least)
    n_members_at_least = s.n_at_least
    if has_members and (needs_precision or request.best_f1):
        count_members_at_least(p, member_bits, s.n_at_least, s.n_members_at_least)
        n_members_at_least = s.n_members_at_least
    by_groups = needs_precision and not (has_members or neuron.has_few_ties)
    n_groups = 0
    if by_groups or request.ap_anti:
        n_groups = list_groups(p, s.numbers, s.n_at_least, s.group_end, s.n_found)
    if by_groups:
        row[AP, c] = _mean_precision(sum_precision(n_groups, s.group_end, inverse, s.n_found), p)
    elif needs_precision:
        row[AP, c] = _mean_precision(sum_precision_apart(p, s.n_at_least, n_members_at_least, inverse), p)
    if request.best_f1:
        best = best_f1(p, n_members_at_least)
        row[BEST_F1, c] = 2.0 * best
        if request.best_f1_threshold:
            rank_of_best = np.int64(s.n_at_least[first_best(p, n_members_at_least, best)]) - 1
            row[BEST_F1_THRESHOLD, c] = value_at(rank_of_best, neuron.zeros, s)
    if request.auroc and has_members:
        row[AUROC, c] = _auroc(np.float64(sum_member_mid_ranks(p, member_bits, s)), p, members.n)
    if request.ap_anti:
        total = sum_precision_reversed(p, members.n, n_groups, has_members, inverse, member_bits, s)
        row[AP_ANTI, c] = _mean_precision(total, p)
    for q in range(request.quantiles.shape[0]):
        row[N_SLOTS + q, c] = quantile(request.quantiles[q], p, neuron.zeros, s)


@jit
def _score_ranks(k: Any, members: Any, neuron: Any, call: Any, s: Any, row: Any) -> None:
    """Rank statistics of concept `k`."""
    labels, request = call.labels, call.request
    c = labels.concept[k]
    p = labels.starts[k + 1] - labels.starts[k]
    lane = k % LANES
    is_whole = k < labels.n_whole
    if k < neuron.n_dense:
        row[AP, c] = _mean_precision(s.walk[LANES + lane], p)
    if request.auroc and is_whole:
        if labels.adds_all[k // LANES]:
            total = np.int64(s.mid_rank_sum[lane])
        else:
            total = sum_mid_ranks(labels.positives[labels.starts[k] : labels.starts[k + 1]], s.mid_rank)
        row[AUROC, c] = _auroc(np.float64(total), p, s.x.shape[0])
    if request.needs_list or (request.ap and k >= neuron.n_dense) or (request.auroc and not is_whole):
        _score_list(k, members, neuron, call, s, row)


@jit
def _score_moments(k: Any, members: Any, call: Any, s: Any, row: Any) -> None:
    """Statistics of concept `k` that are sums over values."""
    labels, request = call.labels, call.request
    c = labels.concept[k]
    texts = labels.positives[labels.starts[k] : labels.starts[k + 1]]
    p = labels.starts[k + 1] - labels.starts[k]
    total, n_active = moments(texts, s.x, s.positive_values, request.threshold)
    mean = total / p
    row[MEAN, c] = mean
    row[P_ACTIVE, c] = n_active / p
    if request.needs_off:
        off_sum = members.total - total
        if request.mean_off and 2 * p >= members.n:
            texts_in_set = labels.members[members.start : members.stop]
            off_sum = sum_off(texts_in_set, members.number < 0, labels.words[k // LANES], k % LANES, s.x)
        row[MEAN_OFF, c] = off_sum / (members.n - p)
        row[P_ACTIVE_OFF, c] = (members.n_active - n_active) / (members.n - p)
    if request.std:
        row[STD, c] = std(p, s.positive_values, mean)


@jit
def _score_neuron(bits: Any, magnitude: Any, zeros: Any, call: Any, s: Any, row: Any) -> None:
    """Every statistic of one neuron, into `row` "slots concepts"."""
    labels, request = call.labels, call.request
    n = s.x.shape[0]
    neuron = _prepare_neuron(bits, magnitude, zeros, call, s)
    total, n_active = 0.0, 0
    if request.needs_off:
        total, n_active = sum_all(s.x, request.threshold)
    members = Members(-1, 0, 0, n, total, n_active)
    first_sparse = 0 if request.needs_list else neuron.n_dense if request.ap else labels.n_whole
    for k in range(labels.concept.shape[0]):
        if labels.member_set[k] != members.number:
            members = _next_members(labels.member_set[k], call, s)
        if request.needs_rank:
            if k % LANES == 0:
                _prepare_group(k // LANES, neuron, call, s)
            if neuron.has_bitmaps and k & 7 == 0 and k + 7 >= first_sparse:
                transpose_plane(n, s.ranked, (k % LANES) >> 3, s.bits)
            _score_ranks(k, members, neuron, call, s, row)
        if request.needs_moments:
            _score_moments(k, members, call, s, row)


@jit_kernel
def score_block(rows: Any, form: Any, call: Any, work: Any, s: Any, out: Any) -> Any:
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
        if span[1] >= limit:
            return m
        zeros = (n, 0)
        if call.request.needs_rank:
            zeros = rank(row, span, work, s.text_at)
            find_ties(n, work.packed, s)
        if call.request.needs_values:
            for i in range(n):
                u = np.uint32(row[i])
                bits[i] = ((u & sign) << np.uint32(32 - n_bits)) | ((u & np.uint32(magnitude)) << shift)
            for i in range(n):
                s.x[i] = s.x[i] * scale
        _score_neuron(row, magnitude, zeros, call, s, out[m])
    return -1
