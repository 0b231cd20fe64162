"""One site out of others, on numbers that can be worked out by hand."""

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from actlas.extract.backends.hf.identities import IMPOSSIBLE, distance, gated, is_query, linear, values_of


def test_a_large_neuron_does_not_hide_a_small_one():
    expected = torch.tensor([[1e4, 1.0], [-1e4, -1.0]])
    got = expected.clone()
    got[:, 1] = torch.tensor([1.5, -1.0])
    assert distance(got, expected) == pytest.approx(0.5)
    assert distance(expected, expected) == 0.0


def test_swapped_neurons_are_seen_in_every_dtype():
    torch.manual_seed(0)
    values = torch.randn(9, 64)
    swapped = values[:, [1, 0, *range(2, 64)]]
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        assert distance(swapped.to(dtype), values.to(dtype)) > 0.5


def test_what_does_not_fit_is_impossible():
    assert distance(torch.ones(2, 3), torch.ones(2, 4)) == IMPOSSIBLE
    assert linear(torch.nn.Linear(3, 2), torch.ones(5, 4)) is None
    assert linear(torch.nn.LayerNorm(4), torch.ones(5, 4)) is None
    assert linear(torch.nn.Identity(), torch.ones(5, 4)) is None


def test_both_kinds_of_linear_maps_are_computed():
    torch.manual_seed(0)
    values = torch.randn(5, 4)
    for module in (torch.nn.Linear(4, 3), torch.nn.Linear(4, 3, bias=False), Conv1D(3, 4)):
        result, sizes = linear(module, values)
        torch.testing.assert_close(result.float(), module(values))
        assert (sizes >= result.abs()).all()


def test_a_gate_multiplies():
    pre, up = torch.tensor([[-1.0, 2.0]]), torch.tensor([[3.0, -4.0]])
    assert gated(torch.relu, pre, up)[0].tolist() == [[0.0, -8.0]]
    assert gated(torch.relu, pre, None)[0].tolist() == [[0.0, 2.0]]


def test_values_are_found_in_both_orders():
    """Four heads of queries, two of keys, of one channel each; a neuron's value is its number."""
    neurons = torch.arange(8.0)[None]
    assert values_of(neurons, "parts", 4, 2, 1).tolist() == [[6.0, 6.0, 7.0, 7.0]]
    assert values_of(neurons, "groups", 4, 2, 1).tolist() == [[3.0, 3.0, 7.0, 7.0]]
    assert values_of(neurons, "parts", 4, 1, 1) is None


def test_queries_are_found_in_both_orders():
    assert is_query("parts", 4, 2, 1, 8).tolist() == [True] * 4 + [False] * 4
    assert is_query("groups", 4, 2, 1, 8).tolist() == [True, True, False, False] * 2
    assert is_query("latent", 4, 4, 2, 11).tolist() == [True] * 8 + [False] * 3
