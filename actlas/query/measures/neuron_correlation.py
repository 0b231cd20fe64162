"""Whether a neuron answers to the same texts as it did at an earlier checkpoint, or another one of its layer does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Names, Positive, Seed, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas
from actlas.query.blocks import StepProgress, Steps, finite
from actlas.query.choices import followed_checkpoints
from actlas.query.measures.asked import Asked
from actlas.query.schema import TABLES
from actlas.store.cube import Cube
from actlas.store.store import Store

#: Values of a block of neurons in float64: 32 MiB. Two are in memory at a time, and their correlations.
_CHUNK = 1 << 22
#: Neurons of a block at most, for their correlations with another block.
_MOST_NEURONS = 2048


@checks_arguments(QueryError)
def neuron_correlation(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Names | None = None,
    best: bool = False,
    n_texts: Positive = 2000,
    seed: Seed = 0,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Pearson correlation, over texts, of every neuron's pooled values at a checkpoint with those at the checkpoint after it.

    With `best`, also the neuron of the same layer at the later checkpoint that correlates with it most: where that is another
    one, what the neuron found has moved. This takes neurons times neurons of a layer.

    Args:
        store: With cubes, or the path of such a store.
        checkpoints: In the order in which they are compared. None for all but the controls.
        sites: None for all that have a cube at both of two checkpoints.
        best: Look for the best match in the layer, too.
        n_texts: At most; so many are drawn.
        seed: Of the draw.
        progress: Called after every layer.
        keep: Whether the answer is kept as table `neuron_correlation`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        checkpoint, checkpoint_b (the one after it), site, layer, neuron, n_texts, correlation (null where the neuron has one
        value for all texts), best_neuron, best_correlation and best_chance (the median of the highest correlation with as many
        neurons that have nothing to do with it); these three are null without `best`.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no cube.
        QueryError: If there is one checkpoint alone, or there are too few texts.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Li et al. 2015, Convergent Learning: Do different neural networks learn the same representations?

    Example:
        >>> told = neuron_correlation(store, checkpoints=["planted-step64", "planted-step128"], sites=["mlp_pre"], best=True)
        >>> told.select("layer", "neuron", "n_texts", pl.col("correlation").round(2), "best_neuron").row(3)
        (0, 3, 144, 0.04, 30)
    """
    asked = Asked(store, checkpoints, sites, progress, keep, replace)

    compares = followed_checkpoints(asked.atlas, checkpoints)
    if len(compares) < 2:
        there = ", ".join(compares) or "none"
        raise QueryError(f"neurons are compared between checkpoints, and there is {there} alone; name two")

    def take(store: Atlas, names: list[str], progress: StepProgress | None) -> pl.DataFrame:
        n = min(n_texts, store.corpus.n_texts)
        if n < 3:
            raise QueryError(f"a correlation over {n} texts says nothing; take 3 or more")
        rows = np.sort(np.random.default_rng(seed).permutation(store.corpus.n_texts)[:n])
        return pl.concat([TABLES["neuron_correlation"].empty(), *_answers(_cubes(store, names, sites), rows, best, progress)])

    return asked.answer("neuron_correlation", {"best": best, "n_texts": n_texts, "seed": seed}, take, compares=compares)


def _cubes(store: Store, names: Sequence[str], sites: Sequence[str] | None) -> list[tuple[Cube, Cube]]:
    """Every cube, and the one of the checkpoint after it."""
    return [
        (store.cube(a, site), store.cube(b, site))
        for a, b in pairwise(names)
        for site in (sites if sites is not None else [own for own in store.sites(a) if own in store.sites(b)])
    ]


