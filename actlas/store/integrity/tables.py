"""The Parquet files of a store: whether they can be read, and are what the store says that they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from polars import selectors

from actlas.errors import ActlasError, DamagedStore
from actlas.store import layout
from actlas.store.corpus.fingerprint import is_fingerprint_of
from actlas.store.corpus.text_sets import sets_frame
from actlas.store.files.parquet import parquet_metadata, read_parquet
from actlas.store.integrity.manifests import Manifest
from actlas.store.notes.health import file_fault
from actlas.store.store import Store

_NEEDED: dict[str, dict[str, Any]] = {
    layout.TEXTS: {"text_id": pl.Int64, "text": pl.String, "language": pl.String},
    layout.LABELS: {"text_id": pl.Int64, "concept": pl.String, "is_concept": pl.Boolean},
    layout.TOKEN_IDS: {"text_id": pl.Int64, "token_ids": pl.List(pl.Int32)},
}


def corpus_faults(store: Store) -> Iterator[str]:
    """What is wrong with texts, labels and tokens. Without digests they are told from others by what they have to agree in."""
    frames: dict[str, pl.DataFrame] = {}
    for path, columns in _NEEDED.items():
        try:
            frames[path] = _frame_with(store.path, path, columns)
        except DamagedStore as error:
            yield _line(store.path, path, error)
    if layout.TEXTS not in frames:
        return
    texts = frames[layout.TEXTS]
    if layout.LABELS in frames and not is_fingerprint_of(store.about["corpus_fingerprint"], texts, frames[layout.LABELS]):
        yield f"{layout.TEXTS}: together with {layout.LABELS} it is not the corpus that this store was made of"
    if layout.TOKEN_IDS in frames:
        tokens = frames[layout.TOKEN_IDS]
        lengths = tokens["token_ids"].list.len().cast(pl.Int64)
        is_same = tokens["text_id"].equals(texts["text_id"])
        if not is_same or ("n_tokens" in texts.columns and not lengths.equals(texts["n_tokens"].cast(pl.Int64))):
            yield f"{layout.TOKEN_IDS}: its texts or their lengths are not those of {layout.TEXTS}"
        else:
            yield from _sample_faults(store, tokens)
    yield from _set_faults(store)


def _sample_faults(store: Store, tokens: pl.DataFrame) -> Iterator[str]:
    path = layout.SAMPLED_TOKENS
    if not store.recipe.tokens.per_text and not (store.path / path).exists():
        return
    try:
        sample = _frame_with(store.path, path, {"row": pl.Int64, "text_id": pl.Int64, "position": pl.Int32, "token_id": pl.Int32})
    except DamagedStore as error:
        if (store.path / path).exists() or store.recipe.tokens.sites:
            yield _line(store.path, path, error)
        return
    if not (sample["row"].diff().drop_nulls() > 0).all():
        yield f"{path}: its rows are not in order"
    found = sample.join(tokens, on="text_id", how="left", maintain_order="left")
    stands_there = found["token_ids"].list.get(found["position"].cast(pl.Int64), null_on_oob=True) if found.height else None
    if stands_there is not None and not stands_there.eq_missing(found["token_id"]).all():
        yield f"{path}: its tokens are not those that stand at these places of {layout.TOKEN_IDS}"


def _set_faults(store: Store) -> Iterator[str]:
    if store.recipe.states is None:
        return
    try:
        if not read_parquet(store.path / layout.STATE_SETS).equals(sets_frame(store.text_sets)):
            yield f"{layout.STATE_SETS}: not the sets of the texts and labels of this store"
    except ActlasError as error:
        yield _line(store.path, layout.STATE_SETS, error)


def table_faults(store: Store) -> Iterator[str]:
    """Parts of kept answers that cannot be read, or do not say what they were made with."""
    root = store.path
    for path in sorted(part for parts in store.table_parts().values() for variant in parts.values() for part in variant):
        name = str(path.relative_to(root))
        try:
            read_parquet(path)
            if "actlas_settings" not in parquet_metadata(path):
                yield f"{name}: it does not say what it was made with"
        except DamagedStore as error:
            yield _line(root, name, error)


def record_table_faults(root: Path, manifest: Manifest) -> Iterator[str]:
    """Whether the tables that lie beside the record of a checkpoint are those that it names."""
    for file, digest in ({} if manifest.record is None else manifest.record.tables).items():
        if (fault := file_fault(root / manifest.path / file, digest)) is not None:
            yield f"{manifest.path}/{file}: {fault}"


def _frame_with(root: Path, path: str, columns: dict[str, Any]) -> pl.DataFrame:
    # earlier versions wrote arrays of fixed width where all texts have the same number of tokens
    frame = read_parquet(root / path).with_columns(selectors.array().arr.to_list())
    wrong = [name for name, dtype in columns.items() if frame.schema.get(name) != dtype]
    if wrong:
        raise DamagedStore(f"{root / path} has no column {', '.join(wrong)} of the kind that was written")
    return frame


def _line(root: Path, path: str, error: ActlasError) -> str:
    """An error about a file as a fault, which begins with its path inside the store."""
    return f"{path}: {str(error).removeprefix(str(root / path)).strip()}"
