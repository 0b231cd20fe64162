"""A store with everything that verify compares, for tests that damage it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from actlas.query import open_store, score_neurons, top_experts
from actlas.testing import Planting, planted_store


@pytest.fixture(scope="session")
def whole_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = planted_store(tmp_path_factory.mktemp("whole") / "s", Planting(steps=(0, 64), sharing=(0.0, 1.0)))
    score_neurons(path, stats=("ap",))
    top_experts(open_store(path, "a"), k=3)
    return path


@pytest.fixture
def store(whole_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_store, tmp_path / "s"))


@pytest.fixture(scope="session")
def one_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one scored checkpoint; tests that write copy it."""
    path = planted_store(tmp_path_factory.mktemp("one") / "s", Planting(steps=(64,), sharing=(1.0,)))
    score_neurons(path, stats=("ap",))
    return path
