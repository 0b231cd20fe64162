"""A store that was made of the tiny model: experts, LAPE's neurons and all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import actlas
from actlas.query import Atlas, open_store

SITES = ("attn_out", "attn_qkv", "mlp_hidden", "mlp_out", "mlp_pre", "resid")
TEXTS = {
    "en": ["a cat", "two dogs sleep", "the cat eats", "a dog", "cats and dogs", "no animal here at all"],
    "de": ["eine Katze", "zwei Hunde schlafen", "die Katze frisst", "ein Hund", "Katzen und Hunde", "hier ist gar kein Tier"],
}


@pytest.fixture(scope="session")
def extracted(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored store of the tiny model; tests only read it."""
    rows = [{"text": text, "language": language} for language, texts in TEXTS.items() for text in texts]
    labels = pl.DataFrame({"text_id": range(12), "concept": "cat", "is_concept": [True, False, True, False, True, False] * 2})
    corpus = actlas.corpus_from_frames(pl.DataFrame(rows), labels)
    path = tmp_path_factory.mktemp("tokens") / "run.actlas"
    actlas.extract_activations(tiny, corpus, path, sites=SITES, device="cpu")
    actlas.score_neurons(path)
    return path


@pytest.fixture
def store(extracted: Path, tmp_path: Path) -> Callable[[], Atlas]:
    """Opens a copy of it for writing, always the same one."""
    path = tmp_path / "run.actlas"
    shutil.copytree(extracted, path)
    return lambda: open_store(path, "a")
