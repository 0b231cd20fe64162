"""SVCCA beside scikit-learn's canonical correlations of truncated SVDs, and in closed forms."""

import numpy as np
import pytest
from sklearn.cross_decomposition import CCA

from actlas.query import svcca
from actlas.query.measures.svcca import _told, main_directions

RNG = np.random.default_rng(30)


def told(x, y):
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return _told(main_directions(x @ x.T), main_directions(y @ y.T), 0)


def truncated(x):
    left, values, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    n_kept = int(np.argmax(np.cumsum(values**2) / (values**2).sum() >= 0.99)) + 1
    return left[:, :n_kept] * values[:n_kept]


def test_scikit_learn_finds_the_same_correlations():
    x = RNG.normal(size=(80, 4))
    y = x @ RNG.normal(size=(4, 5)) + 2 * RNG.normal(size=(80, 5))
    a, b = truncated(x), truncated(y)
    n = min(a.shape[1], b.shape[1])
    u, v = CCA(n_components=n, max_iter=5000, tol=1e-12).fit_transform(a, b)
    expected = np.mean([np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(n)])
    got = told(x, y)
    assert got["svcca"] == pytest.approx(expected, abs=1e-4)
    assert (got["n_directions_a"], got["n_directions_b"]) == (a.shape[1], b.shape[1])
    assert got["shuffled"] < got["svcca"]


def test_any_invertible_map_changes_nothing_and_a_constant_has_no_directions():
    x = RNG.normal(size=(50, 6))
    assert told(x, 3 * x @ np.linalg.qr(RNG.normal(size=(6, 6)))[0] - 4)["svcca"] == pytest.approx(1)
    assert told(np.ones((9, 3)), x[:9])["svcca"] is None


def test_a_store_is_compared(scored):
    frame = svcca(scored, between="checkpoints", sites=["resid"], n_texts=60)
    assert frame.height == 2 * 3
    assert frame["svcca"].is_between(0, 1).all()
    assert set(frame["n_directions_a"]) <= {5, 6}
