import numpy as np
import pytest
import torch

from actlas.errors import BackendUnavailable, KernelInputError
from actlas.kernels import prepare_labels
from actlas.kernels.gpu.device import DeviceLabels, chunk, refuse_not_finite, require_gpu

HOST = torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this is about a machine without a CUDA device")
def test_without_a_device_the_interpreter_has_to_be_asked_for(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(BackendUnavailable, match="needs a CUDA device"):
        require_gpu()
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert require_gpu() == HOST


def test_chunks_keep_bits_and_need_no_copy_where_they_are_and_are_aligned():
    values = torch.arange(24, dtype=torch.float16).reshape(12, 2)
    part = chunk(values, 8, 12, HOST)
    assert part.data_ptr() == values[8].data_ptr()
    part = chunk(values, 1, 3, HOST)  # 4 bytes on: not where kernels take it
    assert part.data_ptr() % 16 == 0
    assert part.tolist() == values[1:3].tolist()
    read_only = np.arange(6, dtype=np.float32).reshape(3, 2)
    read_only.flags.writeable = False
    assert chunk(read_only, 0, 2, HOST).tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_first_value_that_is_not_finite_is_named(dtype, value):
    values = torch.zeros(4, 3, dtype=dtype).t()
    refuse_not_finite(values, 0)
    values[1, 2] = value
    values[2, 0] = torch.nan
    with pytest.raises(KernelInputError, match=f"{value} at neuron 11, text 2"):
        refuse_not_finite(values, 10)


@pytest.mark.parametrize("has_members", [False, True])
def test_columns_are_positives_then_members(has_members):
    is_concept = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 1]], bool)
    is_member = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 1]], bool) if has_members else None
    prepared = prepare_labels(is_concept, is_member)
    labels = DeviceLabels.of(prepared, HOST)
    order = prepared.order
    assert labels.order.tolist() == order.tolist()
    positive = is_concept if is_member is None else is_concept & is_member
    members = np.ones((3, 1), bool) if is_member is None else is_member[:, order]
    assert labels.columns.tolist() == np.concatenate([positive[:, order], members], axis=1).astype(int).tolist()
    assert labels.starts.dtype == torch.int32
    assert DeviceLabels.of(prepared, HOST) is labels
