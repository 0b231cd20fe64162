"""The texts with the highest values of each of some neurons, and what their tokens give, gathered batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.query.blocks import BLOCK_BYTES
from actlas.query.neurons import top_columns
from actlas.store.cube import as_float32
from actlas.store.store import Store


@dataclass(frozen=True)
class Strongest:
    """Neurons of one layer of a site, each with its strongest texts.

    Attributes:
        site: Their site.
        layer: Their layer.
        neurons: int64 ``"neurons"``, ascending.
        texts: int64 ``"neurons ranks"``: places on the text axis, the strongest first.
        values: float32 of the same shape: what the store has.
    """

    site: str
    layer: int
    neurons: NDArray[np.int64]
    texts: NDArray[np.int64]
    values: NDArray[np.float32]


def strongest_texts(store: Store, checkpoint: str, neurons: pl.DataFrame, n_texts: int) -> list[Strongest]:
    """The strongest texts of neurons, as the cubes of a checkpoint have them; ties by text_id.

    Args:
        store: With the cubes.
        checkpoint: Whose.
        neurons: Columns site, layer, neuron, each once.
        n_texts: How many, or all where there are fewer.

    Raises:
        CubeNotFound: If there is no cube of a site.
    """
    found = []
    step = max(1, BLOCK_BYTES // (4 * max(1, store.corpus.n_texts)))
    for (site, layer), rows in neurons.sort("site", "layer", "neuron").group_by("site", "layer", maintain_order=True):
        cube, own = store.cube(checkpoint, str(site)), rows["neuron"].cast(pl.Int64).to_numpy()
        parts = [
            top_columns(as_float32(cube.read(int(str(layer)), own[start : start + step])), n_texts)
            for start in range(0, len(own), step)
        ]
        texts, values = (np.concatenate(each) for each in zip(*parts, strict=True))
        found.append(Strongest(str(site), int(str(layer)), own, texts, values))
    return found


class Gathered:
    """Token values of neurons on their strongest texts, filled while texts run in any order.

    Args:
        strongest: The neurons and their texts.
        rows: Places on the text axis of the texts that run, ascending.
        lengths: Tokens of each of these.

    Attributes:
        texts: Of every neuron and rank, one after the other: which of `rows` it is.
        lengths: Its tokens.
        values: float32: the tokens of the first neuron's strongest text, then of its next one.
    """

    def __init__(self, strongest: Strongest, rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        self.strongest = strongest
        self.texts: NDArray[np.int64] = np.searchsorted(rows, strongest.texts).reshape(-1).astype(np.int64)
        self.lengths: NDArray[np.int64] = lengths[self.texts]
        self.first = np.cumsum(self.lengths) - self.lengths
        self.values: NDArray[np.float32] = np.full(int(self.lengths.sum()), np.nan, dtype=np.float32)
        self._order = np.argsort(self.texts, kind="stable")
        self._bounds = np.searchsorted(self.texts[self._order], np.arange(len(rows) + 1))

    def add(self, batch: Sequence[int] | NDArray[np.int64], lengths: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """The values of a batch.

        Args:
            batch: Its texts, as places in `rows`.
            lengths: Tokens of each.
            values: ``"tokens neurons"`` of all neurons, all tokens of the first text, then of the next.
        """
        counts = np.diff(self._bounds)[batch]
        pairs = self._order[spread(self._bounds[batch], counts)]
        n_tokens = self.lengths[pairs]
        tokens = spread(np.repeat(np.cumsum(lengths) - lengths, counts), n_tokens)
        column = np.repeat(pairs // self.strongest.texts.shape[1], n_tokens)
        self.values[spread(self.first[pairs], n_tokens)] = values[tokens, column]


def spread(first: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The whole numbers of ranges, one range after the other.

    Example:
        >>> spread(np.array([5, 0]), np.array([2, 3])).tolist()
        [5, 6, 0, 1, 2]
    """
    before = np.cumsum(lengths) - lengths
    numbers: NDArray[np.int64] = np.repeat(first - before, lengths) + np.arange(int(lengths.sum()))
    return numbers


def pooled(
    values: NDArray[np.float32], first: NDArray[np.int64], is_pooled: NDArray[np.bool_], pooling: str
) -> NDArray[np.float64]:
    """Token values of texts, pooled as extraction does; padding, which `max_with_pad` pools too, is not there.

    Args:
        values: Of all texts, one after the other.
        first: Place of the first token of each, none of which is empty.
        is_pooled: Which tokens take part; at least one of each text.
        pooling: One of `names.POOLINGS`.

    Example:
        >>> values, is_pooled = np.array([9, 1, 3, 4], dtype=np.float32), np.array([False, True, True, True])
        >>> [pooled(values, np.array([0, 3]), is_pooled, how).tolist() for how in ("max", "mean", "last")]
        [[3.0, 4.0], [2.0, 4.0], [3.0, 4.0]]
    """
    if pooling == "mean":
        total = np.add.reduceat(np.where(is_pooled, values, 0).astype(np.float64), first)
        return np.asarray(total / np.add.reduceat(is_pooled.astype(np.int64), first))
    if pooling == "last":
        last = np.maximum.reduceat(np.where(is_pooled, np.arange(len(values)), -1), first)
        return values[last].astype(np.float64)
    own = values if pooling == "max_with_pad" else np.where(is_pooled, values, -np.inf)
    return np.maximum.reduceat(own, first).astype(np.float64)
