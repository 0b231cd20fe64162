"""Compiled inner loops of the CPU engine. One file, because numba's disk cache does not see changes in callees that live elsewhere.

A neuron's texts are ranked once (`_rank16`, `_rank32`): rank 0 holds the highest value, and a bitmap says after which ranks a group of
tied texts ends. From there on everything happens in rank space, and each concept has two ways to its rank statistics:

*sparse*: mark the positives' ranks in a bitmap with prefix counts; the positives at or above any rank are then one masked popcount, so only
positives are visited. *dense*: one walk over the ranks for 16 concepts at once, in vector registers and without a branch, so its cost does
not depend on how many positives there are. `score_block` takes the cheaper way for each neuron and group of concepts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from actlas.kernels.jit import jit

#: Concepts that one dense walk serves: two 512-bit registers of float64.
LANES = 16
#: Zeros are set apart before sorting when they are more than one in this many texts.
ZERO_SPLIT = 8
#: Slots of `score_block`'s output; quantiles follow.
AP, AP_ANTI, AUROC, P_ACTIVE, P_ACTIVE_OFF, MEAN, MEAN_OFF, STD, BEST_F1, BEST_F1_THRESHOLD = range(10)
N_SLOTS = 10

_ONE = np.uint64(1)
_ZERO_KEY16 = np.uint32(0x7FFF)
_ZERO_KEY32 = np.uint64(0x7FFFFFFF)


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


class Wanted(NamedTuple):
    """What `score_block` computes."""

    slot: NDArray[np.bool_]  # the fixed slots
    quantiles: NDArray[np.float64]
    threshold: float


class Sorting(NamedTuple):
    """Working memory of ranking; `packed` ends up holding key and text of each rank."""

    packed: Any  # uint32 (16-bit values) or uint64
    spare: Any
    counts: NDArray[np.uint32]


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


@intrinsic
def _popcount(typing: Any, word: Any) -> Any:
    return types.uint64(types.uint64), lambda context, builder, signature, args: builder.ctpop(args[0])


@intrinsic
def _trailing_zeros(typing: Any, word: Any) -> Any:
    return types.uint64(types.uint64), lambda context, builder, signature, args: builder.cttz(
        args[0], ir.Constant(ir.IntType(1), 0)
    )


@intrinsic
def _leading_zeros(typing: Any, word: Any) -> Any:
    return types.uint64(types.uint64), lambda context, builder, signature, args: builder.ctlz(
        args[0], ir.Constant(ir.IntType(1), 0)
    )


def _pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


@intrinsic
def _take_marks(typing: Any, marks: Any, start: Any) -> Any:
    """64 marks (bytes) from `start` on as the bits of a word; the marks are cleared on the way."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), 64)
        place = builder.bitcast(_pointer(context, builder, signature.args[0], args[0], args[1]), vector.as_pointer())
        loaded = builder.load(place, align=1)
        builder.store(ir.Constant(vector, None), place, align=1)
        return builder.bitcast(builder.icmp_unsigned("!=", loaded, ir.Constant(vector, None)), ir.IntType(64))

    return types.uint64(marks, types.int64), generate


