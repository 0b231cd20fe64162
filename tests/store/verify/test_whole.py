from __future__ import annotations

from pathlib import Path

import pytest

from actlas.errors import StoreNotFound
from actlas.query import open_store, score_neurons
from actlas.store import Store, verify
from actlas.testing import Planting, planted_store


def a_shard(path: Path) -> Path:
    return sorted((path / "cubes").rglob("c/*/*/*"))[1]


def test_a_whole_store_has_no_damage(store_path: Path) -> None:
    found = verify(Store(store_path))
    assert found.damage == ()
    assert found.n_shards == len([p for p in store_path.rglob("c/*/*/*") if p.is_file()])
    assert found.n_bytes > 0


@pytest.mark.parametrize(("at", "named"), [(10, "damaged chunks: 0"), (-30, "its index is damaged")])
def test_one_flipped_bit_is_found_and_named(store_path: Path, at: int, named: str) -> None:
    shard = a_shard(store_path)
    data = bytearray(shard.read_bytes())
    data[at] ^= 1
    shard.write_bytes(data)
    (line,) = verify(Store(store_path)).damage
    assert str(shard.relative_to(store_path)) in line
    assert named in line


def test_missing_and_short_shards_are_found(store_path: Path) -> None:
    a_shard(store_path).unlink()
    other = sorted((store_path / "tokens").rglob("c/*/*/*"))[0]
    other.write_bytes(other.read_bytes()[:-1])
    lines = sorted(verify(Store(store_path)).damage)
    assert len(lines) == 2
    assert "missing" in lines[0]
    assert "were committed" in lines[1]


def test_a_lost_commit_record_is_found(store_path: Path) -> None:
    sorted((store_path / "manifests/model-step1/blocks").glob("*.json"))[2].unlink()
    assert verify(Store(store_path)).damage == ("manifests/model-step1/blocks: no commit record for texts 64 to 96",)


def test_a_torn_record_and_a_lost_array_are_found(store_path: Path) -> None:
    record = sorted((store_path / "manifests/model-step1/blocks").glob("*.json"))[4]
    record.write_text("{")
    (store_path / "cubes/model-step1/resid.max/zarr.json").unlink()
    lines = "\n".join(verify(Store(store_path)).damage)
    assert "000004.json: not readable as JSON" in lines
    assert "cubes/model-step1/resid.max/zarr.json: not the metadata of a group" in lines
    assert "texts 128 to 150" in lines


def test_a_record_that_says_something_else_is_found(store_path: Path) -> None:
    record = store_path / "manifests/model-step1/checkpoint.json"
    record.write_text(record.read_text().replace('"n_bytes"', '"bytes"'))
    lines = verify(store_path).damage
    assert lines[0].startswith("manifests/model-step1/checkpoint.json: not a record (Object missing required field `n_bytes`")


def test_a_path_is_enough(store_path: Path) -> None:
    assert verify(store_path) == verify(str(store_path)) == verify(Store(store_path))
    with pytest.raises(StoreNotFound):
        verify(store_path.parent / "nothing")


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """A store of one checkpoint with everything that has coordinates but states."""
    path = planted_store(tmp_path / "scored", Planting(steps=(64,), sharing=(1.0,)))
    score_neurons(path, stats=("ap",))
    return path


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
    assert verify(open_store(path)).damage == ()
    (path / "states/planted-step0/mlp_pre.max/set/c/0").unlink()
    assert verify(open_store(path)).damage == ("states/planted-step0/mlp_pre.max/set/c/0: its values are missing",)
