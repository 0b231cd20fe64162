"""Every statistic of the gpu backend against the definitions: on a CUDA device if there is one, else in the interpreter."""

import os

import numpy as np
import pytest
import torch

from actlas.errors import KernelInputError
from actlas.kernels import NAMED_STATS, concept_scores

pytest.importorskip("triton", reason="needs triton (pip install 'actlas[gpu]')")

HAS_CUDA = torch.cuda.is_available()
STATS = (*NAMED_STATS, "q0.25")
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
on_device = pytest.mark.gpu


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    if not HAS_CUDA:
        assert os.environ.get("TRITON_INTERPRET") == "1", "tests/parity/conftest.py sets this before triton is imported"


def make(shape, dtype, n_neurons, n_texts, n_concepts, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_neurons, n_texts))
    if shape == "relu":
        x = np.maximum(x - 1, 0)
    elif shape == "ties":
        x = np.round(x)
    elif shape == "zeros of both signs":
        x = np.copysign(0.0, x)
    elif shape == "shifted":
        x = 1000 + x / 8
    values = torch.from_numpy(x).to(DTYPES[dtype])
    is_concept = rng.random((n_texts, n_concepts)) < 0.3
    is_concept[:2] = [[True], [False]]
    return values, is_concept, rng.random((n_texts, n_concepts)) < 0.8


def assert_same(found, values, is_concept, is_member=None, threshold=0.0):
    host = values.cpu() if isinstance(values, torch.Tensor) else values
    expected = concept_scores(host, is_concept, tuple(found), is_member, threshold, backend="reference")
    for stat, numbers in expected.items():
        assert found[stat].dtype == torch.float32
        scale = max(1.0, np.nanmax(np.abs(numbers), initial=0.0))
        np.testing.assert_allclose(found[stat].cpu().numpy(), numbers, rtol=0, atol=1e-6 * scale, err_msg=stat)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ["gaussian", "relu", "ties", "zeros of both signs", "shifted"])
def test_agrees_with_the_definitions(shape, dtype):
    values, is_concept, _ = make(shape, dtype, 3, 63, 3)
    assert_same(concept_scores(values, is_concept, STATS, threshold=0.25, backend="gpu"), values, is_concept, threshold=0.25)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_members(dtype):
    values, is_concept, is_member = make("ties", dtype, 3, 70, 3, seed=1)
    is_member[:, 1] = is_member[:, 0]
    assert_same(concept_scores(values, is_concept, STATS, is_member, backend="gpu"), values, is_concept, is_member)


def test_sizes_that_fill_no_block():
    values, is_concept, _ = make("gaussian", "float16", 2, 1000, 2)
    stats = ("ap", "auroc", "mean", "best_f1", "best_f1_threshold")
    assert_same(concept_scores(values, is_concept, stats, backend="gpu"), values, is_concept)


def test_concepts_without_an_answer_and_counts():
    values, is_concept, _ = make("gaussian", "float32", 2, 40, 3)
    is_concept[:, 0], is_concept[:, 1] = True, False
    assert_same(concept_scores(values, is_concept, STATS, backend="gpu"), values, is_concept)


def test_numpy_values_go_over_and_bad_ones_are_named():
    values, is_concept, _ = make("gaussian", "float16", 3, 40, 2)
    host = values.numpy()
    assert_same(concept_scores(host, is_concept, ("ap",), backend="gpu"), host, is_concept)
    host[2, 5] = np.inf
    with pytest.raises(KernelInputError, match="inf at neuron 2, text 5"):
        concept_scores(host, is_concept, ("ap",), backend="gpu")


@on_device
@pytest.mark.skipif(not HAS_CUDA, reason="no CUDA device: not run on a GPU")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_texts", [63, 1000, 16384, 20000])
def test_on_a_device(dtype, n_texts):
    values, is_concept, is_member = make("gaussian", dtype, 65, n_texts, 9)
    found = concept_scores(values.cuda(), torch.from_numpy(is_concept).cuda(), STATS, backend="auto")
    assert all(part.is_cuda for part in found.values())
    assert_same(found, values, is_concept)
    assert_same(concept_scores(values.cuda(), is_concept, STATS, is_member), values, is_concept, is_member)
