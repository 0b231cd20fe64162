import numpy as np
import pytest
import torch

from actlas.errors import KernelInputError
from actlas.kernels import concept_scores
from actlas.kernels.inputs import HostValues, is_on_gpu, is_torch, to_numpy


def test_bits_of_torch_bfloat16_are_read_in_place():
    values = torch.tensor([[1.0, -2.5, 0.0]]).bfloat16()
    host = HostValues.of(values)
    assert host.dtype == "bfloat16"
    assert host.numbers().tolist() == [[1.0, -2.5, 0.0]]
    values[0, 0] = 3.0
    assert host.numbers()[0, 0] == 3.0


def test_numpy_bfloat16_is_known_by_its_name():
    # numpy has no bfloat16 of its own; extension packages register one under this name
    class Named:
        def __init__(self, array):
            self.array, self.shape, self.dtype = array, array.shape, "bfloat16"

        def __array__(self, dtype=None, copy=None):
            return self.array

    bits = torch.tensor([[1.5, -2.0]]).bfloat16().view(torch.int16).numpy()
    assert HostValues.of(Named(bits)).numbers().tolist() == [[1.5, -2.0]]


def test_gradients_do_not_get_in_the_way():
    assert to_numpy(torch.ones(2, 2, requires_grad=True), "values").tolist() == [[1, 1], [1, 1]]


def test_torch_is_recognised_and_numpy_is_not():
    assert is_torch(torch.zeros(1))
    assert not is_torch(np.zeros(1))
    assert not is_on_gpu(torch.zeros(1))


def test_rows_are_contiguous_writable_and_widen_without_loss():
    values = np.arange(12, dtype=np.float16).reshape(3, 4).T
    values.flags.writeable = False
    host = HostValues.of(values)
    rows = host.rows(1, 3, wide=False)
    assert rows.flags.c_contiguous
    assert rows.flags.writeable
    assert host.rows(1, 3, wide=True).view(np.float32).tolist() == values[1:3].tolist()


@pytest.mark.parametrize(
    ("values", "is_concept", "is_member", "message"),
    [
        (np.zeros((2, 3), np.float64), np.zeros((3, 1), bool), None, "got float64"),
        (np.zeros(3, np.float32), np.zeros((3, 1), bool), None, r"shape \(3,\)"),
        (np.zeros((2, 3), np.float32), np.zeros((3, 1), np.int8), None, "is_concept must be bool"),
        (np.zeros((2, 3), np.float32), np.zeros((4, 1), bool), None, "is_concept has 4 texts, values have 3"),
        (np.zeros((2, 3), np.float32), np.zeros((3, 1), bool), np.zeros((3, 2), bool), "is_member has 2 concepts"),
        (np.zeros((2, 3), np.float32), np.zeros((3, 1), bool), np.zeros((4, 1), bool), "is_member has 4 texts, is_concept has 3"),
        (np.zeros((2, 0), np.float32), np.zeros((0, 1), bool), None, "no texts"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(values, is_concept, is_member, message):
    with pytest.raises(KernelInputError, match=message):
        concept_scores(values, is_concept, is_member=is_member)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_value_that_is_not_finite_is_named(bad):
    values = np.zeros((9, 5), np.float16)
    values[7, 1] = values[4, 3] = bad
    with pytest.raises(KernelInputError, match=rf"{bad} at neuron 4, text 3"):
        HostValues.of(values).refuse_not_finite()
