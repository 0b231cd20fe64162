"""Triton kernels of the order of a neuron's texts and of the statistics that follow from it.

Both rest on one step: to count how often each small number occurs. Ties need no care, since texts with equal values are one
number, and nothing has to be sorted or marked. A `SIZE` of counters stands in columns: number i is in row i mod `ROWS` of column
i div `ROWS`, and a thread keeps columns. So a running sum is additions in registers, and one sum over the columns.
"""

import triton
import triton.language as tl


@triton.jit
def _counter(number, ROW_BITS: tl.constexpr, SIZE: tl.constexpr):
    return ((number & ((1 << ROW_BITS) - 1)) * (SIZE >> ROW_BITS)) + (number >> ROW_BITS)


@triton.jit
def _take(counters, SIZE: tl.constexpr):
    """What was counted in memory, which is zero again afterwards."""
    tl.debug_barrier()
    place = counters + tl.arange(0, SIZE)
    count = tl.load(place)
    tl.store(place, tl.zeros((SIZE,), tl.int32))
    tl.debug_barrier()
    return count


@triton.jit
def _running_sum(count):
    """Per number, how many were counted up to it; "rows columns"."""
    in_column = tl.sum(count, 0)
    return tl.cumsum(count, 0) + (tl.cumsum(in_column, 0) - in_column)[None, :]


@triton.jit
def _number_of(bits, places, n, inside, digit, IS_SHORT: tl.constexpr, IS_FIRST: tl.constexpr):
    """Ascends as values descend, as far as the bits down to this digit tell them apart; -0.0 is 0.0."""
    value = tl.load(bits + n, mask=inside, other=0)
    if IS_SHORT:
        u = value.to(tl.int32) & 0xFFFF
        number = tl.where(u > 0x8000, u, 0x7FFF ^ (u & 0x7FFF))
    else:
        magnitude = value & 0x7FFFFFFF
        key = tl.where((value < 0) & (magnitude != 0), value, 0x7FFFFFFF ^ magnitude)
        if IS_FIRST:
            number = (key >> 16) & 0xFFFF
        else:
            number = tl.load(places + n, mask=inside, other=0).to(tl.int32) * 4 + ((key >> (14 - 2 * digit)) & 3)
    return number


# Long: three walks over the texts, each of which has to compute their numbers.
@triton.jit
def _order(
    bits, places, target, n_texts, digit, counters, IS_SHORT: tl.constexpr, IS_FIRST: tl.constexpr,
    BLOCK: tl.constexpr, SIZE: tl.constexpr, ROW_BITS: tl.constexpr, ON_CHIP: tl.constexpr,
):  # fmt: skip
    """Writes how many distinct numbers lie below each text's, and returns how many there are.

    SIZE possible numbers at a time, from the lowest to the highest that occurs.
    """
    low = tl.full((BLOCK,), 0x7FFFFFFF, tl.int32)
    high = tl.full((BLOCK,), -1, tl.int32)
    for offset in range(0, n_texts, BLOCK):
        n = offset + tl.arange(0, BLOCK)
        number = _number_of(bits, places, n, n < n_texts, digit, IS_SHORT, IS_FIRST)
        low = tl.minimum(low, tl.where(n < n_texts, number, 0x7FFFFFFF))
        high = tl.maximum(high, tl.where(n < n_texts, number, -1))
    lowest = tl.min(low, 0)
    highest = tl.max(high, 0)
    n_distinct = lowest * 0
    for base in range(lowest, highest + 1, SIZE):
        count = tl.zeros((SIZE,), tl.int32)
        for offset in range(0, n_texts, BLOCK):
            n = offset + tl.arange(0, BLOCK)
            number = _number_of(bits, places, n, n < n_texts, digit, IS_SHORT, IS_FIRST) - base
            is_here = (n < n_texts) & (number >= 0) & (number < SIZE)
            counter = _counter(tl.where(is_here, number, 0), ROW_BITS, SIZE)
            if ON_CHIP:
                count += tl.histogram(counter, SIZE, mask=is_here)
            else:
                tl.atomic_add(counters + counter, 1, mask=is_here, sem="relaxed")
        if not ON_CHIP:
            count = _take(counters, SIZE)
        occurs = tl.reshape((count > 0).to(tl.int32), (1 << ROW_BITS, SIZE >> ROW_BITS))
        last_place = tl.reshape(_running_sum(occurs), (SIZE,)) + (n_distinct - 1)
        for offset in range(0, n_texts, BLOCK):
            n = offset + tl.arange(0, BLOCK)
            number = _number_of(bits, places, n, n < n_texts, digit, IS_SHORT, IS_FIRST) - base
            is_here = (n < n_texts) & (number >= 0) & (number < SIZE)
            place = tl.gather(last_place, _counter(tl.where(is_here, number, 0), ROW_BITS, SIZE), 0)
            tl.store(target + n, place.to(target.dtype.element_ty), mask=is_here)
        n_distinct += tl.sum(tl.sum(occurs, 0), 0)
    tl.debug_barrier()
    return n_distinct


