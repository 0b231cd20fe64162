"""A few numbers that stand for many: distances of tensors of one name and shape are told from their sketches alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

#: Numbers of a sketch.
SKETCH_SIZE = 4096
#: Standard deviation of a distance that two sketches tell, relative to it: sqrt(2 / SKETCH_SIZE) of its square, at most.
SKETCH_ERROR = (2 * SKETCH_SIZE) ** -0.5


class Sketch:
    """A count sketch of numbers in a fixed order, made part by part (Charikar et al. 2002, as used for distances).

    Each number is added, with a random sign, to one of `SKETCH_SIZE` sums. Numbers come in blocks of that size: within a block
    each has a sum of its own, and every block begins at another, random one. So two numbers meet with probability 1 / size at
    most, whatever is large in the tensor, which bounds the error. It is linear: the sketch of a difference is the difference
    of the sketches, and equal tensors have equal ones. Up to `SKETCH_SIZE` numbers are kept without error.

    Args:
        name: Decides the signs and where blocks begin, with `shape`: tensors of the same are comparable.
        shape: Of the tensor.

    Example:
        >>> ones, twos = Sketch("w", (3,)), Sketch("w", (3,))
        >>> ones.add([np.ones(3)])
        >>> twos.add([np.full(3, 2.0)])
        >>> round(float(np.linalg.norm(ones.sums - twos.sums)), 9)  # sqrt 3
        1.732050808
    """

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        key = hashlib.blake2b(f"{name} {shape}".encode(), digest_size=16).digest()
        # raw draws of a bit generator stay the same in every version of numpy
        self._signs, self._starts = (np.random.Philox(key=int.from_bytes(half, "little")) for half in (key[:8], key[8:]))
        self.sums = np.zeros(SKETCH_SIZE)

    def add(self, parts: Iterable[NDArray[np.floating]]) -> None:
        """Add the numbers of a tensor, in order.

        Args:
            parts: Flat; all but the last a multiple of `SKETCH_SIZE` long.
        """
        for part in parts:
            n_blocks = -(-part.size // SKETCH_SIZE)
            bits = np.unpackbits(self._signs.random_raw(n_blocks * SKETCH_SIZE // 64).astype("<u8").view(np.uint8))
            signed = part * (1 - 2 * bits[: part.size].view(np.int8))
            starts = (self._starts.random_raw(n_blocks) % SKETCH_SIZE).tolist()
            for number, start in enumerate(starts):
                block = signed[number * SKETCH_SIZE : (number + 1) * SKETCH_SIZE]
                head, tail = block[: SKETCH_SIZE - start], block[SKETCH_SIZE - start :]
                self.sums[start : start + head.size] += head
                self.sums[: tail.size] += tail
