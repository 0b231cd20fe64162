"""A neuron's texts in order: keys that sort as the values do, sorted by counting them, and the bitmap of where ties end."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actlas.compiled.jit import jit, jit_apart
from actlas.compiled.vectors import key_changes, magnitudes, sum_before, sum_in_blocks, trailing_zeros

#: Zeros are set apart before sorting when they are more than one in this many texts.
ZERO_SPLIT = 8
#: Counters that a pass may have.
N_COUNTERS = 1 << 16
#: Keys are sorted in one pass if there are at most this many possible ones per text, else in two, by half of their bits each.
KEYS_PER_TEXT = 24
#: Passes for which the short counters are left alone once they were too short for one.
WAIT = 15

_ONE = np.uint64(1)


class Sorting(NamedTuple):
    """Working memory of ranking; `packed` ends up holding key and text of each rank, in its upper and its lower half."""

    packed: Any  # uint32 (16-bit values of up to 65,535 texts) or uint64
    spare: Any
    keys: NDArray[np.uint16]  # per text, where they are sorted in one pass
    few: NDArray[np.uint8]  # per key: texts, if no 16 keys that stand together have more than 255
    many: Any  # the same for any number of texts; of half the bits of `packed`
    starts: Any  # per 16 keys: the rank of the first
    wait: NDArray[np.int64]  # passes to go before `few` is tried again


@jit_apart
def magnitudes_of(row: Any) -> Any:
    """Least magnitude but zero, less one; the largest; and how many zeros there are."""
    # numba widens every integer operation; the casts let it work on short ones
    short = type(row[0])
    mask = short((1 << (8 * row.itemsize - 1)) - 1)
    lowest = mask
    highest = short(0)
    n_zero = 0
    for i in range(row.shape[0]):
        magnitude = short(row[i] & mask)
        lowest = min(lowest, short(short(magnitude - short(1)) & mask))  # a zero becomes the largest magnitude
        highest = max(highest, magnitude)
        n_zero += magnitude == short(0)
    return min(lowest, highest), highest, n_zero


@jit
def _key(row: Any, i: Any, lowest: Any, zero: Any) -> Any:
    """Ascending keys are descending values; -0.0 gets the key of 0.0, which stands in the middle of all keys.

    Args:
        row: Bits of the values.
        i: A text.
        lowest: The magnitude below all but zero.
        zero: The key of zero.
    """
    short = type(row[0])
    sign = short(1 << (8 * row.itemsize - 1))
    u = row[i]
    above = short(max(short(u & short(sign - short(1))), lowest) - lowest)
    return short(zero - above) if u <= sign else short(zero + above)


@jit
def _pack(row: Any, i: Any, form: Any) -> Any:
    """Key and text. `form`: the magnitude below all but zero, the key of zero, the bits that a text takes."""
    lowest, zero, shift = form
    return (type(shift)(_key(row, i, lowest, zero)) << shift) | type(shift)(i)


@jit_apart
def _pack_all(row: Any, form: Any, packed: Any) -> None:
    for i in range(row.shape[0]):
        packed[i] = _pack(row, i, form)


@jit_apart
def _key_all(row: Any, lowest: Any, zero: Any, keys: Any) -> None:
    for i in range(row.shape[0]):
        keys[i] = _key(row, i, lowest, zero)


@jit_apart
def _pack_others(row: Any, form: Any, packed: Any) -> Any:
    """Keys and texts of the values that are not zero; returns how many are above zero."""
    n = row.shape[0]
    m = 0
    for w in range(n >> 6):
        word = magnitudes(row, 64 * w)
        while word != np.uint64(0):
            packed[m] = _pack(row, 64 * w + np.int64(trailing_zeros(word)), form)
            word &= word - _ONE
            m += 1
    for i in range(n & ~63, n):
        packed[m] = _pack(row, i, form)
        m += (row[i] << 1) & ((1 << 8 * row.itemsize) - 1) != 0
    n_above = 0
    zero_key = type(form[2])(form[1]) << form[2]
    for i in range(m):
        n_above += packed[i] < zero_key
    return n_above


@jit
def place_zeros(row: Any, magnitude: Any, n_above: Any, text_at: Any) -> None:
    """Texts by rank where the value is zero and zeros were set apart; only the sparse way needs them."""
    rank = n_above
    for i in range(row.shape[0]):
        is_zero = (row[i] & magnitude) == type(magnitude)(0)
        text_at[rank] = i if is_zero else text_at[rank]
        rank += is_zero


@jit_apart
def _tally(m: Any, source: Any, shift: Any, mask: Any, counts: Any) -> None:
    for i in range(m):
        counts[(source[i] >> shift) & mask] += 1


@jit_apart
def _place(m: Any, source: Any, target: Any, shift: Any, mask: Any, counts: Any, starts: Any) -> None:
    for i in range(m):
        v = source[i]
        digit = (v >> shift) & mask
        k = np.uint32(counts[digit])
        counts[digit] = k + np.uint32(1)
        target[np.uint32(starts[digit >> type(mask)(4)]) + k] = v


@jit_apart
def _place_texts(m: Any, keys: Any, text_at: Any, shift: Any, mask: Any, counts: Any, starts: Any) -> None:
    """The same for the texts that the entries belong to."""
    for i in range(m):
        key = keys[i]
        k = np.uint32(counts[key])
        counts[key] = k + np.uint32(1)
        text_at[np.uint32(starts[key >> np.uint16(4)]) + k] = i


@jit_apart
def _keys_by_rank(n: Any, keys: Any, text_at: Any, shift: Any, packed: Any) -> None:
    for r in range(n):
        packed[r] = type(shift)(keys[text_at[r]]) << shift


@jit
def _sort_with(
    place: Any, m: Any, source: Any, target: Any, shift: Any, mask: Any, n_digits: Any, counts: Any, starts: Any
) -> Any:
    """Sorts `m` entries by a digit, whose entries keep their order; False, and nothing done, if `counts` cannot count them."""
    lanes = 64 // counts.itemsize
    n_whole = (n_digits + lanes - 1) // lanes * lanes
    for digit in range(n_whole):
        counts[digit] = 0
    _tally(m, source, shift, mask, counts)
    for digit in range(0, n_whole, lanes):
        sum_in_blocks(counts, digit, starts)
    n_blocks = n_whole >> 4
    for block in range(n_blocks, (n_blocks + 31) & ~31):
        starts[block] = 0
    total = np.uint64(0)
    for block in range(0, n_blocks, 32):
        total = sum_before(starts, block, total)
    if total != np.uint64(m):  # a count, or the sum of a block, went round
        return False
    place(m, source, target, shift, mask, counts, starts)
    return True


@jit
def _sort(place: Any, m: Any, source: Any, target: Any, shift: Any, mask: Any, n_digits: Any, work: Any) -> None:
    """Sorts by the digit of `mask` above the lowest `shift` bits. Short counters stay in the first-level cache."""
    wait = work.wait
    if wait[0] > 0:
        wait[0] -= 1
    elif _sort_with(place, m, source, target, shift, mask, n_digits, work.few, work.starts):
        return
    else:
        wait[0] = WAIT
    _sort_with(place, m, source, target, shift, mask, n_digits, work.many, work.starts)


@jit_apart
def rank(row: Any, span: Any, work: Any, text_at: Any) -> Any:
    """Ranks the texts of one neuron, whose finite floats come as their bits; leaves keys by rank in `packed`.

    `span` is what `magnitudes_of` says of them.

    Returns:
        First rank of the zeros and how many there are, if they were set apart before sorting; else (texts, 0). Which text stands
        at which of their ranks is left to `place_zeros`.
    """
    n = row.shape[0]
    packed = work.packed
    spare = work.spare
    kind = type(packed[0])
    lowest, highest, n_zero = span
    zero = type(row[0])(highest - lowest)
    shift = kind(4 * packed.itemsize)
    every = kind(~kind(0))
    form = (lowest, zero, shift)
    is_split = ZERO_SPLIT * n_zero > n
    m = n - n_zero if is_split else n
    last_key = 2 * np.int64(zero)
    is_one_pass = last_key < min(N_COUNTERS, KEYS_PER_TEXT * m)
    if is_one_pass and not is_split:  # a text alone is moved faster than with its key
        _key_all(row, lowest, zero, work.keys)
        _sort(_place_texts, n, work.keys, text_at, np.uint16(0), np.uint16(0xFFFF), last_key + 1, work)
        _keys_by_rank(n, work.keys, text_at, shift, packed)
        return n, 0
    source = spare if is_one_pass else packed
    n_above = n
    if is_split:
        n_above = _pack_others(row, form, source)
    else:
        n_zero = 0
        _pack_all(row, form, source)
    if is_one_pass:
        _sort(_place, m, spare, packed, shift, every, last_key + 1, work)
    elif m > 0:
        bits = 0
        while last_key >> bits:
            bits += 1
        low = bits >> 1
        _sort(_place, m, packed, spare, shift, kind((1 << low) - 1), 1 << low, work)
        _sort(_place, m, spare, packed, kind(shift + kind(low)), every, (last_key >> low) + 1, work)
    for i in range(m - 1, n_above - 1, -1):
        packed[i + n_zero] = packed[i]
    for r in range(n_above, n_above + n_zero):
        packed[r] = kind(zero) << shift
    text = kind((kind(1) << shift) - kind(1))
    for r in range(n):
        text_at[r] = packed[r] & text
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
