from __future__ import annotations

from pathlib import Path

import pytest

from actlas.errors import DamagedStore, ReadOnlyStore
from actlas.query import open_store, score_neurons, top_experts
from actlas.store import Store, verify
from actlas.store.integrity.repair import repair


def a_file(store: Path, pattern: str) -> Path:
    return sorted(path for path in store.glob(pattern) if path.is_file())[0]


@pytest.mark.parametrize(
    "pattern",
    [
        "scores/planted-step64/mlp_pre.max/ap/c/0/0/0/0",
        "scores/planted-step64/mlp_pre.max/ap/zarr.json",
        "manifests/planted-step64/scores/mlp_pre.max/done.json",
        "tables/experts/checkpoint=planted-step64/*.parquet",
    ],
)
def test_what_can_be_made_again_is_retired_and_made_again(store: Path, pattern: str) -> None:
    expected = open_store(store).sql("SELECT * FROM experts ORDER BY ALL")
    damaged = a_file(store, pattern)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    table = "experts" if pattern.startswith("tables") else "scores"
    with pytest.raises(DamagedStore, match="committed"):
        open_store(store).sql(f"SELECT count(ap) FROM {table}")
    result = repair(Store(store, "a"), verify(store).damage)
    assert result.left == ()
    (name,) = result.retired
    assert name.startswith((pattern.partition("/planted")[0], "scores/planted-step64/mlp_pre.max", "tables/experts"))
    assert verify(store).damage == ()
    score_neurons(store, stats=("ap",))
    top_experts(open_store(store, "a"), k=3)
    assert verify(store).damage == ()
    assert open_store(store).sql("SELECT * FROM experts ORDER BY ALL").equals(expected)


def test_what_needs_the_model_is_left_and_nothing_that_is_whole_goes(store: Path) -> None:
    damaged = a_file(store, "cubes/planted-step64/mlp_pre.max/value/c/0/0/*")
    damaged.unlink()
    before = sorted(path for path in store.rglob("*") if path.is_file())
    found = verify(store).damage
    result = repair(Store(store, "a"), found)
    assert (result.retired, result.left) == ((), found)
    assert sorted(path for path in store.rglob("*") if path.is_file()) == before
    with pytest.raises(ReadOnlyStore):
        repair(Store(store), found)
