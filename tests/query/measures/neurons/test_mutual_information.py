"""Mutual information beside scikit-learn, and overlaps beside sets and counted draws."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import mutual_info_score

from actlas.errors import QueryError
from actlas.query import dimension_overlap, mutual_information
from actlas.query.measures.neurons.mutual_information import gaussian_information, information


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


def plain_gaussian(row, on, off):
    """The definition, text by text."""
    told, n = 0.0, on.sum() + off.sum()
    joint = [lambda v, side=side: side.sum() / n * norm(row[side].mean(), row[side].std()).pdf(v) for side in (on, off)]
    for own, side in zip(joint, (on, off), strict=True):
        told += sum(np.log(own(v) / (joint[0](v) + joint[1](v)) / (side.sum() / n)) for v in row[side])
    return max(told / n, 0.0)


def test_the_gaussian_estimate_is_that_of_the_definition_and_constant_sides_have_none():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(12, 80)) + 3
    on = rng.random(80) < 0.4
    off = ~on & (rng.random(80) < 0.8)
    values[:8, on] *= np.linspace(0.2, 4, 8)[:, None]
    values[9, on], values[10, off], values[11] = 2.0, 5.0, 7.0
    told = gaussian_information(values, on, off)
    assert told[:9] == pytest.approx([plain_gaussian(row, on, off) for row in values[:9]], abs=1e-9)
    assert np.isnan(told[9:]).all()


def test_of_many_normal_values_the_gaussian_estimate_is_the_information_and_expected_is_what_none_gives():
    rng = np.random.default_rng(4)
    on = np.arange(6000) < 3000
    values = rng.normal(size=(3, 6000))
    distances = np.array([0.5, 1.0, 3.0])
    values[:, on] += distances[:, None]
    # the information by numerical integration over the value
    x, dx = np.linspace(-9, 12, 40001, retstep=True)
    exact = []
    for distance in distances:
        first, second = norm(distance).pdf(x), norm(0).pdf(x)
        both = (first + second) / 2
        exact.append(sum(np.sum(p * np.log(p / both)) for p in (first, second)) * dx / 2)
    assert gaussian_information(values, on, ~on) == pytest.approx(exact, abs=0.01)
    nothing = rng.normal(size=(4000, 40))
    few = np.arange(40) < 20
    assert gaussian_information(nothing, few, ~few).mean() == pytest.approx(1 / 40, rel=0.25)


def test_either_estimate_ranks_and_says_what_nothing_has(measured):
    few = {"checkpoints": ["planted-step64"], "sites": ["attn_out"], "languages": ["fr"], "concepts": ["fire"], "n": 3}
    frames = {estimate: mutual_information(measured, **few, estimate=estimate) for estimate in ("bins", "gaussian")}
    for estimate, frame in frames.items():
        n = frame["n_on"] + frame["n_off"]
        assert frame["expected"].to_list() == pytest.approx((1 / n if estimate == "gaussian" else 7 / (2 * n)).to_list())
        assert (frame["mutual_information"] > 0).all()
    assert not frames["bins"]["mutual_information"].equals(frames["gaussian"]["mutual_information"])
    shared = dimension_overlap(measured, **(few | {"languages": None}), estimate="gaussian")
    assert shared["n_shared"].to_list() != []


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
