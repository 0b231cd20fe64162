"""One pass over the scores of a checkpoint against all of them in memory."""

from __future__ import annotations

import numpy as np
import pytest

from actlas.names import RANK_DECIMALS
from actlas.query import Atlas, ranks
from actlas.query.blocks import Steps
from actlas.query.neurons import NeuronAxis, is_rankable
from actlas.query.rankable import guess_score
from actlas.query.ranks import n_scores, ranked_scores, scores_of

CHECKPOINT = "planted-step64"


@pytest.fixture
def axis(scored: Atlas) -> NeuronAxis:
    return NeuronAxis.of(scored, CHECKPOINT, ["attn_out", "mlp_pre"])


def all_scores(store: Atlas, axis: NeuronAxis, stat: str = "ap") -> np.ndarray:
    """``"languages concepts neurons"`` along the axis."""
    shape = (len(store.corpus.languages), len(store.corpus.concepts), -1)
    return np.concatenate([store.scores(CHECKPOINT, site).read(stat).reshape(shape) for site in axis.sites], axis=2)


@pytest.mark.parametrize("slab_bytes", [1, ranks._SLAB_BYTES])
@pytest.mark.parametrize("k", [1, 6, 100])
def test_the_best_and_their_numbers(
    scored: Atlas, axis: NeuronAxis, k: int, slab_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "_SLAB_BYTES", slab_bytes)
    languages, concepts = scored.corpus.languages, scored.corpus.concepts
    seen: list[tuple[int, int]] = []
    steps = Steps(lambda done, total, _: seen.append((done, total)), n_scores(axis, languages, concepts))
    neurons, ap, rankable = ranked_scores(scored, CHECKPOINT, axis, languages, concepts, k, steps)
    assert seen[-1][0] == seen[-1][1] == axis.n_neurons * len(languages) * len(concepts)
    scores = all_scores(scored, axis)
    can = is_rankable(scores, guess_score(scored, languages, concepts)[:, :, np.newaxis])
    scores[~can] = np.nan
    rounded = np.round(scores, RANK_DECIMALS)
    for language in range(len(languages)):
        for concept in range(len(concepts)):
            row = rounded[language, concept]
            order = sorted(np.flatnonzero(~np.isnan(row)).tolist(), key=lambda i: (-row[i], i))[:k]
            assert neurons[language, concept].tolist() == order + [-1] * (k - len(order))
            np.testing.assert_array_equal(ap[language, concept, : len(order)], scores[language, concept, order])
    cell = axis.site_at(np.arange(axis.n_neurons)) * axis.n_layers + axis.layer_at(np.arange(axis.n_neurons))
    for concept in range(len(concepts)):
        for a in range(len(languages)):
            for b in range(len(languages)):
                both = np.bincount(cell[can[a, concept] & can[b, concept]], minlength=len(axis.sites) * axis.n_layers)
                assert rankable.by_place[concept, :, :, a, b].reshape(-1).tolist() == both.tolist()


def test_some_languages_and_concepts_are_ranked_alone(scored: Atlas, axis: NeuronAxis) -> None:
    whole, _, _ = ranked_scores(scored, CHECKPOINT, axis, scored.corpus.languages, scored.corpus.concepts, 5)
    some, _, _ = ranked_scores(scored, CHECKPOINT, axis, ["es", "fr"], ["water", "fire"], 5)
    at = [scored.corpus.languages.index(name) for name in ("es", "fr")]
    which = [scored.corpus.concepts.index(name) for name in ("water", "fire")]
    assert some.tolist() == whole[np.ix_(at, which)].tolist()


@pytest.mark.parametrize("slab_bytes", [1, ranks._SLAB_BYTES])
def test_scores_of_some_neurons(scored: Atlas, axis: NeuronAxis, slab_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_SLAB_BYTES", slab_bytes)
    languages, concepts = scored.corpus.languages, scored.corpus.concepts
    rng = np.random.default_rng(0)
    neurons = rng.integers(-1, axis.n_neurons, (len(languages), len(concepts), 9))
    neurons[:, 1:3] = -1
    cubes = [scored.scores(CHECKPOINT, site) for site in axis.sites]
    found = scores_of(cubes, axis, "auroc", languages, concepts, neurons)
    wanted = np.take_along_axis(all_scores(scored, axis, "auroc"), np.maximum(neurons, 0), axis=2)
    np.testing.assert_array_equal(found, np.where(neurons < 0, np.nan, wanted))
