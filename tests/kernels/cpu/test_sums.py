"""What the sparse way lists, against plain Python, by every way to bring marked entries together."""

import numba
import numpy as np
import pytest

from actlas.compiled.vectors import HAS_SHUFFLE, IS_WIDE
from actlas.kernels.cpu import sums as cpu_sums
from actlas.kernels.cpu.engine import _new_scratch

by_groups = numba.njit(lambda *arguments: cpu_sums.sum_precision(*arguments))
WAYS = {
    "registers": pytest.param(cpu_sums._pack_wide, marks=pytest.mark.skipif(not IS_WIDE, reason="needs AVX-512 VBMI2")),
    "table": pytest.param(cpu_sums._pack_by_table, marks=pytest.mark.skipif(not HAS_SHUFFLE, reason="needs AVX2")),
    "one by one": cpu_sums._pack_one_by_one,
}


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("pack", WAYS.values(), ids=WAYS)
def test_marked_entries_come_together(pack, dtype):
    @numba.njit
    def call(source, words, target):
        at = 0
        for i in range(words.size):
            at = pack(source, 32 * i, words[i], target, at)
        return at

    rng = np.random.default_rng(0)
    words = rng.integers(0, 2**32, 40, dtype=np.uint32) & rng.integers(0, 2**32, 40, dtype=np.uint32)
    words[:5] = [0, 2**32 - 1, 1, 1 << 31, 0xFF]
    source = rng.integers(0, 60_000, 32 * words.size).astype(dtype)
    marked = [bool(word >> i & 1) for word in words.tolist() for i in range(32)]
    target = np.zeros(source.size + 32, dtype)
    at = call(source, words, target)
    assert target[:at].tolist() == source[marked].tolist()


@pytest.mark.parametrize("n_texts", [1, 31, 32, 33, 64, 65, 1000])
@pytest.mark.parametrize("n_levels", [1, 5, 10_000])
def test_groups_that_hold_positives(n_texts, n_levels):
    rng = np.random.default_rng(n_texts)
    ranked = np.sort(rng.integers(0, n_levels, n_texts))[::-1]
    _, s = _new_scratch(n_texts, False)
    is_end = np.append(ranked[1:] != ranked[:-1], True)
    s.ends[:] = 0
    s.ends[: -(-n_texts // 64)] = np.packbits(np.pad(is_end, (0, -n_texts % 64)), bitorder="little").view(np.uint64)
    cpu_sums.end_groups(n_texts, s.ends, s.end_at)
    assert s.end_at[:n_texts].tolist() == [int((ranked >= value).sum()) for value in ranked]
    for share in (0.02, 0.5, 1.0):
        is_positive = rng.random(n_texts) < share
        is_positive[rng.integers(n_texts)] = True
        s.bits[0] = 0
        s.bits[0, : -(-n_texts // 32)] = np.packbits(np.pad(is_positive, (0, -n_texts % 32)), bitorder="little").view(np.uint32)
        p = int(is_positive.sum())
        cpu_sums.list_ends(n_texts, p, s.bits[0], s.end_at, s.upto)
        assert s.upto[:p].tolist() == [int((ranked >= value).sum()) for value in ranked[is_positive]]
        n_groups = cpu_sums.list_groups(p, s.numbers, s.upto, s.group_end, s.found)
        held = np.unique(ranked[is_positive])[::-1]
        assert s.group_end[:n_groups].tolist() == [int((ranked >= value).sum()) for value in held]
        assert s.found[: n_groups + 1].tolist() == [0, *(int((ranked[is_positive] >= value).sum()) for value in held)]


@pytest.mark.parametrize("n_texts", [1, 1000, 100_000])
def test_middles_add_up_whichever_way(n_texts):
    # at the largest number of texts, sums of 32 bits have to be taken over in between
    rng = np.random.default_rng(n_texts)
    middle = rng.integers(2 * n_texts - 2, 2 * n_texts, n_texts, dtype=np.uint32)
    words = rng.integers(0, 2**32, n_texts, dtype=np.uint32) | np.uint32(1)
    sums = np.full(32, 7, np.uint64)
    middles_of = numba.njit(lambda texts, middle: cpu_sums.middles_of(texts, middle))
    cpu_sums.add_middles(n_texts, words, middle, sums)
    for concept in range(32):
        texts = np.flatnonzero(words >> np.uint32(concept) & np.uint32(1)).astype(np.uint32)
        assert sums[concept] == middle[texts].sum(dtype=np.uint64)
        assert middles_of(texts, middle) == sums[concept]


@pytest.mark.parametrize("n_levels", [1, 5, 10_000])
def test_precision_is_the_same_by_positives_and_by_groups(n_levels):
    rng = np.random.default_rng(n_levels)
    inverse = 1.0 / np.maximum(np.arange(1100), 1)
    for p in (1, 7, 8, 9, 31, 32, 33, 200):
        _, s = _new_scratch(1000, False)
        upto = np.sort(rng.integers(0, n_levels, p) + 1)
        upto = p + np.searchsorted(np.unique(upto), upto).astype(np.uint16)  # ends of groups rise, and none before its positives
        s.upto[:p], s.upto[p] = upto, 0
        n_groups = cpu_sums.list_groups(p, s.numbers, s.upto, s.group_end, s.found)
        expected = sum(int((upto <= end).sum()) / int(end) for end in upto)
        assert abs(cpu_sums.sum_precision_apart(p, s.upto, s.upto, inverse) - expected) < 1e-12
        assert abs(by_groups(n_groups, s.group_end, inverse, s.found) - expected) < 1e-12
