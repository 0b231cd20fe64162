"""The row of all neurons, and the best of them."""

from __future__ import annotations

import numpy as np

from actlas.query.neurons import NeuronAxis, is_rankable

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


def test_a_guess_of_single_precision_is_one() -> None:
    guess = 16 / 384
    assert not is_rankable(np.array([guess, np.float32(guess), np.nan]), guess).any()
    assert is_rankable(np.array([guess * (1 + 1e-6), guess - 1e-6, 1.0]), guess).all()
