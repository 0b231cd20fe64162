"""How far a number may be chance: p-values of permutations, false discovery rates, intervals of means."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Draws of a bootstrap.
N_BOOTSTRAP = 2000


def permutation_p_value(n_at_least: Any, n_draws: Any) -> NDArray[np.float64]:
    """Chance of a statistic at least as large as the observed one where labels mean nothing, from that many draws.

    The observed labels are one of the permutations, so they count as a draw: the p-value is never 0.

    Args:
        n_at_least: Draws whose statistic is as large as the observed one, or larger.
        n_draws: Draws in all; where there is none, the p-value is NaN.

    Source: Phipson and Smyth 2010, "Permutation p-values should never be zero".

    Example:
        >>> permutation_p_value(np.array([0, 4, 0]), np.array([99, 99, 0])).tolist()
        [0.01, 0.05, nan]
    """
    n_draws = np.asarray(n_draws)
    return np.where(n_draws > 0, (1 + np.asarray(n_at_least)) / (1 + n_draws), np.nan)


def benjamini_hochberg(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """q-values: the lowest false discovery rate at which each test of a family counts as a discovery.

    Args:
        p_values: Of one family of tests, of any shape; NaN is no test and stays NaN.

    Source: Benjamini and Hochberg 1995.

    Example:
        >>> benjamini_hochberg(np.array([0.01, 0.5, np.nan, 0.02])).tolist()
        [0.03, 0.5, nan, 0.03]
    """
    q_values = np.full(p_values.shape, np.nan)
    is_test = ~np.isnan(p_values)
    p = p_values[is_test]
    order = np.argsort(p, kind="stable")
    scaled = p[order] * p.size / np.arange(1, p.size + 1)
    adjusted = np.empty(p.size)
    adjusted[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    q_values[is_test] = np.minimum(adjusted, 1)
    return q_values


def bootstrap_interval(
    sums: NDArray[np.float64], counts: NDArray[np.int64], seed: int, n_draws: int = N_BOOTSTRAP, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of a mean over groups that are drawn again with replacement, whole groups at a time.

    Args:
        sums: Of each group the sum of its values.
        counts: How many values that are; a group of none takes no part.
        seed: Of the draws.
        n_draws: How many.
        level: Share of the drawn means that the interval holds.

    Returns:
        Its lower and its upper end; NaN without a group.

    Source: Efron 1979; percentile interval.

    Example:
        >>> low, high = bootstrap_interval(np.array([1.0, 2.0, 3.0]), np.array([1, 1, 1]), seed=0)
        >>> round(low, 2), round(high, 2)
        (1.0, 3.0)
    """
    sums, counts = sums[counts > 0], counts[counts > 0]
    if not counts.size:
        return np.nan, np.nan
    times = np.random.default_rng(seed).multinomial(counts.size, np.full(counts.size, 1 / counts.size), size=n_draws)
    low, high = np.quantile((times @ sums) / (times @ counts), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
