"""What neurons have at every token of a text, where that is kept."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from actlas.allowed import Count, Positive, checks_arguments
from actlas.errors import QueryError
from actlas.query.atlas import Atlas, as_atlas


@checks_arguments(QueryError)
def neuron_token_values(
    store: Atlas | str | Path, checkpoint: str, site: str, layer: Count, neuron: Count, *, n: Positive | None = None
) -> pl.DataFrame:
    """What one neuron has at every token of the texts that are strongest for it, and the characters that each token stands for.

    Args:
        store: With tables `token_values` and `token_places`, which `actlas.intervene.token_values` keeps; or its path.
        checkpoint: Which.
        site: Where the neuron is.
        layer: Where the neuron is.
        neuron: Its coordinate.
        n: How many texts; None for 10, or as many as are kept.

    Returns:
        Columns rank (of the text), text_id, language, position (of the token), piece, char_start, char_end, is_special, value.
        Tokens that share a character both have it; one that the tokenizer added has char_start = char_end.

    Raises:
        TableNotFound: If no token values are kept.
        CheckpointNotFound: If the checkpoint is not in the store.
        QueryError: If those of this neuron, or of so many texts, are not kept.

    Example:
        >>> neuron_token_values(store, "planted-step64", "mlp_pre", 0, 4)
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table token_values was not computed yet: actlas tokens ...
    """
    given = {"checkpoint": checkpoint, "site": site, "layer": layer, "neuron": neuron} | ({} if n is None else {"n": n})
    return as_atlas(store).ask("neuron_token_values", **given)