@intrinsic
def _key_changes(typing: Any, packed: Any, start: Any) -> Any:
    """Bit i: the keys (upper halves) of entries start + i and start + i + 1 differ, for 64 entries."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = signature.args[0].dtype.bitwidth
        vector = ir.VectorType(ir.IntType(bits), 64)
        both = []
        for shift in (0, 1):
            index = builder.add(args[1], ir.Constant(args[1].type, shift))
            place = _pointer(context, builder, signature.args[0], args[0], index)
            both.append(builder.load(builder.bitcast(place, vector.as_pointer()), align=bits // 8))
        text_mask = ir.Constant(vector, [(1 << bits // 2) - 1] * 64)
        return builder.bitcast(builder.icmp_unsigned(">", builder.xor(*both), text_mask), ir.IntType(64))

    return types.uint64(packed, types.int64), generate


@intrinsic
def _walk_ranks(typing: Any, scratch_arrays: Any, words: Any, first: Any, last: Any) -> Any:
    """Ranks first..last-1 for 16 concepts at once; `state` holds positives so far, sum of precisions, sum of middles, in float64.

    `scratch_arrays` is (text_at, weight, carry, middle, state). Per rank: found += label; tied = tied * carry + label;
    precision += (tied * weight) * found; middles += tied * middle.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from numba.core import cgutils

        kinds = signature.args[0].types
        arrays = [builder.extract_value(args[0], i) for i in range(len(kinds))]
        data = [context.make_array(kind)(context, builder, array).data for kind, array in zip(kinds, arrays, strict=True)]
        text_at, weight, carry, middle, state = data
        word_data = context.make_array(signature.args[1])(context, builder, args[1]).data
        vector = ir.VectorType(ir.DoubleType(), LANES)
        index = args[2].type
        places = [builder.bitcast(builder.gep(state, [ir.Constant(index, LANES * i)]), vector.as_pointer()) for i in range(3)]
        begin = [builder.load(place, align=8) for place in places]
        entry = builder.block
        head, body, done = (builder.append_basic_block(f"walk.{name}") for name in ("head", "body", "done"))
        builder.branch(head)
        builder.position_at_end(head)
        rank = builder.phi(index)
        found, precision, middles, tied = (builder.phi(vector) for _ in range(4))
        for phi, value in zip((rank, found, precision, middles, tied), (args[2], *begin, ir.Constant(vector, None)), strict=True):
            phi.add_incoming(value, entry)
        builder.cbranch(builder.icmp_signed("<", rank, args[3]), body, done)

        builder.position_at_end(body)

        def spread(values: Any) -> Any:
            scalar = builder.load(builder.gep(values, [rank]))
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(
                one, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
            )

        text = builder.zext(builder.load(builder.gep(text_at, [rank])), index)
        word = builder.bitcast(builder.load(builder.gep(word_data, [text])), ir.VectorType(ir.IntType(1), LANES))
        label = builder.select(word, ir.Constant(vector, [1.0] * LANES), ir.Constant(vector, None))
        fuse = ("contract",)
        new_found = builder.fadd(found, label, flags=fuse)
        new_tied = builder.fadd(builder.fmul(tied, spread(carry), flags=fuse), label, flags=fuse)
        part = builder.fmul(builder.fmul(new_tied, spread(weight)), new_found, flags=fuse)
        new_precision = builder.fadd(precision, part, flags=fuse)
        new_middles = builder.fadd(middles, builder.fmul(new_tied, spread(middle), flags=fuse), flags=fuse)
        new_rank = builder.add(rank, ir.Constant(index, 1))
        for phi, value in zip(
            (rank, found, precision, middles, tied), (new_rank, new_found, new_precision, new_middles, new_tied), strict=True
        ):
            phi.add_incoming(value, builder.block)
        builder.branch(head)

        builder.position_at_end(done)
        for place, value in zip(places, (found, precision, middles), strict=True):
            builder.store(value, place, align=8)
        return cgutils.get_null_value(context.get_value_type(signature.return_type))

    return types.int64(scratch_arrays, words, types.int64, types.int64), generate


@jit
def _split_zeros(n: int, n_above: int, n_zero: int, packed: Any, zero: Any, shift: Any, rank_of: Any) -> int:
    """Gives texts whose value is zero their ranks and moves the others together; returns how many others there are."""
    m = 0
    for i in range(n):
        v = packed[i]
        packed[m] = v
        # right if this text is a zero; the others are ranked later
        rank_of[i] = np.uint32(n_above + (i - m))
        m += (v >> shift) != zero
    return m


