"""Probes: the plain scikit-learn pipeline, what is recorded, what can be read off."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from actlas.errors import CubeNotFound, QueryError
from actlas.query import TABLES, Atlas, open_store, probe_classes, train_probes
from actlas.query.probing.draws import split, validation
from actlas.query.probing.settings import C_GRID
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
        train, test = split(groups, row["seed"], 0.2, None)
        vectors = cube.read(row["layer"]).astype(np.float64)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=1000)).fit(vectors[train], labels[train])
        # one text more or less: the solver stops a little elsewhere in single precision
        assert row["accuracy"] == pytest.approx(model.score(vectors[test], labels[test]), abs=1.01 / test.size)
        assert (row["n_train"], row["n_test"], row["c"], row["label"]) == (train.size, test.size, 0.5, "language")
        counts = np.unique(labels[test], return_counts=True)[1]
        assert row["chance"] == pytest.approx(counts.max() / test.size)


def test_each_probe_takes_the_penalty_that_is_best_on_held_out_training_texts(scored: Atlas) -> None:
    chosen = train_probes(scored, checkpoints=["planted-step64"], seeds=(0, 1, 2))
    assert set(chosen["c"]) <= set(C_GRID)
    cube = scored.token_cube("planted-step64", "resid")
    groups = text_groups(scored.corpus.texts)[cube.table["text_id"].to_numpy()]
    labels = cube.table["language"].to_numpy()
    for row in chosen.filter(site="resid").iter_rows(named=True):
        train, _ = split(groups, row["seed"], 0.2, None)
        fit, judge = validation(groups, train, row["seed"], 0.2)
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


def test_a_probe_that_does_not_converge_says_so(scored: Atlas) -> None:
    frame = train_probes(scored, checkpoints=["planted-step0"], sites=["embed"], seeds=(0,), max_iterations=1)
    assert frame["n_iterations"].to_list() == [1]


def test_what_cannot_be_probed_is_refused(scored: Atlas, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="no label 'colour'"):
        train_probes(scored, label="colour")
    with pytest.raises(QueryError, match="two labels or more"):
        train_probes(scored, label="split")
    with pytest.raises(QueryError, match="leaves 0 of 52 groups"):
        train_probes(scored, test_share=0.001)
    with pytest.raises(QueryError, match="c_grid names nothing; name one or more"):
        train_probes(scored, c_grid=())
    with pytest.raises(CubeNotFound, match="kept are embed, resid"):
        train_probes(scored, sites=["mlp_pre"], values="tokens")
    planting = Planting(sites={"mlp_pre": (1, 8)}, steps=(0,), sharing=(0.0,), token_sites={})
    with pytest.raises(QueryError, match="no sampled token vectors"):
        train_probes(open_store(planted_store(tmp_path / "a.actlas", planting)))


def test_pooled_values_are_read_where_a_site_has_no_vectors_of_tokens(scored: Atlas) -> None:
    frame = train_probes(scored, checkpoints=["planted-step64"], sites=["mlp_pre"], seeds=(1,), c=0.1)
    values = scored.cube("planted-step64", "mlp_pre").read(layer=1).T.astype(np.float64)
    train, test = split(text_groups(scored.corpus.texts), 1, 0.2, None)
    labels = scored.corpus.texts["language"].to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(values[train], labels[train])
    row = frame.row(1, named=True)
    assert (row["n_train"], row["n_test"]) == (train.size, test.size)
    assert row["accuracy"] == pytest.approx(model.score(values[test], labels[test]), abs=1.01 / test.size)


def test_classes_count_every_vector_tested_on_and_agree_with_the_accuracy(asked: Atlas) -> None:
    cells = ["checkpoint", "site", "layer", "seed"]
    counts = probe_classes(asked, seeds=(0, 1))
    assert counts.equals(asked.sql("FROM probe_classes"))
    right = counts.group_by(cells).agg(
        pl.col("n").sum(), pl.col("n").filter(pl.col("truth") == pl.col("predicted")).sum().alias("right")
    )
    both = right.join(asked.sql("FROM probe"), on=cells)
    assert both.height == 18
    assert (both["n"] == both["n_test"]).all()
    assert ((both["right"] / both["n"] - both["accuracy"]).abs() < 1e-12).all()
    wrong = counts.filter(pl.col("truth") != pl.col("predicted")).row(0, named=True)
    place = {name: wrong[name] for name in ("checkpoint", "site", "layer", "truth")}
    (row,) = asked.ask("probe_class_accuracy").filter(**place).to_dicts()
    own = counts.filter(**place)
    assert row["n"] == own["n"].sum()
    assert row["accuracy"] == own.filter(predicted=wrong["truth"])["n"].sum() / own["n"].sum()
    most = own.filter(pl.col("predicted") != wrong["truth"]).group_by("predicted").agg(pl.col("n").sum())
    assert row["taken_for"] == most.sort("n", "predicted", descending=[True, False])["predicted"][0]


def test_intervals_and_onsets_agree_with_plain_numbers(asked: Atlas) -> None:
    probes = asked.sql("FROM probe")
    row = asked.ask("probe_intervals").filter(checkpoint="planted-step64", site="resid", layer=0).row(0, named=True)
    own = probes.filter(checkpoint="planted-step64", site="resid", layer=0)["accuracy"].to_numpy()
    reach = 12.706 * np.std(own, ddof=1) / np.sqrt(2)
    assert (row["accuracy"], row["low"]) == (pytest.approx(own.mean()), pytest.approx(own.mean() - reach))
    assert row["high"] == pytest.approx(min(own.mean() + reach, 1))
    means = probes.group_by("site", "layer", "checkpoint").agg(pl.col("accuracy").mean())
    for onset in asked.ask("probe_onset", percent=99).iter_rows(named=True):
        by_step = dict(means.filter(site=onset["site"], layer=onset["layer"]).select("checkpoint", "accuracy").iter_rows())
        first = next(c for c in asked.checkpoints if by_step[c] >= 0.99 * max(by_step.values()))
        assert onset["checkpoint"] == first
        assert onset["best"] == pytest.approx(max(by_step.values()))


def test_the_solver_is_among_the_settings_and_answers_of_both_stand_beside_each_other(scored_path: Path, tmp_path: Path) -> None:
    store = open_store(shutil.copytree(scored_path, tmp_path / "s"), "a")
    chosen = {"checkpoints": ["planted-step64"], "sites": ["resid"], "seeds": (0, 1), "c": 1.0}
    reference = train_probes(store, **chosen)
    batched = train_probes(store, **chosen, solver="batched")
    assert store.table_settings("probe", "planted-step64")["solver"] == "sklearn"
    (beside,) = store.table_variants("probe")
    assert store.table_settings("probe", "planted-step64", beside)["solver"] == "batched"
    assert batched.drop("accuracy", "n_iterations").equals(reference.drop("accuracy", "n_iterations"))
    assert ((batched["accuracy"] - reference["accuracy"]).abs() <= 1.01 / reference["n_test"]).all()
