"""Overlap against plain sets: the full grid, zero pairs included, and what stands beside it."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
import pytest

from actlas.query import TABLES, Atlas, expert_overlap
from actlas.query.experts.sets import ExpertSets
from actlas.query.neurons import NeuronAxis
from actlas.query.questions.overlap import intersections, overlap_of_sets
from actlas.query.rankable import Rankable
from actlas.query.splits import split_halves

K, N = 6, 128


def halves_of(plain: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    second = split_halves(plain.corpus.texts, seed)
    return np.flatnonzero(~second), np.flatnonzero(second)


def test_every_pair_by_sets(scored: Atlas, plain: Any) -> None:
    checkpoints = ["planted-step0", "planted-step64"]
    frame = expert_overlap(scored, k=K, checkpoints=checkpoints)
    assert frame.schema == pl.Schema(dict(TABLES["overlap"].columns))
    assert frame.height == 2 * 4 * 3
    rows = {(row["checkpoint"], row["concept"], row["language_a"], row["language_b"]): row for row in frame.to_dicts()}
    halves = halves_of(plain, 0)
    for checkpoint in checkpoints:
        for concept in plain.planting.concepts:
            experts = {language: set(plain.experts(checkpoint, language, concept, K)) for language in plain.planting.languages}
            by_half = {
                language: [set(plain.experts(checkpoint, language, concept, K, half)) for half in halves] for language in experts
            }
            for a, b in combinations(sorted(experts), 2):
                row = rows.pop((checkpoint, concept, a, b))
                assert (row["k"], row["n_neurons"]) == (K, N)
                if not (experts[a] and experts[b]):
                    assert row["shared"] is row["overlap"] is row["jaccard"] is row["ceiling"] is row["cross_half"] is None
                    assert row["chance"] is None
                    continue
                assert (row["chance"], row["n_rankable"]) == (K / N, N)
                shared = len(experts[a] & experts[b])
                assert row["shared"] == shared
                assert row["overlap"] == pytest.approx(shared / K)
                assert row["jaccard"] == pytest.approx(shared / len(experts[a] | experts[b]))
                same = [len(by_half[name][0] & by_half[name][1]) for name in (a, b)]
                assert row["ceiling"] == pytest.approx(np.mean(same) / K)
                cross = [len(by_half[a][0] & by_half[b][1]), len(by_half[a][1] & by_half[b][0])]
                assert row["cross_half"] == pytest.approx(np.mean(cross) / K)
    assert not rows


def test_pairs_that_share_nothing_are_there(asked: Atlas) -> None:
    first = asked.sql("SELECT * FROM overlap WHERE checkpoint = 'planted-step0' AND concept <> 'yeast'")
    assert first.height == 9
    assert (first["shared"] == 0).sum() > 0
    means = asked.sql("SELECT checkpoint, avg(overlap) AS m FROM overlap GROUP BY checkpoint ORDER BY m")
    assert means["checkpoint"].to_list() == asked.checkpoints


def test_layers_add_up_to_the_whole(scored: Atlas) -> None:
    total = expert_overlap(scored, k=K)
    layers = expert_overlap(scored, k=K, by_layer=True)
    assert layers.schema == pl.Schema(dict(TABLES["overlap_by_layer"].columns))
    key = ["checkpoint", "concept", "language_a", "language_b"]
    summed = layers.group_by(key).agg(pl.col("shared", "overlap", "ceiling", "cross_half", "n_neurons", "n_a").sum())
    both = total.join(summed, on=key, suffix="_sum").drop_nulls()
    assert both.height == total["shared"].count()
    for column in ("shared", "overlap", "ceiling", "cross_half", "n_neurons"):
        np.testing.assert_allclose(both[column].to_numpy(), both[f"{column}_sum"].to_numpy())
    assert (both["n_a"] == K).all()


def test_a_layer_by_sets(scored: Atlas, plain: Any) -> None:
    layers = expert_overlap(scored, k=K, by_layer=True, halves=False, checkpoints=["planted-step64"], concepts=["salt"])
    assert layers["ceiling"].null_count() == layers.height == 3 * 2
    experts = {name: plain.experts("planted-step64", name, "salt", K) for name in plain.planting.languages}
    for row in layers.iter_rows(named=True):
        a, b = ({n for n in experts[row[f"language_{side}"]] if n[1] == row["layer"]} for side in "ab")
        assert (row["n_a"], row["n_b"], row["shared"]) == (len(a), len(b), len(a & b))
        assert row["n_neurons"] == 24 + 40
        assert row["chance"] == pytest.approx(len(a) * len(b) / 64 / K)
        assert row["jaccard"] == (pytest.approx(len(a & b) / len(a | b)) if a | b else None)


def sets_of(neurons: dict[str, list[list[int]]], axis: NeuronAxis) -> ExpertSets:
    k = max(len(row) for rows in neurons.values() for row in rows)
    filled = np.array([[row or [-1] * k for row in rows] for rows in neurons.values()], dtype=np.int64)
    n_concepts = filled.shape[1]
    return ExpertSets("c", axis, tuple(neurons), tuple(f"x{n}" for n in range(n_concepts)), filled, np.zeros(filled.shape))


AXIS = NeuronAxis(("a", "b"), ((2, 5), (3, 4)))


def all_rankable(sets: ExpertSets) -> Rankable:
    n_languages, axis = len(sets.languages), sets.axis
    sizes = np.array([[n if layer < layers else 0 for layer in range(axis.n_layers)] for layers, n in axis.shapes])
    shape = (len(sets.concepts), *sizes.shape, n_languages, n_languages)
    return Rankable(np.broadcast_to(sizes[:, :, np.newaxis, np.newaxis], shape))


def test_intersections_of_small_sets() -> None:
    sets = sets_of({"q": [[0, 6, 21]], "p": [[6, 0, 7]], "r": [[20, 19, 18]], "s": [[]]}, AXIS)
    sizes = intersections(sets, sets)
    assert sizes.shared[0].tolist() == [[3, 2, 0, 0], [2, 3, 0, 0], [0, 0, 3, 0], [0, 0, 0, 0]]
    assert sizes.by_layer[0, :, 0, 1].tolist() == [1, 1, 0]
    total, layers = overlap_of_sets(sets, all_rankable(sets), None)
    assert total.select("language_a", "language_b", "shared").rows() == [
        ("p", "q", 2), ("p", "r", 0), ("p", "s", None), ("q", "r", 0), ("q", "s", None), ("r", "s", None),
    ]  # fmt: skip
    assert layers.filter(language_a="p", language_b="q")["shared"].to_list() == [1, 1, 0]
    assert layers.filter(language_a="p", language_b="q")["jaccard"].to_list() == [1.0, 0.5, 0.0]


def test_empty_layers_have_no_jaccard() -> None:
    sets = sets_of({"p": [[0, 1]], "q": [[1, 2]]}, AXIS)
    _, layers = overlap_of_sets(sets, all_rankable(sets), None)
    assert layers["jaccard"].to_list() == [pytest.approx(1 / 3), None, None]
    assert layers["shared"].to_list() == [1, 0, 0]


def test_without_halves_there_is_no_ceiling(scored: Atlas) -> None:
    frame = expert_overlap(scored, k=K, halves=False)
    assert frame["ceiling"].null_count() == frame["cross_half"].null_count() == frame.height
    assert frame["overlap"].null_count() == 3 * 2


def test_no_checkpoints_no_rows(scored: Atlas) -> None:
    assert expert_overlap(scored, checkpoints=[]).is_empty()
