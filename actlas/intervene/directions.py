"""The direction from some languages to another: a difference of means over tokens, which `steer` adds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from actlas.allowed import Positive, Seed, checks_arguments
from actlas.errors import QueryError
from actlas.intervene.live import LiveModel
from actlas.query.atlas import Atlas
from actlas.query.choices import chosen_labels


@checks_arguments(QueryError)
def language_direction(
    store: Atlas,
    live: LiveModel,
    language: str,
    *,
    against: Sequence[str] | None = None,
    sites: Sequence[str] = ("mlp_hidden",),
    n_texts: Positive = 64,
    split: str | None = None,
    seed: Seed = 0,
) -> pl.DataFrame:
    """What makes the mean of other languages' tokens that of a language's, at every neuron of some sites.

    Args:
        store: Whose texts the means are taken on.
        live: The model, a checkpoint of the store.
        language: Where the direction leads.
        against: Where it comes from, each language counting alike; None for all others.
        sites: Of the neurons.
        n_texts: Texts per language at most.
        split: Of which split of the corpus; None for all.
        seed: Of the draw of the texts.

    Returns:
        Columns site, layer, neuron, value, for ``steer(live, frame, how="add")``; and weight_hash.

    Raises:
        QueryError: If a language is not there, or is its own opposite.

    Source: Difference of means, as in Tang et al. 2024 for sets; here of whole sites.

    Example:
        >>> from actlas.intervene import load_live
        >>> from actlas.testing import random_checkpoint
        >>> texts = pl.DataFrame({"text": ["a cat", "two dogs", "ein Hund"], "language": ["en", "en", "de"]})
        >>> labels = pl.DataFrame({"text_id": [0, 1], "concept": ["cat", "cat"], "is_concept": [True, False]})
        >>> corpus = actlas.corpus_from_frames(texts, labels)
        >>> summary = actlas.extract_activations(random_checkpoint(folder / "tiny"), corpus, folder / "own.actlas", device="cpu")
        >>> own = actlas.open_store(folder / "own.actlas")
        >>> with load_live(own, "tiny", device="cpu") as live:
        ...     direction = language_direction(own, live, "de")
        >>> direction.columns, direction.height
        (['site', 'layer', 'neuron', 'value', 'weight_hash'], 80)
    """
    # here, and not above: importing this loads no torch
    from actlas.intervene.effects.losses import token_means, tokens_per_batch
    from actlas.intervene.effects.texts import loss_texts

    others = [name for name in store.corpus.languages if name != language] if against is None else list(against)
    chosen_labels(store, [language, *others], None)
    if language in others or not others:
        raise QueryError(f"a direction leads from other languages to {language}, and these are {', '.join(others) or 'none'}")
    texts = loss_texts(store, [language, *others], n_texts, split, seed, tokens_per_batch(live))
    means = token_means(live, texts, list(sites))
    parts = []
    for site in sites:
        value = means[language][site] - np.mean([means[name][site] for name in others], axis=0)
        layer, neuron = (index.reshape(-1) for index in np.indices(value.shape))
        parts.append(pl.DataFrame({"site": site, "layer": layer, "neuron": neuron, "value": value.reshape(-1)}))
    frame = pl.concat(parts).with_columns(pl.lit(live.weight_hash).alias("weight_hash"))
    return frame.cast({"layer": pl.Int32, "neuron": pl.Int32, "value": pl.Float32})
