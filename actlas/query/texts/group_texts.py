"""The texts that a group of neurons answers to most, and those that are nearest to a text in the values of a group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Positive, checks_arguments
from actlas.errors import QueryError
from actlas.names import Combination, Metric
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.choices import chosen_n
from actlas.query.texts.groups import Group


@checks_arguments(QueryError)
def group_texts(
    store: Atlas | str | Path,
    checkpoint: str,
    neurons: pl.DataFrame,
    *,
    n: Positive | None = None,
    combine: Combination = "mean",
    languages: Sequence[str] | None = None,
) -> pl.DataFrame:
    """The texts for which a group of neurons has the highest values, taken together.

    Exact: the values of every neuron of the group are read, one neuron after the other, so that a whole layer fits too. A text
    for which a neuron has no value is left out; among equal ones the lower text_id comes first.

    Args:
        store: With cubes, or the path of such a store.
        checkpoint: Which.
        neurons: The group: a frame with columns site, layer, neuron, such as the answer of `top_experts`.
        n: How many texts; None for 10, or as many as the corpus has.
        combine: How the values of the neurons become one: mean, sum, min, max, or l2, the root of the sum of their squares.
        languages: Only texts of these; None for all.

    Returns:
        Columns rank, value, language, text_id, text.

    Raises:
        CheckpointNotFound: If the checkpoint is not in the store.
        CubeNotFound: If it has no cube at a site.
        QueryError: If the frame names a neuron that is not there, or one twice; a language is unknown; or n is more than
            there are texts.

    Source: top-k highest queries of DeepEverest (He et al. 2021).

    Example:
        >>> group = pl.DataFrame({"site": "mlp_pre", "layer": 0, "neuron": [4, 7]})
        >>> group_texts(store, "planted-step64", group, n=2).select("rank", "value", "text_id").rows()
        [(1, 3.125, 77), (2, 2.625, 2)]
    """
    store = as_atlas(store)
    n = chosen_n(store, n, 10)
    group = Group.of(store, checkpoint, neurons, languages)
    return group.best(group.combined(combine), n, "value")


@checks_arguments(QueryError)
def nearest_texts(
    store: Atlas | str | Path,
    checkpoint: str,
    to: int | Sequence[float] | NDArray[Any],
    neurons: pl.DataFrame,
    *,
    n: Positive | None = None,
    metric: Metric = "l2",
    languages: Sequence[str] | None = None,
) -> pl.DataFrame:
    """The texts that are nearest to a text, or to given values, in the values of a group of neurons.

    Exact, as `group_texts` is. A text for which a neuron has no value is left out, and under cosine one with no value but zero;
    among equally near ones the lower text_id comes first.

    Args:
        store: With cubes, or the path of such a store.
        checkpoint: Which.
        to: The text_id of a text, which is not among the answers; or one value per row of `neurons`.
        neurons: The group: a frame with columns site, layer, neuron, such as the answer of `top_experts`.
        n: How many texts; None for 10, or as many as the corpus has.
        metric: l1, l2, or cosine: 1 less the cosine of the angle.
        languages: Only texts of these; None for all.

    Returns:
        Columns rank, distance, language, text_id, text.

    Raises:
        CheckpointNotFound: If the checkpoint is not in the store.
        CubeNotFound: If it has no cube at a site.
        QueryError: If the frame names a neuron that is not there, or one twice; there is no such text; there are more or
            fewer values than neurons; a language is unknown; or n is more than there are texts.

    Source: most-similar queries of DeepEverest (He et al. 2021).

    Example:
        >>> group = pl.DataFrame({"site": "mlp_pre", "layer": 0, "neuron": [4, 7]})
        >>> nearest_texts(store, "planted-step64", 77, group, n=1).select("rank", "distance", "text_id").rows()
        [(1, 1.0, 31)]
    """
    store = as_atlas(store)
    n = chosen_n(store, n, 10)
    group = Group.of(store, checkpoint, neurons, languages)
    if isinstance(to, int | np.integer):
        without: int | None = int(to)
        target = group.target(int(to))
    else:
        without, target = None, np.asarray(to, dtype=np.float64)
    n_neurons = neurons.height
    if target.shape != (n_neurons,):
        raise QueryError(f"{n_neurons:,} neurons have {n_neurons:,} values, not {target.size:,}; give one per row of the group")
    nearest = group.best(-group.distances(target, metric), n, "distance", without=without)
    # + 0.0: not -0.0 for one that is as near as can be
    return nearest.with_columns(distance=-pl.col("distance") + 0.0)