@jit
def _rank16(row: Any, limit: Any, work: Any, rank_of: Any) -> tuple[int, int]:
    """Ranks the texts of one neuron of 16-bit floats; all bits of the magnitude from `limit` on are infinity or NaN.

    Returns:
        First rank of the zeros and how many there are, if they were set apart before sorting; else (texts, 0); (-1, 0) if a value is not finite.
    """
    n = row.shape[0]
    packed = work.packed
    ranked = work.spare
    largest = np.uint16(0)
    n_zero = 0
    for i in range(n):
        u = np.uint16(row[i] & np.uint16(0x7FFF))
        largest = max(largest, u)
        n_zero += u == np.uint16(0)
    if largest >= limit:
        return -1, 0
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
        m = _split_zeros(n, n_above, n_zero, packed, _ZERO_KEY16, np.uint32(16), rank_of)
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
def _rank32(row: Any, work: Any, rank_of: Any) -> tuple[int, int]:
    """As `_rank16`, for float32 bits and any number of texts: three passes of 11 bits; one that would move nothing is left out."""
    n = row.shape[0]
    largest = np.uint32(0)
    n_zero = 0
    for i in range(n):
        u = np.uint32(row[i] & np.uint32(0x7FFFFFFF))
        largest = max(largest, u)
        n_zero += u == np.uint32(0)
    if largest >= np.uint32(0x7F800000):
        return -1, 0
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
        m = _split_zeros(n, n_above, n_zero, source, _ZERO_KEY32, np.uint64(32), rank_of)
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
        work.packed[:n] = target[:n]
    return n_above, n_zero


@jit
def _find_ties(n: int, packed: Any, s: Any) -> None:
    """Bitmap of the ranks at which a group of tied texts ends, and the nearest such rank outside of each word."""
    ends = s.ends
    n_words = (n + 63) >> 6
    for w in range(n_words):
        ends[w] = _key_changes(packed, 64 * w)
    # the last text ends a group whatever lies behind it, and nothing behind it counts
    last = np.uint64((n - 1) & 63)
    ends[n_words - 1] = (ends[n_words - 1] & ((_ONE << last) - _ONE)) | (_ONE << last)
    e = np.uint32(n)
    for i in range(n_words):
        w = n_words - 1 - i
        s.next_end[w] = e
        if ends[w] != np.uint64(0):
            e = np.uint32(64 * w + 1) + np.uint32(_trailing_zeros(ends[w]))
    e = np.uint32(0)
    for w in range(n_words):
        s.last_end[w] = e
        if ends[w] != np.uint64(0):
            e = np.uint32(64 * w + 64) - np.uint32(_leading_zeros(ends[w]))


@jit
def _upto(r: Any, ends: Any, next_end: Any) -> Any:
    """1 + last rank of the group of rank `r`."""
    w = r >> np.uint32(6)
    later = ends[w] >> np.uint64(r & np.uint32(63))
    return np.uint32(r + np.uint32(1) + np.uint32(_trailing_zeros(later))) if later != np.uint64(0) else next_end[w]


@jit
def _first(r: Any, ends: Any, last_end: Any) -> Any:
    """First rank of the group of rank `r`."""
    w = r >> np.uint32(6)
    earlier = ends[w] & ((_ONE << np.uint64(r & np.uint32(63))) - _ONE)
    return (
        np.uint32((w << np.uint32(6)) + np.uint32(64) - np.uint32(_leading_zeros(earlier)))
        if earlier != np.uint64(0)
        else last_end[w]
    )


@jit
def _prefix(n_words: int, marks: Any, bits: Any, before: Any) -> None:
    """Marks by rank -> bitmap and, per word, the marks before it; one word more, so that any rank <= n may be asked for."""
    total = np.uint32(0)
    for w in range(n_words):
        word = _take_marks(marks, 64 * w)
        bits[w] = word
        before[w] = total
        total += np.uint32(_popcount(word))
    bits[n_words] = np.uint64(0)
    before[n_words] = total


@jit
def _count_before(bits: Any, before: Any, rank: Any) -> Any:
    """Marks at ranks < `rank`."""
    w = rank >> np.uint32(6)
    return np.uint32(before[w] + np.uint32(_popcount(bits[w] & ((_ONE << np.uint64(rank & np.uint32(63))) - _ONE))))


@jit
def _rank_of_mark(n_words: int, bits: Any, before: Any, k: int) -> int:
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
    return 64 * low + np.int64(_trailing_zeros(word))


