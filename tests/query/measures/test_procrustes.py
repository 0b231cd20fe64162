"""A planted rotation is found, unrelated languages have nothing in common, and scipy finds the same rotation."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from actlas.query import procrustes
from actlas.query.measures.procrustes import _told, rotation_between

RNG = np.random.default_rng(12)


def test_a_planted_rotation_is_all_that_differs():
    a = RNG.normal(size=(80, 8))
    rotation = np.linalg.qr(RNG.normal(size=(8, 8)))[0]
    told = _told(a.astype(np.float32), (a @ rotation + 5).astype(np.float32), 0)
    assert told["error"] == pytest.approx(0, abs=1e-8)
    assert told["fitted"] == pytest.approx(0, abs=1e-8)
    assert told["identity"] > 1
    assert told["shuffled"] > 1
    centred = a - a.mean(axis=0)
    assert told["shift"] == pytest.approx(5 * np.sqrt(8) / np.sqrt(np.square(centred).sum(axis=1).mean()), rel=0.15)


def test_unrelated_texts_have_nothing_in_common():
    a, b = RNG.normal(size=(2, 2000, 6)).astype(np.float32)
    told = _told(a, b, 0)
    assert (told["error"], told["identity"], told["shuffled"]) == pytest.approx((2, 2, 2), rel=0.1)
    same = _told(np.ones((9, 4), np.float32), np.ones((9, 4), np.float32), 0)
    assert same["error"] is same["shift"] is None


def test_scipy_finds_the_same_rotation():
    x, y = RNG.normal(size=(2, 40, 7))
    first, second = rotation_between(x, y)
    np.testing.assert_allclose(first @ second, orthogonal_procrustes(x, y)[0], atol=1e-10)


def test_with_fewer_meanings_than_channels_only_what_they_determine_is_turned():
    rotation = np.linalg.qr(RNG.normal(size=(50, 50)))[0]
    x = RNG.normal(size=(9, 50))
    first, second = rotation_between(x, x @ rotation)
    assert first.shape == (50, 9)
    np.testing.assert_allclose(x @ first @ second, x @ rotation, atol=1e-9)
    outside = RNG.normal(size=(4, 50))
    outside -= outside @ np.linalg.pinv(x) @ x
    np.testing.assert_allclose(outside @ first @ second, 0, atol=1e-9)
    # the fit is as near as any rotation gets
    y = RNG.normal(size=(9, 50))
    first, second = rotation_between(x, y)
    assert np.linalg.norm(x @ first @ second - y) == pytest.approx(np.linalg.norm(x @ orthogonal_procrustes(x, y)[0] - y))
    told = _told(*RNG.normal(size=(2, 60, 500)).astype(np.float32), 0)
    assert 1 < told["error"] < 1.2


def test_a_store_is_measured(scored):
    frame = procrustes(scored, checkpoints=["planted-step128"], sites=["resid"], pivot="en", seed=4)
    assert frame.height == 4
    assert frame.equals(procrustes(scored, checkpoints=["planted-step128"], sites=["resid"], pivot="en", seed=4))
    assert not frame.equals(procrustes(scored, checkpoints=["planted-step128"], sites=["resid"], pivot="en", seed=5))
    assert (frame["fitted"] < frame["error"]).all()
    # every language has a centre of its own, which moves with the layer
    assert (frame.filter(layer=1)["shift"].to_numpy() > frame.filter(layer=0)["shift"].to_numpy()).all()
