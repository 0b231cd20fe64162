"""Neurons whose average precision is above a threshold in several languages, and since when."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from actlas.allowed import Positive, Quantile, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_atlas


@checks_arguments(QueryError)
def neurons_above(store: Atlas | str | Path, checkpoint: str, concept: str, *, x: Quantile, m: Positive = 1) -> pl.DataFrame:
    """Neurons that detect a concept with an average precision above a threshold, in several languages.

    Args:
        store: With scores, or the path of such a store.
        checkpoint: Which.
        concept: Which.
        x: The threshold.
        m: In how many languages at least.

    Returns:
        Columns site, layer, neuron, n_languages, ap_min (over these languages), languages; those in most languages first.

    Raises:
        TableNotFound: If nothing was scored.
        CheckpointNotFound: If there is no such checkpoint.
        QueryError: If there is no such concept, or there are fewer languages than m.

    Example:
        >>> neurons_above(store, "planted-step128", "salt", x=0.9, m=3).select("site", "layer", "neuron", "n_languages").row(0)
        ('mlp_pre', 1, 38, 3)
    """
    return as_atlas(store).ask("neurons_above", checkpoint=checkpoint, concept=concept, x=x, m=m)


@checks_arguments(QueryError)
def first_above(store: Atlas | str | Path, concept: str, *, x: Quantile, m: Positive = 1) -> pl.DataFrame:
    """The first checkpoint at which each neuron has an average precision above a threshold in several languages at once.

    Args:
        store: With scores, or the path of such a store.
        concept: Which.
        x: The threshold.
        m: In how many languages at least.

    Returns:
        Columns site, layer, neuron, checkpoint, step, n_languages, ap_min (over these languages); neurons that never get there
        are left out, and controls are no step.

    Raises:
        TableNotFound: If nothing was scored.
        QueryError: If there is no such concept, or there are fewer languages than m.

    Example:
        >>> first_above(store, "salt", x=0.9, m=3)["step"].unique().to_list()
        [64, 128]
    """
    return as_atlas(store).ask("first_above", concept=concept, x=x, m=m)
