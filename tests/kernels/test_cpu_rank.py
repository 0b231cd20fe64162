"""Ranking alone: keys, the three radix passes, zeros set apart, ends of ties."""

import numpy as np
import pytest

from actlas.kernels.cpu import _new_scratch
from actlas.kernels.cpu_rank import find_ties, place_zeros, rank16, rank32, start_groups


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
    n_above, n_zero = (rank32 if wide else rank16)(bits, work)
    s.text_at[:n_texts] = work.packed[:n_texts] & (0xFFFFFFFF if wide else 0xFFFF)
    if n_zero:
        place_zeros(bits, bits.dtype.type(0x7FFFFFFF if wide else 0x7FFF), n_above, s.text_at)
    find_ties(n_texts, work.packed, s)
    start_groups(n_texts, s.ends, s.first_of)
    texts = s.text_at[:n_texts]
    assert sorted(texts.tolist()) == list(range(n_texts))
    ranked = x[texts].astype(float)
    assert ranked.tolist() == sorted(x.tolist(), reverse=True)
    is_end = [bool(int(s.ends[rank // 64]) >> rank % 64 & 1) for rank in range(n_texts)]
    assert is_end == [rank + 1 == n_texts or ranked[rank] != ranked[rank + 1] for rank in range(n_texts)]
    ends = 1 + np.flatnonzero(is_end)
    assert s.first_of[ends].tolist() == [int((ranked > ranked[end - 1]).sum()) for end in ends]
