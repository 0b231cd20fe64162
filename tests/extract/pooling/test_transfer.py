"""Arrays to the device and back, on the CPU; what a GPU adds: tests/cuda/test_extraction.py."""

import numpy as np
import torch

from actlas.extract.pooling.transfer import finish_copies, start_copy, to_device, to_numpy

HOST = torch.device("cpu")


def test_on_the_cpu_nothing_is_copied():
    array = np.arange(6).reshape(2, 3)
    there = to_device(array, HOST)
    back = start_copy(there.t())
    finish_copies(HOST)
    assert np.shares_memory(to_numpy(back), array)
    assert to_numpy(back).tolist() == array.T.tolist()


def test_any_strides_go_over():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::-2]
    assert to_device(array, HOST).tolist() == [[2, 0], [5, 3]]


def test_bfloat16_comes_as_its_bits():
    assert to_numpy(torch.tensor([1.0, -1.0], dtype=torch.bfloat16)).tolist() == [0x3F80, 0xBF80]
