"""MEXA: how many texts have their own translation as the nearest text, and are its nearest."""

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

#: Cosines in memory at a time: 32 MiB.
_CHUNK = 1 << 22


@checks_arguments(QueryError)
def mexa(
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
    """MEXA: the share of texts whose translation is nearer than every other text, seen from both sides.

    For n texts and cosines c of their vectors in language a with those in language b: the share of i whose c[i, i] is above all
    c[i, j] and all c[j, i]. The paper averages over pairs with English (here `pivot`) and takes the mean, or the highest, of all
    layers. A store samples some tokens of each text, so that a mean of a text is one of these.

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
        keep: Whether the answer is kept as table `mexa`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        checkpoint, step, site, layer, language_a, language_b, n_texts, mexa, chance (1 / n_texts), expected (what this layer
        would have if texts were paired at random: its mutual nearest pairs over n_texts squared, never above chance), and over
        all layers of the pair mean_mexa and max_mexa.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no such values.
        QueryError: If there is one language alone, or two share fewer than four meanings.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Kargaran et al. 2024, MEXA: Multilingual Evaluation of English-Centric LLMs via Cross-Lingual Alignment.

    Example:
        >>> told = mexa(store, checkpoints=["planted-step128"], sites=["mlp_pre"], pivot="en")
        >>> told.select("layer", "language_a", "language_b", "n_texts", pl.col("mexa").round(2)).row(0)
        (0, 'fr', 'en', 46, 0.04)
    """
    asked = Asked(store, checkpoints, sites, progress, keep, replace)
    chosen = Compared(languages, pivot, values, weighting)
    return pairs_answer("mexa", asked, chosen, _told, prepare=directions, over_layers=_over_layers)


def _over_layers(frame: pl.DataFrame) -> pl.DataFrame:
    pair = ("checkpoint", "site", "language_a", "language_b")
    mean, highest = pl.col("mexa").mean().over(pair), pl.col("mexa").max().over(pair)
    return frame.with_columns(mean.alias("mean_mexa"), highest.alias("max_mexa"))


def _told(first: NDArray[np.float64], second: NDArray[np.float64]) -> dict[str, float]:
    """Shares of texts by their directions, in blocks of the first language's."""
    n = len(first)
    own = np.einsum("nc,nc->n", first, second)
    of_row, of_column = np.full(n, -np.inf), np.full(n, -np.inf)
    nearest, nearest_of = np.zeros(n, np.int64), np.zeros(n, np.int64)
    highest = np.full(n, -np.inf)
    step = max(1, _CHUNK // n)
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        cosines = first[part] @ second.T
        diagonal = np.arange(part.start, part.stop)
        # one number for a text and its translation, however it was added up
        cosines[diagonal - start, diagonal] = own[part]
        nearest[part] = cosines.argmax(axis=1)
        rows = cosines.argmax(axis=0)
        found = cosines[rows, np.arange(n)]
        nearest_of[found > highest] = start + rows[found > highest]
        highest = np.maximum(highest, found)
        cosines[diagonal - start, diagonal] = -np.inf
        of_row[part] = cosines.max(axis=1)
        of_column = np.maximum(of_column, cosines.max(axis=0))
    n_mutual = np.count_nonzero(nearest_of[nearest] == np.arange(n))
    return {"mexa": float((own > np.maximum(of_row, of_column)).mean()), "chance": 1 / n, "expected": n_mutual / n**2}
