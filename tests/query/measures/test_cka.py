"""CKA beside the published formula of unbiased HSIC, and in closed forms."""

import numpy as np
import polars as pl
import pytest

from actlas.errors import QueryError
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
    return _told(centred(x @ x.T), centred(y @ y.T), 0)["cka"]


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
                    scored.cube(row[checkpoint], site).read(layer=row[f"layer_{end}"], texts=rows).T.astype(np.float64)
                    for end, checkpoint in (("a", "checkpoint"), ("b", "checkpoint_b"))
                )
                assert row["cka"] == pytest.approx(plain(x, y))
                order = np.random.default_rng((6, 2)).permutation(40)
                assert row["shuffled"] == pytest.approx(plain(x, y[order]))


def test_chosen_neurons_stand_for_their_layers(scored, tmp_path):
    named = pl.DataFrame({"site": "mlp_pre", "layer": [0, 1, 1, 1, 1], "neuron": [3, 39, 2, 7, 8]})
    rows = np.sort(np.random.default_rng(6).permutation(scored.corpus.n_texts)[:40])
    asked = {"checkpoints": ["planted-step128"], "n_texts": 40, "seed": 6, "values": "pooled"}
    cube = scored.cube("planted-step128", "mlp_pre")
    first, second = (cube.read(layer=layer, texts=rows).T.astype(np.float64) for layer in (0, 1))
    own = [2, 7, 8, 39]
    named.write_parquet(tmp_path / "named.parquet")
    (told,) = cka(scored, neurons=tmp_path / "named.parquet", **asked)["cka"]
    assert told == pytest.approx(plain(first[:, [3]], second[:, own]))
    rest = cka(scored, between="rest", neurons=named, **asked)
    assert rest.select("layer_a", "layer_b").rows() == [(0, 0), (1, 1)]
    assert rest["cka"][1] == pytest.approx(plain(second[:, own], np.delete(second, own, axis=1)))
    (halves,) = cka(scored, between="halves", neurons=named.filter(layer=1), **asked)["cka"]
    order = np.random.default_rng((6, 1)).permutation(own)
    assert halves == pytest.approx(plain(second[:, order[:2]], second[:, order[2:]]))


@pytest.mark.parametrize(
    ("frame", "between", "message"),
    [
        (None, "rest", "none are named"),
        ({"site": ["mlp_pre"], "layer": [0]}, "layers", "columns site, layer, neuron; this one has site, layer"),
        ({"site": ["mlp_pre"], "layer": [0], "neuron": [40]}, "layers", "2 layers of 40 neurons, no neuron 40 in layer 0"),
        ({"site": ["resid2"], "layer": [0], "neuron": [0]}, "layers", "none of the neurons that are named is at a site"),
        ({"site": ["mlp_pre"], "layer": [0], "neuron": [0]}, "halves", "no halves of it"),
    ],
)
def test_neurons_that_cannot_be_compared_are_refused(scored, frame, between, message):
    neurons = None if frame is None else pl.DataFrame(frame)
    with pytest.raises(QueryError, match=message):
        cka(scored, between=between, neurons=neurons, sites=["mlp_pre"], values="pooled", checkpoints=["planted-step128"])
