"""Cutting the texts of a corpus into parts; a text and its translations always stand in the same part."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray


def text_groups(texts: pl.DataFrame) -> NDArray[np.int64]:
    """Groups that a split must not cut: texts with one `parallel_id` are translations of each other, a text without
    one stands alone.

    Args:
        texts: Columns text_id and parallel_id; one row per text, or per token.

    Returns:
        Number of the group, from 0, for every row. It depends on the ids alone, not on the order of the rows.
    """
    keys = texts.select(
        pl.when(pl.col("parallel_id").is_null())
        .then(pl.format("text {}", "text_id"))
        .otherwise(pl.format("group {}", "parallel_id"))
    ).to_series()
    _, group_of = np.unique(keys.to_numpy().astype(str), return_inverse=True)
    return group_of.astype(np.int64)


def split_halves(texts: pl.DataFrame, seed: int) -> NDArray[np.bool_]:
    """Which half every text of the corpus belongs to; texts that are translations of each other share one.

    Args:
        texts: The corpus' texts.
        seed: Of the draw.

    Returns:
        True for the second half, ``"texts"``.
    """
    groups = text_groups(texts)
    n_groups = int(groups.max()) + 1
    second = np.zeros(n_groups, dtype=bool)
    second[np.random.default_rng(seed).permutation(n_groups)[: n_groups // 2]] = True
    return np.asarray(second[groups])
