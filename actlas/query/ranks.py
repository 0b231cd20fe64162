"""One pass over the scores of a checkpoint: the best neurons of every language and concept, and how many there were to rank."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from actlas.query.blocks import Steps
from actlas.query.neurons import GUESS_TOLERANCE, Indices, NeuronAxis
from actlas.query.rankable import Rankable, ap_cubes, guess_score, rankable_pairs
from actlas.store.cube import ScoreCube
from actlas.store.store import Store

#: Scores in memory at a time.
_SLAB_BYTES = 64 << 20


def ranked_scores(
    store: Store,
    checkpoint: str,
    axis: NeuronAxis,
    languages: Sequence[str],
    concepts: Sequence[str],
    k: int,
    steps: Steps | None = None,
) -> tuple[Indices, NDArray[np.float64], Rankable]:
    """Rank all neurons by average precision.

    Scores are read layer by layer, once, for all languages and many concepts together, and what can no longer be among the best
    is dropped at once: memory grows with k, not with neurons.

    Args:
        store: With scores.
        checkpoint: Which.
        axis: The neurons to rank.
        languages: Which, as named.
        concepts: Which, as named.
        k: How many neurons.
        steps: Counts scores.

    Returns:
        The k best neurons, best first, and their average precision, ``"languages concepts k"``; -1 and NaN where no more can be
        ranked. And how many can, of each layer of each site.

    Raises:
        ScoresNotFound: If a site has no average precision.
    """
    from actlas.kernels.cpu.best import RunningBest

    cubes = ap_cubes(store, checkpoint, axis)
    guesses = guess_score(store, languages, concepts)
    parts = list(_parts(len(languages), len(concepts), max(n for _, n in axis.shapes)))
    best = [RunningBest(guesses[:, part].reshape(-1), GUESS_TOLERANCE, k, axis.n_neurons) for part in parts]
    by_place = np.zeros((len(concepts), len(cubes), axis.n_layers, len(languages), len(languages)), dtype=np.int64)
    n_threads = os.cpu_count() or 1
    with ThreadPoolExecutor(n_threads, thread_name_prefix="actlas-rank") as pool:
        for site, layer, number in _places(axis):
            for part, running in zip(parts, best, strict=True):
                slab = read_ap(cubes[site], languages, concepts[part], layer)
                flat = slab.reshape(-1, slab.shape[2])
                n_unfit = running.n_unfit.copy()
                # all are waited for, and an error of one is raised here
                list(pool.map(partial(running.add, number, flat), _shares(len(flat), n_threads)))
                n_fit = (slab.shape[2] - (running.n_unfit - n_unfit)).reshape(slab.shape[:2])
                by_place[part, site, layer] = rankable_pairs(slab, guesses[:, part], n_fit)
                if steps is not None:
                    steps.add(slab.size, f"{checkpoint} {axis.sites[site]}")
    found = [running.best() for running in best]
    shape = (len(languages), -1, k)
    neurons = np.concatenate([index.reshape(shape) for index, _ in found], axis=1)
    return neurons, np.concatenate([ap.reshape(shape) for _, ap in found], axis=1), Rankable(by_place)


def n_scores(axis: NeuronAxis, languages: Sequence[str], concepts: Sequence[str]) -> int:
    """How many scores a pass over the neurons reads."""
    return axis.n_neurons * len(languages) * len(concepts)


def _places(axis: NeuronAxis) -> Iterator[tuple[int, int, int]]:
    """Position of a site, layer, and number of its first neuron, in the order of the axis."""
    for site, (start, (n_layers, n_neurons)) in enumerate(zip(axis.starts[:-1].tolist(), axis.shapes, strict=True)):
        for layer in range(n_layers):
            yield site, layer, start + layer * n_neurons


def scores_of(
    cubes: Sequence[ScoreCube], axis: NeuronAxis, stat: str, languages: Sequence[str], concepts: Sequence[str], neurons: Indices
) -> NDArray[np.float64]:
    """One statistic of some neurons of every language and concept; a layer is read once for all of them.

    Args:
        cubes: Scores of the sites of the axis, all of which have to have the statistic.
        axis: The neurons.
        stat: The statistic.
        languages: Names along the first axis of `neurons`.
        concepts: Names along the second.
        neurons: ``"languages concepts n"``, indices into the axis; -1 for none, whose score is NaN.
    """
    found = np.full(neurons.shape, np.nan)
    cells = np.flatnonzero(neurons >= 0)
    cells = cells[np.argsort(neurons.reshape(-1)[cells], kind="stable")]
    index = neurons.reshape(-1)[cells]
    language, concept, _ = np.unravel_index(cells, neurons.shape)
    for site, layer, number in _places(axis):
        n_neurons = axis.shapes[site][1]
        here = slice(*np.searchsorted(index, (number, number + n_neurons)).tolist())
        for part in _parts(len(languages), len(concepts), n_neurons) if here.stop > here.start else ():
            asked = np.unique(concept[here])
            asked = asked[(asked >= part.start) & (asked < part.stop)]
            if not asked.size:
                continue
            # a run of names reads at twice the speed of a list
            read = asked if 2 * asked.size < part.stop - part.start else np.arange(part.start, part.stop)
            slab = cubes[site].read(stat, list(languages), [concepts[position] for position in read], layer)
            own = np.flatnonzero(np.isin(concept[here], read)) + here.start
            row = np.searchsorted(read, concept[own])
            found.reshape(-1)[cells[own]] = slab[language[own], row, index[own] - number]
    return found


def read_ap(cube: ScoreCube, languages: Sequence[str], concepts: Sequence[str], layer: int) -> NDArray[np.float64]:
    """Average precision of one layer, ``"languages concepts neurons"``."""
    return np.ascontiguousarray(cube.read("ap", list(languages), list(concepts), layer), dtype=np.float64)


def _parts(n_languages: int, n_concepts: int, n_neurons: int) -> Iterator[slice]:
    """Concepts that are read together."""
    step = max(1, _SLAB_BYTES // (8 * n_languages * n_neurons))
    for start in range(0, n_concepts, step):
        yield slice(start, min(start + step, n_concepts))


def _shares(n: int, n_threads: int) -> list[slice]:
    """What each thread works on."""
    ends = np.linspace(0, n, n_threads + 1).round().astype(int).tolist()
    return [slice(start, end) for start, end in pairwise(ends) if end > start]
