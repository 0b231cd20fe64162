"""All neurons of a checkpoint in one row, which of them can be ranked, and the largest columns of rows of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import QueryError
from actlas.store.store import Store

Indices = NDArray[np.int64]


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
    def of(cls, store: Store, checkpoint: str, sites: Sequence[str]) -> NeuronAxis:
        """The axis of some sites of a checkpoint."""
        names = tuple(sorted(set(sites)))
        return cls(names, tuple(store.shape(checkpoint, site) for site in names))

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
        position = self.sites.index(site)
        return self.starts[position] + np.asarray(layer) * self.shapes[position][1] + np.asarray(neuron)

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


def check_neuron(store: Store, checkpoint: str, site: str, layer: int, neuron: int) -> None:
    """Refuse a neuron that a site does not have.

    Raises:
        QueryError: If the layer or the neuron is not there.
        CubeNotFound: If the site is not.
    """
    n_layers, n_neurons = store.shape(checkpoint, site)
    if not (0 <= layer < n_layers and 0 <= neuron < n_neurons):
        raise QueryError(
            f"{site} of {checkpoint} has {n_layers} layers of {n_neurons:,} neurons, no neuron {neuron} in layer {layer}"
        )


def names_at(names: Sequence[str], positions: Indices) -> pl.Series:
    """Names by their positions."""
    return pl.Series(names, dtype=pl.String).gather(positions.astype(np.uint32))


def top_columns(values: NDArray[Any], n: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Columns with the n largest values of every row, largest first, ties by column; and those values.

    Example:
        >>> top_columns(np.array([[1.0, 3.0, 3.0, 2.0]]), 3)[0].tolist()
        [[1, 2, 3]]
    """
    n_columns = values.shape[1]
    n = min(n, n_columns)
    if 4 * n >= n_columns:
        best = np.argsort(-values, axis=1, kind="stable")[:, :n]
        return best, np.take_along_axis(values, best, axis=1)
    # a partition leaves open which of several equal values at the cut it takes, so those are put in order of column
    bar = -np.partition(-values, n - 1, axis=1)[:, n - 1 : n]
    is_above = values > bar
    is_equal = values == bar
    room = n - is_above.sum(axis=1, keepdims=True)
    chosen = is_above | (is_equal & (np.cumsum(is_equal, axis=1) <= room))
    columns = np.nonzero(chosen)[1].reshape(values.shape[0], n)
    largest = np.take_along_axis(values, columns, axis=1)
    order = np.argsort(-largest, axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(largest, order, axis=1)


#: Scores closer to a guess, relative to it, are a guess: those of a GPU are float32.
GUESS_TOLERANCE = 2.0**-22


def is_rankable(ap: NDArray[Any], guess: Any) -> NDArray[np.bool_]:
    """Which scores are there and tell more or less than a guess.

    Args:
        ap: Average precision of neurons.
        guess: The score of a neuron that gives all texts one value, in a shape that fits `ap`.

    Example:
        >>> is_rankable(np.array([0.9, 0.25, 0.1, np.nan]), 0.25).tolist()
        [True, False, True, False]
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(ap - guess) > GUESS_TOLERANCE * np.asarray(guess))
