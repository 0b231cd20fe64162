"""Probes: the split, the plain scikit-learn pipeline, what is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from actlas.errors import CubeNotFound, QueryError
from actlas.query import TABLES, Atlas, open_store, probe_summary, train_probes
from actlas.query.questions.probe import _split
from actlas.query.splits import text_groups
from actlas.testing.planted import Planting, planted_store


def test_accuracy_is_that_of_a_plain_pipeline(scored: Atlas) -> None:
    frame = train_probes(scored, checkpoints=["planted-step64"], sites=["resid"], seeds=(0, 3), c=0.5)
    assert frame.schema == pl.Schema(dict(TABLES["probe"].columns))
    cube = scored.token_cube("planted-step64", "resid")
    groups = text_groups(cube.table)
    labels = cube.table["language"].to_numpy()
    assert frame.select("layer", "seed").rows() == [(0, 0), (0, 3), (1, 0), (1, 3)]
    for row in frame.iter_rows(named=True):
        train, test = _split(groups, row["seed"], 0.2, None)
        vectors = cube.read(row["layer"]).astype(np.float64)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=1000)).fit(vectors[train], labels[train])
        # one text more or less: the solver stops a little elsewhere in single precision
        assert row["accuracy"] == pytest.approx(model.score(vectors[test], labels[test]), abs=1.01 / test.size)
        assert (row["n_train"], row["n_test"], row["c"], row["label"]) == (train.size, test.size, 0.5, "language")
        counts = np.unique(labels[test], return_counts=True)[1]
        assert row["chance"] == pytest.approx(counts.max() / test.size)


def test_no_text_and_no_translation_is_on_both_sides(plain: Any) -> None:
    texts = plain.corpus.texts
    groups = text_groups(texts)
    for seed in range(5):
        train, test = _split(groups, seed, 0.25, None)
        assert sorted([*train, *test]) == list(range(texts.height))
        sides = [set(texts["parallel_id"].gather(rows).drop_nulls()) for rows in (train, test)]
        assert not sides[0] & sides[1]
        assert 0.15 < test.size / texts.height < 0.35
    thinned, same_test = _split(groups, 4, 0.25, 20)
    assert thinned.size == 20
    assert set(thinned) <= set(train)
    assert (same_test == test).all()


def test_planted_languages_are_read_off_the_better_the_higher(asked: Atlas) -> None:
    frame = asked.sql("FROM probe")
    assert frame.height == 3 * 3 * 2
    means = frame.filter(site="resid").group_by("layer").agg(pl.col("accuracy").mean()).sort("layer")["accuracy"].to_list()
    assert means[0] < means[1]
    assert means[0] > 0.6


def test_summary_agrees_with_numpy_and_with_sql(asked: Atlas) -> None:
    frame = asked.sql("FROM probe")
    summary = probe_summary(frame)
    assert summary.height == 6
    for row in summary.iter_rows(named=True):
        part = frame.filter(checkpoint=row["checkpoint"], site=row["site"])
        layers = [part.filter(layer=layer)["accuracy"].to_numpy() for layer in sorted(set(part["layer"]))]
        means = [values.mean() for values in layers]
        assert row["accuracy"] == pytest.approx(np.mean(means))
        assert row["std_layers"] == pytest.approx(np.std(means))
        assert row["std_seeds"] == pytest.approx(np.mean([values.std() for values in layers]))
        assert row["n_layers"] == len(layers)
    columns = ["checkpoint", "site", "accuracy", "std_layers", "std_seeds", "n_layers"]
    by_sql = asked.sql("FROM probe_by_checkpoint()").select(columns).sort("checkpoint", "site")
    mine = summary.select(columns).sort("checkpoint", "site")
    assert_frame_equal(by_sql, mine)


def test_a_probe_that_does_not_converge_says_so(scored: Atlas) -> None:
    frame = train_probes(scored, checkpoints=["planted-step0"], sites=["embed"], seeds=(0,), max_iterations=1)
    assert frame["n_iterations"].to_list() == [1]


def test_what_cannot_be_probed_is_refused(scored: Atlas, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="no column 'colour'"):
        train_probes(scored, label="colour")
    with pytest.raises(QueryError, match="two labels or more"):
        train_probes(scored, label="split")
    with pytest.raises(QueryError, match="leaves 0 of 52 groups"):
        train_probes(scored, test_share=0.001)
    with pytest.raises(CubeNotFound, match="kept are embed, resid"):
        train_probes(scored, sites=["mlp_pre"])
    planting = Planting(sites={"mlp_pre": (1, 8)}, steps=(0,), sharing=(0.0,), token_sites={})
    with pytest.raises(QueryError, match="no sampled token vectors"):
        train_probes(open_store(planted_store(tmp_path / "a.actlas", planting)))
