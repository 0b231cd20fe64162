"""All neurons of a checkpoint in one row, and the best of a row: every ranking of neurons or texts, with its rule for ties."""

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


def top_indices(values: NDArray[Any], k: int) -> Indices:
    """Indices of the k largest values, largest first; among equal values the smaller index comes first.

    Values that agree to `RANK_DECIMALS` decimals are equal. NaN is never among the largest.

    Returns:
        Fewer than k where fewer are not NaN.

    Example:
        >>> top_indices(np.array([0.5, 0.9, 0.5, np.nan, 0.5]), 3).tolist()
        [1, 0, 2]
    """
    candidates = np.flatnonzero(~np.isnan(values))
    rounded = np.round(values, RANK_DECIMALS)
    if candidates.size > k:
        ranked = rounded[candidates]
        bar = np.partition(ranked, candidates.size - k)[candidates.size - k]
        above, equal = candidates[ranked > bar], candidates[ranked == bar]
        candidates = np.sort(np.concatenate([above, equal[: k - above.size]]))
    return np.asarray(candidates[np.argsort(-rounded[candidates], kind="stable")])


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
_GUESS_TOLERANCE = 2.0**-22


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
        return np.asarray(np.abs(ap - guess) > _GUESS_TOLERANCE * np.asarray(guess))


#: Neurons that one ranking can take: a key of 64 bits holds a score of `RANK_DECIMALS` decimals, up to 1, and which neuron it is.
_INDEX_BITS = 24
_MOST_NEURONS = 1 << _INDEX_BITS
_SCALE = 10.0**RANK_DECIMALS
_KEY_BYTES = 2 << 20


class RunningBest:
    """The k best neurons of several questions, out of scores from 0 to 1 that come block by block, in any order.

    Score and neuron are one key: the larger score first, and among equal ones the neuron that comes first. No two keys are equal,
    so that a partition finds the k best, whatever it does with ties.

    Args:
        guesses: For every question the score of a neuron that gives all texts one value; who has it is not ranked.
        k: How many.
        n_neurons: How many will come.

    Raises:
        QueryError: If there are more neurons than a key can tell apart.
    """

    def __init__(self, guesses: NDArray[np.float64], k: int, n_neurons: int) -> None:
        if n_neurons > _MOST_NEURONS:
            raise QueryError(f"{n_neurons:,} neurons cannot be ranked together, only {_MOST_NEURONS:,}; choose fewer sites")
        self.k = k
        self._guesses = guesses[:, np.newaxis]
        self._keys = np.zeros((guesses.size, k), dtype=np.uint64)

    def add(self, first: int, scores: NDArray[Any]) -> None:
        """Take in neurons `first` and following with scores ``"neurons questions"``; NaN is never among the best."""
        n_neurons = len(scores)
        places = np.uint64(_MOST_NEURONS - 1) - np.arange(first, first + n_neurons, dtype=np.uint64)
        # some questions at a time: what stays in the cache takes a fraction of the time
        step = max(1, _KEY_BYTES // (8 * (self.k + n_neurons)))
        for start in range(0, len(self._keys), step):
            part = slice(start, start + step)
            own = scores[:, part].T
            # a score of 0 keeps a bit, for a key of 0 says that there is no neuron
            scaled = np.where(is_rankable(own, self._guesses[part]), np.rint(own * _SCALE) + 1.0, 0.0)
            keys = np.concatenate([self._keys[part], scaled.astype(np.uint64) << np.uint64(_INDEX_BITS)], axis=1)
            new = keys[:, self.k :]
            np.bitwise_or(new, places, out=new, where=new > 0)
            keys.partition(n_neurons, axis=1)
            self._keys[part] = keys[:, n_neurons:]

    @property
    def index(self) -> Indices:
        """The best neurons, best first, ``"questions k"``; -1 where there are no more."""
        keys = self._sorted()
        found = (_MOST_NEURONS - 1) - (keys & np.uint64(_MOST_NEURONS - 1)).astype(np.int64)
        return np.where(keys > 0, found, -1)

    @property
    def score(self) -> NDArray[np.float64]:
        """Their scores; -inf where there are no more."""
        keys = self._sorted()
        return np.where(keys > 0, ((keys >> np.uint64(_INDEX_BITS)).astype(np.float64) - 1) / _SCALE, -np.inf)

    def _sorted(self) -> NDArray[np.uint64]:
        return np.sort(self._keys, axis=1)[:, ::-1]
