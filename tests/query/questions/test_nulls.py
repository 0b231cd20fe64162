"""Experts for labels without meaning: the same as ranking them by scikit-learn, and the same in any number of passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from actlas.query import Atlas
from actlas.query.blocks import Steps
from actlas.query.neurons import NeuronAxis
from actlas.query.questions.nulls import NullRanking

CHECKPOINT, LANGUAGES, CONCEPTS, K = "planted-step128", ("fr", "en"), ("salt", "water"), 5


@pytest.fixture
def nulls(scored: Atlas) -> NullRanking:
    axis = NeuronAxis.of(scored, CHECKPOINT, ["attn_out", "mlp_pre"])
    return NullRanking(scored, CHECKPOINT, axis, LANGUAGES, CONCEPTS, K, seed=3)


def plain_experts(nulls: NullRanking, plain: Any, language: str, is_concept: np.ndarray, is_member: np.ndarray) -> list[int]:
    rows = nulls.store.corpus.language_slice(language)
    values = np.concatenate(
        [plain.values(CHECKPOINT, site)[:, :, rows].reshape(-1, is_concept.size) for site in ("attn_out", "mlp_pre")]
    )
    scores = [average_precision_score(is_concept[is_member], neuron[is_member]) for neuron in values.astype(np.float64)]
    return sorted(range(len(scores)), key=lambda neuron: (-round(scores[neuron], 12), neuron))[:K]


def test_experts_are_those_of_labels_moved_by_hand(nulls: NullRanking, plain: Any) -> None:
    (drawn,) = nulls.together(2, Steps(None, 1))
    order = nulls.meanings.permutation(np.random.default_rng([3, 1, 1]))
    for row, language in enumerate(LANGUAGES):
        is_concept, is_member = nulls.store.corpus.concept_matrix(language, list(CONCEPTS))
        for column in range(len(CONCEPTS)):
            moved = is_concept[order[language], column], is_member[order[language], column]
            assert drawn[1].neurons[row, column].tolist() == plain_experts(nulls, plain, language, *moved)


def test_halves_have_the_labels_of_the_whole(nulls: NullRanking, plain: Any) -> None:
    from actlas.query.splits import split_halves

    drawn = list(nulls.halves(2, Steps(None, 1)))
    order = nulls.meanings.permutation(np.random.default_rng([3, 1, 0]))
    second = split_halves(nulls.store.corpus.texts, 3)[nulls.store.corpus.language_slice("en")]
    is_concept, is_member = nulls.store.corpus.concept_matrix("en", list(CONCEPTS))
    for half, in_half in enumerate((~second, second)):
        moved = is_concept[order["en"], 0], is_member[order["en"], 0] & in_half
        assert drawn[0][half].neurons[1, 0].tolist() == plain_experts(nulls, plain, "en", *moved)


def test_passes_do_not_matter(nulls: NullRanking, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [
        *(sets for part in nulls.together(4, Steps(None, 1)) for sets in part),
        *(sets for part in nulls.apart(4, Steps(None, 1)) for sets in part),
    ]
    assert nulls.n_passes(4) == 1
    monkeypatch.setattr("actlas.query.questions.nulls.PASS_BYTES", 1)
    assert nulls.n_passes(4) == 4
    steps = Steps(None, 1)
    again = [
        *(sets for part in nulls.together(4, steps) for sets in part),
        *(sets for part in nulls.apart(4, steps) for sets in part),
    ]
    assert steps.done == 8 * nulls.axis.n_neurons
    for one, other in zip(whole, again, strict=True):
        np.testing.assert_array_equal(one.neurons, other.neurons)
    assert not np.array_equal(whole[0].neurons, whole[1].neurons)


def test_languages_move_by_themselves(nulls: NullRanking, plain: Any) -> None:
    from actlas.query.permutations import Meanings

    ((drawn,),) = nulls.apart(1, Steps(None, 1))
    number = nulls.store.corpus.languages.index("en")
    order = Meanings.of(nulls.store, ["en"]).permutation(np.random.default_rng([3, 2, 0, number]))["en"]
    is_concept, is_member = nulls.store.corpus.concept_matrix("en", list(CONCEPTS))
    assert drawn.neurons[1, 1].tolist() == plain_experts(nulls, plain, "en", is_concept[order, 1], is_member[order, 1])