def _answers(
    cubes: Sequence[tuple[Cube, Cube]], rows: NDArray[np.int64], best: bool, progress: StepProgress | None
) -> Iterator[pl.DataFrame]:
    steps = Steps(progress, sum(first.shape[0] for first, _ in cubes))
    for first, second in cubes:
        about = {"checkpoint": first.checkpoint, "checkpoint_b": second.checkpoint, "site": first.site}
        for layer in range(first.shape[0]):
            frame = pl.DataFrame(_layer(first, second, layer, rows, best))
            # NaN marks what has no correlation while numpy works on it
            frame = frame.with_columns(pl.selectors.float().fill_nan(None))
            yield TABLES["neuron_correlation"].conform(
                frame.with_columns(pl.lit(value).alias(name) for name, value in about.items())
            )
            steps.add(1, f"{first.checkpoint} {first.site} layer {layer}")


def _layer(first: Cube, second: Cube, layer: int, rows: NDArray[np.int64], best: bool) -> dict[str, Any]:
    """Columns of one layer."""
    n_neurons = first.shape[1]
    own = np.full(n_neurons, np.nan)
    best_neuron, highest = np.full(n_neurons, -1, np.int32), np.full(n_neurons, -np.inf)
    for place, values in _blocks(first, layer, rows):
        if not best:
            other = standardised(finite(second.read(layer=layer, neurons=place, texts=rows), second, layer))
            own[place] = np.einsum("nt,nt->n", values, other)
            continue
        for start, other in _blocks(second, layer, rows):
            found = values @ other.T
            if start == place:
                own[place] = np.diagonal(found)
            found = np.where(np.isnan(found), -np.inf, found)
            nearest = found.argmax(axis=1)
            reached = found[np.arange(len(found)), nearest]
            is_higher = reached > highest[place]
            best_neuron[place] = np.where(is_higher, start.start + nearest, best_neuron[place])
            highest[place] = np.maximum(highest[place], reached)
    columns: dict[str, Any] = {
        "layer": np.full(n_neurons, layer, np.int32),
        "neuron": np.arange(n_neurons, dtype=np.int32),
        "n_texts": np.full(n_neurons, rows.size, np.int32),
        "correlation": own,
    }
    is_found = np.isfinite(highest)
    columns["best_neuron"] = pl.Series(np.where(is_found, best_neuron, 0)).set(pl.Series(~is_found), None)
    columns["best_correlation"] = np.where(is_found, highest, np.nan)
    columns["best_chance"] = np.where(is_found, best_chance(n_neurons, rows.size), np.nan)
    return columns


def best_chance(n_neurons: int, n_texts: int) -> float:
    """Median of the highest of so many correlations over so many texts, of values that have nothing to do with each other.

    The correlation r of normal values without one has t = r * sqrt((n - 2) / (1 - r^2)) of Student's distribution with n - 2
    degrees of freedom. Neurons that are correlated with each other are as if they were fewer: their chance is lower.

    Args:
        n_neurons: How many correlations.
        n_texts: Values that each is of.

    Example:
        >>> round(best_chance(2048, 500), 2), round(best_chance(1, 500), 2)
        (0.15, 0.0)
    """
    from scipy.stats import t

    highest = float(t.ppf(0.5 ** (1 / n_neurons), n_texts - 2))
    return highest / float(np.sqrt(n_texts - 2 + highest**2))


def _blocks(cube: Cube, layer: int, rows: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    n_neurons = cube.shape[1]
    step = max(1, min(_MOST_NEURONS, _CHUNK // rows.size))
    for start in range(0, n_neurons, step):
        place = slice(start, min(start + step, n_neurons))
        yield place, standardised(finite(cube.read(layer=layer, neurons=place, texts=rows), cube, layer))


def standardised(values: NDArray[Any]) -> NDArray[np.float64]:
    """Rows with mean 0 and length 1, so that an inner product is a correlation; NaN for a row of one value.

    Args:
        values: ``"neurons texts"``.

    Example:
        >>> standardised(np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])).round(3).tolist()
        [[-0.707, 0.0, 0.707], [nan, nan, nan]]
    """
    numbers = values.astype(np.float64)
    is_constant = (numbers == numbers[:, :1]).all(axis=1)
    numbers -= numbers.mean(axis=1, keepdims=True)
    numbers[is_constant] = np.nan
    return np.asarray(numbers / np.linalg.norm(numbers, axis=1, keepdims=True))
