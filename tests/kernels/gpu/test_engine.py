"""The GPU engine around its kernels, on a CUDA device if there is one, else in Triton's interpreter."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from actlas.kernels import concept_scores, prepare_labels

pytest.importorskip("triton", reason="needs triton (pip install 'actlas[gpu]')")

from actlas.kernels.gpu.device import DeviceLabels
from actlas.kernels.gpu.engine import concept_scores_gpu


def make(n_neurons, n_texts, n_concepts):
    rng = np.random.default_rng(2)
    values = torch.from_numpy(rng.standard_normal((n_neurons, n_texts)).round(1)).half()
    is_concept = rng.random((n_texts, n_concepts)) < 0.3
    is_concept[:2] = [[True], [False]]
    return values, is_concept, rng.random((n_texts, n_concepts)) < 0.8


def assert_same(scores, values, is_concept, is_member=None):
    expected = concept_scores(values.cpu(), is_concept, tuple(scores), is_member, backend="reference")
    for stat, numbers in expected.items():
        scale = max(1.0, np.nanmax(np.abs(numbers), initial=0.0))
        np.testing.assert_allclose(scores[stat].cpu().numpy(), numbers, rtol=0, atol=1e-6 * scale, err_msg=stat)


def test_the_engine_loads_nothing_of_the_cpu_engine():
    code = "import sys, actlas.kernels.gpu.engine; print(*sorted(m for m in sys.modules if m == 'numba' or 'kernels.cpu' in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_any_strides_and_chunks_of_one_neuron():
    values, is_concept, _ = make(6, 63, 2)
    texts_first = values.T.contiguous().T
    scores = concept_scores_gpu(texts_first[::2], prepare_labels(is_concept), ("ap", "mean", "std"), memory_bytes=1)
    assert_same(scores, values[::2], is_concept)


def test_scratch_memory_is_left_as_it_was_found(monkeypatch):
    values, is_concept, is_member = make(5, 63, 3)
    empty = torch.empty

    def poisoned(*args, **kwargs):
        array = empty(*args, **kwargs)
        return array.fill_(float("nan") if array.is_floating_point() else -77)

    monkeypatch.setattr(torch, "empty", poisoned)
    # five neurons for two programs: each has to clean up for its next neuron
    labels = prepare_labels(is_concept, is_member)
    assert_same(concept_scores_gpu(values, labels, ("ap", "ap_anti", "auroc", "mean")), values, is_concept, is_member)


def test_labels_go_to_the_device_once_for_many_blocks(monkeypatch):
    moved = []
    move = DeviceLabels._moved.__func__
    monkeypatch.setattr(DeviceLabels, "_moved", classmethod(lambda *arguments: moved.append(1) or move(*arguments)))
    values, is_concept, _ = make(4, 40, 2)
    labels = prepare_labels(is_concept)
    for start in (0, 2):
        concept_scores(values[start : start + 2], labels, ("mean",), backend="gpu")
    assert len(moved) == 1
