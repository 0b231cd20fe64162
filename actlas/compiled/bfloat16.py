"""bfloat16, which numpy does not have: its bits in uint16, to and from float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def bfloat16_to_float32(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The numbers whose bfloat16 bits these are, exactly, in C order.

    Example:
        >>> bfloat16_to_float32(np.array([0x3F80, 0xC000], dtype=np.uint16))
        array([ 1., -2.], dtype=float32)
    """
    wide: NDArray[Any] = np.left_shift(bits.astype(np.uint32, order="C"), np.uint32(16))
    return wide.view(np.float32)


def float32_to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """bfloat16 bits of float32 values, rounded to nearest even; NaN stays NaN.

    Example:
        >>> [hex(bits) for bits in float32_to_bfloat16(np.array([1.0, -2.0], dtype=np.float32))]
        ['0x3f80', '0xc000']
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)
