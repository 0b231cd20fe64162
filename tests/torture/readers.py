"""Everything that is read of a store, each as one comparable value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from actlas.query import Atlas, expert_overlap, language_neurons, neuron_texts, open_store, top_experts
from tests.torture.stores import COMPUTED_K, KEPT_K

Reader = Callable[[Atlas], Any]


def _rows(frame: pl.DataFrame) -> tuple[list[str], list[tuple[Any, ...]]]:
    # as text, in which NaN is NaN
    return frame.columns, sorted(map(repr, frame.rows()))


def _sql(query: str) -> Reader:
    return lambda store: _rows(store.sql(query))


def _info(store: Atlas) -> Any:
    about = [(name, repr(store.checkpoint(name)), store.scored_sites(name)) for name in store.checkpoints]
    return about, store.recipe, store.codec.name, store.unfinished, store.table_names()


def _corpus(store: Atlas) -> Any:
    corpus = store.corpus
    return corpus.fingerprint, corpus.languages, corpus.concepts, _rows(corpus.texts), _rows(corpus.labels)


def _experts(k: int, **choice: Any) -> Reader:
    return lambda store: _rows(top_experts(store, k=k, keep=False, **choice))


def _cubes(store: Atlas) -> Any:
    return [store.cube(checkpoint, site).read().tobytes() for checkpoint in store.checkpoints for site in store.sites(checkpoint)]


def _scores(store: Atlas) -> Any:
    found = []
    for checkpoint in store.checkpoints:
        for site in store.scored_sites(checkpoint):
            scores = store.scores(checkpoint, site)
            found += [(checkpoint, site, scores.languages, scores.concepts)]
            found += [(stat, scores.read(stat).tobytes()) for stat in scores.stats]
    return found


def _counts(store: Atlas) -> Any:
    counts = [store.token_counts(checkpoint) for checkpoint in store.checkpoints]
    return [(count.languages, count.active.tobytes(), count.n_tokens.tolist()) for count in counts]


def _vectors(store: Atlas) -> Any:
    found = []
    for checkpoint in store.checkpoints:
        cube = store.token_cube(checkpoint, "resid")
        found.append((_rows(cube.table), cube.read(1).tobytes(), cube.read(0).tobytes()))
    return found


def _states(store: Atlas) -> Any:
    found = []
    for checkpoint in store.checkpoints:
        for site in store.state_sites(checkpoint):
            states = store.states(checkpoint, site)
            found += [(name, states.read(name, layer).tobytes()) for name in sorted(states.arrays) for layer in (0, 1)]
    return found


_BOTH: Mapping[str, Reader] = {
    "info": _info,
    "corpus": _corpus,
    "experts kept": _experts(KEPT_K),
    "experts kept beside": _experts(KEPT_K, sites=["mlp_hidden"]),
    "experts computed": _experts(COMPUTED_K),
    "overlap kept": lambda store: _rows(expert_overlap(store, k=KEPT_K, halves=False, keep=False)),
    "overlap computed": lambda store: _rows(expert_overlap(store, k=COMPUTED_K, halves=False, keep=False)),
    "lape kept": lambda store: _rows(language_neurons(store, share=0.2, keep=False)),
    "lape computed": lambda store: _rows(language_neurons(store, share=0.1, keep=False)),
    "scores": _scores,
    "counts": _counts,
    "vectors": _vectors,
    **{f"sql {name}": _sql(f"SELECT * FROM {name}") for name in ("experts", "experts_by_settings", "overlap", "lape", "scores")},
    **{f"sql {name}": _sql(f"SELECT * FROM {name}") for name in ("texts", "labels", "tokens", "checkpoints", "settings")},
    "scan experts": lambda store: _rows(store.scan("experts").collect()),
    "scan scores": lambda store: _rows(store.scan("scores").collect()),
}
_OF_CUBES: Mapping[str, Reader] = {
    "cubes": _cubes,
    "top texts kept": lambda store: _rows(neuron_texts(store, store.checkpoints[-1], "mlp_pre", 1, 3, n=2)),
    "top texts computed": lambda store: _rows(neuron_texts(store, store.checkpoints[-1], "mlp_pre", 1, 3, n=9)),
    "sql top_texts": _sql("SELECT * FROM top_texts"),
    "sql activations": _sql("SELECT * FROM activations"),
}
_OF_STATES: Mapping[str, Reader] = {"states": _states, "sql score_sources": _sql("SELECT * FROM score_sources")}
READERS: Mapping[str, Mapping[str, Reader]] = {"cubes": {**_BOTH, **_OF_CUBES}, "states": {**_BOTH, **_OF_STATES}}


def read(reader: Reader, path: Path) -> Any:
    """What a reader makes of a store that it opens itself."""
    store = open_store(path)
    store.threads = 1
    try:
        return reader(store)
    finally:
        store.close()
