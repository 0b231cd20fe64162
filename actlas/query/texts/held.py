"""Values of neurons that were read lately, held in memory for the next question about the same group."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from numpy.typing import NDArray

#: Memory of the values that a store holds: a thousand neurons of 27,000 texts in float16.
HELD_BYTES = 64 << 20


class HeldValues:
    """Arrays by what they are the values of, in so many bytes at most; those that were not asked for the longest go first.

    Args:
        n_bytes: How much is held.

    Example:
        >>> held = HeldValues(16)
        >>> for name in ("a", "b", "c"):
        ...     held.add(name, np.zeros(2, dtype=np.float32))
        >>> held.get("a") is None, held.get("b") is None
        (True, False)
    """

    def __init__(self, n_bytes: int = HELD_BYTES) -> None:
        self._room = n_bytes
        self._arrays: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()
        self._changing = threading.Lock()

    def get(self, key: Hashable) -> NDArray[Any] | None:
        """The array, if it is still there."""
        with self._changing:
            if key in self._arrays:
                self._arrays.move_to_end(key)
            return self._arrays.get(key)

    def add(self, key: Hashable, array: NDArray[Any]) -> None:
        """Hold an array, which must not change from now on."""
        with self._changing:
            if key in self._arrays:
                return
            self._arrays[key] = array
            self._room -= array.nbytes
            while self._room < 0:
                self._room += self._arrays.popitem(last=False)[1].nbytes
