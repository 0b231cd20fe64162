"""Cutting the texts of a corpus into parts; a text, its translations and its repetitions always stand in the same part."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray


def text_groups(texts: pl.DataFrame) -> NDArray[np.int64]:
    """Groups that a split must not cut: texts with one `parallel_id` are translations of each other, and the same string twice
    says the same twice. What is linked over several steps is one group.

    Args:
        texts: Columns text_id, text and parallel_id; one row per text.

    Returns:
        Number of the group, from 0, for every row. It depends on ids and strings alone, not on the order of the rows.

    Example:
        >>> columns = {"text_id": [1, 2, 3, 4], "text": ["yes", "oui", "yes", "no"], "parallel_id": ["a", "a", None, None]}
        >>> text_groups(pl.DataFrame(columns)).tolist()
        [0, 0, 0, 1]
    """
    keys = texts.select(
        pl.when(pl.col("parallel_id").is_null())
        .then(pl.format("text {}", "text_id"))
        .otherwise(pl.format("group {}", "parallel_id"))
    ).to_series()
    _, linked = np.unique(keys.to_numpy().astype(str), return_inverse=True)
    numbers: dict[str, int] = {}
    string = np.array([numbers.setdefault(text, len(numbers)) for text in texts["text"]], dtype=np.int64)
    group = linked.astype(np.int64)
    while True:
        # every text takes the lowest number that one of the same string, or of the same meaning, has
        before = group
        for link in (string, linked):
            lowest = np.full(group.size, group.size)
            np.minimum.at(lowest, link, group)
            group = lowest[link]
        if np.array_equal(group, before):
            break
    return np.unique(group, return_inverse=True)[1].astype(np.int64)


def split_halves(texts: pl.DataFrame, seed: int) -> NDArray[np.bool_]:
    """Which half every text of the corpus belongs to; texts that are translations or repetitions of each other share one.

    Args:
        texts: The corpus' texts.
        seed: Of the draw.

    Returns:
        True for the second half, ``"texts"``.
    """
    groups = text_groups(texts)
    n_groups = int(groups.max(initial=-1)) + 1
    second = np.zeros(n_groups, dtype=bool)
    second[np.random.default_rng(seed).permutation(n_groups)[: n_groups // 2]] = True
    return np.asarray(second[groups])
