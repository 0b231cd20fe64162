"""What the texts of a group of neurons cost: read the first time, and asked again while the values are held.

    python -m benchmarks.bench_texts [--rounds 7] [--store FOLDER]

The store is made up: 27,000 texts in 8 languages, 4 layers of 4,096 neurons, float16, in chunks of 128 neurons by 1,024 texts
as in any store. Each neuron of a group lies in a chunk column of its own, which is the most that a group can have to read; what a
store holds besides does not matter to it. Answers are compared with numpy on the same values before anything is timed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.query import Atlas, group_texts, nearest_texts, open_store
from actlas.query.texts.held import HeldValues
from actlas.store.files.codecs import DEFAULT_CODEC, decode
from actlas.store.files.shard_reader import counting
from actlas.testing import Planting, planted_store
from benchmarks.harness import interleave, save

SIZES = (1, 10, 25, 50, 100)
N_LAYERS, N_NEURONS, CHUNK = 4, 4096, 128
PLANTING = Planting(
    languages=("ar", "de", "en", "es", "fr", "pt", "sw", "zh"),
    n_groups=3375,
    sites={"mlp_pre": (N_LAYERS, N_NEURONS)},
    steps=(1,),
    sharing=(0.0,),
    token_sites={},
    texts_per_block=1024,
)
CHECKPOINT = PLANTING.checkpoint(1)


def make_store(folder: Path) -> Path:
    """A store of values that no codec shortens by much."""

    def noise(*_: Any) -> NDArray[np.float16]:
        rng = np.random.default_rng(0)
        values = np.empty((N_LAYERS, N_NEURONS, 8 * PLANTING.n_groups), dtype=np.float16)
        for layer, start in np.ndindex(N_LAYERS, N_NEURONS // CHUNK):
            values[layer, start * CHUNK : (start + 1) * CHUNK] = rng.standard_normal((CHUNK, values.shape[2]), dtype=np.float32)
        return values

    with patch("actlas.testing.planted.planted_values", noise):
        return planted_store(folder / "run.actlas", PLANTING)


def group(n_neurons: int, rng: np.random.Generator) -> pl.DataFrame:
    """Neurons at random, no two of them in one chunk."""
    columns = rng.permutation(N_LAYERS * N_NEURONS // CHUNK)[:n_neurons]
    layer, first = np.divmod(columns * CHUNK, N_NEURONS)
    return pl.DataFrame({"site": "mlp_pre", "layer": layer, "neuron": first + rng.integers(0, CHUNK, n_neurons)})


def check(store: Atlas, neurons: pl.DataFrame) -> None:
    """Compare answers with numpy."""
    cube = store.cube(CHECKPOINT, "mlp_pre")
    values = np.array([cube.read(layer, neuron) for _, layer, neuron in neurons.rows()], dtype=np.float64)
    means = values.mean(axis=0)
    found = group_texts(store, CHECKPOINT, neurons)
    assert found["text_id"].to_list() == np.argsort(-means, kind="stable")[:10].tolist()
    apart = np.sqrt(((values - values[:, 13:14]) ** 2).sum(axis=0))
    near = nearest_texts(store, CHECKPOINT, 13, neurons)
    assert near["text_id"].to_list() == [at for at in np.argsort(apart, kind="stable")[:11].tolist() if at != 13]


def decode_seconds(rounds: int) -> float:
    """What one core takes to decode one chunk that lies in its cache: below this no read of a chunk gets."""
    values = np.random.default_rng(0).standard_normal((CHUNK, 1024)).astype(np.float16)
    encoded, out = np.frombuffer(DEFAULT_CODEC.encode(values), np.uint8).copy(), np.empty_like(values)

    def often() -> None:
        for _ in range(100):
            decode(encoded, out)

    return interleave({"decode": often}, rounds)["decode"].median / 100


def measured(store: Atlas, n_neurons: int, rounds: int, chunk_seconds: float) -> dict[str, Any]:
    neurons = group(n_neurons, np.random.default_rng(n_neurons))
    check(store, neurons)
    store.held = HeldValues()
    with counting() as reads:
        for layer, own in neurons.sort("layer").group_by("layer", maintain_order=True):
            store.cube(CHECKPOINT, "mlp_pre").read(int(str(layer[0])), own["neuron"].to_numpy())
    others = iter(range(rounds + 1))

    def first(question: Callable[[], Any]) -> Callable[[], Any]:
        def ask() -> None:
            store.held = HeldValues()
            question()

        return ask

    methods = {
        "first": first(lambda: group_texts(store, CHECKPOINT, neurons)),
        "again": lambda: group_texts(store, CHECKPOINT, neurons, combine="l2"),
        # each time to a text that was not asked for
        "nearest": lambda: nearest_texts(store, CHECKPOINT, 3000 * (next(others) % 9) + 7 + n_neurons, neurons),
    }
    timings = interleave(methods, rounds)
    ms = {name: round(1000 * timing.median, 2) for name, timing in timings.items()}
    floor = 1000 * reads.n_chunks * chunk_seconds / 2
    return {"neurons": n_neurons, "chunks": reads.n_chunks, "bytes": reads.n_bytes, "decode_ms": round(floor, 2), "ms": ms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--store", type=Path, help="one that an earlier run made here; it is made and kept if it is not there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="actlas-bench-") as name:
        folder = options.store or Path(name)
        folder.mkdir(exist_ok=True)
        path = folder / "run.actlas"
        store = open_store(path if path.exists() else make_store(folder))
        chunk_seconds = decode_seconds(options.rounds)
        rows = [measured(store, n_neurons, options.rounds, chunk_seconds) for n_neurons in SIZES]
    for row in rows:
        print(row)
    settings = {"rounds": options.rounds, "texts": store.corpus.n_texts, "neurons": N_LAYERS * N_NEURONS, "cores": 2}
    print("->", save("texts", settings, rows, 2))


if __name__ == "__main__":
    main()
