"""How much nearer translations are to each other than other texts of the two languages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.allowed import Names, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas
from actlas.query.blocks import StepProgress
from actlas.query.measures.asked import Asked
from actlas.query.measures.registry import Weighting
from actlas.query.measures.vectors import Compared, directions, pairs_answer
from actlas.query.probing.settings import Values

#: Of a normal distribution, 95 % lies as many standard deviations around the mean.
_NORMAL_95 = 1.96


@checks_arguments(QueryError)
def translation_similarity(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Names | None = None,
    languages: Names | None = None,
    pivot: str | None = None,
    values: Values | None = None,
    weighting: Weighting = "position",
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Mean cosine of translations, beside that of all texts of the two languages that do not translate each other.

    With unit vectors x in language a and y in language b: the mean of x[i] . y[i], and that of x[i] . y[j] over all i != j,
    which (sum of x) . (sum of y) gives without going through the pairs. Their difference has a 95 % interval from the jackknife
    over meanings, each of which is left out once.

    Args:
        store: A store, or its path.
        checkpoints: None for all.
        sites: None for all that have the vectors.
        languages: None for all.
        pivot: Only pairs with this language; None for all pairs.
        values: "tokens" averages the kept token vectors of each text, "pooled" takes its pooled values. None: tokens where kept.
        weighting: Of tokens: "position" weighs the i-th of a text i times as much as the first, "mean" alike, "last" takes the
            last one alone, of the texts that keep it.
        progress: Called after every layer.
        keep: Whether the answer is kept as table `translation_similarity`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        checkpoint, step, site, layer, language_a, language_b, n_texts, translations, others, difference, low, high.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no such values.
        QueryError: If there is one language alone, or two share fewer than four meanings.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Li et al. 2024, PreAlign: Boosting Cross-Lingual Transfer by Early Establishment of Multilingual Alignment (cosine of
    translations by layer); Efron and Stein 1981 (jackknife).

    Example:
        >>> told = translation_similarity(store, checkpoints=["planted-step128"], sites=["mlp_pre"], languages=["en", "fr"])
        >>> told.select("layer", "n_texts", pl.col("translations", "others").round(2)).row(0)
        (0, 46, 0.22, 0.04)
    """
    asked = Asked(store, checkpoints, sites, progress, keep, replace)
    chosen = Compared(languages, pivot, values, weighting)
    return pairs_answer("translation_similarity", asked, chosen, _told, prepare=directions)


def _told(first: NDArray[np.float64], second: NDArray[np.float64]) -> dict[str, float]:
    n = len(first)
    own = np.einsum("nc,nc->n", first, second)
    sums = first.sum(axis=0), second.sum(axis=0)
    together = sums[0] @ sums[1]
    others = (together - own.sum()) / (n * (n - 1))
    difference = own.mean() - others
    # without meaning i: its row and its column of cosines, which share one
    left = (together - first @ sums[1] - second @ sums[0] + own - (own.sum() - own)) / ((n - 1) * (n - 2))
    differences = (own.sum() - own) / (n - 1) - left
    half = _NORMAL_95 * float(np.sqrt((n - 1) * differences.var()))
    told = {"translations": own.mean(), "others": others, "difference": difference}
    return {name: float(value) for name, value in told.items()} | {"low": difference - half, "high": difference + half}