@jit
def _mark(texts: Any, s: Any) -> None:
    for j in range(texts.shape[0]):
        r = s.rank_of[texts[j]]
        s.marks[r] = np.uint8(1)
        s.upto[j] = _upto(r, s.ends, s.next_end)


@jit
def _mark_members(texts: Any, n_words: int, s: Any) -> None:
    for j in range(texts.shape[0]):
        s.marks[s.rank_of[texts[j]]] = np.uint8(1)
    _prefix(n_words, s.marks, s.member_bits, s.members_before)


@jit
def _sum_precision(p: int, has_members: bool, inverse: Any, s: Any) -> float:
    """Sum over positives of the precision at the end of their group; leaves `found` and `among` filled."""
    total = 0.0
    if has_members:
        for j in range(p):
            e = s.upto[j]
            t = _count_before(s.bits, s.before, e)
            n = _count_before(s.member_bits, s.members_before, e)
            s.found[j] = t
            s.among[j] = n
            total += np.float64(np.int32(t)) * inverse[n]
    else:
        for j in range(p):
            e = s.upto[j]
            t = _count_before(s.bits, s.before, e)
            s.found[j] = t
            total += np.float64(np.int32(t)) * inverse[e]
    return total


@jit
def _sum_precision_reversed(p: int, n: int, has_members: bool, inverse: Any, s: Any) -> float:
    """The same for ranking from the lowest value up."""
    total = 0.0
    for j in range(p):
        e = _first(s.upto[j] - np.uint32(1), s.ends, s.last_end)
        t = np.uint32(p) - _count_before(s.bits, s.before, e)
        if has_members:
            e = _count_before(s.member_bits, s.members_before, e)
        total += np.float64(np.int32(t)) * inverse[np.uint32(n) - e]
    return total


@jit
def _sum_middles(p: int, has_members: bool, s: Any) -> int:
    """Sum over positives of first rank + last rank + 1 of their group, counted among members."""
    total = np.int64(0)
    if has_members:
        for j in range(p):
            e = s.upto[j]
            a = _first(e - np.uint32(1), s.ends, s.last_end)
            total += np.int64(_count_before(s.member_bits, s.members_before, a))
            total += np.int64(_count_before(s.member_bits, s.members_before, e))
    else:
        for j in range(p):
            e = s.upto[j]
            total += np.int64(e) + np.int64(_first(e - np.uint32(1), s.ends, s.last_end))
    return total


@jit
def _best_f1(p: int, among: Any, found: Any) -> tuple[float, int]:
    """Highest found / (p + among), and the fewest texts it takes."""
    best = 0.0
    for j in range(p):
        best = max(best, np.float64(np.int32(found[j])) / np.float64(np.int32(among[j]) + p))
    fewest = np.int64(0x7FFFFFFF)
    for j in range(p):
        if np.float64(np.int32(found[j])) / np.float64(np.int32(among[j]) + p) == best:
            fewest = min(fewest, np.int64(among[j]))
    return 2.0 * best, fewest


@jit
def _value_at(rank: int, n_above: int, n_zero: int, s: Any) -> float:
    if n_above <= rank < n_above + n_zero:
        return 0.0
    return np.float64(s.x[s.text_at[rank]])


@jit
def _quantile(q: float, p: int, n_words: int, n_above: int, n_zero: int, s: Any) -> float:
    """Quantile of the positives' values, linear between order statistics as in `numpy.quantile`."""
    place = q * (p - 1)
    below = min(np.int64(place), max(p - 2, 0))
    a = _value_at(_rank_of_mark(n_words, s.bits, s.before, p - 1 - below), n_above, n_zero, s)
    if p == 1:
        return a
    b = _value_at(_rank_of_mark(n_words, s.bits, s.before, p - 2 - below), n_above, n_zero, s)
    t = place - below
    return a + (b - a) * t if t < 0.5 else b - (b - a) * (1.0 - t)


@jit
def _moments(texts: Any, x: Any, part: Any, threshold: float) -> tuple[float, int]:
    """Sum and number above the threshold of the texts' values, which are left side by side in `part`."""
    total = 0.0
    n_active = 0
    for j in range(texts.shape[0]):
        v = x[texts[j]]
        part[j] = v
        total += np.float64(v)
        n_active += np.float64(v) > threshold
    return total, n_active


