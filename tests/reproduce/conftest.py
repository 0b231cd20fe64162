from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from actlas.query import open_store, score_neurons
from actlas.reproduce.compression import FIGURES
from actlas.reproduce.gather import ask_missing
from actlas.testing.planted import Planting, planted_store

#: Sharing per step.
SHARING = {"model": (0.0, 0.5, 1.0), "control": (0.0, 0.0, 0.0)}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A run whose languages come to share their experts, and its control, whose languages never do, with every answer."""
    folder = tmp_path_factory.mktemp("runs")
    paths = {}
    for name, sharing in SHARING.items():
        planting = Planting(sites={"mlp_pre": (3, 40)}, token_sites={"resid": (3, 6)}, sharing=sharing)
        store = open_store(planted_store(folder / f"{name}.actlas", planting), "a")
        score_neurons(store, stats=("ap", "median", "p90"))
        ask_missing(store, FIGURES, 6)
        paths[name] = store.path
    return paths
