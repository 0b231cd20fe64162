"""A tiny model that runs, for tests that read from it or intervene in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actlas.intervene import LiveModel, load_live
from actlas.testing import random_checkpoint


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Llama of two layers, with 40 neurons at mlp_pre and 24 at resid, and a tokenizer of characters."""
    return random_checkpoint(tmp_path_factory.mktemp("live") / "tiny")


@pytest.fixture(scope="module")
def live(tiny: Path) -> Iterator[LiveModel]:
    """It, loaded on the CPU."""
    with load_live(tiny, device="cpu") as loaded:
        yield loaded
