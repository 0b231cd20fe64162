"""Regressions trained together: the objective against plain sums, the lowest point against scikit-learn."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from actlas.query.probing.batched import Objective, Regressions, Whitening, bundles, train


@pytest.fixture
def pool() -> Any:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def regressions(n: int = 1500, d: int = 12, n_labels: int = 4, n_regressions: int = 3) -> Regressions:
    """Correlated vectors over more than one block; each regression is trained on its own part of them, with its own labels."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, n_labels, (n_regressions, n))
    vectors = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + rng.standard_normal((n_labels, d))[codes[0]]
    vectors = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    return Regressions.of(vectors.astype(np.float32), codes, rng.random((n_regressions, n)) < 0.7, n_labels)


def test_loss_and_gradient_are_those_of_plain_sums(pool: ThreadPoolExecutor) -> None:
    of, penalty = regressions(), np.array([0.1, 0.01, 1.0])
    weights = (0.3 * np.random.default_rng(1).standard_normal((3, 4, 13))).astype(np.float32)
    loss, gradient = Objective(of, penalty, pool)(weights)
    for own in range(3):
        rows = of.is_trained[own]
        vectors = of.vectors[rows].astype(np.float64)
        vectors = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
        vectors = np.column_stack([vectors, np.ones(len(vectors))])
        said = np.eye(4)[of.codes[own, rows]]
        logits = vectors @ weights[own].T.astype(np.float64)
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        inner = weights[own].astype(np.float64)
        inner[:, -1] = 0
        plain = -(said * np.log(chances)).sum() / len(vectors) + 0.5 * penalty[own] * (inner**2).sum()
        assert loss[own] == pytest.approx(plain, rel=1e-5)
        assert gradient[own] == pytest.approx((chances - said).T @ vectors / len(vectors) + penalty[own] * inner, abs=1e-5)


def test_the_lowest_point_is_that_of_scikit_learn_whatever_is_trained_beside_it(pool: ThreadPoolExecutor) -> None:
    of, c = regressions(), np.array([0.01, 1.0, 10.0])
    penalty = 1 / (c * of.is_trained.sum(axis=1))
    weights, n_steps = train(Objective(of, penalty, pool), np.zeros((3, 4, 13), np.float32), 500)
    assert (n_steps < 100).all()
    for own in range(3):
        rows = of.is_trained[own]
        vectors = of.vectors.astype(np.float64)
        vectors = (vectors - vectors[rows].mean(axis=0)) / vectors[rows].std(axis=0)
        model = LogisticRegression(C=c[own], tol=1e-8, max_iter=10_000).fit(vectors[rows], of.codes[own, rows])
        plain = model.predict_proba(vectors)
        logits = vectors @ weights[own, :, :-1].T + weights[own, :, -1]
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert chances == pytest.approx(plain, abs=2e-3)
        assert (of.predicted(of.vectors, weights, own) == logits.argmax(axis=1)).all()


def test_the_whitening_inverts_the_hessian_where_nothing_is_known(pool: ThreadPoolExecutor) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((1200, 5)).astype(np.float32) @ rng.standard_normal((5, 5)).astype(np.float32)
    of = Regressions.of(vectors, rng.integers(0, 2, (1, 1200)), np.ones((1, 1200), bool), 2)
    objective = Objective(of, np.array([0.1]), pool)
    whitening = Whitening.at(objective, np.zeros((1, 2, 6), np.float32))
    # of two labels alike 1/2 * 1/2 of the moments is the Hessian of one
    hessian = 0.25 * vectors.T @ vectors / 1200 + 0.1 * np.eye(5)
    step = rng.standard_normal((1, 2, 6)).astype(np.float32)
    asked = np.concatenate([step[:, :, :5] @ hessian, 0.25 * step[:, :, 5:]], axis=2).astype(np.float32)
    assert whitening(asked) == pytest.approx(step, abs=1e-3)


def test_a_label_that_is_not_trained_on_is_never_said_and_a_channel_that_does_not_change_says_nothing(
    pool: ThreadPoolExecutor,
) -> None:
    of = regressions(n_regressions=1)
    vectors = of.vectors.copy()
    vectors[:, 3] = 0
    is_trained = of.is_trained & (of.codes != 2)
    without = Regressions.of(vectors, of.codes, is_trained, 4)
    weights, _ = train(Objective(without, np.array([1e-3]), pool), np.zeros((1, 4, 13), np.float32), 500)
    assert np.isfinite(weights).all()
    assert (weights[0, :, 3] == 0).all()
    assert (weights[0, 2] == 0).all()


def test_steps_end_where_they_are_limited(pool: ThreadPoolExecutor) -> None:
    of = regressions()
    _, n_steps = train(Objective(of, np.full(3, 1e-4), pool), np.zeros((3, 4, 13), np.float32), 3)
    assert n_steps.tolist() == [3, 3, 3]


def test_what_shares_most_vectors_is_trained_together() -> None:
    rng = np.random.default_rng(0)
    draws = [np.sort(rng.permutation(1000)[:800]) for _ in range(3)]
    assert bundles(draws) == [[0, 1, 2]]
    apart = [np.arange(start, start + 100) for start in (0, 200, 0)]
    assert bundles(apart) == [[0, 2], [1]]
