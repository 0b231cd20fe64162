"""Correlations beside numpy's own, and best matches beside the whole matrix."""

import sys

import numpy as np
import pytest

from actlas.errors import QueryError
from actlas.query import neuron_correlation, open_store
from actlas.query.measures.neuron_correlation import best_chance
from actlas.testing.planted import Planting, planted_store

A, B = "planted-step0", "planted-step128"


@pytest.mark.parametrize("chunk", [7 * 144, 1 << 22])
def test_every_neuron_is_told_as_numpy_does(scored, chunk, monkeypatch):
    monkeypatch.setattr(sys.modules["actlas.query.measures.neuron_correlation"], "_CHUNK", chunk)
    frame = neuron_correlation(scored, checkpoints=[A, B], sites=["mlp_pre"], best=True)
    assert frame.height == 2 * 40
    for layer in (0, 1):
        x, y = (scored.cube(name, "mlp_pre").read(layer=layer).astype(np.float64) for name in (A, B))
        matrix = np.corrcoef(x, y)[:40, 40:]
        own = frame.filter(layer=layer)
        np.testing.assert_allclose(own["correlation"], np.diagonal(matrix), atol=1e-12)
        np.testing.assert_array_equal(own["best_neuron"], matrix.argmax(axis=1))
        np.testing.assert_allclose(own["best_correlation"], matrix.max(axis=1), atol=1e-12)
    alone = neuron_correlation(scored, checkpoints=[A, B], sites=["mlp_pre"])
    np.testing.assert_allclose(alone["correlation"], frame["correlation"], atol=1e-12)
    assert alone.select("best_neuron", "best_correlation", "best_chance").null_count().row(0) == (alone.height,) * 3


def test_texts_are_drawn_by_the_seed(scored):
    frame = neuron_correlation(scored, checkpoints=[A, B], sites=["attn_out"], n_texts=50, seed=9)
    rows = np.sort(np.random.default_rng(9).permutation(scored.corpus.n_texts)[:50])
    x, y = (scored.cube(name, "attn_out").read(layer=1, neurons=5, texts=rows).astype(np.float64) for name in (A, B))
    assert frame.filter(layer=1, neuron=5)["correlation"].item() == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert set(frame["n_texts"]) == {50}


def test_the_same_values_correlate_with_themselves_and_constant_ones_with_nothing(tmp_path, monkeypatch):
    store = open_store(planted_store(tmp_path / "s", Planting(n_groups=16, share_constant=0.3, token_sites={})))
    read = store.cube
    monkeypatch.setattr(store, "cube", lambda checkpoint, site: read(A, site))
    frame = neuron_correlation(store, checkpoints=[A, B], sites=["mlp_pre"], best=True)
    is_constant = np.ptp(read(A, "mlp_pre").read(), axis=2).ravel() == 0
    assert is_constant.any()
    assert (frame["correlation"].is_null().to_numpy() == is_constant).all()
    assert (frame["best_chance"].is_null().to_numpy() == is_constant).all()
    assert (frame["best_neuron"].is_null().to_numpy() == is_constant).all()
    found = frame.drop_nulls()
    assert found["correlation"].to_numpy() == pytest.approx(1)
    assert (found["best_neuron"] == found["neuron"]).all()


def test_what_cannot_be_compared_is_refused(scored):
    with pytest.raises(QueryError, match=f"{A} alone"):
        neuron_correlation(scored, checkpoints=[A])
    with pytest.raises(QueryError, match="over 2 texts"):
        neuron_correlation(scored, n_texts=2)
    assert neuron_correlation(scored)["checkpoint_b"].unique().sort().to_list() == ["planted-step128", "planted-step64"]


@pytest.mark.parametrize(("n_neurons", "n_texts"), [(1, 30), (40, 12), (100, 20)])
def test_chance_is_what_unrelated_values_have(n_neurons, n_texts):
    rng = np.random.default_rng(2)
    highest = []
    for _ in range(400):
        values = rng.normal(size=(n_neurons + 1, n_texts))
        highest.append(np.corrcoef(values)[0, 1:].max())
    assert np.mean(np.array(highest) < best_chance(n_neurons, n_texts)) == pytest.approx(0.5, abs=0.08)
