from __future__ import annotations

from pathlib import Path

import pytest

from actlas.errors import OptionError, ReadOnlyStore, StoreNotFound
from actlas.store import Store


def test_a_folder_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match="actlas extract"):
        Store(tmp_path)
    with pytest.raises(FileNotFoundError):
        Store(tmp_path / "nothing")


def test_only_mode_a_keeps_things(store_path: Path) -> None:
    with pytest.raises(OptionError, match="mode 'w' is not known"):
        Store(store_path, "w")
    with pytest.raises(ReadOnlyStore, match="scores can not be kept; open it with mode='a'"):
        Store(store_path).score_writer("model-step1", "resid", stats=(), languages=(), concepts=(), settings={})
