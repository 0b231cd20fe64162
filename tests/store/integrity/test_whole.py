from __future__ import annotations

from pathlib import Path

import pytest

from actlas.errors import StoreNotFound
from actlas.store import Store, verify


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


def test_a_path_is_enough(store_path: Path) -> None:
    assert verify(store_path) == verify(str(store_path)) == verify(Store(store_path))
    with pytest.raises(StoreNotFound):
        verify(store_path.parent / "nothing")