@triton.jit(do_not_specialize=["n_neurons", "n_texts", "neuron_stride", "n_programs"])
def order_kernel(
    bits,
    order,
    spare,
    n_distinct,
    counters,
    n_neurons: tl.int32,
    n_texts: tl.int32,
    neuron_stride: tl.int64,
    n_programs: tl.int32,
    IS_SHORT: tl.constexpr,
    BLOCK: tl.constexpr,
    SIZE: tl.constexpr,
    ROW_BITS: tl.constexpr,
    ON_CHIP: tl.constexpr,
):
    """Per neuron the texts' places among its distinct values, "neurons texts" (0 is the highest), and how many these are.

    The upper 16 bits of float32 are ordered as 16-bit values are; then the lower ones, two at a time, each time among the places
    so far (in `spare` and back), until every text has its own or no bits are left. `counters`, int32 "programs SIZE", is zero
    before and after; nothing of it is used if counts are kept ON_CHIP.

    Bytes of memory, per text: one value read (2 or 4), one place written (2, or 4 beyond 32,768 texts). What is read again comes
    from the caches: a value twice for each SIZE of possible numbers, and once to find their range.
    """
    program = tl.program_id(0)
    mine = counters + program.to(tl.int64) * SIZE
    for m in range(program, n_neurons, n_programs):
        row = program.to(tl.int64) * 0 + m  # in int64, whatever the type of a loop's variable is
        values = bits + row * neuron_stride
        first = order + row * n_texts
        total = _order(values, first, first, n_texts, 0, mine, IS_SHORT, True, BLOCK, SIZE, ROW_BITS, ON_CHIP)
        if not IS_SHORT:
            other = spare + row * n_texts
            for pair in range(4):
                if total < n_texts:
                    _order(values, first, other, n_texts, 2 * pair, mine, False, False, BLOCK, SIZE, ROW_BITS, ON_CHIP)
                    total = _order(
                        values, other, first, n_texts, 2 * pair + 1, mine, False, False, BLOCK, SIZE, ROW_BITS, ON_CHIP
                    )
        tl.store(n_distinct + row, total)


