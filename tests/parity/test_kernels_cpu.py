"""Every statistic of the cpu backend against the definitions, over whatever Hypothesis comes up with."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actlas.kernels import NAMED_STATS, concept_scores

STATS = (*NAMED_STATS, "q0", "q0.25", "q1")
RANK_STATS = ("ap", "ap_anti", "auroc", "best_f1")
SHAPES = ("gaussian", "gelu", "relu", "heavy ties", "mostly zero", "all equal", "zeros of both signs", "tiny and huge")


def values_like(shape, n_neurons, n_texts, rng):
    x = rng.standard_normal((n_neurons, n_texts))
    match shape:
        case "gelu":
            return x / (1 + np.exp(-1.702 * x))
        case "relu":
            return np.maximum(x - 1.28, 0)
        case "heavy ties":
            return np.round(x)
        case "mostly zero":
            return np.where(np.abs(x) < 1, np.copysign(0.0, x), x)
        case "all equal":
            return np.full_like(x, 0.37)
        case "zeros of both signs":
            return np.copysign(0.0, x)
        case "tiny and huge":  # down to float16's subnormals, up to near its largest
            return x * 10.0 ** rng.integers(-8, 4, x.shape)
        case _:
            return x


def as_dtype(x, dtype):
    return torch.from_numpy(x).bfloat16() if dtype == "bfloat16" else x.astype(dtype)


def labels_like(prevalence, n_texts, n_concepts, rng):
    is_concept = rng.random((n_texts, n_concepts)) < prevalence
    match prevalence:
        case 0.0:  # exactly one positive
            is_concept[rng.integers(n_texts), :] = True
        case 1.0:  # all but one
            is_concept[rng.integers(n_texts), :] = False
    return is_concept


def assert_same(found, expected, tolerance=1e-12):
    for stat, numbers in expected.items():
        scale = 1.0 if stat in RANK_STATS else max(1.0, np.nanmax(np.abs(numbers), initial=0.0))
        np.testing.assert_allclose(found[stat], numbers, rtol=0, atol=tolerance * scale, err_msg=stat)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n_texts=st.sampled_from([2, 3, 63, 64, 65, 200]),
    n_concepts=st.sampled_from([1, 3, 17]),
    shape=st.sampled_from(SHAPES),
    dtype=st.sampled_from(["float16", "bfloat16", "float32"]),
    prevalence=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    members=st.sampled_from(["all", "one set", "own sets"]),
    stats=st.sampled_from([STATS, ("ap", "auroc"), ("ap",), ("auroc", "median"), ("mean", "std"), ("best_f1_threshold",)]),
)
@example(0, 1000, 17, "gaussian", "float16", 0.05, "all", STATS)
@example(0, 1000, 17, "mostly zero", "bfloat16", 0.5, "all", ("ap", "auroc"))
@example(0, 1000, 33, "relu", "float32", 0.5, "own sets", STATS)
@example(0, 200, 1, "tiny and huge", "float32", 1.0, "all", STATS)  # the one negative is small beside the positives' sum
@example(0, 200, 3, "tiny and huge", "float32", 1.0, "own sets", STATS)
def test_agrees_with_the_definitions(seed, n_texts, n_concepts, shape, dtype, prevalence, members, stats):
    rng = np.random.default_rng(seed)
    values = as_dtype(values_like(shape, 3, n_texts, rng), dtype)
    is_concept = labels_like(prevalence, n_texts, n_concepts, rng)
    is_member = None if members == "all" else rng.random((n_texts, n_concepts)) < 0.7
    if members == "one set":
        is_member[:, 1:] = is_member[:, :1]
    found, expected = (
        concept_scores(values, is_concept, stats, is_member, threshold=0.25, backend=backend) for backend in ("cpu", "reference")
    )
    assert_same(found, expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("shape", ["gaussian", "relu", "heavy ties"])
def test_more_texts_than_16_bits_can_number(shape, dtype):
    rng = np.random.default_rng(0)
    n_texts = 70_000
    values = as_dtype(values_like(shape, 2, n_texts, rng), dtype)
    is_concept = rng.random((n_texts, 3)) < (0.0005, 0.05, 0.6)
    stats = ("ap", "auroc", "best_f1", "median", "mean")
    assert_same(concept_scores(values, is_concept, stats), concept_scores(values, is_concept, stats, backend="reference"))


def test_a_full_16_bit_number_of_texts():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((1, 65_536)).astype(np.float16)
    is_concept = rng.random((65_536, 1)) < 0.1
    assert_same(
        concept_scores(values, is_concept, ("ap", "median")),
        concept_scores(values, is_concept, ("ap", "median"), backend="reference"),
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), shape=st.sampled_from(SHAPES), dtype=st.sampled_from(["float16", "float32"]))
def test_order_of_texts_changes_nothing(seed, shape, dtype):
    rng = np.random.default_rng(seed)
    values, is_concept = as_dtype(values_like(shape, 4, 100, rng), dtype), rng.random((100, 3)) < 0.3
    order = rng.permutation(100)
    assert_same(concept_scores(values[:, order], is_concept[order], STATS), concept_scores(values, is_concept, STATS), 1e-14)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), shape=st.sampled_from(SHAPES))
def test_rank_statistics_do_not_see_a_monotone_map(seed, shape):
    rng = np.random.default_rng(seed)
    values, is_concept = values_like(shape, 4, 100, rng).astype(np.float16), rng.random((100, 3)) < 0.3
    # doubling keeps order and ties; a shift of the rank of each distinct value does too
    _, dense = np.unique(values, return_inverse=True)
    for mapped in (values.astype(np.float32) * 2, dense.reshape(values.shape).astype(np.float32) - 40):
        found, expected = (concept_scores(x, is_concept, RANK_STATS) for x in (mapped, values))
        for stat in RANK_STATS:
            np.testing.assert_allclose(found[stat], expected[stat], rtol=0, atol=1e-14)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_anti_experts_are_experts_of_the_negated_values(seed):
    rng = np.random.default_rng(seed)
    values, is_concept = rng.standard_normal((4, 100)).astype(np.float16), rng.random((100, 3)) < 0.3
    found = concept_scores(values, is_concept, ("ap_anti",))["ap_anti"]
    np.testing.assert_allclose(found, concept_scores(-values, is_concept, ("ap",))["ap"], rtol=0, atol=1e-14)
