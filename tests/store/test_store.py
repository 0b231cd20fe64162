from __future__ import annotations

from pathlib import Path

from actlas.store import Store


def test_a_store_is_opened_where_there_is_one(store_path: Path, tmp_path: Path) -> None:
    assert Store.at(tmp_path / "nothing") is None
    store = Store.at(store_path, "a")
    assert store is not None
    assert (store.path, store.mode) == (store_path, "a")
    assert repr(store) == f"<Store {store_path} with 1 checkpoints>"
