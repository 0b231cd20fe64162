"""Monolinguality: how far the mean value of a neuron in one language is above its means in the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from actlas.allowed import Names, Positive, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas
from actlas.query.blocks import StepProgress, language_slices
from actlas.query.measures.asked import Asked
from actlas.query.measures.neurons.best import Contrast, Values, best_answer, contrasts, stacked
from actlas.query.measures.registry import Scale


@checks_arguments(QueryError)
def monolinguality(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    sites: Names | None = None,
    languages: Names | None = None,
    n: Positive = 50,
    of: Scale = "values",
    progress: StepProgress | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """The neurons of every language whose mean there is furthest above their mean in the other languages.

    With m[L] the mean over the texts of language L: monolinguality of L = m[L] - mean of m[other] over the other languages, each
    of which counts alike however many texts it has. The paper takes means over the tokens of features that are never below 0; a
    store has pooled values of texts, of either sign.

    Args:
        store: With pooled values of two languages or more, or the path of such a store.
        checkpoints: None for all.
        sites: Ranked together; None for all with values.
        languages: Whose neurons are told; the others are compared with all the same. None for all.
        n: Neurons of every language, the largest first.
        of: "values" as published, where layers and sites with larger values stand first; or "deviations", which divides by the
            standard deviation of the neuron over all texts.
        progress: Called after every block of neurons.
        keep: Whether the answer is kept as table `monolinguality`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        checkpoint, language, rank, site, layer, neuron, monolinguality, mean (in the language), mean_others, next_language (the
        other language with the highest mean), next_mean. Means are of values whatever `of` says. Neurons with a constant value
        have no row.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If a site has no values.
        QueryError: If a language is not in the corpus, there is one language alone, or there are no values.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Deng et al. 2025, Unveiling Language-Specific Features in Large Language Models via Sparse Autoencoders.

    Example:
        >>> told = monolinguality(store, checkpoints=["planted-step64"], sites=["mlp_pre"], n=1)
        >>> told.select("language", "layer", "neuron", pl.col("monolinguality").round(2), "next_language").rows()
        [('fr', 1, 14, 1.33, 'es'), ('en', 1, 17, 0.95, 'es'), ('es', 0, 24, 1.05, 'fr')]
    """
    asked = Asked(store, checkpoints, sites, progress, keep, replace)
    rows = language_slices(asked.atlas)
    if len(rows) < 2:
        raise QueryError(f"monolinguality compares languages, and {asked.atlas.path} has {', '.join(rows) or 'none'} alone")

    own = [list(rows).index(one.language) for one in contrasts(asked.atlas, languages, [])]

    def measure(values: Values, told_apart: Sequence[Contrast]) -> dict[str, Values]:
        return _told(values, list(rows.values()), own, of)

    def then(frame: pl.DataFrame) -> pl.DataFrame:
        names = pl.Series(list(rows), dtype=pl.String)
        return frame.with_columns(pl.Series("next_language", names.gather(frame["next"].cast(pl.UInt32))))

    options = {"languages": languages, "n": n, "of": of}
    return best_answer(
        "monolinguality", asked, contrasts(asked.atlas, languages, []), options, "monolinguality", measure, then=then
    )


def _told(values: Values, rows: Sequence[slice], languages: Sequence[int], of: Scale) -> dict[str, Values]:
    """Monolinguality of some neurons in some of the languages."""
    means = np.stack([values[:, part].mean(axis=1) for part in rows])
    is_constant = values.max(axis=1) == values.min(axis=1)
    spread = values.std(axis=1) if of == "deviations" else np.ones(len(values))
    told = []
    for own in languages:
        others = np.delete(means, own, axis=0)
        following = np.delete(np.arange(len(rows)), own)[others.argmax(axis=0)]
        with np.errstate(divide="ignore", invalid="ignore"):
            above = np.where(is_constant, np.nan, (means[own] - others.mean(axis=0)) / spread)
        told.append(
            {
                "monolinguality": above,
                "mean": means[own],
                "mean_others": others.mean(axis=0),
                "next": following.astype(np.float64),
                "next_mean": others.max(axis=0),
            }
        )
    return stacked(told)
