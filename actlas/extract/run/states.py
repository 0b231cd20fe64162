"""How pooled values become states: the arithmetic of `actlas.kernels`, on the arrays that the store keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.compiled.bfloat16 import bfloat16_to_float32
from actlas.kernels import HistogramState, MomentState
from actlas.store.corpus.text_sets import LanguageSets
from actlas.store.states import Arrays, Ranges

#: Codes reach this share of the width between a neuron's lowest and highest value below and above them: values of texts that
#: were not among those that the range was found on have to fit as well.
RANGE_MARGIN = 0.25


@dataclass(frozen=True)
class KernelFold:
    """Adds values to moments, histograms or both; see `actlas.store.states.Accumulator`.

    Attributes:
        kinds: "moments", "histogram" or both.
        threshold: A value above it is active.
    """

    kinds: tuple[str, ...]
    threshold: float = 0.0

    def shapes(self, n_sets: int, n_neurons: int) -> Mapping[str, tuple[int, ...]]:
        """See `Accumulator`."""
        sums = {"active": (n_sets, n_neurons), "total": (3, n_sets, n_neurons), "squares": (5, n_sets, n_neurons)}
        codes = {"codes": (n_sets, n_neurons, 256)}
        return {**(sums if "moments" in self.kinds else {}), **(codes if "histogram" in self.kinds else {})}

    def add(self, arrays: Arrays, sets: LanguageSets, texts: slice, values: NDArray[Any], ends: NDArray[np.float64]) -> None:
        """See `Accumulator`."""
        numbers = np.ascontiguousarray(bfloat16_to_float32(values) if values.dtype == np.uint16 else values)
        is_concept, is_member = sets.is_concept[texts], sets.is_member[texts]
        for state in self._states(arrays, sets, ends):
            state.update(numbers, is_concept, is_member)
            seen = state.count
        arrays["count"][:] = seen

    def merge(self, one: Arrays, other: Arrays) -> Arrays:
        """See `Accumulator`."""
        both = {name: one[name] + other[name] for name in one}
        if "moments" in self.kinds:
            none = np.zeros(0, np.int64)
            # digits of a sum are brought into the one form that equal numbers have
            parts = [(none, *(part[name] for name in ("count", "active", "total", "squares"))) for part in (one, other)]
            state = MomentState(np.array(0.0), *parts[0]).merge(MomentState(np.array(0.0), *parts[1]))
            both |= {"total": state.total, "squares": state.squares}
        return both

    def _states(self, arrays: Arrays, sets: LanguageSets, ends: NDArray[np.float64]) -> list[MomentState | HistogramState]:
        """States whose counters are `arrays`, updated in place; each has a count of texts of its own."""
        found: list[MomentState | HistogramState] = []
        if "moments" in self.kinds:
            sums = (arrays[name] for name in ("active", "total", "squares"))
            found.append(MomentState(np.array(self.threshold), sets.member_set, arrays["count"].copy(), *sums))
        if "histogram" in self.kinds:
            found.append(HistogramState(ends[0], ends[1], sets.member_set, arrays["count"].copy(), arrays["codes"]))
        return found


def ranges_of(parts: Iterable[Mapping[str, NDArray[Any]]]) -> Ranges:
    """The range that each neuron's codes divide: from the lowest to the highest of some values, and a margin on both sides.

    Args:
        parts: site -> ``"layers neurons texts"``, for some texts at a time.

    Returns:
        site -> float64 ``"2 layers neurons"``; the lower end is below the upper one also for a neuron that never changes.

    Example:
        >>> ranges_of([{"mlp_pre": np.array([[[0.0, 1.0]]])}, {"mlp_pre": np.array([[[4.0]]])}])["mlp_pre"].ravel().tolist()
        [-1.0, 5.0]
    """
    found: Ranges = {}
    for part in parts:
        for site, values in part.items():
            numbers = bfloat16_to_float32(values) if values.dtype == np.uint16 else values
            ends = np.stack([numbers.min(axis=2), numbers.max(axis=2)]).astype(np.float64)
            low, high = found.get(site, ends)
            found[site] = np.stack([np.minimum(low, ends[0]), np.maximum(high, ends[1])])
    for low, high in found.values():
        margin = np.maximum(RANGE_MARGIN * (high - low), 1e-3 * np.maximum(np.abs(high), 2.0**-10))
        low -= margin
        high += margin
    return found
