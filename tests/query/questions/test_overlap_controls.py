"""Mean overlap beside its controls: nulls of noise and of parallel noise, intervals, and the ratio that is null on noise."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import false_discovery_control

import actlas.query.questions.overlap_controls as module
from actlas.query import Atlas, open_store, overlap_controls, score_neurons
from actlas.query.experts.sets import ExpertSets
from actlas.query.neurons import NeuronAxis
from actlas.query.questions.overlap_controls import other_concept_overlap
from actlas.testing.planted import Planting, planted_store

K = 6
AXIS = NeuronAxis(("a", "b"), ((2, 5), (3, 4)))
NOISE = Planting(sites={"mlp_pre": (2, 100)}, n_planted=0, steps=(0,), sharing=(0.0,), token_sites={})


def sets_of(neurons: dict[str, list[list[int]]], axis: NeuronAxis) -> ExpertSets:
    k = max(len(row) for rows in neurons.values() for row in rows)
    filled = np.array([[row or [-1] * k for row in rows] for rows in neurons.values()], dtype=np.int64)
    n_concepts = filled.shape[1]
    return ExpertSets("c", axis, tuple(neurons), tuple(f"x{n}" for n in range(n_concepts)), filled, np.zeros(filled.shape))


def controls_of(path: Path, planting: Planting, **settings: int) -> dict[str, float]:
    score_neurons(planted_store(path, planting), stats=("ap",))
    return overlap_controls(open_store(path), k=K, **settings).row(0, named=True)


def test_other_concepts_by_sets() -> None:
    rng = np.random.default_rng(0)
    neurons = {name: [sorted(rng.choice(22, 4, replace=False).tolist()) for _ in range(5)] for name in "pqr"}
    neurons["q"][2] = []
    sets = sets_of(neurons, AXIS)
    overlaps = [
        len(set(neurons[a][x]) & set(neurons[b][y])) / 4
        for a, b in combinations("pqr", 2)
        for x in range(5)
        for y in range(5)
        if x != y and neurons[a][x] and neurons[b][y]
    ]
    assert other_concept_overlap(sets) == pytest.approx(np.mean(overlaps))
    assert other_concept_overlap(sets_of({"p": [[0, 1]], "q": [[1, 2]]}, AXIS)) is None


def test_controls_are_the_means_of_the_tables(asked: Atlas) -> None:
    frame = asked.sql("FROM overlap_controls")
    assert frame.equals(overlap_controls(asked, k=K))
    assert frame["step"].to_list() == [0, 64, 128]
    means = asked.sql(
        "SELECT checkpoint, avg(overlap) AS overlap, avg(ceiling) AS ceiling, avg(cross_half) AS cross_half, "
        "count(overlap) AS n FROM overlap JOIN checkpoints USING (checkpoint) GROUP BY checkpoint, position ORDER BY position"
    )
    for column in ("overlap", "ceiling", "cross_half"):
        np.testing.assert_allclose(frame[column].to_numpy(), means[column].to_numpy())
    assert frame["n_pairs"].to_list() == means["n"].to_list()
    np.testing.assert_allclose(frame["excess"].to_numpy(), (frame["overlap"] - frame["null"]).to_numpy())
    # planted: nothing is shared at first, everything at last, and the controls stay low
    overlap, other, null, apart = (frame[name].to_list() for name in ("overlap", "other_concept", "null", "null_independent"))
    assert overlap[0] < 0.2 < 0.5 < overlap[2]
    assert max(*other, *null, *apart) < 0.2
    assert frame["p_value"][2] == 0.01 < frame["p_value"][0]
    assert (frame["low"] <= frame["overlap"]).all()
    assert (frame["overlap"] <= frame["high"]).all()
    assert frame["n_repeats"].to_list() == [99] * 3
    assert frame["permuted"].to_list() == ["meanings"] * 3
    ratio = (frame["cross_half"] - frame["null_cross_half"]) / (frame["ceiling"] - frame["null_ceiling"])
    np.testing.assert_allclose(frame["corrected_ratio"].to_numpy(), ratio.to_numpy())
    assert ratio[0] < 0.1 < 0.8 < ratio[2]


def test_on_noise_there_is_no_ratio(tmp_path: Path) -> None:
    row = controls_of(tmp_path / "noise.actlas", NOISE)
    assert row["corrected_ratio"] is None
    assert row["ceiling"] is not None
    assert abs(row["excess"]) < 4 * row["null_sd"]
    assert row["p_value"] > 0.01


def test_what_translations_share_is_in_the_null_that_keeps_them_together(tmp_path: Path) -> None:
    row = controls_of(tmp_path / "alike.actlas", replace(NOISE, n_alike=60))
    assert row["null"] > 3 * row["null_independent"] > 0
    # far above chance, and no more than translations give
    assert row["overlap"] > 3 * row["chance"]
    assert row["p_value"] > 0.05
    # across the halves no text meets its translation
    assert row["null_cross_half"] < 2 * row["chance"]


def test_without_translations_both_nulls_are_one(tmp_path: Path) -> None:
    from actlas.store import corpus_from_frames
    from actlas.testing import planted

    def alone(planting: Planting) -> object:
        corpus = planted_corpus(planting)
        return corpus_from_frames(
            corpus.texts.drop("source_id").with_columns(pl.lit(None, dtype=pl.String).alias("parallel_id")), corpus.labels
        )

    planted_corpus = planted.planted_corpus
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted, "planted_corpus", alone)
        row = controls_of(tmp_path / "alone.actlas", NOISE)
    assert row["permuted"] == "texts"
    assert abs(row["null"] - row["null_independent"]) < 0.02


def test_answers_depend_on_the_seed_alone(scored: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"k": K, "checkpoints": ["planted-step64"], "n_repeats": 9, "concepts": ["salt", "water"]}
    first = overlap_controls(scored, **asked)
    monkeypatch.setattr("actlas.query.questions.nulls.PASS_BYTES", 1)
    monkeypatch.setattr("actlas.query.questions.controls._SCORE_BYTES", 8 << 10)
    assert overlap_controls(scored, **asked).equals(first)
    assert not overlap_controls(scored, **asked, seed=1).equals(first)


def test_layers_add_up_and_have_tests_of_their_own(asked: Atlas) -> None:
    total = asked.sql("FROM overlap_controls ORDER BY step")
    layers = overlap_controls(asked, k=K, by_layer=True)
    assert layers.equals(asked.sql("FROM overlap_controls_by_layer"))
    assert layers.select("step", "layer").rows() == [(step, layer) for step in (0, 64, 128) for layer in (0, 1)]
    summed = layers.group_by("step").agg(pl.col("overlap", "null", "excess", "ceiling", "cross_half").sum()).sort("step")
    for column in ("overlap", "null", "excess", "ceiling", "cross_half"):
        np.testing.assert_allclose(summed[column].to_numpy(), total[column].to_numpy(), atol=1e-12)
    assert (layers["low"] <= layers["overlap"]).all()
    assert (layers["overlap"] <= layers["high"]).all()
    for _, rows in layers.group_by("step"):
        np.testing.assert_allclose(rows["q_value"], false_discovery_control(rows["p_value"].to_numpy()))
    assert layers.filter(step=128)["p_value"].to_list() == [0.01, 0.01]
    assert layers.filter(step=0)["p_value"].min() > 0.1


def test_the_null_of_a_layer_is_the_mean_over_permutations(scored: Atlas) -> None:
    from actlas.query.blocks import Steps
    from actlas.query.questions.nulls import NullRanking

    axis = NeuronAxis.of(scored, "planted-step64", ["attn_out", "mlp_pre"])
    nulls = NullRanking(scored, "planted-step64", axis, ("en", "fr"), ("salt", "water"), K, 0)
    shared = np.zeros((5, 2))
    for repeat, sets in enumerate(one for part in nulls.together(5, Steps(None, 1)) for one in part):
        for concept in (0, 1):
            both = np.array(sorted(set(sets.neurons[0, concept]) & set(sets.neurons[1, concept])), dtype=np.int64)
            shared[repeat] += np.bincount(axis.layer_at(both), minlength=2) / K / 2
    asked = {"k": K, "checkpoints": ["planted-step64"], "languages": ["en", "fr"], "concepts": ["salt", "water"]}
    layers = overlap_controls(scored, **asked, n_repeats=5, by_layer=True)
    np.testing.assert_allclose(layers["null"].to_numpy(), shared.mean(axis=0))
    np.testing.assert_allclose(layers["null_sd"].to_numpy(), shared.std(axis=0, ddof=1))
    p_values = [(1 + (shared[:, layer] >= layers["overlap"][layer] - 1e-9).sum()) / 6 for layer in (0, 1)]
    np.testing.assert_allclose(layers["p_value"].to_numpy(), p_values)


def test_one_permutation_has_no_spread_and_one_language_no_overlap(scored: Atlas) -> None:
    asked = {"k": K, "checkpoints": ["planted-step64"], "concepts": ["salt", "water"]}
    row = overlap_controls(scored, **asked, n_repeats=1).row(0, named=True)
    assert row["null_sd"] is row["corrected_ratio"] is None
    alone = overlap_controls(scored, **asked, n_repeats=2, languages=["en"]).row(0, named=True)
    assert [alone[name] for name in ("overlap", "low", "null", "p_value", "corrected_ratio")] == [None] * 5
    assert alone["n_pairs"] == 0


def test_no_checkpoints_no_rows(scored: Atlas) -> None:
    assert overlap_controls(scored, checkpoints=[]).is_empty()


def test_a_mean_does_not_depend_on_the_order_of_rows() -> None:
    values = np.random.default_rng(0).integers(0, 51, 240) / 50
    means = {module._mean(pl.Series(np.random.default_rng(seed).permutation(values))) for seed in range(50)}
    assert len(means) == 1
    assert module._mean(pl.Series([0.5, None, 0.25])) == 0.375
    assert module._mean(pl.Series([None], dtype=pl.Float64)) is None


def test_texts_that_are_there_twice_do_not_raise_the_ceiling() -> None:

    from actlas.query.splits import split_halves

    texts = pl.DataFrame({"text_id": range(80), "text": [f"text {n // 2}" for n in range(80)], "parallel_id": [None] * 80})
    second = split_halves(texts.with_columns(pl.col("parallel_id").cast(pl.String)), seed=0)
    values = np.repeat(np.random.default_rng(0).standard_normal((400, 40)), 2, axis=1).astype(np.float32)
    is_concept = np.repeat(np.random.default_rng(1).random((40, 12)) < 0.25, 2, axis=0)
    overlaps = {}
    for name, half in (("texts together", second), ("texts apart", np.arange(80) % 2 == 1)):
        best = [_best(values[:, part], is_concept[part]) for part in (half, ~half)]
        overlaps[name] = np.mean([len(a & b) / 10 for a, b in zip(*best, strict=True)])
    assert overlaps["texts apart"] == 1
    assert overlaps["texts together"] < 0.1


def _best(values: np.ndarray, is_concept: np.ndarray) -> list[set[int]]:
    from actlas.kernels import concept_scores

    scores = concept_scores(values, is_concept, stats=("ap",))["ap"]
    return [set(np.argsort(-scores[:, concept])[:10].tolist()) for concept in range(scores.shape[1])]
