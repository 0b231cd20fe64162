"""What is to be known of checkpoints: which are one and the same, and which are broken."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from actlas.allowed import PositiveNumber, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_atlas


def same_weights(store: Atlas | str | Path) -> pl.DataFrame:
    """Checkpoints that hold the very same weights.

    Args:
        store: A store, or its path.

    Returns:
        Columns weight_hash, checkpoints; one row per weights that several have.

    Example:
        >>> same_weights(store).height
        0
    """
    return as_atlas(store).ask("same_weights")


@checks_arguments(QueryError)
def checkpoint_flags(store: Atlas | str | Path, *, rise: PositiveNumber = 1) -> pl.DataFrame:
    """Checkpoints that are not what they say: uploaded twice under two steps, or broken.

    Args:
        store: A store, or its path.
        rise: A checkpoint is broken if its loss on the corpus is more than this above the lowest of an earlier step, in nats.

    Returns:
        Columns checkpoint, step, weight_hash, sanity_loss, loss_rise (above the lowest of an earlier step), same_as (others with
        the same weights), is_duplicate, is_broken (null where the loss was not measured). Controls are left out.

    Example:
        >>> checkpoint_flags(store).select("checkpoint", "loss_rise", "is_duplicate", "is_broken").row(1)
        ('planted-step64', 0.0, False, False)
    """
    return as_atlas(store).ask("checkpoint_flags", rise=rise)