@jit
def _std(p: int, part: Any, mean: float) -> float:
    total = 0.0
    for j in range(p):
        d = np.float64(part[j]) - mean
        total += d * d
    return np.sqrt(total / p)


@jit
def _weigh_ranks(n: int, inverse: Any, s: Any) -> None:
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
def _dense_group(g: int, n: int, n_above: int, n_zero: int, labels: Any, inverse: Any, s: Any) -> None:
    """Rank sums of the 16 concepts of group `g`, left in `walk`: positives, precisions, middles."""
    words = labels.dense[g]
    walk = s.walk
    arrays = (s.text_at, s.weight, s.carry, s.middle, walk)
    n_seen = n_above + n_zero
    walk[:] = 0.0
    if n_seen < n:
        # how many positives lie below the zeros is only known after looking there
        _walk_ranks(arrays, words, n_seen, n)
        for c in range(LANES):
            walk[LANES + c] = 0.0
            walk[2 * LANES + c] = 0.0
            walk[3 * LANES + c] = walk[c]
            walk[c] = 0.0
    _walk_ranks(arrays, words, 0, n_above)
    if n_zero > 0:
        for c in range(LANES):
            k = g * LANES + c
            if k >= labels.concept.shape[0]:
                break
            p = np.float64(labels.starts[k + 1] - labels.starts[k])
            zeros = p - walk[c] - walk[3 * LANES + c]
            walk[c] += zeros
            walk[LANES + c] += zeros * walk[c] * inverse[n_seen]
            walk[2 * LANES + c] += zeros * np.float64(n_above + n_seen)
    if n_seen < n:
        _walk_ranks(arrays, words, n_seen, n)


@jit
def _auroc(middles: float, p: int, n: int) -> float:
    # middles / 2 + p / 2 is the sum of the positives' mid-ranks, counted from 1 at the highest value
    return 1.0 - 0.5 * (middles - np.float64(p) * np.float64(p)) / (np.float64(p) * np.float64(n - p))


