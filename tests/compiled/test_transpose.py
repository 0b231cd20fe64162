from __future__ import annotations

import numpy as np
import pytest

from actlas.compiled.transpose import transpose_copy


@pytest.mark.parametrize("dtype", ["float16", "uint16"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 8, 8), (1, 63, 1000), (3, 130, 41), (1, 7, 100)])
def test_tiles_are_transposed(dtype: str, shape: tuple[int, int, int]) -> None:
    layers, neurons, texts = shape
    text_major = np.random.default_rng(0).integers(0, 2**16, (layers, texts, neurons + 5), dtype=np.uint16).view(dtype)
    source = text_major[:, :, 2 : neurons + 2].transpose(0, 2, 1)
    target = np.zeros((layers, neurons, texts + 3), dtype=dtype)
    assert transpose_copy(source, target[:, :, :texts])
    np.testing.assert_array_equal(target[:, :, :texts].view(np.uint16), source.view(np.uint16))
    assert (target[:, :, texts:] == 0).all()
    assert not transpose_copy(source.astype(np.float32), target[:, :, :texts].astype(np.float32))
