from __future__ import annotations

from pathlib import Path

import pytest

from actlas.errors import CubeNotFound
from actlas.store import Store


def test_what_is_not_there_is_named_with_what_is(store_path: Path) -> None:
    store = Store(store_path)
    with pytest.raises(CubeNotFound, match="the store has checkpoints model-step1"):
        store.cube("other", "resid")
    with pytest.raises(KeyError, match="the store has mlp_hidden, resid"):
        store.cube("model-step1", "attn_out")
    with pytest.raises(CubeNotFound, match="pooled with max"):
        store.cube("model-step1", "resid", pooling="mean")
    with pytest.raises(CubeNotFound, match="kept are resid"):
        store.token_cube("model-step1", "embed")
