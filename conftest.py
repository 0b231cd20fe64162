"""Settings that must stand before any test module is imported, and what the examples in docstrings start from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# Doctests of the GPU kernels are collected only where Triton is: there is no build of it for some systems; those of the server
# where the extra [explore] is.
collect_ignore_glob = [] if find_spec("triton") else ["actlas/kernels/gpu/*"]
collect_ignore_glob += [] if find_spec("starlette") else ["actlas/explore/server/*"]

# Machine code of the tests: neither out of the user's cache nor into it, and compiled once for all processes of all runs.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parent / ".cache"))

# Triton reads this when it is first imported, by whatever test module comes first.
if not Path("/dev/nvidia0").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def example_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planted store with scores, experts and their overlap (k = 6), shared by all examples: they only read it."""
    from actlas.query import expert_overlap, open_store, score_neurons, top_experts
    from actlas.testing import planted_store

    path = planted_store(tmp_path_factory.mktemp("examples") / "run.actlas")
    store = open_store(path, "a")
    score_neurons(store)
    top_experts(store, k=6)
    expert_overlap(store, k=6)
    store.close()
    return path


@pytest.fixture
def example_writers(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """`store_writer` of a store for twelve texts and a site, `checkpoint_writer` of its checkpoint, and `score_writer`."""
    import numpy as np

    from actlas.names import Checkpoint, Recipe
    from actlas.store import Store, StoreWriter, TokenIds
    from actlas.testing import Planting, planted_corpus, planted_store

    corpus = planted_corpus(Planting(n_groups=4))
    tokens = TokenIds(np.zeros(12, dtype=np.int32), np.arange(13))
    recipe = Recipe(corpus.fingerprint, "tokenizer", ("mlp_pre",), dtype="float16")
    scored = Store(planted_store(tmp_path / "planted.actlas"), "a")
    names: dict[str, Any] = {"stats": ["mean"], "languages": ["en"], "concepts": ["water"], "settings": {}}
    with StoreWriter(tmp_path / "new.actlas", recipe, corpus, tokens, sync=False) as store_writer:
        begun = store_writer.checkpoint(Checkpoint("tiny-step1", "tiny", 1), {"weight_hash": "a1"}, {"mlp_pre": (1, 8)})
        with scored.score_writer("planted-step64", "mlp_pre", **names) as score_writer:
            yield {"store_writer": store_writer, "checkpoint_writer": begun, "score_writer": score_writer}
        begun.claims.release_all()


@pytest.fixture(scope="session")
def example_live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """`live`: a tiny model of two layers, loaded on the CPU."""
    from actlas.intervene import load_live
    from actlas.testing import random_checkpoint

    with load_live(random_checkpoint(tmp_path_factory.mktemp("live") / "tiny"), device="cpu") as live:
        yield live


@pytest.fixture(autouse=True)
def _names_in_examples(request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]) -> None:
    """What every example finds: `store` (the one above, open for reading), `folder` (empty, its own), `np`, `pl` and `actlas`."""
    if not isinstance(request.node, pytest.DoctestItem):
        return
    import numpy as np
    import polars as pl

    import actlas

    store = actlas.open_store(request.getfixturevalue("example_store"))
    folder = request.getfixturevalue("tmp_path")
    doctest_namespace.update(store=store, folder=folder, np=np, pl=pl, actlas=actlas)
    if any("_writer" in example.source for example in request.node.dtest.examples):
        doctest_namespace.update(request.getfixturevalue("example_writers"))
    if any("live" in example.source for example in request.node.dtest.examples):
        doctest_namespace["live"] = request.getfixturevalue("example_live")
