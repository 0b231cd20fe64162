"""Language-specific neurons by the entropy of their activation probability over languages (LAPE)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from actlas.allowed import Names, Number, Quantile, Share, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.choices import chosen_checkpoints
from actlas.query.keep import Keeper
from actlas.query.neurons import NeuronAxis, names_at
from actlas.query.schema import TABLES


@checks_arguments(QueryError)
def language_neurons(
    store: Atlas | str | Path,
    *,
    checkpoints: Names | None = None,
    site: str | None = None,
    share: Share = 0.01,
    bar_quantile: Quantile = 0.95,
    threshold: Number | None = None,
    keep: bool | None = None,
    replace: bool = False,
) -> pl.DataFrame:
    """Neurons that are active for few languages, with the languages they belong to.

    Counts are over tokens, not over pooled values: extraction counted them. A neuron is active where the output of the activation
    function is above the threshold (0 unless the recipe says otherwise): `mlp_hidden` in a plain MLP, the gate (`mlp_pre`) in a
    gated one, as the published code counts. Column site says which it was.

    Args:
        store: With token counts, or the path of such a store.
        checkpoints: None for all.
        site: Where tokens were counted; None for what `Store.lape_site` says of each checkpoint.
        share: Share of the neurons that are selected.
        bar_quantile: A neuron belongs to the languages in which it is active with a probability above this quantile of all
            probabilities; neurons that are above it in none are not selected.
        threshold: A token is active above it, one of those that were counted; None for the lowest.
        keep: Whether the answer is kept as table `lape`, and the activation probabilities of all neurons, selected or not, as
            table `token_activity`. None: if the store was opened with mode "a".
        replace: Put the answer in the place of a kept one with other settings, instead of beside it.

    Returns:
        Columns of table `lape`: checkpoint, site, layer, neuron, language, p_active, entropy (nats); one row per
        selected neuron and language that it belongs to, lowest entropy first.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        CubeNotFound: If tokens were not counted at this site, or not above this threshold; and without a site, if they were not
            counted where the activation function is above 0.
        KernelInputError: If a share or quantile is outside 0 to 1.
        ReadOnlyStore: If the answer is to be kept in a store that is open with mode "r".

    Source: Tang et al. 2024.

    Example:
        >>> specific = language_neurons(store, share=0.05, checkpoints=["planted-step64"])
        >>> specific.select("layer", "neuron", "language").rows()
        [(0, 10, 'es'), (0, 16, 'fr'), (0, 22, 'en'), (0, 27, 'es')]
    """
    store = as_atlas(store, "a" if keep else "r")
    answers = [TABLES["lape"].empty()]
    with Keeper(store, keep, replace) as keeper:
        for checkpoint in chosen_checkpoints(store, checkpoints):
            settings = {
                "site": site or store.lape_site(checkpoint),
                "share": share,
                "bar_quantile": bar_quantile,
                "threshold": store.recipe.count_thresholds[0] if threshold is None else threshold,
            }
            part = keeper.find("lape", checkpoint, settings, along=("token_activity",))
            if part is None:
                answers.append(_selected_neurons(keeper, checkpoint, settings))
            else:
                answers.append(TABLES["lape"].conform(part.scan().collect()))
    return pl.concat(answers)


def _selected_neurons(keeper: Keeper, checkpoint: str, settings: dict[str, Any]) -> pl.DataFrame:
    """Tables `lape` and `token_activity` of one checkpoint, computed and kept; the first is the answer."""
    from actlas.kernels import lape

    site = settings["site"]
    counts = keeper.store.token_counts(checkpoint, site, settings["threshold"])
    n_languages, n_layers, n_neurons = counts.active.shape
    axis = NeuronAxis((site,), ((n_layers, n_neurons),))
    result = lape(
        counts.active.reshape(n_languages, -1),
        counts.n_tokens,
        share=settings["share"],
        bar_quantile=settings["bar_quantile"],
    )
    neuron, language = np.nonzero(result.languages_of.T)
    selected = pl.DataFrame(
        {
            **axis.columns(neuron),
            "language": names_at(counts.languages, language),
            "p_active": result.p_active[language, neuron],
            "entropy": result.entropy[neuron],
        }
    ).sort("entropy", maintain_order=True)
    answer = TABLES["lape"].conform(selected.with_columns(pl.lit(checkpoint).alias("checkpoint")))
    if keeper.is_on:
        activity = pl.DataFrame(
            {
                "checkpoint": pl.repeat(checkpoint, axis.n_neurons, dtype=pl.String, eager=True),
                **axis.columns(np.arange(axis.n_neurons)),
                "entropy": pl.Series(result.entropy).fill_nan(None),
                "p_max": result.p_active.max(axis=0),
                "p_active": pl.Series(np.ascontiguousarray(result.p_active.T)).arr.to_list(),
            }
        )
        tables = {"lape": answer, "token_activity": TABLES["token_activity"].conform(activity)}
        keeper.put(checkpoint, tables, {**settings, "bar": result.bar})
    return answer
