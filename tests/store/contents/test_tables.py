from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from actlas.errors import ReadOnlyStore, TableNotFound
from actlas.store import Store


def test_tables_are_kept_with_their_settings(store_path: Path) -> None:
    frame = pl.DataFrame({"checkpoint": ["model-step1"], "rank": [1]})
    with pytest.raises(ReadOnlyStore, match="mode='a'"):
        Store(store_path).publish_table("experts", "model-step1", frame, {})
    store = Store(store_path, "a")
    store.publish_table("experts", "model-step1", frame, {"k": 500})
    assert store.table_names() == ["experts"]
    assert store.table_settings("experts", "model-step1") == {"k": 500}
    (file,) = store.table_files("experts")
    assert pl.read_parquet(file, hive_partitioning=True).to_dicts() == [{"rank": 1, "checkpoint": "model-step1"}]
    with pytest.raises(TableNotFound, match="table overlap was not computed for model-step1; there are experts"):
        store.table_settings("overlap", "model-step1")


def test_one_walk_finds_what_is_found_table_by_table(store_path: Path) -> None:
    store, frame = Store(store_path, "a"), pl.DataFrame({"rank": [1]})
    assert store.table_parts() == {}
    store.publish_table("experts", "model-step1", frame, {"k": 500})
    store.publish_table("experts", "model-step1", frame, {"k": 3}, variant="0a1b2c3d")
    store.publish_table("overlap", "model-step1", frame, {"k": 5}, variant="4e5f6071")
    store.publish_table("experts", "of-no-checkpoint", frame, {"k": 500})
    parts = store.table_parts()
    assert parts == {
        "experts": {variant: store.table_files("experts", variant) for variant in (None, "0a1b2c3d")},
        "overlap": {"4e5f6071": store.table_files("overlap", "4e5f6071")},
    }
    assert all(len(files) == 1 for variants in parts.values() for files in variants.values())
