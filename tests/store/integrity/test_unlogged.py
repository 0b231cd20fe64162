"""Stores of earlier versions: whatever a file has to agree in with another one is compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from actlas.query import open_store
from actlas.store import Store, verify
from actlas.testing import Planting, planted_store


def without_log(path: Path) -> Path:
    """Make a store without kept answers one of an earlier version, which has no log."""
    root = json.loads((path / "zarr.json").read_text())
    root["attributes"]["actlas"].pop("log", None)
    (path / "zarr.json").write_text(json.dumps(root))
    shutil.rmtree(path / "log", ignore_errors=True)
    return path


def test_a_lost_commit_record_is_found(store_path: Path) -> None:
    without_log(store_path)
    sorted((store_path / "manifests/model-step1/blocks").glob("*.json"))[2].unlink()
    assert verify(Store(store_path)).damage == ("manifests/model-step1/blocks: no commit record for texts 64 to 96",)


def test_a_torn_record_and_a_lost_array_are_found(store_path: Path) -> None:
    without_log(store_path)
    record = sorted((store_path / "manifests/model-step1/blocks").glob("*.json"))[4]
    record.write_text("{")
    (store_path / "cubes/model-step1/resid.max/zarr.json").unlink()
    lines = "\n".join(verify(Store(store_path)).damage)
    assert "000004.json: not readable as JSON" in lines
    assert "cubes/model-step1/resid.max/zarr.json: not the metadata of a group" in lines
    assert "texts 128 to 150" in lines


def test_a_record_that_says_something_else_is_found(store_path: Path) -> None:
    without_log(store_path)
    record = store_path / "manifests/model-step1/checkpoint.json"
    record.write_text(record.read_text().replace('"n_bytes"', '"bytes"'))
    lines = verify(store_path).damage
    assert lines[0].startswith("manifests/model-step1/checkpoint.json: not a record (Object missing required field `n_bytes`")


@pytest.fixture
def scored(one_checkpoint: Path, tmp_path: Path) -> Path:
    """A store of one checkpoint with everything that has coordinates but states."""
    return without_log(Path(shutil.copytree(one_checkpoint, tmp_path / "scored")))


GROUPS = {
    "cubes/planted-step64/mlp_pre.max": ("layer", "neuron", "text_id"),
    "tokens/planted-step64/resid": ("layer", "channel", "text_id"),
    "counts/planted-step64/mlp_hidden": ("language", "layer", "neuron"),
    "scores/planted-step64/mlp_hidden.max": ("language", "concept", "layer", "neuron"),
}


@pytest.mark.parametrize("group", GROUPS)
def test_coordinates_that_are_missing_damaged_or_of_another_store_are_named(scored: Path, group: str) -> None:
    first, second, third = (f"{group}/{name}" for name in GROUPS[group][:3])
    (scored / first / "c/0").unlink()
    data = bytearray((scored / second / "c/0").read_bytes())
    data[-1] ^= 1
    (scored / second / "c/0").write_bytes(data)
    (scored / third / "zarr.json").unlink()
    damage = verify(Store(scored)).damage
    assert len(damage) == 4
    assert f"{first}/c/0: its values are missing" in damage
    assert any(line.startswith(f"{second}/c/0: its values cannot be read") for line in damage)
    assert f"{third}/zarr.json: not the metadata of an array" in damage


def test_whole_coordinates_with_other_values_are_named(scored: Path, tmp_path: Path) -> None:
    other = planted_store(tmp_path / "other", Planting(languages=("de", "en", "es"), steps=(64,), sharing=(1.0,)))
    counts = "counts/planted-step64/mlp_hidden/language/c/0"
    (scored / counts).write_bytes((other / counts).read_bytes())
    assert verify(Store(scored)).damage == (
        "counts/planted-step64/mlp_hidden/language/c/0: other values than the language of this store",
    )


def test_a_group_that_says_something_else_of_its_arrays_is_named(scored: Path) -> None:
    name = "cubes/planted-step64/mlp_pre.max"
    group = scored / name
    text = (group / "zarr.json").read_text()
    (group / "zarr.json").write_text(text.replace("float16", "float32"))
    (scored / "tables/zarr.json").unlink()
    assert verify(Store(scored)).damage == (
        f"{name}/zarr.json: what it says of value differs from {name}/value/zarr.json",
        "tables/zarr.json: not the metadata of a group",
    )


def test_states_have_coordinates_that_are_verified(tmp_path: Path) -> None:
    path = planted_store(tmp_path / "s", Planting(steps=(0,), sharing=(0.0,), states=("moments",)))
    without_log(path)
    assert verify(open_store(path)).damage == ()
    (path / "states/planted-step0/mlp_pre.max/set/c/0").unlink()
    assert verify(open_store(path)).damage == ("states/planted-step0/mlp_pre.max/set/c/0: its values are missing",)
