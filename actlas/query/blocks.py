"""Reading a cube in blocks of neurons: all texts of a block at once, the next block read while this one is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.errors import QueryError
from actlas.store.cube import Cube, TokenCube
from actlas.store.layout import CHUNK_NEURONS
from actlas.store.store import Store

#: Called as (steps done, steps in all, what is being worked on).
StepProgress = Callable[[int, int, str], None]


@dataclass
class Steps:
    """Counts the steps of one piece of work, and reports each time that some are done.

    Attributes:
        progress: What to report to, if anything.
        total: Steps in all.
        done: Steps that are done.
    """

    progress: StepProgress | None
    total: int
    done: int = 0

    def add(self, n: int, what: str) -> None:
        """Some more steps are done, of what is named."""
        self.done += n
        if self.progress is not None and n:
            self.progress(self.done, self.total, what)


#: Values of one block of neurons, in bytes; two blocks are in memory at a time.
BLOCK_BYTES = 64 << 20


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
    # blocks end at the borders of chunks, so that no chunk is read twice
    step = max(CHUNK_NEURONS, fitting // CHUNK_NEURONS * CHUNK_NEURONS)
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


def finite(values: NDArray[Any], cube: Cube | TokenCube, layer: int) -> NDArray[Any]:
    """Values themselves, if all are numbers: one that is not would make no number, or a wrong one, of every sum it is in.

    Raises:
        QueryError: Naming where the first other one is.
    """
    if values.size and not np.isfinite(values.sum(dtype=np.float64)):
        n = np.count_nonzero(~np.isfinite(values))
        raise QueryError(
            f"{cube.site} of {cube.checkpoint} has NaN or infinity {n:,} times in layer {layer}, of which nothing is measured; "
            "name other sites or checkpoints (--site, --checkpoint), or extract this one again"
        )
    return values


def on_host(scores: Any) -> NDArray[Any]:
    """A kernel's answer as numpy, wherever it was computed."""
    return np.asarray(scores.cpu() if hasattr(scores, "cpu") else scores)


def refuse_imported(store: Store) -> None:
    """Refuse a question about values, or texts, where scores were imported without them."""
    if store.is_imported:
        raise QueryError(
            f"{store.only_scores}, which this question needs; extract them with: actlas extract MODEL --corpus C --store S"
        )


def language_slices(store: Store) -> dict[str, slice]:
    """Rows of the text axis by language, in the order of the axis.

    Raises:
        QueryError: If the store has no texts.
    """
    refuse_imported(store)
    return {language: store.corpus.language_slice(language) for language in store.corpus.languages}
