"""Mutual information beside scikit-learn, and overlaps beside sets and counted draws."""

import math

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from actlas.errors import QueryError
from actlas.query import dimension_overlap, mutual_information
from actlas.query.measures.neurons.mutual_information import information


@pytest.mark.parametrize("n_bins", [2, 5, 8])
def test_it_is_that_of_scikit_learn_on_the_same_bins(n_bins):
    rng = np.random.default_rng(n_bins)
    values = rng.normal(size=(30, 90))
    values[10:20] = values[10:20].round()  # ties
    on = rng.random(90) < 0.3
    off = ~on & (rng.random(90) < 0.9)
    values[:, on] += 0.5
    told = information(values, on, off, n_bins)
    member = on | off
    for row, own in zip(values[:, member], told, strict=True):
        ordered = np.sort(row)
        edges = [ordered[int(np.floor(k * (row.size - 1) / n_bins))] for k in range(1, n_bins)]
        assert own == pytest.approx(mutual_info_score(on[member], np.searchsorted(edges, row, side="left")), abs=1e-12)


def test_closed_forms():
    on = np.arange(40) < 20
    values = np.stack([np.arange(40.0), np.tile([0.0, 1.0], 20), np.full(40, 0.1)])
    told = information(values, on, ~on, 4)
    assert told[:2].tolist() == pytest.approx([np.log(2), 0], abs=1e-12)
    assert np.isnan(told[2])


def test_the_best_are_the_best_of_all(measured):
    frame = mutual_information(
        measured, checkpoints=["planted-step64"], sites=["mlp_pre"], languages=["fr"], concepts=["fire"], n=9
    )
    own = frame.filter(concept="fire")
    is_on, is_member = (part[:, 0] for part in measured.corpus.concept_matrix("fr", ["fire"]))
    values = measured.cube("planted-step64", "mlp_pre").read()[:, :, measured.corpus.language_slice("fr")]
    told = information(values.astype(np.float64).reshape(400, -1), is_on, is_member & ~is_on, 8)
    best = np.argsort(-np.where(np.isnan(told), -np.inf, told), kind="stable")[:9]
    assert (own["layer"] * 200 + own["neuron"]).to_list() == best.tolist()
    assert own["mutual_information"].to_list() == pytest.approx(told[best])


def test_overlaps_are_those_of_the_sets_beside_exact_chance(measured):
    n, d = 12, 448
    best = mutual_information(measured, checkpoints=["planted-step64"], concepts=["water"], n=n).filter(concept="water")
    frame = dimension_overlap(measured, checkpoints=["planted-step64"], concepts=["water"], n=n)
    assert frame.height == 3
    chances = [math.comb(n, k) * math.comb(d - n, n - k) / math.comb(d, n) for k in range(n + 1)]
    for row in frame.iter_rows(named=True):
        a, b = (
            set(best.filter(language=row[name]).select("site", "layer", "neuron").rows()) for name in ("language_a", "language_b")
        )
        shared = len(a & b)
        assert (row["n_shared"], row["n_neurons"], row["overlap"], row["chance"]) == (shared, d, shared / n, n / d)
        assert row["p_value"] == pytest.approx(sum(chances[shared:]))
        low, high = (next(k for k in range(n + 1) if sum(chances[: k + 1]) >= end) for end in (0.025, 0.975))
        assert (row["chance_low"], row["chance_high"]) == (low / n, high / n)


def test_nonsense_is_refused(measured):
    for wrong in ({"n_bins": 1}, {"n": 0}, {"concepts": ["no such"]}):
        with pytest.raises(QueryError):
            mutual_information(measured, **wrong)
    with pytest.raises(QueryError, match="two languages"):
        dimension_overlap(measured, languages=["en"])
    with pytest.raises(QueryError, match="448 neurons"):
        dimension_overlap(measured, n=449)
