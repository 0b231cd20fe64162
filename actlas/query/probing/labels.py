"""What probes read off vectors: the language, a concept, a meaning, or any column of the vectors' table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import QueryError
from actlas.query.splits import text_groups
from actlas.store.corpus.corpus import Corpus
from actlas.words import listed, no_such

#: ``concept:water`` asks whether a text expresses water; ``concept`` which one of all, of texts that express exactly one.
_CONCEPT = "concept"


@dataclass(frozen=True)
class Labelled:
    """The vectors that have a label, and what a split must not cut.

    Attributes:
        rows: Which vectors, of all of the table.
        codes: The label of each of them, as an index into `names`.
        names: Labels, sorted.
        groups: A number per vector; vectors of one group are all trained on, or all tested on.
        languages: The language of each of them.
        grouped_by: What the groups are, in the plural.
    """

    rows: NDArray[np.int64]
    codes: NDArray[np.int64]
    names: tuple[str, ...]
    groups: NDArray[np.int64]
    languages: NDArray[np.str_]
    grouped_by: str = "groups of texts"


def labelled(corpus: Corpus, table: pl.DataFrame, label: str) -> Labelled:
    """The vectors that have a label.

    A split never cuts a text from its translations. With label "parallel_id", where those are the class, it cuts no language:
    what was learned in some languages is tested in others.

    Args:
        corpus: Of the store.
        table: One row per vector, with its text_id and language.
        label: "concept:NAME", "concept", or a column of the table.

    Raises:
        QueryError: If there is no such label, or fewer than two of it.
    """
    if label == _CONCEPT or label.startswith(f"{_CONCEPT}:"):
        of_text = _concepts(corpus, label.removeprefix(_CONCEPT).removeprefix(":"))
        column = table.select("text_id").join(of_text, on="text_id", how="left", maintain_order="left")["label"]
    elif label in table.columns:
        column = table[label].cast(pl.String)
    else:
        raise QueryError(
            f"vectors have no label {label!r} to probe for; they have {', '.join(table.columns)}, "
            f"{_CONCEPT} (which of all) and {_CONCEPT}:NAME (whether that one)"
        )
    names = sorted(column.drop_nulls().unique().to_list())
    if len(names) < 2:
        raise QueryError(f"a probe needs two labels or more; {label} has {', '.join(names) or 'none'}")
    rows = np.flatnonzero(column.is_not_null().to_numpy())
    codes = column.drop_nulls().replace_strict(names, range(len(names)), return_dtype=pl.Int64).to_numpy()
    languages = table["language"].gather(rows).to_numpy().astype(str)
    if label == "parallel_id":
        return Labelled(rows, codes, tuple(names), _numbers(languages), languages, "languages")
    of_text = corpus.texts.select("text_id", pl.Series("group", text_groups(corpus.texts)))
    groups = table.select("text_id").join(of_text, on="text_id", how="left", maintain_order="left")["group"].to_numpy()[rows]
    return Labelled(rows, codes, tuple(names), _numbers(groups), languages)


def _numbers(groups: NDArray[Any]) -> NDArray[np.int64]:
    """Groups counted from 0; those of texts without a vector take no part."""
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def _concepts(corpus: Corpus, concept: str) -> pl.DataFrame:
    """Columns text_id and label; texts that are excluded from a concept, or have none or several of all, are left out."""
    labels = corpus.labels.select("text_id", "concept", "is_concept")
    if concept:
        if concept not in corpus.concepts:
            raise QueryError(no_such("concept", [concept], corpus.concepts, "the corpus"))
        own = labels.filter(pl.col("concept") == concept)
        return own.select(
            "text_id", pl.when("is_concept").then(pl.lit(concept)).otherwise(pl.lit(f"not {concept}")).alias("label")
        )
    alone = labels.filter("is_concept").group_by("text_id").agg(pl.col("concept").first().alias("label"), pl.len().alias("n"))
    alone = alone.filter(pl.col("n") == 1)
    if alone.is_empty():
        raise QueryError(f"no text expresses exactly one of the concepts {listed(corpus.concepts)}; probe for one: concept:NAME")
    return alone.select("text_id", "label")


def control_codes(table: pl.DataFrame, of: Labelled, seed: int) -> NDArray[np.int64]:
    """A label for each vector that only its token says, drawn once per kind of token from the labels that there are.

    A probe that reads it off other texts knows the tokens by heart, not what they say.
    """
    kinds = np.unique(table["token_id"].gather(of.rows).to_numpy(), return_inverse=True)[1]
    return np.random.default_rng((seed, 1)).choice(of.codes, size=int(kinds.max()) + 1)[kinds]
