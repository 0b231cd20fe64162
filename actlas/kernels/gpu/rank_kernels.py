"""Triton kernels of ranks and of the statistics that follow from them."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["n_neurons", "n_texts", "neuron_stride", "text_stride", "n_programs"])
def rank16_kernel(
    bits,
    counts,
    rank_of,
    n_at_least,
    first,
    n_neurons: tl.int32,
    n_texts: tl.int32,
    neuron_stride: tl.int64,
    text_stride: tl.int64,
    n_programs: tl.int32,
    BN: tl.constexpr,
):
    """Ranks of 16-bit values by counting each of the 65,536 possible ones; a program takes every n_programs-th neuron.

    Writes per text a rank of its own (0 is the highest value), the number of texts with at least its value, and the number with a
    higher one. `counts`, int32 "programs 65536", is zero before and after.
    """
    program = tl.program_id(0).to(tl.int64)
    base = counts + program * 65536
    for m in range(tl.program_id(0), n_neurons, n_programs):
        row = program * 0 + m  # in int64, whatever the type of a loop's variable is
        for start in range(0, n_texts, BN):
            n = start + tl.arange(0, BN).to(tl.int64)
            u = tl.load(bits + row * neuron_stride + n * text_stride, mask=n < n_texts, other=0).to(tl.int32) & 0xFFFF
            key = tl.where(u > 0x8000, u, 0x7FFF ^ (u & 0x7FFF))
            tl.atomic_add(base + key, 1, mask=n < n_texts)
        tl.debug_barrier()
        # counts become, key by key, the number of texts with a lower key: that is, with a higher value
        seen = 0
        for block in range(0, 65536, 4096):
            place = base + block + tl.arange(0, 4096)
            count = tl.load(place)
            tl.store(place, seen + tl.cumsum(count, 0) - count)
            seen += tl.sum(count, 0)
        tl.debug_barrier()
        for start in range(0, n_texts, BN):
            n = start + tl.arange(0, BN).to(tl.int64)
            u = tl.load(bits + row * neuron_stride + n * text_stride, mask=n < n_texts, other=0).to(tl.int32) & 0xFFFF
            key = tl.where(u > 0x8000, u, 0x7FFF ^ (u & 0x7FFF))
            out = row * n_texts + n
            tl.store(first + out, tl.load(base + key), mask=n < n_texts)
        tl.debug_barrier()
        for start in range(0, n_texts, BN):
            n = start + tl.arange(0, BN).to(tl.int64)
            u = tl.load(bits + row * neuron_stride + n * text_stride, mask=n < n_texts, other=0).to(tl.int32) & 0xFFFF
            key = tl.where(u > 0x8000, u, 0x7FFF ^ (u & 0x7FFF))
            rank = tl.atomic_add(base + key, 1, mask=n < n_texts)
            tl.store(rank_of + row * n_texts + n, rank, mask=n < n_texts)
        tl.debug_barrier()
        for start in range(0, n_texts, BN):
            n = start + tl.arange(0, BN).to(tl.int64)
            u = tl.load(bits + row * neuron_stride + n * text_stride, mask=n < n_texts, other=0).to(tl.int32) & 0xFFFF
            key = tl.where(u > 0x8000, u, 0x7FFF ^ (u & 0x7FFF))
            tl.store(n_at_least + row * n_texts + n, tl.load(base + key), mask=n < n_texts)
        tl.debug_barrier()
        for block in range(0, 65536, 4096):
            tl.store(base + block + tl.arange(0, 4096), tl.zeros((4096,), tl.int32))
        tl.debug_barrier()


@triton.jit
def _popcount(word):
    """Bits of an int32, without an instruction that the interpreter lacks."""
    word = word - ((word >> 1) & 0x55555555)
    word = (word & 0x33333333) + ((word >> 2) & 0x33333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F
    return (word + (word >> 8) + (word >> 16) + (word >> 24)) & 0x3F


@triton.jit
def _before(bits, before, rank, inside):
    """Marks at ranks < `rank`. A word holds 16 ranks, so that no shift meets the sign bit."""
    w = rank >> 4
    word = tl.load(bits + w, mask=inside, other=0)
    return tl.load(before + w, mask=inside, other=0) + _popcount(word & ((1 << (rank & 15)) - 1))


@triton.jit
def _index_marks(bits, before, n_words, BW: tl.constexpr):
    seen = 0
    for block in range(0, n_words, BW):
        w = block + tl.arange(0, BW)
        count = _popcount(tl.load(bits + w, mask=w < n_words, other=0))
        tl.store(before + w, seen + tl.cumsum(count, 0) - count, mask=w < n_words)
        seen += tl.sum(count, 0)


# Long: one Triton program, whose sums stay in registers from one loop to the next.
@triton.jit(do_not_specialize=["n_texts", "n_concepts", "n_words", "n_neurons", "n_programs"])
def concepts_kernel(
    rank_of,
    n_at_least,
    first,
    starts,
    texts,
    member_set,
    member_starts,
    members,
    scratch,
    out,
    best_n_at_least,
    n_texts: tl.int32,
    n_concepts: tl.int32,
    n_words: tl.int32,
    n_neurons: tl.int32,
    n_programs: tl.int32,
    BN: tl.constexpr,
    BW: tl.constexpr,
):
    """Rank statistics of every concept for the neurons of a program, from the ranks of their texts.

    Per neuron and concept: the positives' ranks as a bitmap with prefix counts (`scratch`, int32 "programs 4 words", zero before
    and after), then per positive the positives and members up to the end of its group of ties. `out` is float64
    "4 neurons concepts": average precision, that of the reversed order, AUROC, best F1; `best_n_at_least` says how many
    texts reach the threshold of the last.
    """
    program = tl.program_id(0).to(tl.int64)
    bits = scratch + program * 4 * n_words
    before = bits + n_words
    member_bits = before + n_words
    members_before = member_bits + n_words
    total = (program * 0 + n_neurons) * n_concepts
    for m in range(tl.program_id(0), n_neurons, n_programs):
        row = (program * 0 + m) * n_texts
        current = -1
        n_member = n_texts
        for k in range(n_concepts):
            which = tl.load(member_set + k)
            if which != current:
                for block in range(0, n_words, BW):
                    w = block + tl.arange(0, BW)
                    tl.store(member_bits + w, tl.zeros((BW,), tl.int32), mask=w < n_words)
                tl.debug_barrier()
                a = tl.load(member_starts + which)
                b = tl.load(member_starts + which + 1)
                for offset in range(a, b, BN):
                    j = offset + tl.arange(0, BN)
                    text = tl.load(members + j, mask=j < b, other=0).to(tl.int64)
                    rank = tl.load(rank_of + row + text, mask=j < b, other=0)
                    tl.atomic_or(member_bits + (rank >> 4), 1 << (rank & 15), mask=j < b)
                tl.debug_barrier()
                _index_marks(member_bits, members_before, n_words, BW)
                tl.debug_barrier()
                n_member = b - a
                current = which
            start = tl.load(starts + k)
            stop = tl.load(starts + k + 1)
            p = stop - start
            for offset in range(start, stop, BN):
                j = offset + tl.arange(0, BN)
                text = tl.load(texts + j, mask=j < stop, other=0).to(tl.int64)
                rank = tl.load(rank_of + row + text, mask=j < stop, other=0)
                tl.atomic_or(bits + (rank >> 4), 1 << (rank & 15), mask=j < stop)
            tl.debug_barrier()
            _index_marks(bits, before, n_words, BW)
            tl.debug_barrier()
            precision = tl.zeros((BN,), tl.float64)
            reversed_precision = tl.zeros((BN,), tl.float64)
            mid_rank_sum = tl.zeros((BN,), tl.int64)
            f1 = tl.zeros((BN,), tl.float64)
            at = tl.zeros((BN,), tl.int32)
            for offset in range(start, stop, BN):
                j = offset + tl.arange(0, BN)
                inside = j < stop
                text = tl.load(texts + j, mask=inside, other=0).to(tl.int64)
                e = tl.load(n_at_least + row + text, mask=inside, other=1)
                s = tl.load(first + row + text, mask=inside, other=0)
                n_found = _before(bits, before, e, inside)
                above = _before(bits, before, s, inside)
                n = e
                n_above = s
                if current >= 0:
                    n = _before(member_bits, members_before, e, inside)
                    n_above = _before(member_bits, members_before, s, inside)
                n = tl.where(inside, n, 1)
                n_below = tl.where(inside, n_member - n_above, 1)
                t = n_found.to(tl.float64)
                precision += tl.where(inside, t / n.to(tl.float64), 0.0)
                reversed_precision += tl.where(inside, (p - above).to(tl.float64) / n_below.to(tl.float64), 0.0)
                mid_rank_sum += tl.where(inside, (n + n_above).to(tl.int64), 0)
                quality = tl.where(inside, 2.0 * (t / (n + p).to(tl.float64)), 0.0)
                # of equally good thresholds the one that fewer texts reach
                is_better = (quality > f1) | ((quality == f1) & (e < at))
                at = tl.where(is_better, e, at)
                f1 = tl.where(is_better, quality, f1)
            place = (program * 0 + m) * n_concepts + k
            size = p.to(tl.float64)
            lost = 0.5 * (tl.sum(mid_rank_sum, 0).to(tl.float64) - size * size) / (size * (n_member - p).to(tl.float64))
            best = tl.max(f1, 0)
            tl.store(out + place, tl.sum(precision, 0) / size)
            tl.store(out + total + place, tl.sum(reversed_precision, 0) / size)
            tl.store(out + 2 * total + place, 1.0 - lost)
            tl.store(out + 3 * total + place, best)
            tl.store(best_n_at_least + place, tl.min(tl.where(f1 == best, at, n_texts), 0))
            tl.debug_barrier()
            for block in range(0, n_words, BW):
                w = block + tl.arange(0, BW)
                tl.store(bits + w, tl.zeros((BW,), tl.int32), mask=w < n_words)
            tl.debug_barrier()