@triton.jit
def _count(
    row, texts, start, stop, base, counters,
    IS_LIST: tl.constexpr, BLOCK: tl.constexpr, SIZE: tl.constexpr, ROW_BITS: tl.constexpr, ON_CHIP: tl.constexpr,
):  # fmt: skip
    """Texts at each of SIZE places from `base` on, "rows columns", and how many stand before them."""
    count = tl.zeros((SIZE,), tl.int32)
    before = tl.zeros((BLOCK,), tl.int32)
    for offset in range(start, stop, BLOCK):
        j = offset + tl.arange(0, BLOCK)
        text = j
        if IS_LIST:
            text = tl.load(texts + j, mask=j < stop, other=0)
        place = tl.load(row + text, mask=j < stop, other=0).to(tl.int32) - base
        before += ((j < stop) & (place < 0)).to(tl.int32)
        is_here = (j < stop) & (place >= 0) & (place < SIZE)
        counter = _counter(tl.where(is_here, place, 0), ROW_BITS, SIZE)
        if ON_CHIP:
            count += tl.histogram(counter, SIZE, mask=is_here)
        else:
            tl.atomic_add(counters + counter, 1, mask=is_here, sem="relaxed")
    if not ON_CHIP:
        count = _take(counters, SIZE)
    return tl.reshape(count, (1 << ROW_BITS, SIZE >> ROW_BITS)), tl.sum(before, 0)


@triton.jit
def _weights(count, before, n_member, IS_SHORT: tl.constexpr):
    """Of a set of texts, per place: how many have at least its value, twice their mid-rank, and what a positive there weighs."""
    n_at_least = _running_sum(count) + before
    n_above = n_at_least - count
    mid_rank = n_at_least + n_above
    if not IS_SHORT:
        mid_rank = mid_rank.to(tl.int64)
    # at places where no member is no positive is
    weight = 1.0 / tl.maximum(n_at_least, 1).to(tl.float32)
    weight_below = 1.0 / tl.maximum(n_member - n_above, 1).to(tl.float32)
    return n_at_least, mid_rank, weight, weight_below


@triton.jit
def _total(tile):
    """Sum of a tile in float64, of a column in the tile's own type."""
    return tl.sum(tl.sum(tile, 0).to(tl.float64), 0)


@triton.jit
def _add(target, number, is_first):
    if not is_first:
        number += tl.load(target)
    tl.store(target, number)


@triton.jit
def _highest(tile):
    return tl.max(tl.max(tile, 0), 0)


@triton.jit
def _first(is_it, place):
    return tl.min(tl.min(tl.where(is_it, place, 0x7FFFFFFF), 0), 0)


@triton.jit
def _best(found, size, place, IS_SHORT: tl.constexpr):
    """Where found / size is highest: place (the first of equal ones), found and size there."""
    if IS_SHORT:
        # Of the fractions that are highest in float32 one comes first. The others' differences from it are exact in int32, and
        # are fractions of small numbers, any two of which float32 tells apart.
        n = size.to(tl.float32)
        quality = found.to(tl.float32) / n
        near = place == _first(quality == _highest(quality), place)
        near_found = _highest(tl.where(near, found, 0))
        near_size = _highest(tl.where(near, size, 0))
        above = (found * near_size - size * near_found).to(tl.float32) / n
        highest = _highest(above)
        best = _first(above >= highest - 1e-5 * tl.abs(highest), place)
    else:
        exact = found.to(tl.float64) / size.to(tl.float64)
        best = _first(exact == _highest(exact), place)
    return best, _highest(tl.where(place == best, found, 0)), _highest(tl.where(place == best, size, 0))


@triton.jit
def _text_at(row, texts, start, stop, place, BLOCK: tl.constexpr):
    """A listed text that stands at a place."""
    found = tl.zeros((BLOCK,), tl.int32)
    for offset in range(start, stop, BLOCK):
        j = offset + tl.arange(0, BLOCK)
        text = tl.load(texts + j, mask=j < stop, other=0)
        is_it = (j < stop) & (tl.load(row + text, mask=j < stop, other=0).to(tl.int32) == place)
        found = tl.maximum(found, tl.where(is_it, text, 0))
    return tl.max(found, 0)


