"""What was planted is found, and the control does not have it."""

from __future__ import annotations

import polars as pl
import pytest

from actlas.query import open_store
from actlas.reproduce.compression import FIGURES, LAYERS, OVERLAP, PAIRS, PROBING, TRAJECTORIES
from actlas.reproduce.gather import gather


@pytest.fixture(scope="module")
def words(runs):
    stores = {name: open_store(path) for name, path in runs.items()}
    answers = [gather(figure, [stores["model"]], [stores["control"]]) for figure in FIGURES]
    return {answer.figure.name: [verdict.word for verdict in answer.verdicts] for answer in answers}


def test_planted_sharing_passes_against_its_control(words):
    assert words["overlap"][:2] == ["pass", "pass"]
    assert words["overlap-pairs"] == ["pass"]
    assert words["trajectories"][0] == "pass"


def test_what_was_not_planted_does_not_pass(words):
    # token vectors of the planted stores lose nothing with training
    assert "pass" not in words["probing"]


def test_the_control_as_a_model_fails(runs):
    answer = gather(OVERLAP, [open_store(runs["control"])], [open_store(runs["model"])])
    assert [verdict.word for verdict in answer.verdicts[:2]] == ["fail", "fail"]


def test_the_fall_is_that_from_the_best_checkpoint_before_the_last(runs):
    store = open_store(runs["model"])
    means = store.sql("SELECT checkpoint, seed, avg(accuracy) AS a FROM probe WHERE site = 'resid' GROUP BY ALL")
    by = {key: own["a"].mean() for (key,), own in means.group_by("checkpoint")}
    expected = max(by["planted-step0"], by["planted-step64"]) - by["planted-step128"]
    assert store.sql(PROBING.claims[0].sql)["effect"].item() == pytest.approx(expected)


def test_layers_in_the_middle_are_held_against_the_ends(runs):
    store = open_store(runs["model"])
    rows = store.scan("overlap_controls_by_layer").filter(pl.col("step") == 128).sort("layer").collect()["excess"].to_list()
    assert store.sql(LAYERS.claims[0].sql)["effect"].item() == pytest.approx(rows[1] - (rows[0] + rows[2]) / 2)


def test_the_weakest_pair_is_the_one_judged(runs):
    store = open_store(runs["model"])
    tests = store.scan("overlap_tests").filter(pl.col("checkpoint") == "planted-step128").collect()
    weakest = tests.group_by("language_a", "language_b").agg(pl.col("excess").mean())["excess"].min()
    assert store.sql(PAIRS.claims[0].sql)["effect"].item() == pytest.approx(weakest)


def test_neurons_are_counted_by_their_languages_zeros_included(runs):
    store = open_store(runs["model"])
    rows = gather(TRAJECTORIES, [store], []).sides["model"].filter(panel="neurons per concept")
    assert sorted(set(rows["series"])) == ["experts in 2 languages", "experts in 3 languages"]
    assert rows.height == 2 * 3
    counted = store.sql(
        "SELECT count(*) FILTER (n_languages = 3) / count(DISTINCT concept) AS n FROM expert_mask "
        "WHERE checkpoint = 'planted-step128'"
    )
    assert rows.filter(series="experts in 3 languages")["value"][-1] == pytest.approx(counted["n"].item())
