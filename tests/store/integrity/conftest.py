"""A store with everything that verify compares, for tests that damage it."""

from __future__ import annotations

from pathlib import Path

import pytest

from actlas.query import open_store, score_neurons, top_experts
from actlas.testing import Planting, planted_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = planted_store(tmp_path / "s", Planting(steps=(0, 64), sharing=(0.0, 1.0)))
    score_neurons(path, stats=("ap",))
    top_experts(open_store(path, "a"), k=3)
    return path
