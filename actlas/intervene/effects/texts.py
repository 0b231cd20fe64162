"""Texts of a store that losses are taken on: the tokens that its own run gave, in batches of one language each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import QueryError
from actlas.extract.inputs.batches import plan_batches
from actlas.query.choices import chosen_labels
from actlas.store import layout
from actlas.store.files.parquet import read_parquet
from actlas.store.store import Store
from actlas.words import listed


@dataclass(frozen=True)
class PaddedTexts:
    """A batch of texts.

    Attributes:
        token_ids: int64 ``"texts tokens"``, padded on the right: a causal model never sees what follows.
        is_token: bool of the same shape, False for padding.
    """

    token_ids: NDArray[np.int64]
    is_token: NDArray[np.bool_]


@dataclass(frozen=True)
class LossTexts:
    """Texts by language.

    Attributes:
        batches: language -> its texts.
        text_ids: language -> their ids, in the order of the batches.
    """

    batches: dict[str, list[PaddedTexts]]
    text_ids: dict[str, list[int]]


def loss_texts(
    store: Store, languages: Sequence[str] | None, n_texts: int, split: str | None, seed: int, tokens_per_batch: int
) -> LossTexts:
    """Texts of every language, drawn.

    Args:
        store: With the token ids that its run made of its texts.
        languages: None for all.
        n_texts: Of each language, or all where it has fewer.
        split: Of which split; None for all.
        seed: Of the draw.
        tokens_per_batch: Padding included.

    Raises:
        QueryError: If a language is not there, or has no text of two tokens in that split.
    """
    chosen, _ = chosen_labels(store, languages, None)
    tokens = read_parquet(store.checked(store.path / layout.TOKEN_IDS))
    # earlier versions wrote arrays of fixed width where all texts have the same number of tokens
    tokens = tokens.with_columns(pl.col("token_ids").cast(pl.List(pl.Int32)))
    texts = store.corpus.texts.select("text_id", "language", "split").join(tokens, on="text_id", maintain_order="left")
    # the first token of a text is predicted by nothing
    texts = texts.filter(pl.col("token_ids").list.len() > 1)
    if split is not None:
        texts = texts.filter(pl.col("split") == split)
    found = LossTexts({}, {})
    for number, language in enumerate(chosen):
        rows = texts.filter(pl.col("language") == language)
        if rows.is_empty():
            splits = listed(store.corpus.texts["split"].drop_nulls().unique().sort().to_list())
            where = "" if split is None else f" in split {split} (splits: {splits})"
            raise QueryError(f"{store.path} has no text of {language} with two tokens or more{where}")
        order = np.random.default_rng([seed, number]).permutation(rows.height)[:n_texts]
        rows = rows[np.sort(order).tolist()]
        ids = [np.asarray(one, dtype=np.int64) for one in rows["token_ids"].to_list()]
        plan = plan_batches(np.array([len(one) for one in ids]), tokens_per_batch)
        found.batches[language] = [padded([ids[row] for row in batch]) for batch in plan]
        found.text_ids[language] = rows["text_id"].gather(np.concatenate(plan)).to_list()
    return found


def padded(texts: Sequence[NDArray[np.int64]]) -> PaddedTexts:
    """Texts as one array. Padding is token 0, which nothing sees.

    Example:
        >>> padded([np.array([5, 6]), np.array([7, 8, 9])]).token_ids.tolist()
        [[5, 6, 0], [7, 8, 9]]
    """
    lengths = np.array([len(text) for text in texts])
    is_token = np.arange(lengths.max()) < lengths[:, None]
    token_ids = np.zeros(is_token.shape, dtype=np.int64)
    token_ids[is_token] = np.concatenate(texts)
    return PaddedTexts(token_ids, is_token)
