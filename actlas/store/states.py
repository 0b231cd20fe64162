"""The contract of states: which there are, how values are added to them, and how much memory they take.

A state belongs to one site, layer and language, and holds integers, so that the order in which blocks of texts are added to it
does not matter.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from actlas.errors import StateTooLarge
from actlas.store import layout
from actlas.store.corpus.text_sets import LanguageSets

Arrays = dict[str, NDArray[Any]]
Ranges = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class StateKey:
    """Which state: of a site, a layer and a language (by its number)."""

    site: str
    layer: int
    language: int

    @property
    def name(self) -> str:
        return f"{self.site}.{self.layer}.{self.language}"


class Accumulator(Protocol):
    """How values become part of a state. The store knows none of the arithmetic. Several threads may add to states at once."""

    def shapes(self, n_sets: int, n_neurons: int) -> Mapping[str, tuple[int, ...]]:
        """Arrays of `layout.STATE_ARRAYS`, without the layer, that a state consists of."""
        ...

    def add(self, arrays: Arrays, sets: LanguageSets, texts: slice, values: NDArray[Any], ends: NDArray[np.float64]) -> None:
        """Add values ``"neurons texts"`` of some texts of a language, in place; `ends` is the range ``"2 neurons"`` of codes."""
        ...

    def merge(self, one: Arrays, other: Arrays) -> Arrays:
        """A state that has seen what either has."""
        ...

    def ap_slack(self, arrays: Arrays, sets: LanguageSets, ends: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much texts that share a code leave open of average precision, for the worst concept: float64 ``"neurons"``."""
        ...


@dataclass(frozen=True)
class StatePlan:
    """What states to keep.

    Attributes:
        shapes: site -> (layers, neurons).
        accumulator: How values are added.
        find_ranges: Computes the range of every neuron, site -> ``"2 layers neurons"``; called by one process per checkpoint.
        memory_bytes: States in memory at most.
    """

    shapes: Mapping[str, tuple[int, int]]
    accumulator: Accumulator
    find_ranges: Callable[[], Ranges]
    memory_bytes: int

    def state_bytes(self, site: str, n_sets: int) -> int:
        """One state of a layer and language in memory."""
        sizes = self.accumulator.shapes(n_sets, self.shapes[site][1])
        return sum(prod(shape) * np.dtype(layout.STATE_ARRAYS[name][1]).itemsize for name, shape in sizes.items())

    def language_bytes(self, sets: LanguageSets) -> int:
        """All states of one language in memory: what a block of texts in it is added to."""
        return sum(layers * self.state_bytes(site, sets.n_sets) for site, (layers, _) in self.shapes.items())

    def check(self, sets: tuple[LanguageSets, ...]) -> None:
        """Refuse states of which not even one fits into memory.

        Raises:
            StateTooLarge: If one does not.
        """
        for part, site in itertools.product(sets, self.shapes):
            size = self.state_bytes(site, part.n_sets)
            if size > self.memory_bytes:
                raise StateTooLarge(
                    f"the state of one layer of {site} in {part.language} ({self.shapes[site][1]:,} neurons, "
                    f"{len(part.concepts):,} concepts) takes {size / 1e6:,.1f} MB and {self.memory_bytes / 1e6:,.1f} MB may be "
                    "used; take fewer concepts, leave out the histogram, or allow more (--state-memory)"
                )
