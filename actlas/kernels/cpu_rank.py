"""A neuron's texts in order: keys that sort as the values do, radix sorts, and the bitmap of where groups of ties end."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actlas.kernels.cpu_intrinsics import key_changes, magnitudes, sum_before, sum_in_blocks, trailing_zeros
from actlas.kernels.jit import jit, jit_apart

#: Zeros are set apart before sorting when they are more than one in this many texts.
ZERO_SPLIT = 8

#: 16-bit values are sorted by the number of texts of each possible key, if there are at most this many keys per text.
KEYS_PER_TEXT = 24
#: Neurons for which the short counters are left alone once they were too short for one.
WAIT = 15

_ONE = np.uint64(1)
_ZERO_KEY32 = np.uint64(0x7FFFFFFF)


class Sorting(NamedTuple):
    """Working memory of ranking; `packed` ends up holding key and text of each rank."""

    packed: Any  # uint32 (16-bit values of up to 65,535 texts) or uint64
    spare: Any
    counts: NDArray[np.uint32]  # per digit
    few: NDArray[np.uint8]  # per key: texts, if no 16 keys that stand together have more than 255
    many: Any  # the same for any number of texts; of half the bits of `packed`
    starts: Any  # per 16 keys: the rank of the first
    wait: NDArray[np.int64]  # neurons to rank before `few` is tried again


@jit
def _key32(u: Any) -> Any:
    return np.uint64(u if u > np.uint32(0x80000000) else np.uint32(0x7FFFFFFF) ^ (u & np.uint32(0x7FFFFFFF)))


@jit
def _pack16(row: Any, i: Any, form: Any) -> Any:
    """Ascending keys are descending values; -0.0 gets the key of 0.0.

    `form`: the magnitude below all but zero, the key of zero, the one before the negative values' first, bits that a text takes.
    """
    lowest, zero, below, shift = form
    u = row[i]
    # numba widens every integer operation; the casts let it work on short ones
    above = np.uint16(max(np.uint16(u & np.uint16(0x7FFF)), lowest) - lowest)
    key = np.uint16(zero - above) if u <= np.uint16(0x8000) else np.uint16(below + above)
    return (type(shift)(key) << shift) | type(shift)(i)


@jit
def _pack32(row: Any, i: Any, form: Any) -> Any:
    return (_key32(np.uint32(row[i])) << np.uint64(32)) | np.uint64(i)


@jit
def _pack_others(row: Any, pack: Any, form: Any, packed: Any, zero: Any) -> Any:
    """Keys and texts of the values that are not zero; returns how many they are, and how many are above zero."""
    n = row.shape[0]
    m = 0
    for w in range(n >> 6):
        word = magnitudes(row, 64 * w)
        while word != np.uint64(0):
            packed[m] = pack(row, 64 * w + np.int64(trailing_zeros(word)), form)
            word &= word - _ONE
            m += 1
    for i in range(n & ~63, n):
        packed[m] = pack(row, i, form)
        m += (row[i] << 1) & ((1 << 8 * row.itemsize) - 1) != 0
    n_above = 0
    for i in range(m):
        n_above += packed[i] < zero
    return m, n_above


@jit
def place_zeros(row: Any, magnitude: Any, n_above: Any, text_at: Any) -> None:
    """Texts by rank where the value is zero and zeros were set apart; only the sparse way needs them."""
    rank = n_above
    for i in range(row.shape[0]):
        is_zero = (row[i] & magnitude) == type(magnitude)(0)
        text_at[rank] = i if is_zero else text_at[rank]
        rank += is_zero


@jit_apart
def _magnitudes(row: Any) -> Any:
    """Least magnitude but zero, less one; the largest; and how many zeros there are."""
    lowest = np.uint16(0xFFFF)
    highest = np.uint16(0)
    n_zero = 0
    for i in range(row.shape[0]):
        magnitude = np.uint16(row[i] & np.uint16(0x7FFF))
        lowest = min(lowest, np.uint16(magnitude - np.uint16(1)))  # a zero becomes the highest number
        highest = max(highest, magnitude)
        n_zero += magnitude == np.uint16(0)
    return min(lowest, highest), highest, n_zero


@jit_apart
def _pack_all(row: Any, form: Any, packed: Any) -> None:
    for i in range(row.shape[0]):
        packed[i] = _pack16(row, i, form)


@jit_apart
def _tally(m: Any, shift: Any, source: Any, counts: Any) -> None:
    for i in range(m):
        counts[source[i] >> shift] += 1


@jit_apart
def _place(m: Any, shift: Any, source: Any, counts: Any, starts: Any, target: Any) -> None:
    for i in range(m):
        v = source[i]
        key = v >> shift
        k = np.uint32(counts[key])
        counts[key] = k + np.uint32(1)
        target[np.uint32(starts[key >> type(shift)(4)]) + k] = v


@jit
def _count(m: Any, n_keys: Any, n_zero: Any, form: Any, counts: Any, work: Any) -> Any:
    """Sorts `m` entries of `spare` into `packed` by how many there are of each key; False if `counts` cannot hold that.

    Leaves `n_zero` ranks free where the negative values' keys begin.
    """
    zero, shift = form[1], form[3]
    lanes = 64 // counts.itemsize
    n_whole = (n_keys + lanes - 1) // lanes * lanes
    for key in range(n_whole):
        counts[key] = 0
    _tally(m, shift, work.spare, counts)
    for key in range(0, n_whole, lanes):
        sum_in_blocks(counts, key, work.starts)
    n_blocks = n_whole >> 4
    for block in range(n_blocks, (n_blocks + 31) & ~31):
        work.starts[block] = 0
    total = np.uint64(0)
    for block in range(0, n_blocks, 32):
        total = sum_before(work.starts, block, total)
    if total != np.uint64(m):  # a count, or the sum of a block, went round
        return False
    if n_zero > 0:
        for block in range((np.int64(zero) >> 4) + 1, n_blocks):
            work.starts[block] += n_zero
    _place(m, shift, work.spare, counts, work.starts, work.packed)
    return True


@jit_apart
def _sort_by_bytes(m: Any, shift: Any, n_above: Any, n_zero: Any, work: Any) -> None:
    """Sorts `m` entries of `spare` into `packed`, with `n_zero` ranks left free behind the first `n_above`."""
    packed = work.packed
    spare = work.spare
    byte = type(shift)(255)
    higher = shift + type(shift)(8)
    low = work.counts[0]
    high = work.counts[1]
    low[:256] = np.uint32(0)
    high[:256] = np.uint32(0)
    for i in range(m):
        v = spare[i]
        low[(v >> shift) & byte] += np.uint32(1)
        high[v >> higher] += np.uint32(1)
    a = np.uint32(0)
    b = np.uint32(0)
    for d in range(256):
        c = low[d]
        low[d] = a
        a += c
        c = high[d]
        high[d] = b
        b += c
    for i in range(m):
        v = spare[i]
        d = (v >> shift) & byte
        p = low[d]
        low[d] = p + np.uint32(1)
        packed[p] = v
    for i in range(m):
        v = packed[i]
        d = v >> higher
        p = high[d]
        high[d] = p + np.uint32(1)
        spare[p] = v
    for i in range(n_above):
        packed[i] = spare[i]
    for i in range(n_above, m):
        packed[i + n_zero] = spare[i]


@jit_apart
def rank16(row: Any, work: Any) -> Any:
    """Ranks the texts of one neuron of finite 16-bit floats.

    Returns:
        First rank of the zeros and how many there are, if they were set apart before sorting; else (texts, 0). Which text stands
        at which of their ranks is left to `place_zeros`.
    """
    n = row.shape[0]
    lowest, highest, n_zero = _magnitudes(row)
    zero = np.uint16(highest - lowest)
    # keys of negative values begin with a block of 16
    below = np.uint16(zero | np.uint16(15))
    kind = type(work.packed[0])
    shift = kind(4 * work.packed.itemsize)
    form = (lowest, zero, below, shift)
    zero_key = kind(zero) << shift
    n_above = n
    m = n
    if ZERO_SPLIT * n_zero > n:
        m, n_above = _pack_others(row, _pack16, form, work.spare, zero_key)
    else:
        n_zero = 0
        _pack_all(row, form, work.spare)
    n_keys = np.int64(below) + np.int64(zero) + 1
    if n_keys > KEYS_PER_TEXT * m:
        _sort_by_bytes(m, shift, min(n_above, m), n_zero, work)
    else:
        wait = work.wait
        is_placed = False
        if wait[0] == 0:
            is_placed = _count(m, n_keys, n_zero, form, work.few, work)
            wait[0] = 0 if is_placed else WAIT
        else:
            wait[0] -= 1
        if not is_placed:
            _count(m, n_keys, n_zero, form, work.many, work)
    for r in range(n_above, n_above + n_zero):
        work.packed[r] = zero_key
    return n_above, n_zero


@jit_apart
def rank32(row: Any, work: Any) -> Any:
    """As `rank16`, for float32 bits and any number of texts: three passes of 11 bits; one that would move nothing is left out."""
    n = row.shape[0]
    n_zero = 0
    for i in range(n):
        n_zero += np.uint32(row[i] & np.uint32(0x7FFFFFFF)) == np.uint32(0)
    source = work.packed
    target = work.spare
    n_above = n
    m = n
    if ZERO_SPLIT * n_zero > n:
        m, n_above = _pack_others(row, _pack32, (), source, _ZERO_KEY32 << np.uint64(32))
    else:
        n_zero = 0
        for i in range(n):
            source[i] = _pack32(row, i, ())
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
        target[r] = v
    for r in range(n_above, n_above + n_zero):
        target[r] = _ZERO_KEY32 << np.uint64(32)
    if not is_moved:
        for r in range(n):
            work.packed[r] = target[r]
    return n_above, n_zero


@jit
def find_ties(n: Any, packed: Any, s: Any) -> None:
    """Bitmap of the ranks at which a group of tied texts ends."""
    ends = s.ends
    n_words = (n + 63) >> 6
    for w in range(n_words):
        ends[w] = key_changes(packed, 64 * w)
    # the last text ends a group whatever lies behind it, and nothing behind it counts
    last = np.uint64((n - 1) & 63)
    ends[n_words - 1] = (ends[n_words - 1] & ((_ONE << last) - _ONE)) | (_ONE << last)


@jit_apart
def start_groups(n: Any, ends: Any, first_of: Any) -> None:
    """Per end of a group: its first rank. Elsewhere the numbers mean nothing."""
    begin: Any = 0
    for r in range(n):
        first_of[r + 1] = begin
        # no branch: where groups end follows no pattern
        begin += np.int64((ends[r >> 6] >> np.uint64(r & 63)) & _ONE) * (r + 1 - begin)
