from __future__ import annotations

import pytest

from actlas.query import Atlas, open_store
from actlas.testing.planted import Planting, planted_store


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """Cubes of 2 x 5 x 3 chunks: layers, groups of 128 neurons, blocks of 64 texts."""
    planting = Planting(sites={"mlp_pre": (2, 600)}, steps=(0, 1), sharing=(0, 1), token_sites={}, n_groups=64)
    return open_store(planted_store(tmp_path_factory.mktemp("plan") / "wide.actlas", planting))
