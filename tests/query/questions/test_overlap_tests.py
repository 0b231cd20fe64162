"""Permutation tests against plain loops over the permutations, and their families."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import false_discovery_control

from actlas.errors import QueryError
from actlas.query import TABLES, Atlas, expert_overlap, open_store, overlap_tests, score_neurons
from actlas.query.blocks import Steps
from actlas.query.neurons import NeuronAxis
from actlas.query.permutations import Meanings
from actlas.query.questions.nulls import NullRanking
from actlas.testing.planted import Planting, planted_store

K, REPEATS = 6, 19
PAIR = ["checkpoint", "concept", "language_a", "language_b"]


@pytest.fixture(scope="module")
def tests(scored_path: Path) -> dict[str, pl.DataFrame]:
    store = open_store(scored_path)
    return {by: overlap_tests(store, k=K, n_repeats=REPEATS, by=by) for by in ("pair", "layer", "concept")}


def drawn_sets(store: Atlas, checkpoint: str) -> list[dict[tuple[str, str], set[int]]]:
    """Experts by language and concept, of every permutation."""
    axis = NeuronAxis.of(store, checkpoint, ["attn_out", "mlp_pre"])
    corpus = store.corpus
    nulls = NullRanking(store, checkpoint, axis, corpus.languages, corpus.concepts, K, 0)
    return [
        {
            (language, concept): set(sets.neurons[row, column].tolist()) - {-1}
            for row, language in enumerate(sets.languages)
            for column, concept in enumerate(sets.concepts)
        }
        for part in nulls.together(REPEATS, Steps(None, 1))
        for sets in part
    ]


def test_every_pair_by_sets(scored: Atlas, tests: dict[str, pl.DataFrame]) -> None:
    frame = tests["pair"]
    assert frame.schema == pl.Schema(dict(TABLES["overlap_tests"].columns))
    observed = expert_overlap(scored, k=K, halves=False)
    assert frame.select(*PAIR, "overlap").equals(observed.select(*PAIR, "overlap"))
    drawn = drawn_sets(scored, "planted-step64")
    for row in frame.filter(checkpoint="planted-step64").iter_rows(named=True):
        a, b = ((row[f"language_{side}"], row["concept"]) for side in "ab")
        overlaps = np.array([len(one[a] & one[b]) / K for one in drawn if one[a] and one[b]])
        if row["overlap"] is None:
            assert [row[name] for name in ("null", "null_sd", "excess", "p_value", "q_value")] == [None] * 5
            continue
        assert (row["n_repeats"], row["n_tests"]) == (overlaps.size, 10)
        assert row["null"] == pytest.approx(overlaps.mean())
        assert row["null_sd"] == pytest.approx(overlaps.std(ddof=1))
        assert row["excess"] == pytest.approx(row["overlap"] - overlaps.mean())
        assert row["p_value"] == pytest.approx((1 + (overlaps >= row["overlap"] - 1e-9).sum()) / (1 + overlaps.size))


def test_every_layer_by_sets(scored: Atlas, tests: dict[str, pl.DataFrame]) -> None:
    frame = tests["layer"].filter(checkpoint="planted-step128", concept="salt")
    axis = NeuronAxis.of(scored, "planted-step128", ["attn_out", "mlp_pre"])
    drawn = drawn_sets(scored, "planted-step128")
    assert frame.height == 3 * 2
    for row in frame.iter_rows(named=True):
        a, b = ((row[f"language_{side}"], "salt") for side in "ab")
        shared = [np.array(sorted(one[a] & one[b]), dtype=np.int64) for one in drawn]
        overlaps = np.array([(axis.layer_at(neurons) == row["layer"]).sum() / K for neurons in shared])
        assert row["null"] == pytest.approx(overlaps.mean())
        assert row["null_sd"] == pytest.approx(overlaps.std(ddof=1), abs=1e-12)
        assert row["p_value"] == pytest.approx((1 + (overlaps >= row["overlap"] - 1e-9).sum()) / (1 + REPEATS))
    summed = tests["layer"].group_by(PAIR).agg(pl.col("overlap", "null").sum())
    both = tests["pair"].join(summed, on=PAIR, suffix="_sum").drop_nulls("overlap")
    np.testing.assert_allclose(both["overlap"], both["overlap_sum"])
    np.testing.assert_allclose(both["null"], both["null_sum"])


def test_a_concept_is_the_mean_of_its_pairs(scored: Atlas, tests: dict[str, pl.DataFrame]) -> None:
    pairs = tests["pair"].group_by("checkpoint", "concept").agg(pl.col("overlap").mean(), pl.col("overlap").count().alias("n"))
    both = tests["concept"].join(pairs, on=["checkpoint", "concept"], suffix="_pairs")
    np.testing.assert_allclose(both["overlap"], both["overlap_pairs"])
    assert both["n_pairs"].to_list() == both["n"].to_list()
    (row,) = tests["concept"].filter(checkpoint="planted-step64", concept="water").to_dicts()
    means = [
        np.mean([len(one[a, "water"] & one[b, "water"]) / K for a, b in (("en", "es"), ("en", "fr"), ("es", "fr"))])
        for one in drawn_sets(scored, "planted-step64")
    ]
    assert row["null"] == pytest.approx(np.mean(means))
    assert row["p_value"] == pytest.approx((1 + (np.array(means) >= row["overlap"] - 1e-9).sum()) / (1 + REPEATS))


@pytest.mark.parametrize("by", ["pair", "layer", "concept"])
def test_a_family_is_a_checkpoint(tests: dict[str, pl.DataFrame], by: str) -> None:
    for _, rows in tests[by].drop_nulls("p_value").group_by("checkpoint"):
        assert (rows["n_tests"] == rows.height).all()
        np.testing.assert_allclose(rows["q_value"], false_discovery_control(rows["p_value"].to_numpy()))


def test_kept_and_taken_again(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score_neurons(bare, stats=("ap",))
    store = open_store(bare, "a")
    asked = {"k": K, "n_repeats": 5, "checkpoints": ["planted-step128"]}
    first = {by: overlap_tests(store, **asked, by=by) for by in ("pair", "layer", "concept")}
    names = ["overlap_tests", "overlap_tests_by_concept", "overlap_tests_by_layer"]
    assert store.table_names() == ["expert_mask", "experts", "layer_histogram", *names, "rankable"]

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the cube was read again")

    monkeypatch.setattr("actlas.query.questions.controls.neuron_blocks", refuse)
    for by, name in zip(("pair", "concept", "layer"), names, strict=True):
        assert overlap_tests(store, **asked, by=by).equals(first[by])
        assert store.scan(name).collect().equals(first[by])
    for other in ({"n_repeats": 6}, {"seed": 1}, {"k": 5}, {"concepts": ["water"]}):
        with pytest.raises(AssertionError, match="read again"):
            overlap_tests(store, **{**asked, **other})


def test_states_are_refused(tmp_path: Path) -> None:
    path = planted_store(tmp_path / "states.actlas", Planting(steps=(0,), sharing=(0.0,), states=("histogram",)))
    score_neurons(path, stats=("ap",))
    with pytest.raises(QueryError, match="permuted labels need the value of every text"):
        overlap_tests(path, k=K)


def test_progress_counts_the_neurons_of_every_pass(scored: Atlas) -> None:
    seen: list[tuple[int, int, str]] = []
    overlap_tests(scored, k=K, n_repeats=2, checkpoints=["planted-step0"], progress=lambda *step: seen.append(step))
    assert seen[-1][:2] == (128, 128)
    assert "permuted labels" in seen[0][2]


def test_labels_that_cannot_move_are_told(
    scored: Atlas, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"k": K, "n_repeats": 2, "checkpoints": ["planted-step0"], "concepts": ["water"]}
    overlap_tests(scored, **asked)
    assert "cannot move" not in caplog.text
    of = Meanings.of.__func__  # type: ignore[attr-defined]

    def each_of_its_own(*args: Any) -> Meanings:
        meanings = of(*args)
        return replace(meanings, class_of=np.arange(meanings.class_of.size))

    monkeypatch.setattr(Meanings, "of", classmethod(each_of_its_own))
    stuck = overlap_tests(scored, **asked)
    assert "labels of 100 % of the texts cannot move with their translations" in caplog.text
    # the only permutation is none at all
    np.testing.assert_allclose(stuck["null"], stuck["overlap"])
    assert stuck["p_value"].to_list() == [1.0] * 3
