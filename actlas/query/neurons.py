"""All neurons of a checkpoint in one row, and the best among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.query.atlas import Atlas

Indices = NDArray[np.int64]

#: Scores that agree to this many decimals are equal when neurons are ranked: sums taken in another order must not decide.
RANK_DECIMALS = 12


@dataclass(frozen=True)
class NeuronAxis:
    """All neurons of some sites in one row: by site name, then layer, then neuron. An index into it breaks ties by its size.

    Attributes:
        sites: Site names, sorted.
        shapes: (layers, neurons) of each.
    """

    sites: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, store: Atlas, checkpoint: str, sites: Sequence[str]) -> NeuronAxis:
        """The axis of some sites of a checkpoint."""
        named = tuple(sorted(set(sites)))
        return cls(named, tuple(store.shape(checkpoint, site) for site in named))

    @cached_property
    def starts(self) -> Indices:
        """Index of the first neuron of each site, and the number of neurons."""
        return np.concatenate([[0], np.cumsum([layers * neurons for layers, neurons in self.shapes])]).astype(np.int64)

    @property
    def n_neurons(self) -> int:
        return int(self.starts[-1])

    @property
    def n_layers(self) -> int:
        return max(layers for layers, _ in self.shapes)

    def site_at(self, index: Indices) -> Indices:
        """Position in `sites` of neurons given by index."""
        return np.asarray(np.searchsorted(self.starts, index, side="right") - 1)

    def layer_at(self, index: Indices) -> Indices:
        """Layer of neurons given by index."""
        site = self.site_at(index)
        return np.asarray((index - self.starts[site]) // np.array([n for _, n in self.shapes])[site])

    def neuron_at(self, index: Indices) -> Indices:
        """Coordinate inside their site and layer of neurons given by index."""
        site = self.site_at(index)
        return np.asarray((index - self.starts[site]) % np.array([n for _, n in self.shapes])[site])

    def index_of(self, site: str, layer: Any, neuron: Any) -> Any:
        """Index of neurons given by site, layer and coordinate."""
        at = self.sites.index(site)
        return self.starts[at] + np.asarray(layer) * self.shapes[at][1] + np.asarray(neuron)

    def layer_sizes(self) -> Indices:
        """Neurons of each layer, all sites together."""
        sizes = np.zeros(self.n_layers, dtype=np.int64)
        for layers, neurons in self.shapes:
            sizes[:layers] += neurons
        return sizes

    def columns(self, index: Indices) -> dict[str, pl.Series]:
        """Columns site, layer, neuron of neurons given by index."""
        names = pl.Series("site", self.sites, dtype=pl.String)
        return {
            "site": names.gather(self.site_at(index).astype(np.uint32)),
            "layer": pl.Series("layer", self.layer_at(index), dtype=pl.Int32),
            "neuron": pl.Series("neuron", self.neuron_at(index), dtype=pl.Int32),
        }


def named(names: Sequence[str], at: Indices) -> pl.Series:
    """Names by their positions."""
    return pl.Series(names, dtype=pl.String).gather(at.astype(np.uint32))


def top_indices(values: NDArray[Any], k: int) -> Indices:
    """Indices of the k largest values, largest first; among equal values the smaller index comes first.

    Values that agree to `RANK_DECIMALS` decimals are equal. NaN is never among the largest.

    Returns:
        Fewer than k where fewer are not NaN.

    Example:
        >>> top_indices(np.array([0.5, 0.9, 0.5, np.nan, 0.5]), 3).tolist()
        [1, 0, 2]
    """
    there = np.flatnonzero(~np.isnan(values))
    rounded = np.round(values, RANK_DECIMALS)
    if there.size > k:
        ranked = rounded[there]
        bar = np.partition(ranked, there.size - k)[there.size - k]
        above, equal = there[ranked > bar], there[ranked == bar]
        there = np.sort(np.concatenate([above, equal[: k - above.size]]))
    return np.asarray(there[np.argsort(-rounded[there], kind="stable")])
