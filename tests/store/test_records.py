"""Records are typed, and written as the same JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actlas.errors import DamagedStore, FormatTooNew
from actlas.store import Store
from actlas.store.files.atomic import to_json
from actlas.store.records import (
    BlockRecord,
    CheckpointRecord,
    ShardRecord,
    begun_checkpoints,
    block_record,
    read_about,
    read_record,
)
from tests.store.conftest import Planted

OLD = Path(__file__).resolve().parent.parent / "data" / "store_v1"


def test_typed_records_are_written_as_the_same_json() -> None:
    shard = ShardRecord("cubes/a/c/0", 12, digest="ab", chunk_sums="AAAA")
    block = BlockRecord(0, 8, (3, 4), 1.5, 7, (shard,), {"resid": (5, 6)})
    plain = {"path": "cubes/a/c/0", "n_bytes": 12, "digest": "ab", "chunk_sums": "AAAA"}
    as_dicts = {"start": 0, "stop": 8, "n_tokens": [3, 4], "loss_sum": 1.5, "loss_tokens": 7, "shards": [plain]}
    as_dicts["lost_vectors"] = {"resid": [5, 6]}
    assert to_json({"block": block}) == to_json({"block": as_dicts})
    assert block_record(json.loads(to_json({"block": block}))["block"]) == block


def test_records_of_the_first_format_are_read() -> None:
    record = read_record(OLD / "manifests/planted-step64/checkpoint.json", CheckpointRecord.from_json)
    assert (record.step, record.states, record.counts) == (64, {}, ("mlp_hidden",))
    assert record.n_tokens == {"en": 100, "es": 95}
    assert record.provenance["shards"][0]["n_bytes"] == record.shards[0].n_bytes
    assert [record.checkpoint for record in begun_checkpoints(OLD)] == ["planted-step0", "planted-step64"]


@pytest.mark.parametrize(
    ("about", "site"),
    [
        ({"lape_site": "mlp_pre"}, "mlp_pre"),
        ({"lape_site": None, "modules": {"mlp_hidden": ["h.0.mlp.fc2:input"]}}, None),
        # earlier versions
        ({"modules": {"mlp_hidden": ["model.layers.0.mlp.down_proj:input"]}}, "mlp_pre"),
        ({"modules": {"mlp_hidden": ["transformer.h.0.mlp.c_proj:input"]}}, "mlp_hidden"),
        ({}, "mlp_hidden"),
    ],
)
def test_where_lape_counts_is_recorded_or_known_by_the_modules(about: dict[str, Any], site: str | None) -> None:
    assert CheckpointRecord.from_json({"checkpoint": "c", "model": "m", **about}).lape_site == site


@pytest.mark.parametrize("text", ["{", "[]", '{"checkpoint": 5, "model": "m"}'])
def test_a_record_that_is_none_is_named(text: str, store_path: Path) -> None:
    record = store_path / "manifests/model-step1/checkpoint.json"
    record.write_text(text)
    with pytest.raises(DamagedStore, match=r"checkpoint\.json .* committed"):
        Store(store_path).checkpoint("model-step1")


def test_a_later_format_says_so(store_path: Path, planted: Planted) -> None:
    root = store_path / "zarr.json"
    about = json.loads(root.read_text())
    about["attributes"]["actlas"]["format"] = 99
    root.write_text(json.dumps(about))
    for attempt in (lambda: Store(store_path), lambda: Store.at(store_path), lambda: planted.writer(store_path)):
        with pytest.raises(FormatTooNew, match=r"has format 99, and this version of actlas reads formats up to \d+; install"):
            attempt()


def test_a_folder_without_a_store_has_none(tmp_path: Path, store_path: Path) -> None:
    assert Store.at(tmp_path / "nothing") is None
    assert read_about(tmp_path) is None
    (tmp_path / "zarr.json").write_text('{"attributes": {}}')
    assert Store.at(tmp_path) is None
    store = Store.at(store_path, "a")
    assert isinstance(store, Store)
    assert store.mode == "a"
