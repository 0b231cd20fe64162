"""P90 selection: neurons that are above a high quantile of their own values mostly where a language or concept is."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from actlas.allowed import Names, Positive, Quantile, Share, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas
from actlas.query.blocks import StepProgress
from actlas.query.measures.asked import Asked
from actlas.query.measures.neurons.best import Contrast, Values, best_answer, contrasts, stacked, with_members


@checks_arguments(QueryError)
def p90_selection(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Names | None = None,
    languages: Names | None = None,
    concepts: Names | None = None,
    n: Positive = 50,
    bar_quantile: Quantile = 0.9,
    min_share: Share = 0.5,
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """The neurons that are most often above their own 90th percentile where a concept is expressed, or in a language.

    With the bar of a neuron the quantile of its values over the texts that take part: p_on is the share of texts with the concept
    above the bar, p_off that of the texts without, and share = p_on / (p_on + p_off), which is 0.5 by chance however many texts
    are on. The paper takes tokens of one language, and the percentile of each language; here one percentile serves both sides,
    since that of one side alone is passed as often in every language.

    Args:
        store: With pooled values, or the path of such a store.
        checkpoints: None for all.
        sites: Ranked together; None for all with values.
        languages: None for all.
        concepts: None for all.
        n: Neurons of every language and concept at most, those with the highest p_on.
        bar_quantile: The bar is this quantile of a neuron's values.
        min_share: Neurons with a lower share are not selected.
        progress: Called after every block of neurons.
        keep: Whether the answer is kept as table `p90_selection`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        checkpoint, language, concept (null: the language against the others), rank, site, layer, neuron, p_on, p_off, share, bar,
        n_on, n_off. Neurons that no text takes above their bar have no row.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no values.
        QueryError: If a language or concept is not in the corpus, or there are no values.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Mondal et al. 2025, Language-Specific Neurons Do Not Facilitate Cross-Lingual Transfer.

    Example:
        >>> told = p90_selection(store, checkpoints=["planted-step64"], languages=["en"], concepts=["water"], n=1)
        >>> told.filter(concept="water").select("site", "layer", "neuron", pl.col("p_on", "p_off", "share").round(2)).rows()
        [('attn_out', 0, 8, 0.71, 0.0, 1.0)]
    """
    asked = Asked(store, checkpoints, sites, progress, keep, replace)
    measure = functools.partial(_measure, bar_quantile=bar_quantile, min_share=min_share)
    options = {"languages": languages, "concepts": concepts, "n": n, "bar_quantile": bar_quantile, "min_share": min_share}
    return best_answer("p90_selection", asked, contrasts(asked.atlas, languages, concepts), options, "p_on", measure)


def _measure(values: Values, told_apart: Sequence[Contrast], *, bar_quantile: float, min_share: float) -> dict[str, Values]:
    bars = with_members(told_apart, lambda members: np.quantile(values[:, members], bar_quantile, axis=1))
    return stacked([_selected(values, of, bar, min_share) for of, bar in bars])


def _selected(values: Values, of: Contrast, bar: Values, min_share: float) -> dict[str, Values]:
    p_on, p_off = ((values[:, part] > bar[:, None]).mean(axis=1) for part in (of.on, of.off))
    with np.errstate(invalid="ignore"):
        share = p_on / (p_on + p_off)
    # where nothing is above the bar the share is NaN, which is not as high as any
    return {"p_on": np.where(share >= min_share, p_on, np.nan), "p_off": p_off, "share": share, "bar": bar}