@jit
def _score_neuron(m: int, n: int, n_above: int, n_zero: int, labels: Any, wanted: Any, inverse: Any, s: Any, out: Any) -> None:
    slot = wanted.slot
    n_words = (n + 63) >> 6
    n_quantiles = wanted.quantiles.shape[0]
    wants_f1 = slot[BEST_F1] | slot[BEST_F1_THRESHOLD]
    wants_moments = slot[P_ACTIVE] | slot[P_ACTIVE_OFF] | slot[MEAN] | slot[MEAN_OFF] | slot[STD]
    wants_off = slot[P_ACTIVE_OFF] | slot[MEAN_OFF]
    n_dense = 0
    while n_dense < labels.sparse_cost.shape[0] and labels.sparse_cost[n_dense] > n - n_zero:
        n_dense += 1
    if n_dense > 0:
        _weigh_ranks(n, inverse, s)
    all_sum = 0.0
    all_active = 0
    if wants_off:
        for i in range(n):
            v = np.float64(s.x[i])
            all_sum += v
            all_active += v > wanted.threshold
    off_sum = all_sum
    off_active = all_active
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
            _mark_members(members, n_words, s)
            if wants_off:
                off_sum, off_active = _moments(members, s.x, s.part, wanted.threshold)
        has_members = current >= 0
        is_dense = k < n_dense * LANES and not has_members
        if is_dense:
            if k % LANES == 0:
                _dense_group(k // LANES, n, n_above, n_zero, labels, inverse, s)
            out[AP, m, c] = s.walk[LANES + k % LANES] / p
            out[AUROC, m, c] = _auroc(s.walk[2 * LANES + k % LANES], p, n)
        wants_rank = (slot[AP] | slot[AUROC]) and not is_dense
        if wants_rank or wants_f1 or slot[AP_ANTI] or n_quantiles > 0:
            _mark(texts, s)
            _prefix(n_words, s.marks, s.bits, s.before)
        if wants_f1 or (slot[AP] and not is_dense):
            out[AP, m, c] = _sum_precision(p, has_members, inverse, s) / p
        if slot[AUROC] and not is_dense:
            out[AUROC, m, c] = _auroc(np.float64(_sum_middles(p, has_members, s)), p, n_member)
        if slot[AP_ANTI]:
            out[AP_ANTI, m, c] = _sum_precision_reversed(p, n_member, has_members, inverse, s) / p
        if wants_f1:
            best, fewest = _best_f1(p, s.among if has_members else s.upto, s.found)
            out[BEST_F1, m, c] = best
            if slot[BEST_F1_THRESHOLD]:
                for j in range(p):
                    if np.int64(s.among[j] if has_members else s.upto[j]) == fewest:
                        out[BEST_F1_THRESHOLD, m, c] = np.float64(s.x[texts[j]])
                        break
        for q in range(n_quantiles):
            out[N_SLOTS + q, m, c] = _quantile(wanted.quantiles[q], p, n_words, n_above, n_zero, s)
        if wants_moments:
            total, n_active = _moments(texts, s.x, s.part, wanted.threshold)
            mean = total / p
            out[MEAN, m, c] = mean
            out[P_ACTIVE, m, c] = n_active / p
            if wants_off:
                out[MEAN_OFF, m, c] = (off_sum - total) / (n_member - p)
                out[P_ACTIVE_OFF, m, c] = (off_active - n_active) / (n_member - p)
            if slot[STD]:
                out[STD, m, c] = _std(p, s.part, mean)


@jit
def score_block16(
    rows: Any,
    limit: Any,
    shift: Any,
    scale: Any,
    needs_rank: bool,
    work: Any,
    labels: Any,
    wanted: Any,
    inverse: Any,
    s: Any,
    out: Any,
) -> int:
    """Scores the neurons of a block of 16-bit floats into `out` "slots neurons concepts".

    Returns:
        The first row that holds a value that is not finite, or -1.
    """
    n = rows.shape[1]
    bits = s.x.view(np.uint32)
    for m in range(rows.shape[0]):
        row = rows[m]
        n_above = n
        n_zero = 0
        if needs_rank:
            n_above, n_zero = _rank16(row, limit, work, s.rank_of)
            if n_above < 0:
                return m
            _find_ties(n, work.packed, s)
            for r in range(n):
                s.text_at[r] = work.packed[r] & np.uint32(0xFFFF)
        else:
            largest = np.uint16(0)
            for i in range(n):
                largest = max(largest, np.uint16(row[i] & np.uint16(0x7FFF)))
            if largest >= limit:
                return m
        # exponent and mantissa moved to their places in float32, then the exponent's bias put right by the scale
        for i in range(n):
            u = np.uint32(row[i])
            bits[i] = ((u & np.uint32(0x8000)) << np.uint32(16)) | ((u & np.uint32(0x7FFF)) << shift)
        for i in range(n):
            s.x[i] = s.x[i] * scale
        _score_neuron(m, n, n_above, n_zero, labels, wanted, inverse, s, out)
    return -1


@jit
def score_block32(rows: Any, needs_rank: bool, work: Any, labels: Any, wanted: Any, inverse: Any, s: Any, out: Any) -> int:
    """As `score_block16`, for the bits of float32."""
    n = rows.shape[1]
    bits = s.x.view(np.uint32)
    for m in range(rows.shape[0]):
        row = rows[m]
        n_above = n
        n_zero = 0
        if needs_rank:
            n_above, n_zero = _rank32(row, work, s.rank_of)
            if n_above < 0:
                return m
            _find_ties(n, work.packed, s)
            for r in range(n):
                s.text_at[r] = np.uint32(work.packed[r] & np.uint64(0xFFFFFFFF))
        else:
            largest = np.uint32(0)
            for i in range(n):
                largest = max(largest, np.uint32(row[i] & np.uint32(0x7FFFFFFF)))
            if largest >= np.uint32(0x7F800000):
                return m
        for i in range(n):
            bits[i] = row[i]
        _score_neuron(m, n, n_above, n_zero, labels, wanted, inverse, s, out)
    return -1
