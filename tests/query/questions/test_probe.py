"""Probes: the split, the plain scikit-learn pipeline, what is recorded."""

from __future__ import annotations

import shutil
from dataclasses import replace
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
from actlas.query.questions.probe import C_GRID, ProbeSettings, _probe, _split, _Task, _validation
from actlas.query.splits import text_groups
from actlas.testing.planted import Planting, planted_store


def test_accuracy_is_that_of_a_plain_pipeline(scored: Atlas) -> None:
    frame = train_probes(scored, checkpoints=["planted-step64"], sites=["resid"], seeds=(0, 3), c=0.5)
    assert frame.schema == pl.Schema(dict(TABLES["probe"].columns))
    cube = scored.token_cube("planted-step64", "resid")
    groups = text_groups(scored.corpus.texts)[cube.table["text_id"].to_numpy()]
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


def test_texts_that_judge_penalties_are_of_the_training_part_and_of_no_group_that_is_fitted(plain: Any) -> None:
    groups = text_groups(plain.corpus.texts)
    for seed in range(5):
        train, test = _split(groups, seed, 0.25, None)
        fit, judge = _validation(groups, train, seed, 0.25)
        assert sorted([*fit, *judge]) == sorted(train)
        sides = [set(groups[rows]) for rows in (fit, judge, test)]
        assert len(set.union(*sides)) == sum(map(len, sides))
        assert 0.15 < judge.size / train.size < 0.35


def test_each_probe_takes_the_penalty_that_is_best_on_held_out_training_texts(scored: Atlas) -> None:
    chosen = train_probes(scored, checkpoints=["planted-step64"], seeds=(0, 1, 2))
    assert set(chosen["c"]) <= set(C_GRID)
    cube = scored.token_cube("planted-step64", "resid")
    groups = text_groups(scored.corpus.texts)[cube.table["text_id"].to_numpy()]
    labels = cube.table["language"].to_numpy()
    for row in chosen.filter(site="resid").iter_rows(named=True):
        train, _ = _split(groups, row["seed"], 0.2, None)
        fit, judge = _validation(groups, train, row["seed"], 0.2)
        vectors = cube.read(row["layer"]).astype(np.float64)
        right = []
        for c in C_GRID:
            model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)).fit(vectors[fit], labels[fit])
            right.append(model.score(vectors[judge], labels[judge]))
        # of those within a text of the best, for the solver stops a little elsewhere in single precision
        assert max(right) - right[C_GRID.index(row["c"])] <= 1.01 / judge.size
        # trained with it on the whole training part, as if it had been named
        named = train_probes(scored, checkpoints=["planted-step64"], sites=["resid"], seeds=(row["seed"],), c=row["c"])
        assert named.filter(layer=row["layer"]).to_dicts() == [row]


@pytest.mark.parametrize("best", [10.0, 0.01])
def test_a_penalty_that_is_known_to_be_better_is_chosen(best: float) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 600)
    sign, vectors = 2 * codes - 1, rng.standard_normal((600, 100)).astype(np.float32)
    if best > 1:
        # classes that differ a little across a direction of much spread take large weights
        vectors = vectors[:, [0, 0]]
        vectors[:, 1] += 0.02 * sign
    else:
        # one channel that says something, among many that do not, takes small ones
        vectors[:, 0] += sign
    settings = ProbeSettings("language", (0,), None, None, (0.01, 10.0), 0.5, 1000, None)
    accuracy, c, _ = _probe(vectors, codes, _Task.of(np.arange(600), 0, settings))
    assert c == best
    each = [replace(settings, c=one, c_grid=None) for one in (0.01, 10.0)]
    named = [_probe(vectors, codes, _Task.of(np.arange(600), 0, one))[0] for one in each]
    assert accuracy == max(named)
    assert accuracy > min(named) + 0.02


def test_an_answer_is_found_again_by_its_grid(scored_path: Path, tmp_path: Path) -> None:
    store = open_store(shutil.copytree(scored_path, tmp_path / "s"), "a")
    train_probes(store, seeds=(0,), c_grid=(1.0, 0.1, 0.1))
    assert store.table_settings("probe", "planted-step0")["c_grid"] == [0.1, 1.0]
    seen: list[str] = []
    train_probes(store, seeds=(0,), c_grid=(0.1, 1.0), progress=lambda *_: seen.append("trained"))
    assert not seen
    assert set(train_probes(store, seeds=(0,), c=0.5)["c"]) == {0.5}
    assert store.table_variants("probe")


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
    with pytest.raises(QueryError, match="c_grid names nothing; name one or more"):
        train_probes(scored, c_grid=())
    with pytest.raises(CubeNotFound, match="kept are embed, resid"):
        train_probes(scored, sites=["mlp_pre"])
    planting = Planting(sites={"mlp_pre": (1, 8)}, steps=(0,), sharing=(0.0,), token_sites={})
    with pytest.raises(QueryError, match="no sampled token vectors"):
        train_probes(open_store(planted_store(tmp_path / "a.actlas", planting)))
