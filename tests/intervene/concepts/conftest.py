"""A store of the prompts of two pairs of languages, whose vectors were kept at the word to translate."""

from __future__ import annotations

from pathlib import Path

import pytest

from actlas.extract import extract_activations
from actlas.intervene.concepts.prompts import translation_prompts
from actlas.names import TokenSample
from tests.intervene.concepts.models import word_model

LANGUAGES = ["en", "fr", "de", "it", "es"]
N_PAIRS = 7


@pytest.fixture(scope="session")
def prompt_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints with different weights; values in float32, so that a prompt's own latents are exactly what it had."""
    folder = tmp_path_factory.mktemp("patching")
    models = [word_model(folder / f"words-step{step}", seed=step) for step in (1, 2)]
    corpus = translation_prompts(None, models[0], ["fr-en", "es-de"], languages=LANGUAGES, n_pairs=N_PAIRS, n_shots=2)
    corpus.write(folder / "prompts")
    store = folder / "run.actlas"
    extract_activations(
        models,
        corpus,
        store,
        sites=["mlp_pre"],
        dtype="float32",
        token_sample=TokenSample(choice="span", sites=("resid",)),
        device="cpu",
        syncs=False,
        proves_sites=False,
    )
    return store
