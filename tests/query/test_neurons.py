"""The row of all neurons, and the best of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actlas.errors import QueryError
from actlas.query.neurons import NeuronAxis, RunningBest, is_rankable, top_indices

AXIS = NeuronAxis(("attn_out", "mlp_pre", "mlp_up"), ((3, 4), (2, 7), (3, 1)))


def test_every_index_is_one_neuron_in_alphabetical_order() -> None:
    index = np.arange(AXIS.n_neurons)
    columns = AXIS.columns(index)
    neurons = list(zip(columns["site"], columns["layer"], columns["neuron"], strict=True))
    assert len(set(neurons)) == AXIS.n_neurons == 12 + 14 + 3
    assert neurons == sorted(neurons)
    assert [int(AXIS.index_of(*neuron)) for neuron in neurons] == index.tolist()


def test_layers_of_all_sites_together() -> None:
    assert AXIS.n_layers == 3
    assert AXIS.layer_sizes().tolist() == [4 + 7 + 1, 4 + 7 + 1, 4 + 1]
    assert np.bincount(AXIS.layer_at(np.arange(AXIS.n_neurons))).tolist() == AXIS.layer_sizes().tolist()


@given(
    st.lists(st.one_of(st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0]), st.just(float("nan"))), min_size=1, max_size=60),
    st.integers(1, 70),
)
def test_the_best_are_those_of_a_full_sort(values: list[float], k: int) -> None:
    order = sorted((i for i, v in enumerate(values) if not np.isnan(v)), key=lambda i: (-values[i], i))
    assert top_indices(np.array(values), k).tolist() == order[:k]


@pytest.mark.parametrize("k", [1, 63, 1000])
def test_all_equal_gives_the_first(k: int) -> None:
    assert top_indices(np.full(1000, 0.5), k).tolist() == list(range(k))


@pytest.mark.parametrize("step", [1, 7, 100])
def test_running_best_is_the_best_of_all(step: int) -> None:
    rng = np.random.default_rng(step)
    scores = np.round(rng.random((100, 4)), 1)
    scores[:, 2] = np.nan
    scores[::2, 3] = 0.3
    best = RunningBest(np.array([2.0, 2.0, 0.5, 0.3]), 8, 100)
    for first in range(0, 100, step):
        best.add(first, scores[first : first + step])
    scores[scores[:, 3] == 0.3, 3] = np.nan
    for question in (0, 1, 3):
        wanted = top_indices(scores[:, question], 8)
        assert best.index[question].tolist() == wanted.tolist()
        np.testing.assert_array_equal(best.score[question], scores[wanted, question])
    assert (best.index[2] == -1).all()
    assert np.isneginf(best.score[2]).all()


def test_running_best_tells_equal_scores_by_their_neurons_up_to_the_largest() -> None:
    most = 1 << 24
    best = RunningBest(np.array([0.5]), 2, most)
    for first in (0, most - 2):
        best.add(first, np.array([[1.0], [0.0]]))
    assert best.index.tolist() == [[0, most - 2]]
    assert best.score.tolist() == [[1.0, 1.0]]
    best.add(5, np.array([[0.5], [np.nan]]))
    assert RunningBest(np.array([0.5]), 2, 5).index.tolist() == [[-1, -1]]
    with pytest.raises(QueryError, match="16,777,217 neurons cannot be ranked together"):
        RunningBest(np.array([0.5]), 2, most + 1)


def test_a_guess_of_single_precision_is_one() -> None:
    guess = 16 / 384
    assert not is_rankable(np.array([guess, np.float32(guess), np.nan]), guess).any()
    assert is_rankable(np.array([guess * (1 + 1e-6), guess - 1e-6, 1.0]), guess).all()
