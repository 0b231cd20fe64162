"""What is told of experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from actlas.query import (
    Atlas,
    open_store,
    score_neurons,
    top_experts,
)
from actlas.query.experts.sets import ExpertSets
from actlas.query.experts.tables import expert_mask, layer_histogram
from actlas.query.neurons import NeuronAxis


def test_forced_values_are_those_of_the_score_cubes(scored: Atlas) -> None:
    frame = top_experts(scored, k=3, checkpoints=["planted-step64"], languages=["en"])
    for row in frame.iter_rows(named=True):
        cube = scored.scores("planted-step64", row["site"])
        for stat in ("median", "p90", "ap"):
            assert row[stat] == cube.read(stat, "en", row["concept"], row["layer"], row["neuron"])


def test_null_values_where_a_statistic_was_not_scored(bare: Path) -> None:
    store = open_store(bare, "a")
    score_neurons(store, stats=("ap",))
    frame = top_experts(store, k=2)
    assert frame["median"].null_count() == frame["p90"].null_count() == frame.height
    assert store.sql("FROM experts").equals(frame)


def test_mask_and_histogram_agree_with_the_experts(asked: Atlas) -> None:
    experts = asked.sql("SELECT * FROM experts")
    bits = dict(asked.sql("SELECT language, bit FROM languages").rows())
    wanted: dict[tuple[Any, ...], int] = {}
    for row in experts.iter_rows(named=True):
        key = (row["checkpoint"], row["concept"], row["site"], row["layer"], row["neuron"])
        wanted[key] = wanted.get(key, 0) | 1 << bits[row["language"]]
    mask = asked.sql("FROM expert_mask")
    assert {row[:5]: row[6] for row in mask.rows()} == wanted
    assert mask["n_languages"].to_list() == [row[6].bit_count() for row in mask.rows()]
    histogram = asked.sql("FROM layer_histogram")
    assert histogram.height == 3 * 11 * 4
    counted = experts.group_by("checkpoint", "concept", "language", "site", "layer").len()
    joined = histogram.join(counted, on=["checkpoint", "concept", "language", "site", "layer"], how="left")
    assert (joined["n_experts"] == joined["len"].fill_null(0)).all()
    assert (histogram["n_experts"] == 0).any()


def test_more_than_64_languages_take_more_words() -> None:
    axis = NeuronAxis(("mlp_pre",), ((1, 100),))
    languages = tuple(f"l{n:02}" for n in range(70))
    neurons = np.full((70, 1, 2), -1, dtype=np.int64)
    neurons[[0, 63, 64, 69], 0] = [[5, 7], [5, 8], [5, 9], [7, 9]]
    sets = ExpertSets("c", axis, languages, ("x",), neurons, np.zeros(neurons.shape))
    mask = expert_mask(sets)
    assert sorted(mask.select("neuron", "word", "mask", "n_languages").rows()) == [
        (5, 0, 1 | 1 << 63, 3), (5, 1, 1, 3), (7, 0, 1, 2), (7, 1, 1 << 5, 2),
        (8, 0, 1 << 63, 1), (8, 1, 0, 1), (9, 0, 0, 2), (9, 1, 1 | 1 << 5, 2),
    ]  # fmt: skip
    assert layer_histogram(sets)["n_experts"].to_list() == [2, 2, 2, 2]
