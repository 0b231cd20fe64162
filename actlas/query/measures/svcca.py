"""SVCCA: how far the main directions of two representations can be brought to agree."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Names, Positive, Seed, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas
from actlas.query.blocks import StepProgress
from actlas.query.measures.asked import Asked
from actlas.query.measures.grams import Representations, comparison
from actlas.query.measures.registry import Between, Weighting
from actlas.query.probing.settings import Values

#: Of the variance, what the directions that are compared have together.
_KEPT_VARIANCE = 0.99


@checks_arguments(QueryError)
def svcca(
    store: Atlas | str | Path,
    *,
    between: Between = "layers",
    checkpoints: Names | None = None,
    sites: Names | None = None,
    languages: Names | None = None,
    neurons: pl.DataFrame | str | Path | None = None,
    values: Values | None = None,
    weighting: Weighting = "position",
    n_texts: Positive = 500,
    seed: Seed = 0,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Mean canonical correlation of the directions that have 99 % of the variance of two representations.

    Of each representation, centred over the texts, as many singular vectors U are kept as have 99 % of the squared singular
    values. The canonical correlations of what is kept are the singular values of U_a' U_b. With few texts for many directions
    they are high for any two representations: compare with the same for texts that are paired at random.

    Args:
        store: A store, or its path.
        between: What is compared, all else equal: "layers" of one checkpoint and site, "checkpoints" at one layer, "languages" on
            the meanings that all of them have, two random "halves" of the neurons of a layer, which says how alike two samples of
            one layer are, or chosen neurons and the "rest" of their layer.
        checkpoints: None for all.
        sites: None for all that have the vectors.
        languages: Whose texts; None for all.
        neurons: Columns site, layer, neuron (experts, say), or a file of them: a layer is these of its neurons, and one without
            any takes no part. None for all.
        values: "tokens" averages the kept token vectors of each text, "pooled" takes its pooled values. None: tokens where kept.
        weighting: Of tokens, as in `mexa`.
        n_texts: Texts, or meanings, at most; so many are drawn.
        seed: Of the draws.
        progress: Called after every representation that was read.
        keep: Whether the answer is kept as table `svcca`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        checkpoint, checkpoint_b, site, layer_a, layer_b, language_a, language_b (null: texts of all chosen languages), n_texts,
        svcca, shuffled (with texts paired at random), n_directions_a, n_directions_b. Null where all texts are at one point.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no such values.
        QueryError: If there are fewer than four texts, one checkpoint or language alone, or more than memory holds; or a neuron
            that is named is not there, or none is for "rest".
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Raghu et al. 2017, SVCCA: Singular Vector Canonical Correlation Analysis.

    Example:
        >>> told = svcca(store, between="languages", checkpoints=["planted-step128"], sites=["resid"])
        >>> told.select("language_a", "language_b", "n_texts", pl.col("svcca", "shuffled").round(2)).row(0)
        ('fr', 'en', 46, 0.35, 0.32)
    """
    asked = Asked(store, checkpoints, sites, progress, keep, replace)
    chosen = Representations(between, languages, values, weighting, n_texts, seed, neurons)
    return comparison("svcca", asked, chosen, main_directions, partial(_told, seed=seed))


def main_directions(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Left singular vectors of a centred representation, as many as have 99 % of its variance.

    Args:
        gram: Its inner products, ``"texts texts"``.

    Example:
        >>> main_directions(np.diag([2.0, 1.0, 0.001])).shape
        (3, 2)
    """
    powers, vectors = np.linalg.eigh(gram)
    powers, vectors = np.maximum(powers[::-1], 0), vectors[:, ::-1]
    if powers.sum() <= 0:
        return vectors[:, :0]
    n_kept = int(np.searchsorted(np.cumsum(powers) / powers.sum(), _KEPT_VARIANCE)) + 1
    return vectors[:, :n_kept]


def _told(a: NDArray[np.float64], b: NDArray[np.float64], seed: int) -> dict[str, float | None]:
    order = np.random.default_rng((seed, 2)).permutation(len(b))
    return {
        "svcca": _correlation(a, b),
        "shuffled": _correlation(a, b[order]),
        "n_directions_a": a.shape[1],
        "n_directions_b": b.shape[1],
    }


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    if not (a.shape[1] and b.shape[1]):
        return None
    return float(np.minimum(np.linalg.svd(a.T @ b, compute_uv=False), 1).mean())
