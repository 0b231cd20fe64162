from __future__ import annotations

import shutil

import polars as pl
import pytest

from actlas.query import open_store, score_neurons, top_experts
from actlas.reproduce.compression import FIGURES, OVERLAP, PROBING, TRAJECTORIES
from actlas.reproduce.figures import COLUMNS, Claim, Figure
from actlas.reproduce.gather import ask_missing, gather, over_runs
from actlas.testing.planted import Planting, planted_store
from tests.reproduce.made import with_generations


def test_the_points_of_one_store_are_its_own_numbers(runs):
    store = open_store(runs["model"])
    frame = gather(OVERLAP, [store], []).sides["model"]
    kept = store.scan("overlap_controls").sort("step").collect()
    mine = frame.filter(series="overlap")
    assert mine.columns == [*COLUMNS, "n_runs"]
    assert mine["value"].to_list() == kept["overlap"].to_list()
    assert mine["low"].to_list() == kept["low"].to_list()
    assert frame.filter(series="null: translations together")["value"].to_list() == kept["null"].to_list()
    assert frame.filter(series="null: each language by itself")["value"].to_list() == kept["null_independent"].to_list()


def test_several_runs_become_a_mean_with_an_interval_over_runs(runs):
    stores = [open_store(runs[name]) for name in ("model", "control")]
    last = gather(OVERLAP, stores, []).sides["model"].filter(series="overlap").row(-1, named=True)
    own = [store.scan("overlap_controls").sort("step").collect()["overlap"][-1] for store in stores]
    assert last["n_runs"] == 2
    assert last["value"] == pytest.approx(sum(own) / 2)
    assert last["high"] - last["value"] == pytest.approx(12.7062 * abs(own[0] - own[1]) / 2, rel=1e-4)


def test_points_that_only_some_runs_have_are_means_of_those():
    schema = dict(zip(COLUMNS, (pl.String, pl.String, pl.Int64, pl.String, pl.Float64, pl.Float64, pl.Float64), strict=True))
    one = pl.DataFrame([("", "a", 0, "0", 1.0, None, None), ("", "b", 0, "0", None, None, None)], schema, orient="row")
    two = pl.DataFrame([("", "a", 0, "0", 3.0, None, None)], schema, orient="row")
    assert over_runs([one, two]).select("series", "value", "n_runs").rows() == [("a", 2.0, 2), ("b", None, 0)]


def test_a_table_that_is_not_there_is_named_with_its_command(tmp_path):
    store = open_store(planted_store(tmp_path / "bare.actlas", Planting(steps=(0,), sharing=(0.0,))))
    answer = gather(PROBING, [store], [])
    assert answer.sides == {}
    assert "actlas probe" in answer.missing
    assert {verdict.word for verdict in answer.verdicts} == {"not shown"}
    assert all("actlas probe" in verdict.sentence for verdict in answer.verdicts)


def test_a_table_without_rows_is_missing_too(runs):
    figure = Figure(
        "none",
        "None",
        "",
        "",
        (),
        "SELECT '' AS panel, '' AS series, 0 AS position, '' AS step, 0.0 AS value, 0.0 AS low, 0.0 AS high WHERE false",
    )
    assert gather(figure, [open_store(runs["model"])], []).missing == "model: no row answers to this figure"


def test_an_effect_that_is_no_number_is_none(runs):
    claim = Claim("It is.", "it", "SELECT 'NaN'::DOUBLE AS effect, NULL AS low, NULL AS high, NULL AS p_value")
    figure = Figure("nan", "", "", "", (), OVERLAP.sql, (claim,))
    (verdict,) = gather(figure, [open_store(runs["model"])], []).verdicts
    assert verdict.sentence == "it: the store has no number for it."


def test_only_what_is_missing_is_asked(runs, tmp_path):
    store = open_store(
        planted_store(tmp_path / "run.actlas", Planting(sites={"mlp_pre": (3, 40)}, steps=(0,), sharing=(0.0,))), "a"
    )
    score_neurons(store, stats=("ap", "median", "p90"))
    ask_missing(store, (TRAJECTORIES,), 6)
    made = {name: store.table_files(name) for name in store.table_names()}
    assert {"expert_mask", "trajectory"} <= made.keys()
    ask_missing(store, (TRAJECTORIES,), 7)
    assert {name: store.table_files(name) for name in store.table_names()} == made


def test_what_is_kept_of_some_checkpoints_is_asked_of_the_others_alike(tmp_path):
    planting = Planting(sites={"mlp_pre": (3, 40)}, steps=(0, 64), sharing=(0.0, 0.5))
    store = open_store(planted_store(tmp_path / "run.actlas", planting), "a")
    score_neurons(store, stats=("ap", "median", "p90"))
    top_experts(store, k=5, checkpoints=["planted-step64"])
    ask_missing(store, (Figure("masks", "", "", "", ("expert_mask",), ""),), 6)
    assert store.sql("SELECT checkpoint, max(rank) AS k FROM experts GROUP BY checkpoint ORDER BY checkpoint").rows() == [
        ("planted-step0", 5),
        ("planted-step64", 5),
    ]


def test_a_table_whose_scores_changed_since_is_missing(tmp_path):
    store = open_store(planted_store(tmp_path / "run.actlas", Planting(steps=(0,), sharing=(0.0,))), "a")
    score_neurons(store, stats=("ap", "median", "p90"))
    top_experts(store, k=6)
    score_neurons(store, sites=("mlp_pre",), stats=("ap", "median"), overwrite=True)
    claim = Claim("It is.", "it", "SELECT avg(ap) AS effect FROM experts")
    answer = gather(Figure("experts", "", "", "", (), "SELECT * FROM experts", (claim,)), [store], [])
    assert "make it again" in answer.missing
    assert [verdict.word for verdict in answer.verdicts] == ["not shown"]


def test_a_question_that_cannot_be_answered_is_passed_over(tmp_path, caplog):
    planting = Planting(sites={"mlp_pre": (3, 40)}, token_sites={}, steps=(0,), sharing=(0.0,))
    store = open_store(planted_store(tmp_path / "run.actlas", planting), "a")
    ask_missing(store, (PROBING,), 6)
    assert "table probe cannot be made" in caplog.text


def test_every_figure_is_whole_for_a_store_with_every_answer(runs, tmp_path):
    store = open_store(shutil.copytree(runs["model"], tmp_path / "model"), "a")
    with_generations(store)
    for figure in FIGURES:
        answer = gather(figure, [store], [])
        assert not answer.missing
        assert answer.sides["model"]["value"].null_count() == 0, figure.name
