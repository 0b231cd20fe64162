"""Experts under other labels, and what is kept of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actlas.query import Atlas, open_store, score_neurons
from actlas.query.choices import Ranking
from actlas.query.keep import Keeper
from actlas.query.questions.controls import VARIANTS, rescored_experts
from actlas.query.splits import split_halves

CHECKPOINT = "planted-step64"


def neurons(sets: Any, language: str, concept: str) -> list[tuple[str, int, int]]:
    index = sets.neurons[sets.languages.index(language), sets.concepts.index(concept)]
    if index[0] < 0:
        return []
    columns = sets.axis.columns(index)
    return list(zip(columns["site"], columns["layer"], columns["neuron"], strict=True))


def test_halves_are_scored_on_their_own_texts(scored: Atlas, plain: Any) -> None:
    found = rescored_experts(Keeper(scored), CHECKPOINT, Ranking(5))
    second = split_halves(plain.corpus.texts, 0)
    for half in (0, 1):
        rows = np.flatnonzero(second == bool(half))
        for language in plain.planting.languages:
            for concept in plain.planting.concepts:
                wanted = plain.experts(CHECKPOINT, language, concept, 5, rows)
                assert neurons(found[f"half_{half}"], language, concept) == wanted, (half, language, concept)


def test_labels_of_all_variants_are_prepared_once_per_language(scored: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    from actlas.kernels.cpu.plan import Plan

    make, plans, blocks = Plan.of.__func__, [], []  # type: ignore[attr-defined]
    monkeypatch.setattr(Plan, "of", classmethod(lambda *args, **kwargs: plans.append(1) or make(*args, **kwargs)))
    rescored_experts(Keeper(scored), CHECKPOINT, Ranking(5), progress=lambda *args: blocks.append(1))
    assert len(blocks) > 1
    assert len(plans) <= len(scored.corpus.languages) + 1  # one more where the loops are compiled now


def test_blocks_do_not_matter(scored: Atlas) -> None:
    whole = rescored_experts(Keeper(scored), CHECKPOINT, Ranking(5))
    parts = rescored_experts(Keeper(scored), CHECKPOINT, Ranking(5), block_bytes=1)
    for variant in VARIANTS:
        np.testing.assert_array_equal(whole[variant].neurons, parts[variant].neurons)


def test_kept_and_taken_again(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(bare, "a")
    score_neurons(store, stats=("ap",))
    first = rescored_experts(Keeper(store), CHECKPOINT, Ranking(5))
    assert store.table_names() == ["control_experts"]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the cube was read again")

    monkeypatch.setattr("actlas.query.questions.controls.neuron_blocks", refuse)
    again = rescored_experts(Keeper(store), CHECKPOINT, Ranking(5))
    part = rescored_experts(Keeper(open_store(bare)), CHECKPOINT, Ranking(5, languages=["en"], concepts=["water", "salt"]))
    for variant in VARIANTS:
        np.testing.assert_array_equal(again[variant].neurons, first[variant].neurons)
        np.testing.assert_allclose(again[variant].ap, first[variant].ap)
        assert neurons(part[variant], "en", "salt") == neurons(first[variant], "en", "salt")
        assert part[variant].neurons.shape == (1, 2, 5)
    fewer = rescored_experts(Keeper(store), CHECKPOINT, Ranking(4))
    for variant in VARIANTS:
        np.testing.assert_array_equal(fewer[variant].neurons, first[variant].neurons[:, :, :4])
    for ranking, seed in ((Ranking(6), 0), (Ranking(5), 1), (Ranking(5, sites=["mlp_hidden"]), 0)):
        with pytest.raises(AssertionError, match="read again"):
            rescored_experts(Keeper(store), CHECKPOINT, ranking, seed=seed)
