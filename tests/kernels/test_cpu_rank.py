"""Ranking alone: keys, the three radix passes, zeros set apart, ends of ties."""

import numpy as np
import pytest

from actlas.kernels.cpu import _new_scratch
from actlas.kernels.cpu_rank import find_ties, first, rank16, rank32, rank_zeros, upto
from actlas.kernels.jit import jit


@jit
def spans(n, s, starts, ends):
    for r in range(n):
        starts[r] = first(np.uint32(r), s.ends, s.last_end)
        ends[r] = upto(np.uint32(r), s.ends, s.next_end)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("shape", ["gaussian", "relu", "zeros between", "all zero", "two values"])
@pytest.mark.parametrize("n_texts", [1, 2, 63, 64, 65, 128, 1000])
def test_ranks_are_those_of_a_sort(n_texts, shape, dtype):
    rng = np.random.default_rng(n_texts)
    x = rng.standard_normal(n_texts)
    if shape == "relu":
        x = np.maximum(x, 0)
    elif shape == "zeros between":
        x = np.where(np.abs(x) < 1, np.copysign(0.0, x), x)
    elif shape == "all zero":
        x = np.copysign(0.0, x)
    elif shape == "two values":
        x = np.sign(x)
    x = x.astype(dtype)
    wide = dtype == np.float32
    work, s = _new_scratch(n_texts, wide)
    bits = x.view(np.uint32 if wide else np.uint16)
    n_above, n_zero = (rank32 if wide else rank16)(bits, work, s.rank_of)
    if n_zero:
        rank_zeros(bits, bits.dtype.type(0x7FFFFFFF if wide else 0x7FFF), n_above, s.rank_of)
    find_ties(n_texts, work.packed, s)
    ranks = s.rank_of[:n_texts]
    assert sorted(ranks.tolist()) == list(range(n_texts))
    ranked = np.empty(n_texts)
    ranked[ranks] = x
    assert ranked.tolist() == sorted(x.tolist(), reverse=True)
    starts, ends = np.zeros(n_texts, int), np.zeros(n_texts, int)
    spans(n_texts, s, starts, ends)
    assert starts.tolist() == [int((ranked > value).sum()) for value in ranked]
    assert ends.tolist() == [int((ranked >= value).sum()) for value in ranked]
