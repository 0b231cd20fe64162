"""d' and point-biserial correlation beside scipy and the formulas, neuron by neuron."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import pointbiserialr

from actlas.errors import QueryError
from actlas.query import discrimination
from actlas.query.measures.neurons.discrimination import contrast


def test_every_number_is_that_of_scipy_and_of_the_formula(measured):
    steps = []
    frame = discrimination(measured, checkpoints=["planted-step64"], n=5, progress=lambda *step: steps.append(step[:2]))
    assert steps[-1] == (448, 448)
    assert frame.group_by("language", "concept").len()["len"].to_list() == [5] * 14  # 3 languages, 4 concepts in each but one
    texts, labels = measured.corpus.texts, measured.corpus.labels
    for row in frame.iter_rows(named=True):
        values = measured.cube(row["checkpoint"], row["site"]).read(row["layer"], row["neuron"]).astype(np.float64)
        if row["concept"] is None:
            is_on = (texts["language"] == row["language"]).to_numpy()
        else:
            own = texts.with_row_index().join(labels.filter(concept=row["concept"]), on="text_id", maintain_order="left")
            own = own.filter(language=row["language"])
            values, is_on = values[own["index"].to_numpy()], own["is_concept"].to_numpy()
        assert (row["n_on"], row["n_off"]) == (is_on.sum(), (~is_on).sum())
        assert row["point_biserial"] == pytest.approx(pointbiserialr(is_on, values).statistic)
        on, off = values[is_on], values[~is_on]
        assert row["d_prime"] == pytest.approx((on.mean() - off.mean()) / np.sqrt((on.var() + off.var()) / 2))


@pytest.mark.parametrize("by", ["d_prime", "point_biserial"])
def test_the_best_are_the_best_of_all(measured, by):
    frame = discrimination(
        measured, checkpoints=["planted-step64"], sites=["mlp_pre"], languages=["fr"], concepts=["fire"], n=9, by=by
    )
    frame = frame.filter(concept="fire")
    rows = measured.corpus.language_slice("fr")
    is_on, is_member = (part[:, 0] for part in measured.corpus.concept_matrix("fr", ["fire"]))
    values = measured.cube("planted-step64", "mlp_pre").read()[:, :, rows].astype(np.float64).reshape(400, -1)
    told = contrast(values, is_on[None], (is_member & ~is_on)[None])[by == "d_prime"][0]
    best = np.argsort(-np.where(np.isnan(told), -np.inf, told), kind="stable")[:9]
    assert (frame["layer"] * 200 + frame["neuron"]).to_list() == best.tolist()
    assert frame[by].to_list() == pytest.approx(told[best])


def test_constant_values_tell_nothing():
    on = np.array([True, True, False, False, False])
    values = np.array([[0.1] * 5, [0.7, 0.7, 0.1, 0.1, 0.1], [1, 2, 1, 2, 1]])
    correlation, d_prime = (told[0] for told in contrast(values, on[None], ~on[None]))
    assert np.isnan(correlation[0])
    assert np.isnan(d_prime[:2]).all()
    assert correlation[1] == pytest.approx(1)
    assert np.isfinite([correlation[2], d_prime[2]]).all()


def test_nonsense_is_refused(measured):
    for wrong in ({"by": "t"}, {"n": 0}, {"concepts": ["no such"]}):
        with pytest.raises(QueryError):
            discrimination(measured, **wrong)
    assert discrimination(measured, languages=["en"], concepts=[]).select(pl.col("concept").is_null().all()).item()
