"""Frames that may become a corpus: every column of the kind it should be, and every label about a text that is there."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from actlas.errors import CorpusError
from actlas.store.corpus.cells import Table, ids_of, labels_of, listed, name_of, shown, string_of, strings

TEXT_SCHEMA = {
    "text_id": pl.Int64,
    "text": pl.String,
    "language": pl.String,
    "parallel_id": pl.String,
    "split": pl.String,
}
LABEL_SCHEMA = {"text_id": pl.Int64, "concept": pl.String, "is_concept": pl.Boolean}


def checked_texts(texts: pl.DataFrame) -> pl.DataFrame:
    """Texts whose strings are strings and not empty; parallel_id and split are there.

    Raises:
        CorpusError: Naming the column and its first rows that are not.
    """
    if "text_id" in texts.columns and "source_id" in texts.columns:
        raise CorpusError("text_id and source_id are both columns of the texts; text_ids are kept as source_id: drop one of them")
    if strange := [name for name, dtype in texts.schema.items() if dtype == pl.Object]:
        raise CorpusError(f"column {listed(map(repr, strange))} holds Python objects, which are not kept")
    columns: list[pl.Expr | pl.Series] = []
    for name in TEXT_SCHEMA:
        if name == "text_id":
            continue
        if name not in texts.columns:
            columns.append(pl.lit(None, pl.String).alias(name))
            continue
        cells = _plain(texts[name])
        if cells.dtype not in (pl.String, pl.Null):
            table = Table({name: cells.to_list()}, range(1, texts.height + 1), "row")
            cells = pl.Series(
                name, strings(table, name, "texts", string_of if name in ("text", "language") else name_of), dtype=pl.String
            )
        nul = cells.cast(pl.String).str.contains("\0", literal=True).fill_null(False).arg_true().to_list()
        if nul:
            raise CorpusError(f"row {nul[0] + 1}: column {name!r} holds a NUL character, which is in no text")
        columns.append(cells.cast(pl.String))
    texts = texts.with_columns(columns)
    for column in ("text", "language"):
        empty = (texts[column].fill_null("").str.strip_chars() == "").arg_true().to_list()
        if empty:
            rows = listed(str(row + 1) for row in empty)
            raise CorpusError(f"{len(empty):,} of {texts.height:,} texts have an empty {column}: rows {rows}")
    return texts


def _plain(cells: pl.Series) -> pl.Series:
    """Strings that are kept as numbers of categories, as strings."""
    return cells.cast(pl.String) if cells.dtype in (pl.Categorical, pl.Enum) else cells


def checked_ids(texts: pl.DataFrame) -> pl.Series:
    """Column text_id: all strings or all whole numbers, none twice.

    Raises:
        CorpusError: If they are not.
    """
    keys = _plain(texts["text_id"])
    if not (keys.dtype.is_integer() or keys.dtype in (pl.String, pl.Null)):
        keys = pl.Series("text_id", ids_of(Table({"text_id": keys.to_list()}, range(1, len(keys) + 1), "row"), "texts"))
    if keys.null_count() or keys.n_unique() != len(keys):
        twice = keys.filter(keys.is_duplicated()).unique(maintain_order=True).cast(pl.String).to_list()
        raise CorpusError(f"text ids must be unique and present; {len(twice):,} repeat: {listed(map(str, twice))}")
    return keys


def checked_labels(labels: pl.DataFrame, ids: pl.DataFrame) -> pl.DataFrame:
    """Labels by the text_ids of the corpus, sorted; each once.

    Args:
        labels: As given: text_id, concept, is_concept.
        ids: text_id as given, and `_id`, the one that the corpus gives that text.

    Raises:
        CorpusError: If a label is none, its text is not in the corpus, or two contradict each other.
    """
    if labels["is_concept"].dtype != pl.Boolean:
        is_concept, wrong = labels_of(labels["is_concept"].to_list())
        if wrong:
            found = listed(dict.fromkeys(map(shown, wrong.values())))
            raise CorpusError(f"{len(wrong):,} of {labels.height:,} labels are neither true nor false: {found}")
        labels = labels.with_columns(pl.Series("is_concept", is_concept, dtype=pl.Boolean))
    labels = labels.select("text_id", "concept", "is_concept").filter(pl.col("is_concept").is_not_null())
    concepts = _plain(labels["concept"])
    if not (concepts.dtype in (pl.String, pl.Null) or concepts.dtype.is_integer()):
        raise CorpusError(f"concepts are named by {concepts.dtype}; a name is a string")
    labels = labels.with_columns(concepts.cast(pl.String))
    if labels["concept"].null_count() or (labels["concept"].str.strip_chars() == "").any():
        raise CorpusError("a concept has an empty name")
    if labels["concept"].str.contains("\0", literal=True).any():
        raise CorpusError("the name of a concept holds a NUL character")
    given = _plain(labels["text_id"])
    if not (given.dtype.is_integer() or given.dtype in (pl.String, pl.Null)):
        raise CorpusError(f"the text_id of labels is {given.dtype}; text ids are strings or whole numbers")
    joined = labels.with_columns(given.cast(ids["text_id"].dtype, strict=False)).join(
        ids, on="text_id", how="left", maintain_order="left"
    )
    unknown = given.filter(joined["_id"].is_null()).unique(maintain_order=True).cast(pl.String).to_list()
    if unknown:
        raise CorpusError(f"labels name {len(unknown):,} texts that are not in the corpus: {listed(map(str, unknown))}")
    joined = joined.select(pl.col("_id").alias("text_id"), "concept", "is_concept").unique().sort("text_id", "concept")
    twice = joined.filter(pl.struct("text_id", "concept").is_duplicated())
    if twice.height:
        first = twice.row(0, named=True)
        raise CorpusError(f"text {first['text_id']} is labelled both true and false for concept {first['concept']!r}")
    return joined


def check_columns(frame: pl.DataFrame, needed: Iterable[str]) -> None:
    """Refuse a frame without some columns."""
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise CorpusError(f"no column {', '.join(missing)}; there are {', '.join(frame.columns) or 'none'}")
