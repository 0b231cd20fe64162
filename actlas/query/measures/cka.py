"""Linear CKA: whether two representations find the same texts alike."""

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


@checks_arguments(QueryError)
def cka(
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
    """Linear centered kernel alignment with the unbiased estimate of HSIC.

    K = X X' and L = Y Y' are inner products of n texts in two representations. CKA is HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)): 1
    where one is a rotation of the other, times any number, and about 0, on either side of it, where they have nothing in common.
    The usual estimate of HSIC rises with the number of neurons; the unbiased one takes K and L without their diagonals.

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
        keep: Whether the answer is kept as table `cka`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        checkpoint, checkpoint_b, site, layer_a, layer_b, language_a, language_b (null: texts of all chosen languages), n_texts,
        cka, shuffled (with texts paired at random: about 0). Null where a representation has all texts at one point, or no
        more in common than chance.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no such values.
        QueryError: If there are fewer than four texts, one checkpoint or language alone, or more than memory holds; or a neuron
            that is named is not there, or none is for "rest".
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Kornblith et al. 2019, Similarity of Neural Network Representations Revisited; Song et al. 2012 (unbiased HSIC).

    Example:
        >>> told = cka(store, between="checkpoints", sites=["mlp_pre"], n_texts=100)
        >>> told.select("checkpoint", "checkpoint_b", "layer_a", "n_texts", pl.col("cka").round(2)).row(0)
        ('planted-step0', 'planted-step64', 0, 100, 0.14)
    """
    asked = Asked(store, checkpoints, sites, progress, keep, replace)
    chosen = Representations(between, languages, values, weighting, n_texts, seed, neurons)
    return comparison("cka", asked, chosen, centred, partial(_told, seed=seed))


def centred(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inner products with nothing on the diagonal and rows that sum to 0 (U-centering).

    Two of these, multiplied number by number and added up, are n (n - 3) times the unbiased estimate of HSIC.

    Args:
        gram: ``"texts texts"``; of four texts or more.

    Example:
        >>> bool(centred(np.outer(np.arange(4.0), np.arange(4.0))).sum(axis=1).round(9).any())
        False
    """
    n = len(gram)
    off = gram - np.diag(np.diag(gram))
    rows, columns = off.sum(axis=1, keepdims=True) / (n - 2), off.sum(axis=0, keepdims=True) / (n - 2)
    off += off.sum() / ((n - 1) * (n - 2)) - rows - columns
    np.fill_diagonal(off, 0)
    return off


def _told(a: NDArray[np.float64], b: NDArray[np.float64], seed: int) -> dict[str, float | None]:
    size = float(np.sqrt(np.vdot(a, a) * np.vdot(b, b)))
    order = np.random.default_rng((seed, 2)).permutation(len(b))
    shuffled = float(np.vdot(a, b[np.ix_(order, order)]))
    return {"cka": float(np.vdot(a, b)) / size, "shuffled": shuffled / size} if size > 0 else {"cka": None, "shuffled": None}
