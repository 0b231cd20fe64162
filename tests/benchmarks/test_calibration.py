"""Tests of overlaps make no more false discoveries than they say, where labels mean nothing and texts are translations.

ACTLAS_NULL_STORES=1000 takes that many stores, which is minutes.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.calibration import KINDS, LEVEL, NULL, NULLS, Outcome, many, summary

N_STORES = int(os.environ.get("ACTLAS_NULL_STORES", "12"))


@pytest.fixture(scope="module")
def found() -> list[dict[str, Outcome]]:
    return list(many(NULL, N_STORES, first_seed=10_000))


def test_stores_without_meaning_have_no_more_discoveries_than_the_level_says(found: list[dict[str, Outcome]]) -> None:
    # every discovery is a false one here, so the rate is the share of stores with any
    n_false = sum(one[NULLS[0]].false_share > 0 for one in found)
    assert n_false <= binom.ppf(0.999, N_STORES, LEVEL)
    p_values = np.array([one[NULLS[0]].p_values for one in found])
    # p-values of one store depend on each other, so stores are what is counted
    assert (p_values <= LEVEL).mean(axis=1).mean() <= LEVEL + 3.1 * (p_values <= LEVEL).mean(axis=1).std() / np.sqrt(N_STORES)


def test_the_other_null_would_not_do(found: list[dict[str, Outcome]]) -> None:
    n_false = sum(one[NULLS[1]].false_share > 0 for one in found)
    assert n_false > binom.ppf(0.999, N_STORES, LEVEL)


def test_false_shares_are_those_of_discoveries() -> None:
    is_true = np.array([True, True, False, False])
    one = Outcome(is_true, np.array([0.01, 0.2, 0.02, 0.5]), np.array([0.04, 0.3, 0.04, 0.5]))
    none = Outcome(is_true, np.full(4, 0.5), np.full(4, 0.5))
    assert (one.false_share, none.false_share) == (0.5, 0.0)
    answer: dict[str, Any] = summary([one, none])
    assert answer["false_discovery_rate"] == 0.25
    assert answer["false_p_at_most_level"] == 0.25
    assert answer["true_found"] == 0.25


def test_planted_concepts_stand_beside_silent_ones() -> None:
    (one,) = many(KINDS["two of four concepts planted"], 1)
    outcome = one[NULLS[0]]
    assert outcome.is_true.any()
    assert not outcome.is_true.all()
    assert np.median(outcome.p_values[outcome.is_true]) < np.median(outcome.p_values[~outcome.is_true])
