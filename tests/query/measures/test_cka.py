"""CKA beside the published formula of unbiased HSIC, and in closed forms."""

import numpy as np
import pytest

from actlas.query import cka
from actlas.query.measures.cka import _told, centred

RNG = np.random.default_rng(21)


def plain_hsic(k, other):
    """Song et al. 2012, equation 5."""
    n = len(k)
    k, other = k * (1 - np.eye(n)), other * (1 - np.eye(n))
    one = np.ones(n)
    return (
        (np.trace(k @ other) + one @ k @ one * (one @ other @ one) / (n - 1) / (n - 2) - 2 / (n - 2) * one @ k @ other @ one)
        / n
        / (n - 3)
    )


def plain(x, y):
    k, other = x @ x.T, y @ y.T
    return plain_hsic(k, other) / np.sqrt(plain_hsic(k, k) * plain_hsic(other, other))


def told(x, y):
    return _told(centred(x @ x.T), centred(y @ y.T))["cka"]


def test_it_is_the_published_formula():
    x = RNG.normal(size=(30, 7)) + 3
    y = x[:, :5] + RNG.normal(size=(30, 5))
    assert told(x, y) == pytest.approx(plain(x, y))


def test_rotation_scale_and_shift_change_nothing_and_unrelated_ones_have_nothing_in_common():
    x = RNG.normal(size=(60, 9))
    rotation = np.linalg.qr(RNG.normal(size=(9, 9)))[0]
    assert told(x, x) == pytest.approx(1)
    assert told(x, -7 * x @ rotation + 2) == pytest.approx(1)
    unrelated = [told(*RNG.normal(size=(2, 60, 400))) for _ in range(30)]
    # the usual estimate would be far above 0 with more neurons than texts
    assert abs(np.mean(unrelated)) < 3 * np.std(unrelated) / np.sqrt(30)
    assert told(np.ones((5, 3)), x[:5]) is None


@pytest.mark.parametrize("site", ["mlp_pre", "resid"])
@pytest.mark.parametrize("between", ["layers", "checkpoints", "languages", "halves"])
def test_a_store_is_compared_with_itself(scored, site, between, monkeypatch):
    import sys

    # a block of neurons is less than a layer
    monkeypatch.setattr(sys.modules["actlas.query.measures.grams"], "_CHUNK", 40 * 17)
    names = ["planted-step0", "planted-step128"]
    frame = cka(
        scored,
        between=between,
        checkpoints=names,
        sites=[site],
        n_texts=40,
        seed=6,
        values="pooled" if site == "mlp_pre" else None,
    )
    assert frame.height == {"layers": 2, "checkpoints": 2, "languages": 12, "halves": 4}[between]
    assert set(frame["n_texts"]) == {40}
    if site == "mlp_pre":
        rows = np.sort(np.random.default_rng(6).permutation(scored.corpus.n_texts)[:40])
        for row in frame.iter_rows(named=True):
            if between in ("layers", "checkpoints"):
                x, y = (
                    scored.cube(row[f"checkpoint_{end}"], site).read(layer=row[f"layer_{end}"], texts=rows).T.astype(np.float64)
                    for end in "ab"
                )
                assert row["cka"] == pytest.approx(plain(x, y))
