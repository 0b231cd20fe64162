import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from actlas.compiled.bfloat16 import bfloat16_to_float32, float32_to_bfloat16


def test_rounding_is_that_of_torch():
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(2000) * 10.0 ** rng.integers(-30, 30, 2000)).astype(np.float32)
    expected = torch.from_numpy(values).bfloat16()
    bits = float32_to_bfloat16(values)
    assert bits.tolist() == expected.view(torch.int16).numpy().view(np.uint16).tolist()
    assert bfloat16_to_float32(bits).tolist() == expected.float().tolist()
    assert np.isnan(bfloat16_to_float32(float32_to_bfloat16(np.array([np.nan], np.float32)))).all()


@given(st.lists(st.floats(width=32), min_size=1))
def test_bfloat16_rounds_to_the_nearest(numbers: list[float]) -> None:
    values = np.array(numbers, dtype=np.float32)
    ours = bfloat16_to_float32(float32_to_bfloat16(values))
    theirs = torch.from_numpy(values).to(torch.bfloat16).to(torch.float32).numpy()
    np.testing.assert_array_equal(ours, theirs)
