import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actlas.errors import KernelInputError
from actlas.kernels import lape
from actlas.kernels.reference import lape_reference
from tests.published import language_sets


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 60),
    st.integers(0, 2**31),
    st.sampled_from([0.01, 0.1, 0.5, 1.0]),
    st.sampled_from([0.0, 0.5, 0.95]),
)
def test_agrees_with_the_plain_reference(n_languages, n_neurons, seed, share, bar_quantile):
    rng = np.random.default_rng(seed)
    n_tokens = rng.integers(1, 1000, n_languages)
    active = rng.integers(0, n_tokens[:, None] + 1, (n_languages, n_neurons))
    active[:, rng.random(n_neurons) < 0.2] = 0
    result = lape(active, n_tokens, share=share, bar_quantile=bar_quantile)
    entropy, bar, selected = lape_reference(active, n_tokens, share, bar_quantile)
    np.testing.assert_allclose(result.entropy, entropy, atol=1e-12)
    assert result.bar == bar
    assert set(np.flatnonzero(result.selected).tolist()) == selected


@pytest.mark.parametrize(("n_languages", "n_layers", "n_neurons"), [(6, 3, 401), (7, 2, 333), (3, 1, 1003), (6, 30, 64)])
def test_selects_what_the_published_steps_select(n_languages, n_layers, n_neurons):
    """At any number of probabilities: the bar is one of them, none in between."""
    rng = np.random.default_rng(n_neurons)
    n_tokens = rng.integers(90_000, 100_000, n_languages)
    p = rng.beta(0.5, 3, (n_layers, n_neurons, n_languages))
    p[rng.random((n_layers, n_neurons)) < 0.05] = 0
    active = rng.binomial(n_tokens, p)
    for share in (0.01, 0.05, 0.4):
        for quantile in (0.95, 0.7):
            expected = language_sets(torch.from_numpy(active), torch.from_numpy(n_tokens), share, quantile)
            counts = np.moveaxis(active, -1, 0).reshape(n_languages, -1)
            result = lape(counts, n_tokens, share=share, bar_quantile=quantile)
            ours = [{divmod(i, n_neurons) for i in np.flatnonzero(row).tolist()} for row in result.languages_of]
            assert ours == expected


def test_dead_neurons_have_no_entropy_and_are_never_selected():
    active = np.array([[0, 90, 50], [0, 0, 50]])
    result = lape(active, np.array([100, 100]), share=1.0, bar_quantile=0.0)
    assert np.isnan(result.entropy[0])
    assert result.selected.tolist() == [False, True, True]
    assert result.languages_of.tolist() == [[False, True, True], [False, False, True]]


def test_rounding_half_goes_to_even_and_ties_to_the_lower_index():
    active = np.tile(np.array([[40], [10]]), (1, 50))
    active[:, -1] = 99, 99
    result = lape(active, np.array([100, 100]), share=0.05, bar_quantile=0.2)
    assert np.flatnonzero(result.selected).tolist() == [0, 1]  # round(2.5) is 2


def test_order_of_languages_changes_nothing():
    rng = np.random.default_rng(0)
    n_tokens = rng.integers(500, 1000, 6)
    active = rng.integers(0, 500, (6, 200))
    order = rng.permutation(6)
    one, other = lape(active, n_tokens, share=0.1), lape(active[order], n_tokens[order], share=0.1)
    assert one.selected.tolist() == other.selected.tolist()
    assert one.languages_of[order].tolist() == other.languages_of.tolist()


@pytest.mark.parametrize(
    ("active", "n_tokens", "message"),
    [
        (np.zeros((2, 3), int), np.array([1, 0]), "language 1 has no tokens"),
        (np.array([[1, 2, 5]]), np.array([4]), "neuron 2 is active at 5 of 4 tokens of language 0"),
        (np.zeros((2, 3), int), np.array([1]), "active must be"),
    ],
)
def test_counts_that_cannot_be_are_refused(active, n_tokens, message):
    with pytest.raises(KernelInputError, match=message):
        lape(active, n_tokens)
