"""Triton kernel of moments: sums of values, of their squares and of active texts, per neuron and label column."""

import triton
import triton.language as tl


@triton.jit
def _tile_sum(number, label, IS_SHORT: tl.constexpr, TEXTS: tl.constexpr):
    """Sums of float32 numbers below 2**15 over one tile's texts, as float16 products with 0 or 1, which are exact.

    One float16 holds 11 bits, so two hold a square of 16-bit values and three any float32, down to 2**-25. The least come
    first: tensor cores cut off what does not fit beside the sum so far. `max_num_imprecise_acc` keeps the compiler from summing
    all tiles there.
    """
    high = number.to(tl.float16)
    rest = number - high.to(tl.float32)
    middle = rest.to(tl.float16)
    if IS_SHORT:
        total = tl.dot(middle, label, max_num_imprecise_acc=TEXTS)
    else:
        low = (rest - middle.to(tl.float32)).to(tl.float16)
        total = tl.dot(low, label, max_num_imprecise_acc=TEXTS)
        total = tl.dot(middle, label, total, max_num_imprecise_acc=TEXTS)
    return tl.dot(high, label, total, max_num_imprecise_acc=TEXTS)


@triton.jit
def _add(total, lost, more):
    """`total - lost` plus `more`, in two float32 each (Kahan): the error stays that of one addition however many there are."""
    more -= lost
    sum_ = total + more
    return sum_, (sum_ - total) - more


@triton.jit(do_not_specialize=["n_neurons", "n_texts", "n_columns", "row_columns", "stride", "threshold"])
def moments_kernel(
    values,
    labels,
    pivot,
    scale,
    sums,
    squares,
    active,
    n_neurons: tl.int32,
    n_texts: tl.int32,
    n_columns: tl.int32,
    row_columns: tl.int32,
    stride: tl.int64,
    threshold: tl.float32,
    IS_SHORT: tl.constexpr,
    IS_TEXT_MAJOR: tl.constexpr,
    STEP: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BC: tl.constexpr,
):
    """For BM neurons and BC columns, sums over all texts of d = (value - pivot) * scale, of d * d, and of (value > threshold).

    Programs of the same neurons are neighbours, so that all of a neuron's columns are served by one read from memory and the
    second-level cache. `labels` is uint8 "texts columns", padded with zeros to full tiles, `row_columns` wide; `scale` is a power
    of two that brings every |d| to 128 at most. Values stand `stride` apart along the axis that is not contiguous; STEP says what
    that, and the size of the other axis, is a multiple of.
    """
    n_column_tiles = tl.cdiv(n_columns, BC)
    c = tl.program_id(0) % n_column_tiles * BC + tl.arange(0, BC)
    m = tl.program_id(0) // n_column_tiles * BM + tl.arange(0, BM)
    center = tl.load(pivot + m, mask=m < n_neurons, other=0.0)
    factor = tl.load(scale + m, mask=m < n_neurons, other=0.0)
    # said so that the compiler sees that they are multiples
    stride = stride // STEP * STEP
    row_columns = row_columns // BC * BC
    if IS_TEXT_MAJOR:
        n_rows = n_neurons // STEP * STEP
        last = n_texts
    else:
        n_rows = n_neurons
        last = n_texts // STEP * STEP
    total = tl.zeros((BM, BC), tl.float32)
    total_lost = tl.zeros((BM, BC), tl.float32)
    square = tl.zeros((BM, BC), tl.float32)
    square_lost = tl.zeros((BM, BC), tl.float32)
    above = tl.zeros((BM, BC), tl.float32)
    n = tl.arange(0, BN)
    if IS_TEXT_MAJOR:
        value = values + m[:, None] + n.to(tl.int64)[None, :] * stride
        next_value = stride * BN
    else:
        value = values + m.to(tl.int64)[:, None] * stride + n[None, :]
        next_value = BN
    label = labels + n[:, None] * row_columns + c[None, :]
    for start in range(0, n_texts, BN):
        x = tl.load(value, mask=(m[:, None] < n_rows) & (n[None, :] < last - start), other=0.0).to(tl.float32)
        y = tl.load(label).to(tl.float16)
        value += next_value
        label += row_columns * BN
        d = (x - center[:, None]) * factor[:, None]
        if not IS_SHORT:  # beyond the last text, nothing is far from the pivot; where that is 0, it is nothing anyway
            d = tl.where(n[None, :] < last - start, d, 0.0)
        above = tl.dot((x > threshold).to(tl.float16), y, above)
        if IS_SHORT:
            more = tl.dot(d.to(tl.float16), y, max_num_imprecise_acc=BN)
        else:
            more = _tile_sum(d, y, IS_SHORT, BN)
        total, total_lost = _add(total, total_lost, more)
        square, square_lost = _add(square, square_lost, _tile_sum(d * d, y, IS_SHORT, BN))
    target = m.to(tl.int64)[:, None] * n_columns + c[None, :]
    inside = (m[:, None] < n_neurons) & (c[None, :] < n_columns)
    tl.store(sums + target, total.to(tl.float64) - total_lost.to(tl.float64), mask=inside)
    tl.store(squares + target, square.to(tl.float64) - square_lost.to(tl.float64), mask=inside)
    tl.store(active + target, above.to(tl.int32), mask=inside)
