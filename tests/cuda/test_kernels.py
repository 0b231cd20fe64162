"""The kernel engine on devices that are not there; its kernels run in Triton's interpreter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from actlas.errors import BackendUnavailable, KernelInputError
from actlas.kernels import NAMED_STATS, concept_scores, prepare_labels
from actlas.kernels.gpu import device as device_module
from actlas.kernels.gpu import engine
from actlas.kernels.gpu.device import DeviceLabels, chunk, refuse_not_finite, require_gpu
from tests.cuda.mutate import Mutation
from tests.cuda.order import CudaMistake

STATS = (*NAMED_STATS, "q0.25")
RNG = np.random.default_rng(0)
VALUES = torch.from_numpy(RNG.standard_normal((3, 63))).half()
IS_CONCEPT = RNG.random((63, 3)) < 0.3
IS_MEMBER = RNG.random((63, 3)) < 0.8
OTHER = torch.device("cuda:1")


def expected(values=VALUES, is_member=None):
    return concept_scores(values, IS_CONCEPT, STATS, is_member, backend="reference")


def assert_same(found, theirs, device):
    for stat, numbers in theirs.items():
        assert found[stat].device == device, stat
        np.testing.assert_allclose(found[stat].cpu().numpy(), numbers, rtol=0, atol=1e-5, err_msg=stat)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("has_members", [False, True])
def test_scores_are_computed_where_the_values_are(kernel_machine, dtype, has_members):
    values, is_member = VALUES.to(dtype), IS_MEMBER if has_members else None
    theirs = expected(values, is_member)
    # the first device is the current one
    found = concept_scores(values.to(OTHER), torch.from_numpy(IS_CONCEPT).to(OTHER), STATS, is_member)
    assert_same(found, theirs, OTHER)


@pytest.mark.parametrize("form", ["torch", "numpy", "column-major", "read-only"])
def test_host_values_go_over_chunk_by_chunk(kernel_machine, form):
    values = VALUES.numpy()
    if form == "torch":
        values = VALUES
    elif form == "column-major":
        values = np.asfortranarray(values)
    elif form == "read-only":
        values = values.copy()
        values.flags.writeable = False
    with torch.cuda.device(1):
        found = engine.concept_scores_gpu(values, prepare_labels(IS_CONCEPT), ("ap", "mean"), memory_bytes=1)
    theirs = concept_scores(values, IS_CONCEPT, ("ap", "mean"), backend="reference")
    assert_same(found, theirs, OTHER)


def test_labels_are_moved_once_per_device(kernel_machine):
    labels = prepare_labels(IS_CONCEPT)
    first = DeviceLabels.of(labels, require_gpu())
    assert DeviceLabels.of(labels, require_gpu()) is first
    with torch.cuda.device(1):
        second = DeviceLabels.of(labels, require_gpu())
    assert (first.texts.device.index, second.texts.device.index) == (0, 1)
    assert DeviceLabels.of(labels, require_gpu(VALUES.to(OTHER))) is second
    # the same labels serve values on either, whichever is the current one
    for device in ("cuda:0", "cuda:1"):
        assert_same(concept_scores(VALUES.to(device), labels, STATS), expected(), torch.device(device))


def test_the_first_value_that_is_not_finite_is_named(kernel_machine):
    values = VALUES.clone()
    values[2, 5] = torch.inf
    with pytest.raises(KernelInputError, match="inf at neuron 2, text 5"):
        concept_scores(values.to(OTHER), IS_CONCEPT, ("ap",))
    with pytest.raises(KernelInputError, match="inf at neuron 12, text 5"):
        refuse_not_finite(values.to(OTHER), 10)


def test_other_backends_refuse_what_is_on_a_device(kernel_machine):
    with pytest.raises((KernelInputError, BackendUnavailable), match="cuda:1"):
        concept_scores(VALUES.to(OTHER), IS_CONCEPT, ("ap",), backend="cpu")


def test_a_chunk_of_what_is_there_is_no_copy(kernel_machine):
    there = VALUES.to(OTHER)
    assert chunk(there, 0, 2, OTHER).memory is there.memory
    # but for one that starts where no kernel takes it
    moved = chunk(there, 1, 3, OTHER)
    assert (moved.tolist(), moved.data_ptr() % 16) == (VALUES[1:].tolist(), 0)


MOVED = 'requirements=("C", "W"))).to(device)'
MUTATIONS = {
    "labels stay on the host": (Mutation((DeviceLabels,), "_moved", "dtype=dtype)).to(device)", "dtype=dtype))"), "cpu"),
    "host values stay on the host": (Mutation((engine,), "chunk", MOVED, MOVED.removesuffix(".to(device)")), "cpu"),
    "labels of another device are taken": (Mutation((DeviceLabels,), "of", '("gpu", str(device))', '"gpu"'), "tensor on cuda:0"),
    "kernels are launched on the current device": (
        Mutation((device_module,), "launched_beside_values", "is_on_gpu(values)", "False"),
        "is launched on cuda:0 with a tensor on cuda:1",
    ),
}


@pytest.mark.parametrize("what", MUTATIONS)
def test_a_mistake_is_noticed(what, kernel_machine, monkeypatch):
    def score_on_both_devices():
        concept_scores(VALUES.numpy(), labels, STATS, backend="gpu")
        concept_scores(VALUES.to(OTHER), labels, STATS)

    labels = prepare_labels(IS_CONCEPT)
    mutation, sign = MUTATIONS[what]
    mutation.apply(monkeypatch)
    if mutation.name == "launched_beside_values":
        score = device_module.launched_beside_values(engine.concept_scores_gpu.__wrapped__)
        monkeypatch.setattr(engine, "concept_scores_gpu", score)
    with pytest.raises(CudaMistake, match=sign):
        score_on_both_devices()
    kernel_machine.order.mistakes.clear()
