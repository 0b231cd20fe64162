"""Scores out of states beside scores out of the cubes that hold the same values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from actlas.errors import CubeNotFound, QueryError
from actlas.kernels import DEFAULT_STATS, HistogramState, concept_scores
from actlas.query import expert_overlap, open_store, score_neurons, top_experts, top_texts
from actlas.testing.planted import Planting, planted_store

PLANTING = Planting(steps=(64,), sharing=(0.5,), token_sites={}, sites={"attn_out": (2, 24), "mlp_pre": (2, 600)}, n_groups=60)
SUMS = ("mean", "mean_off", "std", "p_active", "p_active_off", "n_positive", "n_member")
RANKS = ("ap", "ap_anti", "auroc", "best_f1", "median", "p90")
NAME = PLANTING.checkpoint(64)


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    store = open_store(planted_store(tmp_path_factory.mktemp("s") / "cubes", PLANTING), "a")
    score_neurons(store, stats=(*SUMS, *RANKS))
    return store


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    path = planted_store(tmp_path_factory.mktemp("s") / "states", replace(PLANTING, states=("moments", "histogram")))
    store = open_store(path, "a")
    score_neurons(store, stats=(*SUMS, *RANKS))
    return store


def test_sums_are_exactly_those_of_the_cube(cubes, states):
    for site in PLANTING.sites:
        expected, found = cubes.scores(NAME, site), states.scores(NAME, site)
        for stat in SUMS:
            np.testing.assert_allclose(found.read(stat), expected.read(stat), rtol=1e-6, atol=1e-6, err_msg=stat)
            assert np.isnan(found.read("mean")).any(), "a concept without positives in the last language stays null"


def test_ranks_are_exactly_those_of_the_cube_s_codes(cubes, states):
    """Code the cube's own values, hand the codes to `concept_scores`: the same to the last digit."""
    for site in PLANTING.sites:
        found = states.scores(NAME, site)
        for at, language in enumerate(states.corpus.languages):
            is_concept, is_member = states.corpus.concept_matrix(language)
            values = cubes.cube(NAME, site).read(texts=states.corpus.language_slice(language))
            for layer in range(2):
                low, high = states.states(NAME, site).read("range", layer)
                codes = HistogramState.init(low, high, 1).code(values[layer]).astype(np.float32)
                expected = concept_scores(codes, is_concept, RANKS, is_member, backend="reference")
                width = (high - low)[:, None] / 256
                for stat in RANKS:
                    level = expected[stat]
                    if stat in ("median", "p90"):
                        level = low[:, None] + (level + 0.5) * width
                    tolerance = 1e-12 if stat in ("ap", "ap_anti", "auroc") else 1e-6
                    np.testing.assert_allclose(
                        found.arrays[stat][at, :, layer].T, level, rtol=tolerance, atol=tolerance, err_msg=stat
                    )


def test_ranks_are_exactly_those_of_the_cube_where_no_two_values_share_a_code(cubes, states):
    for site in PLANTING.sites:
        for stat in ("ap", "ap_anti", "auroc", "best_f1"):
            expected, found = (store.scores(NAME, site).read(stat) for store in (cubes, states))
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12, err_msg=stat)


def test_sql_says_where_each_statistic_comes_from(cubes, states):
    query = f"SELECT ap, mean FROM scores WHERE checkpoint = '{NAME}' AND site = 'mlp_pre' AND language = 'en'"
    assert states.sql(query).height == cubes.sql(query).height == 4 * 2 * 600
    told = states.sql("SELECT DISTINCT statistic, source, exactness FROM score_sources ORDER BY statistic").rows()
    exactness = {statistic: (source, exact) for statistic, source, exact in told}
    assert {exactness[stat] for stat in SUMS} == {("states", "exact")}
    assert {exactness[stat] for stat in RANKS} == {("states", "of 8-bit codes")}
    told = cubes.scan("score_sources").collect()
    assert told.filter(pl.col("source") != "cube").is_empty()
    assert set(told["exactness"]) == {"exact"}


def test_experts_and_overlap_work_on_states(cubes, states):
    expected, found = (top_experts(store, k=20) for store in (cubes, states))
    columns = ["language", "concept", "rank", "site", "layer", "neuron"]
    assert found.select(columns).equals(expected.select(columns))
    frame = expert_overlap(states, k=20, halves=False)
    assert frame["overlap"].null_count() < frame.height
    assert frame["ceiling"].null_count() == frame.height
    with pytest.raises(QueryError, match="keeps states alone; leave them out: halves=False"):
        expert_overlap(states, k=20)


def test_what_states_cannot_answer_is_refused(states, tmp_path):
    with pytest.raises(CubeNotFound, match="states alone, without the values of single texts, of attn_out, mlp_pre"):
        top_texts(states, sites=["mlp_pre"])
    with pytest.raises(QueryError, match="what is above 1 can not be told"):
        score_neurons(states, threshold=1.0, overwrite=True)
    store = open_store(planted_store(tmp_path / "moments", replace(PLANTING, states=("moments",))), "a")
    with pytest.raises(QueryError, match=r"ap does not come out of moments, .* extract with a histogram too"):
        score_neurons(store, stats=("ap", "mean"))
    score_neurons(store)
    assert store.scores(NAME, "mlp_pre").stats == tuple(stat for stat in DEFAULT_STATS if stat in SUMS)
    assert score_neurons(store)["n_scored"].to_list() == [0, 0]


def test_moments_of_other_dtypes_say_that_values_were_rounded(tmp_path):
    planting = replace(PLANTING, states=("moments",), dtype="bfloat16")
    store = open_store(planted_store(tmp_path / "s", planting), "a")
    score_neurons(store)
    told = {(row["statistic"], row["exactness"]) for row in store.scan("score_sources").collect().to_dicts()}
    assert ("mean", "of values rounded to 2^-24") in told
    assert ("p_active", "exact") in told
