"""An interval of numbers, and where it lies among the bits of a stored type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Stored types by the name of what their bits mean, and how far their bits stand from the top of 64.
_BITS = {"float16": ("f2", "i2", 48), "bfloat16": ("f4", "i4", 32), "float32": ("f4", "i4", 32), "float64": ("f8", "i8", 0)}
_MOST = (1 << 63) - 1


@dataclass(frozen=True)
class Bounds:
    """Numbers from `low` to `high`; NaN is none of them.

    Attributes:
        low: The least.
        high: The largest.
        is_above: Whether `low` itself is left out.
        is_below: Whether `high` itself is left out.

    Example:
        >>> Bounds(0.4, is_above=True) & Bounds(high=1.0)
        Bounds(low=0.4, high=1.0, is_above=True, is_below=False)
    """

    low: float = -np.inf
    high: float = np.inf
    is_above: bool = False
    is_below: bool = False

    def __and__(self, other: Bounds) -> Bounds:
        """The numbers that are in both."""
        low, is_above = max((self.low, self.is_above), (other.low, other.is_above))
        high, is_in = min((self.high, not self.is_below), (other.high, not other.is_below))
        return Bounds(low, high, is_above, not is_in)

    def hold(self, values: NDArray[Any], dtype: str) -> NDArray[np.bool_]:
        """Which values of a type, as they are on disk, are within."""
        numbers = values
        if dtype == "bfloat16":
            numbers = (values.astype(np.uint32) << 16).view(np.float32)
        elif dtype == "float16":
            numbers = values.astype(np.float32)
        low, high = _exactly(self.low, numbers.dtype), _exactly(self.high, numbers.dtype)
        flags: NDArray[np.bool_] = numbers > low if self.is_above else numbers >= low
        flags &= numbers < high if self.is_below else numbers <= high
        return flags

    def keys(self, dtype: str) -> tuple[int, int]:
        """The least and the largest key of a value of a type, see `compiled.chunks`; the first may be more than the second."""
        low, high = _rounded(self.low, dtype), _rounded(self.high, dtype)
        leaves_low = low < self.low or (self.is_above and low == self.low)
        leaves_high = high > self.high or (self.is_below and high == self.high)
        # of the two zeros the one that is further inside or outside
        least = _key(low or 0.0, dtype) + 1 if leaves_low else _key(low or -0.0, dtype)
        most = _key(high or -0.0, dtype) - 1 if leaves_high else _key(high or 0.0, dtype)
        return least, most


def _exactly(number: float, dtype: np.dtype[Any]) -> Any:
    """A number in a type if the type has it, so that values need not be converted to be compared with it."""
    with np.errstate(over="ignore"):
        own = dtype.type(number)
    return own if float(own) == number else np.float64(number)


def _rounded(number: float, dtype: str) -> float:
    """What a type has for a number, or next to it."""
    with np.errstate(over="ignore"):
        return float(np.array(number, dtype=_BITS[dtype][0]))


def _key(number: float, dtype: str) -> int:
    kind, bits, shift = _BITS[dtype]
    word = int(np.array([number], dtype=kind).view(bits)[0]) << shift
    return word ^ _MOST if word < 0 else word
