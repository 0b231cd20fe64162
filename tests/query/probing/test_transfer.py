"""Trained on one language, tested on each: against a plain loop, and on vectors of which the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from actlas.errors import QueryError
from actlas.query import Atlas, probe_transfer
from actlas.query.probing.draws import split
from actlas.query.probing.labels import labelled


def test_every_cell_is_that_of_a_plain_loop(scored: Atlas) -> None:
    frame = probe_transfer(scored, "concept:water", checkpoints=["planted-step128"], sites=["mlp_pre"], seeds=(2,), c=0.1)
    of = labelled(scored.corpus, scored.corpus.texts, "concept:water")
    values = scored.cube("planted-step128", "mlp_pre").read(layer=1).T.astype(np.float64)[of.rows]
    train, test = split(of.groups, 2, 0.2, None)
    for row in frame.filter(layer=1).iter_rows(named=True):
        fit, judge = train[of.languages[train] == row["language_train"]], test[of.languages[test] == row["language_test"]]
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(values[fit], of.codes[fit])
        assert row["accuracy"] == pytest.approx(model.score(values[judge], of.codes[judge]), abs=1.01 / judge.size)
        assert (row["n_train"], row["n_test"]) == (fit.size, judge.size)
        assert row["chance"] == pytest.approx(np.bincount(of.codes[judge]).max() / judge.size)
    assert frame.height == 2 * 3 * 3


def test_a_meaning_is_trained_in_one_language_and_tested_in_the_others(scored: Atlas) -> None:
    frame = probe_transfer(scored, "parallel_id", checkpoints=["planted-step0"], sites=["mlp_pre"], seeds=(0,), c=1.0)
    assert (frame["language_train"] != frame["language_test"]).all()
    assert frame.height == 2 * 3 * 2


def test_what_cannot_be_transferred_is_refused(scored: Atlas) -> None:
    with pytest.raises(QueryError, match="name another label"):
        probe_transfer(scored, "language")
    with pytest.raises(QueryError, match="name c"):
        probe_transfer(scored, "parallel_id")
