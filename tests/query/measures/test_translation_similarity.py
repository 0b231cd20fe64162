"""Cosines of translations beside all pairs, one by one, and an interval that leaves each meaning out in a loop."""

import numpy as np
import pytest

from actlas.query import translation_similarity
from actlas.query.measures.translation_similarity import _told
from actlas.query.measures.vectors import directions

RNG = np.random.default_rng(8)


def plain(a, b):
    a, b = (np.asarray(x, np.float64) / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    cosines = a @ b.T
    is_own = np.eye(len(a), dtype=bool)
    return cosines[is_own].mean(), cosines[~is_own].mean()


def test_it_is_the_mean_over_all_pairs_with_the_jackknife_of_meanings():
    a = RNG.normal(size=(31, 6)).astype(np.float32)
    b = (a + 2 * RNG.normal(size=a.shape) + 0.5).astype(np.float32)
    told = _told(directions(a), directions(b))
    own, others = plain(a, b)
    assert (told["translations"], told["others"]) == pytest.approx((own, others))
    left = np.array([np.subtract(*plain(np.delete(a, i, 0), np.delete(b, i, 0))) for i in range(31)])
    error = np.sqrt(30 / 31 * np.square(left - left.mean()).sum())
    assert (told["low"], told["high"]) == pytest.approx((own - others - 1.96 * error, own - others + 1.96 * error))


def test_the_interval_holds_nothing_about_as_often_as_it_says():
    draws = [_told(*map(directions, RNG.normal(size=(2, 60, 5)).astype(np.float32))) for _ in range(200)]
    assert np.mean([draw["low"] <= 0 <= draw["high"] for draw in draws]) == pytest.approx(0.95, abs=0.05)


def test_a_store_is_measured(scored):
    frame = translation_similarity(scored, checkpoints=["planted-step128"], sites=["resid"], languages=["en", "fr"])
    assert frame["layer"].to_list() == [0, 1]
    assert (frame["difference"] - (frame["translations"] - frame["others"])).abs().max() < 1e-12
    assert (frame["low"] < frame["high"]).all()
