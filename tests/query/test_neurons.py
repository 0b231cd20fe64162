"""The row of all neurons, and the best of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actlas.query.neurons import NeuronAxis, top_indices

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
