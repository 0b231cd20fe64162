"""MEXA beside its definition, on planted translations and on shuffled ones."""

import numpy as np
import pytest

from actlas.query import mexa
from actlas.query.measures.mexa import _told
from actlas.query.measures.vectors import directions

RNG = np.random.default_rng(3)


def plain(a, b):
    """The definition, with all cosines at once."""
    a, b = (np.asarray(x, np.float64) / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    cosines = a @ b.T
    n = len(a)
    hits = 0
    for i in range(n):
        others = [cosines[i, j] for j in range(n) if j != i] + [cosines[j, i] for j in range(n) if j != i]
        hits += cosines[i, i] > max(others)
    mutual = sum(cosines[:, cosines[i].argmax()].argmax() == i for i in range(n))
    return hits / n, mutual / n**2


@pytest.mark.parametrize("chunk", [1, 63 * 10, 1 << 22])
def test_it_is_what_the_definition_says_however_it_is_cut(chunk, monkeypatch):
    import sys

    monkeypatch.setattr(sys.modules["actlas.query.measures.mexa"], "_CHUNK", chunk)
    a = RNG.normal(size=(63, 8)).astype(np.float32)
    b = (a + RNG.normal(size=a.shape)).astype(np.float32)
    told = _told(directions(a), directions(b))
    assert (told["mexa"], told["expected"]) == pytest.approx(plain(a, b))
    assert 0 < told["mexa"] < 1


def test_planted_translations_are_all_found_and_shuffled_ones_are_chance():
    a = RNG.normal(size=(200, 64)).astype(np.float32)
    assert _told(directions(a), directions(a * 3))["mexa"] == 1
    draws = [_told(directions(a), directions(a[RNG.permutation(200)])) for _ in range(40)]
    # every text has one mutual nearest text, so that a random pairing hits it once in n
    assert draws[0]["expected"] == draws[0]["chance"] == 1 / 200
    assert np.mean([draw["mexa"] for draw in draws]) == pytest.approx(1 / 200, rel=0.5)


def test_texts_that_are_all_alike_are_no_match():
    assert _told(directions(np.ones((9, 4), np.float32)), directions(np.ones((9, 4), np.float32)))["mexa"] == 0


def test_a_store_is_measured_layer_by_layer(scored):
    steps = []
    frame = mexa(scored, checkpoints=["planted-step128"], sites=["mlp_pre"], progress=lambda *told: steps.append(told))
    assert frame.height == 2 * 3
    assert [step[:2] for step in steps] == [(1, 2), (2, 2)]
    texts = scored.corpus.texts
    for row in frame.iter_rows(named=True):
        of = {texts["parallel_id"][i]: i for i in range(texts.height) if texts["language"][i] == row["language_a"]}
        rows = [
            (of[p], i)
            for i, p in enumerate(texts["parallel_id"])
            if p is not None and texts["language"][i] == row["language_b"] and p in of
        ]
        values = scored.cube("planted-step128", "mlp_pre").read(layer=row["layer"]).T.astype(np.float64)
        a, b = (values[[pair[side] for pair in rows]] for side in (0, 1))
        assert (row["mexa"], row["expected"]) == pytest.approx(plain(a, b))
        same = frame.filter(language_a=row["language_a"], language_b=row["language_b"])["mexa"]
        assert (row["mean_mexa"], row["max_mexa"]) == pytest.approx((same.mean(), same.max()))
