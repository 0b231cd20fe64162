"""float16 to float32, several times as fast as numpy does it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Bits of a float16 that are all set in infinities and NaN alone.
_EXPONENT = np.int16(0x7C00)
#: Sign, exponent and fraction of a float16 once they stand where a float32 has them.
_BITS = np.uint32(0x8FFFE000).view(np.int32)
#: What the exponent of a float32 counts from, over that of a float16.
_SCALE = np.float32(2.0**112)


def float16_to_float32(values: NDArray[np.float16]) -> NDArray[np.float32]:
    """The same numbers, exactly.

    Example:
        >>> float16_to_float32(np.array([1.5, -0.0, 6e-8], dtype=np.float16))
        array([ 1.5000000e+00, -0.0000000e+00,  5.9604645e-08], dtype=float32)
    """
    bits = values.view(np.int16)
    if ((bits & _EXPONENT) == _EXPONENT).any():
        return values.astype(np.float32)
    wide = bits.astype(np.int32)
    wide <<= 13
    wide &= _BITS
    numbers: NDArray[np.float32] = wide.view(np.float32)
    numbers *= _SCALE
    return numbers
