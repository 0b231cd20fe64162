"""Neurons of languages: activity at other thresholds, and experts among published sets."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from actlas.errors import CubeNotFound, QueryError
from actlas.query import Atlas, language_neurons, neuron_activity, text_activity, top_experts
from actlas.query.sql.macro import asked_over

CK = "planted-step64"


@pytest.mark.parametrize("threshold", [0, 1.5, -2])
def test_texts_above_any_threshold(asked: Atlas, threshold: float) -> None:
    values = asked.cube(CK, "mlp_pre").read(layer=1)
    answer = text_activity(asked, CK, "mlp_pre", 1, threshold=threshold)
    for language in asked.corpus.languages:
        share = (values[:, asked.corpus.language_slice(language)] > threshold).mean(axis=1)
        np.testing.assert_allclose(answer.filter(language=language)["p_active"].to_numpy(), share)


def test_tokens_above_another_threshold_are_refused_with_those_that_were_counted(asked: Atlas) -> None:
    with pytest.raises(CubeNotFound, match="were not counted above 1.5; counted are those above 0"):
        language_neurons(asked, threshold=1.5, keep=False)


def test_activity_of_a_neuron_is_that_of_its_counts(asked: Atlas) -> None:
    answer = neuron_activity(asked, "mlp_hidden", 1, 7)
    for checkpoint in asked.checkpoints:
        counts = asked.token_counts(checkpoint, "mlp_hidden")
        np.testing.assert_allclose(
            answer.filter(checkpoint=checkpoint)["p_active"].to_numpy(), counts.active[:, 1, 7] / counts.n_tokens
        )
    with pytest.raises(QueryError, match="no site 'mlp_per' in .*; did you mean 'mlp_hidden'|no site 'mlp_per'"):
        neuron_activity(asked, "mlp_per", 0, 0)
    with pytest.raises(QueryError, match="has 2 layers of 40 neurons, no neuron 40 in layer 0"):
        neuron_activity(asked, "mlp_hidden", 0, 40)


@pytest.mark.parametrize(("macro", "table"), [("experts_in_sets", "neuron_sets"), ("language_experts", "lape")])
def test_experts_that_are_in_a_set_before_or_after_the_activation_function(asked: Atlas, macro: str, table: str) -> None:
    experts, sets = top_experts(asked, k=40, keep=False), asked.scan(table).collect()
    assert sets["site"].unique().to_list() == ["mlp_hidden"]
    found = asked_over(macro, {"checkpoint": CK}, {"experts": experts, table: sets})
    specific = {(layer, neuron, language) for layer, neuron, language in sets.filter(checkpoint=CK).select(
        "layer", "neuron", "language"
    ).iter_rows()}  # fmt: skip
    own = experts.filter(pl.col("checkpoint") == CK, pl.col("site") == "mlp_pre")
    wanted = sorted(
        (concept, language, rank, name)
        for concept, language, rank, layer, neuron in own.select("concept", "language", "rank", "layer", "neuron").iter_rows()
        for place, index, name in specific
        if (place, index) == (layer, neuron)
    )
    assert wanted
    assert found.select("concept", "expert_in", "rank", "specific_to").rows() == wanted
