"""Whether one rotation takes the vectors of a language to those of another."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Names, Seed, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas
from actlas.query.blocks import StepProgress
from actlas.query.measures.asked import Asked
from actlas.query.measures.registry import Weighting
from actlas.query.measures.vectors import Compared, pairs_answer
from actlas.query.probing.settings import Values


@checks_arguments(QueryError)
def procrustes(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Names | None = None,
    languages: Names | None = None,
    pivot: str | None = None,
    values: Values | None = None,
    weighting: Weighting = "position",
    seed: Seed = 0,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """How well a rotation, fitted to translations of half of the meanings, takes one language to another on the rest.

    Both languages are centred by their means over the half that is fitted, X and Y ``"texts channels"``. The rotation R that
    makes |X R - Y| smallest is U V' of the singular vectors of X' Y = U S V'. Its error is |X R - Y|^2 / |Y|^2 on the other half:
    0 where a rotation is all that languages differ by, 1 where the mean of the language does as well, about 2 where there is
    nothing in common. With fewer meanings than channels no rotation is determined but between the directions that the fitted
    meanings have: what lies outside of them is left out of X R, not turned at will, and where there is nothing in common the
    error is nearer to 1.

    Args:
        store: A store, or its path.
        checkpoints: None for all.
        sites: None for all that have the vectors.
        languages: None for all.
        pivot: Only pairs with this language; None for all pairs.
        values: "tokens" averages the kept token vectors of each text, "pooled" takes its pooled values. None: tokens where kept.
        weighting: Of tokens: "position" weighs the i-th of a text i times as much as the first, "mean" alike, "last" takes the
            last one alone, of the texts that keep it.
        seed: Of the halves and of the random pairing.
        progress: Called after every layer.
        keep: Whether the answer is kept as table `procrustes`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        checkpoint, step, site, layer, language_a, language_b, n_texts, error, identity (without a rotation, of centred vectors),
        shuffled (of a rotation fitted to meanings that are paired at random), fitted (the error on the half that was fitted), and
        shift (distance of the means of the languages over the root mean square distance of a text from its own). Null where all
        texts of a language have one vector.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no such values.
        QueryError: If there is one language alone, or two share fewer than four meanings.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Schönemann 1966, A generalized solution of the orthogonal Procrustes problem; Conneau et al. 2018 (between languages).

    Example:
        >>> told = procrustes(store, checkpoints=["planted-step128"], sites=["resid"], languages=["en", "fr"])
        >>> told.select("layer", "n_texts", pl.col("error", "identity", "shuffled").round(2)).row(0)
        (0, 46, 2.14, 2.22, 2.13)
    """
    asked = Asked(store, checkpoints, sites, progress, keep, replace)
    chosen = Compared(languages, pivot, values, weighting)
    return pairs_answer("procrustes", asked, chosen, partial(_told, seed=seed), seed=seed)


def _told(a: NDArray[np.float32], b: NDArray[np.float32], seed: int) -> dict[str, float | None]:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(a))
    half, rest = np.split(order, [len(a) // 2])
    numbers = a.astype(np.float64), b.astype(np.float64)
    means = [own[half].mean(axis=0) for own in numbers]
    (x, y), (x_rest, y_rest) = ([own[rows] - mean for own, mean in zip(numbers, means, strict=True)] for rows in (half, rest))
    rotation, shuffled = rotation_between(x, y), rotation_between(x, y[rng.permutation(half.size)])
    spread = float(np.sqrt((np.square(x).sum() + np.square(y).sum()) / (2 * half.size)))
    return {
        "error": _error(x_rest @ rotation[0] @ rotation[1], y_rest),
        "identity": _error(x_rest, y_rest),
        "shuffled": _error(x_rest @ shuffled[0] @ shuffled[1], y_rest),
        "fitted": _error(x @ rotation[0] @ rotation[1], y),
        "shift": float(np.linalg.norm(means[0] - means[1])) / spread if spread > 0 else None,
    }


def rotation_between(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The two factors, ``"channels directions"`` and ``"directions channels"``, of the rotation that takes x nearest to y.

    Singular vectors of x' y come from those of the small matrix between bases of the texts of either side; directions that the
    texts do not determine have none.

    Args:
        x: ``"texts channels"``.
        y: Likewise.

    Example:
        >>> first, second = rotation_between(np.eye(2), np.array([[0.0, 2.0], [-2.0, 0.0]]))
        >>> ((first @ second).round(9) + 0).tolist()
        [[0.0, 1.0], [-1.0, 0.0]]
    """
    (basis_x, of_x), (basis_y, of_y) = (np.linalg.qr(side.T) for side in (x, y))
    left, lengths, right = np.linalg.svd(of_x @ of_y.T)
    is_determined = lengths > lengths[:1] * max(x.shape) * np.finfo(np.float64).eps
    return basis_x @ left[:, is_determined], right[is_determined] @ basis_y.T


def _error(moved: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    size = float(np.square(y).sum())
    return float(np.square(moved - y).sum()) / size if size > 0 else None
