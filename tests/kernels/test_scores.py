import logging
import subprocess
import sys

import numpy as np
import pytest
import torch

from actlas.errors import BackendUnavailable, KernelInputError
from actlas.kernels import DEFAULT_STATS, concept_scores, scores

VALUES = np.array([[3, 2, 1, 0], [0, 2, 2, 1]], dtype=np.float16)
IS_CONCEPT = np.array([[True], [False], [True], [False]])


def test_auto_follows_the_values_and_says_so_once(caplog, monkeypatch):
    monkeypatch.setattr(scores, "_announced", set())
    with caplog.at_level(logging.INFO, logger="actlas.kernels"):
        concept_scores(VALUES, IS_CONCEPT, ("ap",))
        concept_scores(torch.from_numpy(VALUES), torch.from_numpy(IS_CONCEPT), ("ap",))
    assert [record.message for record in caplog.records if "backend" in record.message] == [
        "kernels backend: cpu, where the values are"
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this is about a machine without a CUDA device")
def test_a_named_backend_never_falls_back(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(BackendUnavailable, match="backend='cpu'"):
        concept_scores(VALUES, IS_CONCEPT, ("ap",), backend="gpu")


def test_unknown_backends_and_thresholds_are_refused():
    with pytest.raises(KernelInputError, match="'cuda' is not known; choose one of auto, reference, cpu, gpu"):
        concept_scores(VALUES, IS_CONCEPT, backend="cuda")
    with pytest.raises(KernelInputError, match="threshold nan"):
        concept_scores(VALUES, IS_CONCEPT, threshold=float("nan"))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_default_is_the_nine_statistics_in_float64(backend):
    found = concept_scores(VALUES, IS_CONCEPT, backend=backend)
    assert tuple(found) == DEFAULT_STATS
    assert all(numbers.shape == (2, 1) and numbers.dtype == np.float64 for numbers in found.values())


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_no_positive_or_no_negative_is_nan_everywhere_but_in_the_counts(backend):
    is_concept = np.stack([np.zeros(4, bool), np.ones(4, bool), IS_CONCEPT[:, 0]], axis=1)
    found = concept_scores(VALUES, is_concept, (*DEFAULT_STATS, "n_positive", "n_member"), backend=backend)
    for stat in DEFAULT_STATS:
        assert np.isnan(found[stat]).tolist() == [[True, True, False]] * 2, stat
    assert found["n_positive"].tolist() == [[0, 4, 2]] * 2
    assert found["n_member"].tolist() == [[4, 4, 4]] * 2


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_values_that_are_not_finite_are_refused(backend):
    values = np.ones((70, 4), np.float32)
    values[66, 2] = np.nan
    with pytest.raises(KernelInputError, match="nan at neuron 66, text 2"):
        concept_scores(values, IS_CONCEPT, ("mean",), backend=backend)
    values[3, 1] = -np.inf
    with pytest.raises(KernelInputError, match="-inf at neuron 3, text 1"):
        concept_scores(values, IS_CONCEPT, ("ap",), backend=backend)


def test_kernels_load_neither_torch_nor_triton():
    code = "import sys, actlas.kernels; print([m for m in ('torch', 'triton', 'numba', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
