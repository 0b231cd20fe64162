from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from actlas.errors import (
    CheckpointNotFound,
    CubeNotFound,
    ReadOnlyStore,
    RecipeMismatch,
    ScoresNotFound,
    StoreNotFound,
    TableNotFound,
)
from actlas.store import Store
from tests.store.conftest import LAYERS, NEURONS, Planted


def test_checkpoints_come_by_step_not_by_name(planted: Planted, tmp_path: Path) -> None:
    for name, step in (("model-step1000", 1000), ("model-step64", 64), ("model-final", None)):
        planted.write(tmp_path / "s", name, step)
    store = Store(tmp_path / "s")
    assert store.checkpoints == ["model-step64", "model-step1000", "model-final"]
    assert store.sites("model-step64") == ["mlp_hidden", "resid"]
    assert store.shape("model-step64", "mlp_hidden") == (LAYERS, NEURONS)
    assert store.corpus.texts["n_tokens"].to_list() == planted.tokens.lengths.tolist()


def test_what_is_not_there_is_named_with_what_is(store_path: Path) -> None:
    store = Store(store_path)
    with pytest.raises(CheckpointNotFound, match="it has model-step1"):
        store.checkpoint("other")
    with pytest.raises(CubeNotFound, match="the store has checkpoints model-step1"):
        store.cube("other", "resid")
    with pytest.raises(KeyError, match="the store has mlp_hidden, resid"):
        store.cube("model-step1", "attn_out")
    with pytest.raises(CubeNotFound, match="pooled with max"):
        store.cube("model-step1", "resid", pooling="mean")
    with pytest.raises(CubeNotFound, match="kept are resid"):
        store.token_cube("model-step1", "embed")
    with pytest.raises(ScoresNotFound, match="actlas score"):
        store.scores("model-step1", "resid")
    with pytest.raises(TableNotFound):
        store.table_settings("experts", "model-step1")


def test_a_folder_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match="actlas extract"):
        Store(tmp_path)
    with pytest.raises(FileNotFoundError):
        Store(tmp_path / "nothing")


def test_two_score_runs_exclude_each_other(store_path: Path) -> None:
    store = Store(store_path, "a")
    about = {"stats": ("ap",), "languages": ("en", "es"), "concepts": ("water",), "settings": {}}
    with store.score_writer("model-step1", "resid", **about), pytest.raises(RecipeMismatch, match="right now"):
        store.score_writer("model-step1", "resid", **about)


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
