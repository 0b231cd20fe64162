"""Every float16 becomes the float32 that it is, bit for bit."""

from __future__ import annotations

import numpy as np

from actlas.compiled.float16 import float16_to_float32


def test_every_float16_is_converted_exactly() -> None:
    everything = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = everything[np.isfinite(everything)]
    for values in (everything, finite, finite[::3], finite[:1020].reshape(2, 510)):
        converted = float16_to_float32(values)
        assert converted.dtype == np.float32
        np.testing.assert_array_equal(converted.view(np.uint32), values.astype(np.float32).view(np.uint32))