# Long: one Triton program, whose tiles stay in registers from one concept to the next.
@triton.jit(do_not_specialize=["n_neurons", "n_texts", "n_concepts", "n_programs"])
def concepts_kernel(
    order,
    n_distinct,
    starts,
    texts,
    member_set,
    member_starts,
    members,
    counters,
    sums,
    best_text,
    n_neurons: tl.int32,
    n_texts: tl.int32,
    n_concepts: tl.int32,
    n_programs: tl.int32,
    IS_SHORT: tl.constexpr,
    HAS_ALL: tl.constexpr,
    BLOCK: tl.constexpr,
    SIZE: tl.constexpr,
    ROW_BITS: tl.constexpr,
    ON_CHIP: tl.constexpr,
):
    """Sums of every concept over the places that its positives have among a neuron's distinct values, SIZE places at a time.

    `sums` is float64 "4 neurons concepts": of the precisions of the positives, of those in reversed order, of twice the
    positives' mid-ranks, and the best F1; `best_text` is a positive whose value is the threshold of the last. Without HAS_ALL
    only the first is written. `counters`, int32 "programs SIZE", is zero before and after; nothing of it is used if counts are
    kept ON_CHIP.

    Reads per neuron and SIZE places: every text's place (2 bytes; 4 if not IS_SHORT), and for each positive, and each member of
    a set, its number (4, shared by all neurons) and its place, which the first-level cache then has. Writes 8 or 36 bytes per
    concept. Per place and concept 8 bytes of counters are moved.
    """
    program = tl.program_id(0)
    mine = counters + program.to(tl.int64) * SIZE
    every = (program.to(tl.int64) * 0 + n_neurons) * n_concepts
    ROWS: tl.constexpr = 1 << ROW_BITS
    COLUMNS: tl.constexpr = SIZE >> ROW_BITS
    place = tl.arange(0, COLUMNS)[None, :] * ROWS + tl.arange(0, ROWS)[:, None]
    for m in range(program, n_neurons, n_programs):
        neuron = program.to(tl.int64) * 0 + m
        row = order + neuron * n_texts
        for base in range(0, tl.load(n_distinct + neuron), SIZE):
            is_first = base == 0
            current = -1
            count, before = _count(row, members, 0, n_texts, base, mine, False, BLOCK, SIZE, ROW_BITS, ON_CHIP)
            n_at_least, mid_rank, weight, weight_below = _weights(count, before, n_texts, IS_SHORT)
            for k in range(n_concepts):
                which = tl.load(member_set + k)
                if which != current:
                    first_member = tl.load(member_starts + which)
                    last_member = tl.load(member_starts + which + 1)
                    count, before = _count(
                        row, members, first_member, last_member, base, mine, True, BLOCK, SIZE, ROW_BITS, ON_CHIP
                    )
                    n_member = last_member - first_member
                    n_at_least, mid_rank, weight, weight_below = _weights(count, before, n_member, IS_SHORT)
                    current = which
                start = tl.load(starts + k)
                stop = tl.load(starts + k + 1)
                p = stop - start
                hit, before = _count(row, texts, start, stop, base, mine, True, BLOCK, SIZE, ROW_BITS, ON_CHIP)
                found = _running_sum(hit) + before
                target = sums + neuron * n_concepts + k
                n_hit = hit.to(tl.float32)
                _add(target, _total(n_hit * (found.to(tl.float32) * weight)), is_first)
                if HAS_ALL:
                    _add(target + every, _total(n_hit * ((p - found + hit).to(tl.float32) * weight_below)), is_first)
                    _add(target + 2 * every, _total(hit * mid_rank), is_first)
                    best, t, size = _best(found, n_at_least + p, place, IS_SHORT)
                    f1 = 2.0 * (t.to(tl.float64) / size.to(tl.float64))
                    is_better = is_first
                    if not is_first:
                        # an equally good threshold that more texts reach is none
                        is_better = f1 > tl.load(target + 3 * every)
                    if is_better:
                        tl.store(target + 3 * every, f1)
                        text = _text_at(row, texts, start, stop, base + best, BLOCK)
                        tl.store(best_text + neuron * n_concepts + k, text)
            tl.debug_barrier()
