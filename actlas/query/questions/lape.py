"""Language-specific neurons by the entropy of their activation probability over languages (LAPE)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from actlas.names import VERSION
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.choices import chosen_checkpoints
from actlas.query.neurons import NeuronAxis
from actlas.query.schema import TABLES


def language_neurons(
    store: Atlas | str | Path,
    *,
    checkpoints: Sequence[str] | None = None,
    site: str = "mlp_hidden",
    share: float = 0.01,
    bar_quantile: float = 0.95,
    threshold: float | None = None,
) -> pl.DataFrame:
    """Neurons that are active for few languages, with the languages they belong to.

    Counts are over tokens, not over pooled values: extraction counted them. The threshold above which a token counts
    as active is one of the recipe's (0 unless said).

    Args:
        store: With token counts. Open with mode "a", the answer is also kept as table `lape`, and the activation probabilities
            of all neurons, selected or not, as table `token_activity`.
        checkpoints: None for all.
        site: Where tokens were counted.
        share: Share of the neurons that are selected.
        bar_quantile: A neuron belongs to the languages in which it is active with a probability above this quantile of all
            probabilities; neurons that are above it in none are not selected.
        threshold: A token is active above it, one of those that were counted; None for the lowest.

    Returns:
        Columns of table `lape`: checkpoint, site, layer, neuron, language, p_active, entropy (nats); one row per
        selected neuron and language that it belongs to, lowest entropy first.

    Raises:
        CubeNotFound: If tokens were not counted at this site, or not above this threshold.
        KernelInputError: If a share or quantile is outside 0 to 1.

    Source: Tang et al. 2024.
    """
    from actlas.kernels import lape

    store = as_atlas(store)
    table = TABLES["lape"]
    answers = [table.empty()]
    for checkpoint in chosen_checkpoints(store, checkpoints):
        counts = store.token_counts(checkpoint, site, threshold)
        n_languages, n_layers, n_neurons = counts.active.shape
        axis = NeuronAxis((site,), ((n_layers, n_neurons),))
        result = lape(counts.active.reshape(n_languages, -1), counts.n_tokens, share=share, bar_quantile=bar_quantile)
        neuron, language = np.nonzero(result.languages_of.T)
        names = pl.Series(counts.languages, dtype=pl.String)
        frame = pl.DataFrame(
            {
                **axis.columns(neuron),
                "language": names.gather(language.astype(np.uint32)),
                "p_active": result.p_active[language, neuron],
                "entropy": result.entropy[neuron],
            }
        )
        frame = table.conform(frame.with_columns(pl.lit(checkpoint).alias("checkpoint")).sort("entropy", maintain_order=True))
        answers.append(frame)
        if store.mode == "a":
            settings = {
                "site": site,
                "share": share,
                "bar_quantile": bar_quantile,
                "bar": result.bar,
                "threshold": counts.threshold,
                "actlas": VERSION,
            }
            store.publish_table("lape", checkpoint, frame, settings)
            everything = pl.DataFrame(
                {
                    **axis.columns(np.arange(axis.n_neurons)),
                    "entropy": pl.Series(result.entropy).fill_nan(None),
                    "p_max": result.p_active.max(axis=0),
                    "p_active": pl.Series(np.ascontiguousarray(result.p_active.T)).arr.to_list(),
                }
            ).with_columns(pl.lit(checkpoint).alias("checkpoint"))
            store.publish_table("token_activity", checkpoint, TABLES["token_activity"].conform(everything), settings)
    return pl.concat(answers)
