"""What the sparse way lists, against plain Python."""

import numba
import numpy as np
import pytest

from actlas.kernels.cpu import sums
from actlas.kernels.cpu.engine import new_scratch


def from_python(loop):
    """A way into a loop that is compiled for compiled callers alone."""
    return numba.njit(lambda *arguments: loop(*arguments))


end_groups, list_ends, list_groups, add_mid_ranks, sum_mid_ranks, sum_precision, sum_precision_apart = map(
    from_python,
    (
        sums.end_groups,
        sums.list_ends,
        sums.list_groups,
        sums.add_mid_ranks,
        sums.sum_mid_ranks,
        sums.sum_precision,
        sums.sum_precision_apart,
    ),
)


@pytest.mark.parametrize("n_texts", [1, 31, 32, 33, 64, 65, 1000])
@pytest.mark.parametrize("n_levels", [1, 5, 10_000])
def test_groups_that_hold_positives(n_texts, n_levels):
    rng = np.random.default_rng(n_texts)
    ranked = np.sort(rng.integers(0, n_levels, n_texts))[::-1]
    _, s = new_scratch(n_texts, False)
    is_end = np.append(ranked[1:] != ranked[:-1], True)
    s.ends[:] = 0
    s.ends[: -(-n_texts // 64)] = np.packbits(np.pad(is_end, (0, -n_texts % 64)), bitorder="little").view(np.uint64)
    end_groups(n_texts, s.ends, s.end_at)
    assert s.end_at[:n_texts].tolist() == [int((ranked >= value).sum()) for value in ranked]
    for share in (0.02, 0.5, 1.0):
        is_positive = rng.random(n_texts) < share
        is_positive[rng.integers(n_texts)] = True
        s.bits[0] = 0
        s.bits[0, : -(-n_texts // 32)] = np.packbits(np.pad(is_positive, (0, -n_texts % 32)), bitorder="little").view(np.uint32)
        p = int(is_positive.sum())
        list_ends(n_texts, p, s.bits[0], s.end_at, s.n_at_least)
        assert s.n_at_least[:p].tolist() == [int((ranked >= value).sum()) for value in ranked[is_positive]]
        n_groups = list_groups(p, s.numbers, s.n_at_least, s.group_end, s.n_found)
        held = np.unique(ranked[is_positive])[::-1]
        assert s.group_end[:n_groups].tolist() == [int((ranked >= value).sum()) for value in held]
        assert s.n_found[: n_groups + 1].tolist() == [0, *(int((ranked[is_positive] >= value).sum()) for value in held)]


@pytest.mark.parametrize("n_texts", [1, 1000, 100_000])
def test_mid_ranks_add_up_whichever_way(n_texts):
    # at the largest number of texts, sums of 32 bits have to be taken over in between
    rng = np.random.default_rng(n_texts)
    mid_rank = rng.integers(2 * n_texts - 2, 2 * n_texts, n_texts, dtype=np.uint32)
    words = rng.integers(0, 2**32, n_texts, dtype=np.uint32) | np.uint32(1)
    totals = np.full(32, 7, np.uint64)
    add_mid_ranks(n_texts, words, mid_rank, totals)
    for concept in range(32):
        texts = np.flatnonzero(words >> np.uint32(concept) & np.uint32(1)).astype(np.uint32)
        assert totals[concept] == mid_rank[texts].sum(dtype=np.uint64)
        assert sum_mid_ranks(texts, mid_rank) == totals[concept]


@pytest.mark.parametrize("n_levels", [1, 5, 10_000])
def test_precision_is_the_same_by_positives_and_sum_precision(n_levels):
    rng = np.random.default_rng(n_levels)
    inverse = 1.0 / np.maximum(np.arange(1100), 1)
    for p in (1, 7, 8, 9, 31, 32, 33, 200):
        _, s = new_scratch(1000, False)
        n_at_least = np.sort(rng.integers(0, n_levels, p) + 1)
        # ends of groups rise, and none stands before its positives
        n_at_least = p + np.searchsorted(np.unique(n_at_least), n_at_least).astype(np.uint16)
        s.n_at_least[:p], s.n_at_least[p] = n_at_least, 0
        n_groups = list_groups(p, s.numbers, s.n_at_least, s.group_end, s.n_found)
        expected = sum(int((n_at_least <= end).sum()) / int(end) for end in n_at_least)
        assert abs(sum_precision_apart(p, s.n_at_least, s.n_at_least, inverse) - expected) < 1e-12
        assert abs(sum_precision(n_groups, s.group_end, inverse, s.n_found) - expected) < 1e-12
