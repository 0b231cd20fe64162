"""Ranking alone: keys, sorting by counting, zeros set apart, ends of ties."""

import numba
import numpy as np
import pytest

from actlas.kernels.cpu import rank as loops
from actlas.kernels.cpu.engine import new_scratch
from actlas.kernels.cpu.sums import start_groups


@numba.njit
def rank(row, work, text_at):
    return loops.rank(row, loops.magnitudes_of(row), work, text_at)


@numba.njit
def find_groups(row, magnitude, zeros, work, s):
    if zeros[1] > 0:
        loops.place_zeros(row, magnitude, zeros[0], s.text_at)
    loops.find_ties(row.shape[0], work.packed, s)
    start_groups(row.shape[0], s.ends, s.first_at)


@pytest.mark.parametrize(("dtype", "wide"), [(np.float16, False), (np.float16, True), (np.float32, True)])
@pytest.mark.parametrize("shape", ["gaussian", "relu", "zeros between", "all zero", "two values"])
@pytest.mark.parametrize("n_texts", [1, 2, 63, 64, 65, 128, 1000, 3000])
def test_ranks_are_those_of_a_sort(n_texts, shape, dtype, wide):
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
    work, s = new_scratch(n_texts, wide)
    bits = x.view(np.uint32 if dtype == np.float32 else np.uint16)
    zeros = rank(bits, work, s.text_at)
    find_groups(bits, bits.dtype.type(0x7FFFFFFF if dtype == np.float32 else 0x7FFF), zeros, work, s)
    texts = s.text_at[:n_texts]
    assert sorted(texts.tolist()) == list(range(n_texts))
    ranked = x[texts].astype(float)
    assert ranked.tolist() == sorted(x.tolist(), reverse=True)
    is_end = [bool(int(s.ends[rank // 64]) >> rank % 64 & 1) for rank in range(n_texts)]
    assert is_end == [rank + 1 == n_texts or ranked[rank] != ranked[rank + 1] for rank in range(n_texts)]
    assert s.first_at[:n_texts].tolist() == [int((ranked > value).sum()) for value in ranked]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("n_same", [0, 200, 255, 256, 257, 600, 1999])
def test_short_counters_that_overflow_change_nothing(n_same, wide):
    # the same value again and again, then as many that lie so close that their keys stand in one block of 16
    rng = np.random.default_rng(n_same)
    x = rng.standard_normal(2000).astype(np.float16)
    x[: n_same // 2] = 0.5
    x[n_same // 2 : n_same] = np.nextafter(np.float16(0.5), np.float16(1))
    x = rng.permutation(x)
    work, s = new_scratch(2000, wide)
    for neuron in range(3):  # the counters are left alone for a while once they were too short
        rank(x.view(np.uint16), work, s.text_at)
        assert s.text_at[:2000].tolist() == np.argsort(-x.astype(float), kind="stable").tolist(), neuron
