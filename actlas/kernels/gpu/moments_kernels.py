"""Triton kernels of moments: sums of values, of their squares and of active texts, per label column."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["n_neurons", "n_texts", "n_columns", "neuron_stride", "text_stride"])
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
    neuron_stride: tl.int64,
    text_stride: tl.int64,
    threshold: tl.float32,
    IS_SHORT: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BC: tl.constexpr,
):
    """One pass: for BM neurons and BC label columns, sums of d = (value - pivot) * scale, of d * d, and of (value > threshold).

    `labels` is uint8 "texts columns"; `scale` is a power of two that brings every |d| to 1 at most. Products with 0 and 1 are
    exact; a tile is summed in float32 and tiles in float64. For 16-bit values (whose pivot is 0) the tensor cores get float16: d
    is one, up to 2**-25, and d * d is the sum of two, up to 2**-36.
    """
    m = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    c = tl.program_id(1).to(tl.int64) * BC + tl.arange(0, BC)
    row = tl.minimum(m, n_neurons - 1)
    center = tl.load(pivot + row)
    factor = tl.load(scale + row)
    total = tl.zeros((BM, BC), tl.float64)
    square = tl.zeros((BM, BC), tl.float64)
    above = tl.zeros((BM, BC), tl.float64)
    for start in range(0, n_texts, BN):
        n = start + tl.arange(0, BN).to(tl.int64)
        place = row[:, None] * neuron_stride + n[None, :] * text_stride
        x = tl.load(values + place, mask=n[None, :] < n_texts, other=0.0).to(tl.float32)
        inside = (n[:, None] < n_texts) & (c[None, :] < n_columns)
        y = tl.load(labels + n[:, None] * n_columns + c[None, :], mask=inside, other=0)
        short = y.to(tl.float16)
        d = (x - center[:, None]) * factor[:, None]
        if IS_SHORT:
            total += tl.dot(d.to(tl.float16), short).to(tl.float64)
            high = (d * d).to(tl.float16)
            rest = ((d * d - high.to(tl.float32)) * 2048.0).to(tl.float16)
            square += (tl.dot(high, short) + tl.dot(rest, short) * (1.0 / 2048.0)).to(tl.float64)
        else:
            whole = y.to(tl.float32)
            total += tl.dot(d, whole, input_precision="ieee").to(tl.float64)
            square += tl.dot(d * d, whole, input_precision="ieee").to(tl.float64)
        above += tl.dot((x > threshold).to(tl.float16), short).to(tl.float64)
    target = m[:, None] * n_columns + c[None, :]
    inside = (m[:, None] < n_neurons) & (c[None, :] < n_columns)
    tl.store(sums + target, total, mask=inside)
    tl.store(squares + target, square, mask=inside)
    tl.store(active + target, above, mask=inside)
