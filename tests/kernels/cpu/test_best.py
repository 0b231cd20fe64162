"""The running choice of the best scores against a full sort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from actlas.errors import QueryError
from actlas.kernels.cpu.best import RunningBest
from actlas.names import RANK_DECIMALS

NO_GUESS, EXACT = 2.0, 0.0


def full_sort(scores: NDArray[np.float64], k: int) -> list[int]:
    """What the best are: the larger rounded score first, of equal ones the smaller index; NaN is none of them."""
    rounded = np.round(scores, RANK_DECIMALS)
    order = sorted(np.flatnonzero(~np.isnan(scores)).tolist(), key=lambda i: (-rounded[i], i))[:k]
    return order + [-1] * (k - len(order))


def run(scores: NDArray[np.float64], k: int, step: int, guesses: NDArray[np.float64], tolerance: float = EXACT) -> RunningBest:
    best = RunningBest(guesses, tolerance, k, scores.shape[1])
    for first in range(0, scores.shape[1], step):
        block = np.ascontiguousarray(scores[:, first : first + step])
        best.add(first, block, slice(0, 1))
        best.add(first, block, slice(1, None))
    return best


@given(
    st.lists(st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.just(float("nan"))), min_size=1, max_size=60),
    st.integers(1, 70),
)
def test_the_best_are_those_of_a_full_sort(values: list[float], k: int) -> None:
    scores = np.array([values])
    index, found = run(scores, k, 7, np.array([NO_GUESS])).best()
    wanted = full_sort(scores[0], k)
    assert index[0].tolist() == wanted
    np.testing.assert_array_equal(found[0], [scores[0, i] if i >= 0 else np.nan for i in wanted])


@pytest.mark.parametrize(("step", "k"), [(1000, 1), (77, 8), (5000, 300), (333, 300)])
def test_many_scores_with_ties_and_almost_ties(step: int, k: int) -> None:
    rng = np.random.default_rng(step)
    scores = rng.random((5, 20_000))
    scores[1] = np.round(scores[1], 2)
    # equal to so many decimals as count, and just not
    scores[2] = 0.9 + rng.integers(0, 4, 20_000) * 0.6 * 10.0**-RANK_DECIMALS
    scores[3] = np.nan
    scores[4, ::2] = 0.75
    guesses = np.array([NO_GUESS, NO_GUESS, NO_GUESS, 0.5, 0.75])
    best = run(scores, k, step, guesses)
    assert best.n_unfit.tolist() == [0, 0, 0, 20_000, 10_000]
    scores[4, ::2] = np.nan
    index, found = best.best()
    for question in range(5):
        wanted = full_sort(scores[question], k)
        assert index[question].tolist() == wanted
        # to the bit: what is rounded decides, and is not what is told
        np.testing.assert_array_equal(found[question], [scores[question, i] if i >= 0 else np.nan for i in wanted])


def test_blocks_may_come_in_any_order() -> None:
    scores = np.round(np.random.default_rng(0).random((1, 9000)), 1)
    best = RunningBest(np.array([NO_GUESS]), EXACT, 500, 9000)
    for first in (6000, 0, 3000):
        best.add(first, np.ascontiguousarray(scores[:, first : first + 3000]))
    assert best.best()[0][0].tolist() == full_sort(scores[0], 500)


def test_a_guess_is_not_ranked_within_the_tolerance() -> None:
    scores = np.array([[0.25, 0.25 * (1 + 1e-9), 0.26, 0.25 * (1 - 1e-9), 0.1]])
    best = RunningBest(np.array([0.25]), 1e-8, 5, 5)
    best.add(0, scores)
    assert best.best()[0].tolist() == [[2, 4, -1, -1, -1]]
    assert best.n_unfit.tolist() == [3]


def test_nothing_is_ranked_beside_a_guess_that_is_not_known() -> None:
    best = RunningBest(np.array([np.nan]), 1e-8, 2, 2)
    best.add(0, np.array([[0.5, np.nan]]))
    assert best.best()[0].tolist() == [[-1, -1]]


def test_equal_scores_are_told_apart_up_to_the_last_neuron() -> None:
    most = 1 << 24
    best = RunningBest(np.array([0.5]), EXACT, 2, most)
    for first in (0, most - 2):
        best.add(first, np.array([[1.0, 0.0]]).T.copy().T)
    index, scores = best.best()
    assert index.tolist() == [[0, most - 2]]
    assert scores.tolist() == [[1.0, 1.0]]
    with pytest.raises(QueryError, match="16,777,217 neurons cannot be ranked together"):
        RunningBest(np.array([0.5]), EXACT, 2, most + 1)
