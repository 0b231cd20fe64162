"""How a model moves through the space of its parameters."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from actlas.allowed import Names, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_atlas
from actlas.query.choices import chosen_checkpoints
from actlas.query.space.distances import parameter_space_frame


@checks_arguments(QueryError)
def parameter_space(store: Atlas | str | Path, *, checkpoints: Names | None = None) -> pl.DataFrame:
    """Norm and spectrum of every weight matrix, and how far it is from where it was one checkpoint earlier and where it ends.

    No weights are read. Distances come from sketches, with a relative standard deviation of `relative_error`; that of
    1 - cosine is twice as much. Equal weights have distance 0, exactly. A control has no checkpoint before it.

    Args:
        store: With table `weights`, or the path of such a store.
        checkpoints: None for all. The one before and the last one are found among these, so two name a pair.

    Returns:
        Columns of table `parameter_space`, in order of steps, then of layers. Distances are null of vectors, and where the other
        checkpoint has no tensor of that name and shape.

    Raises:
        CheckpointNotFound: If a checkpoint is not in the store.
        QueryError: If nothing is known of the weights of any of them.

    Example:
        >>> space = parameter_space(store).filter(pl.col("kind") == "up")
        >>> space.select("checkpoint", "layer", pl.col("norm", "distance_previous", "distance_last").round(1)).rows()[:3]
        [('planted-step0', 0, 78.4, None, 7.9), ('planted-step0', 1, 79.0, None, 7.9), ('planted-step64', 0, 78.5, 3.9, 3.9)]
    """
    store = as_atlas(store)
    names = chosen_checkpoints(store, checkpoints)
    records = store.snapshot().checkpoints
    frame = parameter_space_frame(store, [records[name] for name in names])
    if frame.is_empty():
        raise QueryError(
            f"nothing is known of the weights of {', '.join(names)}: they were extracted with --no-weights, or by an earlier "
            "version; extract them into a new store"
        )
    return frame
