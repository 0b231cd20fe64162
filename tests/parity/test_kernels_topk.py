"""Bounds from histograms, and the best neurons that they leave, against exact scores of all neurons."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actlas.errors import KernelInputError
from actlas.kernels import concept_scores

pytest.importorskip("triton", reason="needs triton (pip install 'actlas[gpu]')")

from actlas.kernels.gpu.topk import average_precision_bounds, codes_of, top_k_neurons


def host_histograms(codes, is_concept):
    positives = np.stack(
        [[np.bincount(row[y], minlength=256) for y in is_concept.T] for row in codes],
    )
    return torch.from_numpy(positives), torch.from_numpy(np.stack([np.bincount(row, minlength=256) for row in codes]))


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n_texts=st.integers(2, 60),
    n_levels=st.integers(1, 6),
    n_ties=st.integers(1, 5),
    prevalence=st.sampled_from([0.05, 0.3, 0.9]),
)
def test_bounds_hold_whatever_the_order_and_the_ties_within_a_level(seed, n_texts, n_levels, n_ties, prevalence):
    rng = np.random.default_rng(seed)
    level = rng.integers(0, n_levels, (4, n_texts))
    # a few distinct values inside each level: ties of every size, some of whole levels
    values = (level * 8 + rng.integers(0, n_ties, level.shape)).astype(np.float32)
    is_concept = rng.random((n_texts, 3)) < prevalence
    is_concept[:2] = [[True], [False]]
    lowest, highest = average_precision_bounds(*host_histograms(level, is_concept))
    exact = concept_scores(values, is_concept, ("ap",), backend="reference")["ap"]
    assert (exact <= highest.numpy() + 1e-12).all()
    assert (exact >= lowest.numpy() - 1e-12).all()


def test_ties_can_beat_the_best_order_so_that_is_no_bound():
    # one level: negative, then two tied positives. In the best untied order below the negative: 1/2 and 2/3
    values, is_concept = np.array([[9.0, 5.0, 5.0]], np.float32), np.array([[False], [True], [True]])
    exact = concept_scores(values, is_concept, ("ap",), backend="reference")["ap"].item()
    assert exact > (1 / 2 + 2 / 3) / 2
    codes = np.array([[1, 0, 0]])
    assert exact <= average_precision_bounds(*host_histograms(codes, is_concept))[1].item()


def test_codes_keep_order_and_survive_the_largest_values():
    x = torch.tensor([[-3.4e38, -1.0, 0.0, 1.0, 3.4e38], [2.0, 2.0, 2.0, 2.0, 2.0]])
    codes = codes_of(x).int()
    assert codes[0, 0] == 0
    assert codes[0, -1] == 255
    assert (codes.diff(dim=1) >= 0).all()
    assert codes[1].unique().numel() == 1


@pytest.mark.parametrize("kind", ["planted", "all equal", "ties"])
def test_the_best_neurons_are_those_of_exact_scores(kind):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((24, 80)).astype(np.float16)
    is_concept = rng.random((80, 3)) < 0.2
    is_concept[:2] = [[True], [False]]
    if kind == "planted":
        values[[3, 11, 17]] += 2 * is_concept.T.astype(np.float16)
    elif kind == "ties":
        values[:] = np.round(values)
        values[12:] = values[:12]
    else:
        values[:] = 1
    best = top_k_neurons(values, is_concept, k=4)
    exact = concept_scores(values, is_concept, ("ap",), backend="cpu")["ap"]
    for concept in range(3):
        order = np.lexsort((np.arange(24), -exact[:, concept].round(12)))[:4]
        assert best.neuron[:, concept].tolist() == order.tolist()
        np.testing.assert_allclose(best.ap[:, concept].cpu().numpy(), exact[order, concept], atol=1e-12)
    if kind == "planted":
        assert best.n_ranked < 24


def test_concepts_without_an_answer_have_no_best_neurons():
    values, is_concept = np.ones((3, 4), np.float32), np.zeros((4, 1), bool)
    best = top_k_neurons(values, is_concept, k=2)
    assert best.neuron.tolist() == [[-1], [-1]]
    with pytest.raises(KernelInputError, match="between 1 and the number of neurons, 3; got 4"):
        top_k_neurons(values, is_concept, k=4)
