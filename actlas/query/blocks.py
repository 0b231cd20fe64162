"""Reading a cube in blocks of neurons: all texts of a block at once, the next block read while this one is worked on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.store.cube import Cube

#: Values of one block of neurons, in bytes; two blocks are in memory at a time.
BLOCK_BYTES = 64 << 20
#: Neurons of a block are a multiple of this, so that no chunk is read twice.
_UNIT = 128


@dataclass(frozen=True)
class NeuronBlock:
    """Consecutive neurons of one layer.

    Attributes:
        layer: Their layer.
        start: The first one.
        values: ``"neurons texts"``, float16 or float32.
    """

    layer: int
    start: int
    values: NDArray[Any]

    @property
    def neurons(self) -> slice:
        return slice(self.start, self.start + self.values.shape[0])


def neuron_blocks(
    cube: Cube, layers: list[int] | None = None, *, texts: slice | None = None, block_bytes: int = BLOCK_BYTES
) -> Iterator[NeuronBlock]:
    """Blocks of a cube, layer by layer, in the order of their neurons.

    Args:
        cube: What to read.
        layers: Which layers, in that order; None for all.
        texts: Part of the text axis; None for all.
        block_bytes: Upper limit of one block's values, unless 128 neurons are more than that.
    """
    n_layers, n_neurons, n_texts = cube.shape
    width = n_texts if texts is None else texts.stop - texts.start
    itemsize = 4 if cube.dtype != "float16" else 2
    fitting = block_bytes // max(1, width * itemsize)
    step = max(_UNIT, fitting // _UNIT * _UNIT)
    chosen = range(n_layers) if layers is None else layers

    def read(layer: int, start: int) -> NeuronBlock:
        stop = min(start + step, n_neurons)
        return NeuronBlock(layer, start, cube.read(layer=layer, neurons=slice(start, stop), texts=texts))

    with ThreadPoolExecutor(1, thread_name_prefix="actlas-read") as pool:
        ahead: Future[NeuronBlock] | None = None
        for layer in chosen:
            for start in range(0, n_neurons, step):
                behind, ahead = ahead, pool.submit(read, layer, start)
                if behind is not None:
                    yield behind.result()
        if ahead is not None:
            yield ahead.result()


def on_host(scores: Any) -> NDArray[Any]:
    """A kernel's answer as numpy, wherever it was computed."""
    return np.asarray(scores.cpu() if hasattr(scores, "cpu") else scores)


def language_slices(store: Any) -> dict[str, slice]:
    """Rows of the text axis by language, in the order of the axis."""
    return {language: store.corpus.language_slice(language) for language in store.corpus.languages}


def text_groups(texts: pl.DataFrame) -> NDArray[np.int64]:
    """Groups that a split must not cut: texts with one `parallel_id` are translations of each other, a text without
    one stands alone.

    Args:
        texts: Columns text_id and parallel_id; one row per text, or per token.

    Returns:
        Number of the group, from 0, for every row. It depends on the ids alone, not on the order of the rows.
    """
    keys = texts.select(
        pl.when(pl.col("parallel_id").is_null())
        .then(pl.format("text {}", "text_id"))
        .otherwise(pl.format("group {}", "parallel_id"))
    ).to_series()
    _, group_of = np.unique(keys.to_numpy().astype(str), return_inverse=True)
    return group_of.astype(np.int64)


def split_halves(texts: pl.DataFrame, seed: int) -> NDArray[np.bool_]:
    """Which half every text of the corpus belongs to; texts that are translations of each other share one.

    Args:
        texts: The corpus' texts.
        seed: Of the draw.

    Returns:
        True for the second half, ``"texts"``.
    """
    groups = text_groups(texts)
    n_groups = int(groups.max()) + 1
    second = np.zeros(n_groups, dtype=bool)
    second[np.random.default_rng(seed).permutation(n_groups)[: n_groups // 2]] = True
    return np.asarray(second[groups])
