"""How well a neuron tells texts of a concept, or of a language, from others: point-biserial correlation and d'."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from actlas.allowed import Names, Positive, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas
from actlas.query.blocks import StepProgress
from actlas.query.measures.asked import Asked
from actlas.query.measures.neurons.best import Contrast, Mask, Values, best_answer, contrasts
from actlas.query.measures.registry import Contrasting

#: Of a mean square, the variance that values of float32 that are one value but for their rounding may have.
_ROUNDING = 1e-13


@checks_arguments(QueryError)
def discrimination(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Names | None = None,
    languages: Names | None = None,
    concepts: Names | None = None,
    n: Positive = 50,
    by: Contrasting = "d_prime",
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """The neurons that best tell a language from the others, and within it texts that express a concept from those that do not.

    With mean m, variance v (over n, not n - 1) and number n of texts that express it (on) and that do not (off), and s the
    standard deviation of both together:
    d' = (m_on - m_off) / sqrt((v_on + v_off) / 2); point-biserial = (m_on - m_off) / s * sqrt(n_on * n_off) / (n_on + n_off).
    The second is the correlation of the value with 1 for on and 0 for off; it depends on how many texts are on, d' does not.

    Args:
        store: With pooled values, or the path of such a store.
        checkpoints: None for all.
        sites: Ranked together; None for all with values.
        languages: None for all.
        concepts: None for all.
        n: Neurons of every language and concept.
        by: What ranks them, the largest first: neurons that are low where the concept is are not among them.
        progress: Called after every block of neurons.
        keep: Whether the answer is kept as table `discrimination`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        checkpoint, language, concept (null: the language against the others), rank, site, layer, neuron, point_biserial, d_prime,
        n_on, n_off. A language has no rows of a concept without positive or without negative texts. Neurons without the number
        that ranks have no row: that of constant values, and d_prime of what is constant on both sides.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no values.
        QueryError: If a language or concept is not in the corpus, or there are no values.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Tate 1954 (point-biserial correlation); Green and Swets 1966 (d').

    Example:
        >>> best = discrimination(store, checkpoints=["planted-step64"], languages=["en"], concepts=["water"], n=2)
        >>> best.filter(concept="water").select("site", "layer", "neuron", pl.col("d_prime").round(2)).rows()
        [('mlp_hidden', 1, 19, 3.88), ('mlp_pre', 0, 35, 3.8)]
    """
    asked = Asked(store, checkpoints, sites, progress, keep, replace)
    options = {"languages": languages, "concepts": concepts, "n": n, "by": by}
    return best_answer("discrimination", asked, contrasts(asked.atlas, languages, concepts), options, by, _measure)


def _measure(values: Values, told_apart: Sequence[Contrast]) -> dict[str, Values]:
    on, off = (np.stack([getattr(one, side) for one in told_apart]) for side in ("on", "off"))
    correlation, d_prime = contrast(values, on, off)
    return {"point_biserial": correlation, "d_prime": d_prime}


def contrast(values: Values, on: Mask, off: Mask) -> tuple[Values, Values]:
    """Point-biserial correlation and d' of every neuron in every class, ``"classes neurons"``; NaN where what divides is 0.

    Args:
        values: ``"neurons texts"``.
        on: Which texts express the concept, ``"classes texts"``.
        off: Which do not; the others take no part.

    Example:
        >>> on = np.array([[True, True, False, False]])
        >>> [told.round(3).tolist() for told in contrast(np.array([[3.0, 5.0, 1.0, 3.0]]), on, ~on)]
        [[[0.707]], [[2.0]]]
    """
    # from the first value: of what is constant all is 0, exactly
    apart = values - values[:, :1]
    squares = apart**2
    n_on, n_off = on.sum(axis=1)[:, None], off.sum(axis=1)[:, None]
    (mean_on, within_on), (mean_off, within_off) = (
        _moments(side.astype(np.float64) / n, apart, squares) for side, n in ((on, n_on), (off, n_off))
    )
    difference, share = mean_on - mean_off, n_on / (n_on + n_off)
    # the variance of all: that within both parts, and that between their means
    total = share * within_on + (1 - share) * within_off + share * (1 - share) * difference**2
    within = within_on + within_off
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(total > 0, difference * np.sqrt(share * (1 - share) / total), np.nan)
        d_prime = np.where(within > 0, difference / np.sqrt(within / 2), np.nan)
    return correlation, d_prime


def _moments(weights: Values, apart: Values, squares: Values) -> tuple[Values, Values]:
    """Means and variances of classes; a variance below what float32 tells apart is 0."""
    means, powers = weights @ apart.T, weights @ squares.T
    variances = powers - means**2
    return means, np.where(variances > _ROUNDING * powers, variances, 0.0)
