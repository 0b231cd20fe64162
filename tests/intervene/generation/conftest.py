"""A store of a tiny random model whose texts have concepts, in three languages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from actlas.extract import extract_activations
from actlas.intervene.live import LiveModel, load_live
from actlas.query import Atlas, open_store, score_neurons
from actlas.store import corpus_from_frames
from actlas.testing import random_checkpoint

WORDS = {"salt": ("salt", "Salz", "sel"), "milk": ("milk", "Milch", "lait"), "bread": ("bread", "Brot", "pain")}
FRAMES = {
    "en": ("the {} is here", "we have no {}", "where is the {} now", "give me {}"),
    "de": ("das {} ist hier", "wir haben kein {}", "wo ist {} jetzt", "gib mir {}"),
    "fr": ("le {} est ici", "nous avons du {}", "je veux du {}", "voici le {}"),
}


@pytest.fixture(scope="session")
def steerable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store; tests that write copy it."""
    folder = tmp_path_factory.mktemp("steerable")
    texts, labels = [], []
    for number, (language, frames) in enumerate(FRAMES.items()):
        for concept, words in WORDS.items():
            for frame in frames:
                labels += [{"text_id": len(texts), "concept": other, "is_concept": other == concept} for other in WORDS]
                texts.append({"text": frame.format(words[number]), "language": language})
    corpus = corpus_from_frames(pl.DataFrame(texts), pl.DataFrame(labels))
    model = random_checkpoint(folder / "tiny-step8")
    store = folder / "tiny.actlas"
    extract_activations(model, corpus, store, sites=["mlp_pre", "attn_out"], device="cpu")
    score_neurons(store, stats=("ap", "median", "p90"))
    return store


@pytest.fixture
def store(steerable: Path) -> Atlas:
    return open_store(steerable)


@pytest.fixture(scope="session")
def live(steerable: Path) -> Iterator[LiveModel]:
    with load_live(open_store(steerable), "tiny-step8", device="cpu") as live:
        yield live
