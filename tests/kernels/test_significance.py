"""p-values, false discovery rates and intervals against scipy and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from actlas.kernels.significance import benjamini_hochberg, bootstrap_interval, permutation_p_value


@pytest.mark.parametrize("seed", range(5))
def test_q_values_are_those_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # with ties, as p-values of permutations have
    p_values = np.round(rng.random((7, 11)) ** 3, 2) + 0.005
    np.testing.assert_allclose(
        benjamini_hochberg(p_values), false_discovery_control(p_values, axis=None).reshape(7, 11), rtol=1e-12
    )


def test_what_is_no_test_is_not_in_the_family() -> None:
    p_values = np.array([0.01, np.nan, 0.04, 0.03, np.nan])
    known = ~np.isnan(p_values)
    q_values = benjamini_hochberg(p_values)
    np.testing.assert_allclose(q_values[known], false_discovery_control(p_values[known]))
    assert np.isnan(q_values[~known]).all()
    assert benjamini_hochberg(np.full(3, np.nan)).shape == (3,)
    assert benjamini_hochberg(np.zeros(0)).shape == (0,)


def test_q_values_by_their_definition() -> None:
    p_values = np.random.default_rng(1).random(30) ** 2
    for own, q_value in zip(p_values, benjamini_hochberg(p_values), strict=True):
        rates = [bar * p_values.size / np.count_nonzero(p_values <= bar) for bar in p_values[p_values >= own]]
        assert q_value == pytest.approx(min(min(rates), 1))


def test_p_values_count_the_observed_labels() -> None:
    drawn = np.array([3, 5, 5, 9])
    p_values = permutation_p_value(np.array([(drawn >= bar).sum() for bar in (10, 5, 0)]), 4)
    assert p_values.tolist() == [0.2, 0.8, 1.0]


def test_an_interval_is_that_of_means_drawn_one_by_one() -> None:
    rng = np.random.default_rng(0)
    counts = np.array([10, 10, 6, 10, 1, 0])
    sums = rng.random(6) * counts
    low, high = bootstrap_interval(sums, counts, seed=3, n_draws=20_000)
    drawn = rng.integers(0, 5, size=(20_000, 5))
    means = [sums[groups].sum() / counts[groups].sum() for groups in drawn]
    np.testing.assert_allclose((low, high), np.quantile(means, (0.025, 0.975)), atol=0.01)
    assert (low, high) == bootstrap_interval(sums, counts, seed=3, n_draws=20_000)
    assert np.isnan(bootstrap_interval(np.zeros(2), np.zeros(2, dtype=int), seed=0)).all()
