from __future__ import annotations

from pathlib import Path

import pytest

from actlas.errors import CheckpointNotFound
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


def test_a_checkpoint_that_is_not_there_is_named_with_what_is(store_path: Path) -> None:
    with pytest.raises(CheckpointNotFound, match="it has model-step1"):
        Store(store_path).checkpoint("other")
