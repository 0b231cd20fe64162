"""What published measures cost over a store of some size, beside reading its values once.

    python -m benchmarks.bench_measures [--rounds 3] [--store FOLDER] [--measure NAME ...]

The store is made up: 4,000 texts in 8 languages with translations, 3 checkpoints of 8 layers of 2,048 neurons, float16, and two
token vectors of 512 channels of each text. Every measure runs over all of it, on pooled values where it may choose, in a process
of its own, whose memory is told above that of one that has read one block. Times are over those of reading every block of every
cube in the same process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

import actlas.query
from actlas.query import open_store
from actlas.query.blocks import neuron_blocks
from actlas.query.measures.registry import MEASURES
from actlas.testing import Planting, planted_store
from benchmarks.harness import save

N_LAYERS, N_NEURONS, N_CHANNELS = 8, 2048, 512
PLANTING = Planting(
    languages=("ar", "de", "en", "es", "fr", "pt", "sw", "zh"),
    n_groups=500,
    sites={"mlp_pre": (N_LAYERS, N_NEURONS)},
    steps=(1, 2, 3),
    sharing=(0.0, 0.0, 0.0),
    token_sites={"resid": (N_LAYERS, N_CHANNELS)},
    texts_per_block=1024,
)
#: Options other than the defaults, so that every measure reads cubes and does all that it can.
OPTIONS: dict[str, dict[str, Any]] = {
    **{key: {"values": "pooled"} for key in ("mexa", "translation_similarity", "procrustes", "cka", "svcca")},
    "neuron_correlation": {"best": True},
    "class_means": {"of": "both"},
}
#: Rows of the table -> measure, options.
RUNS = {measure.name: (measure.function, OPTIONS.get(measure.function, {})) for measure in MEASURES} | {
    "mutual-information, gaussian": ("mutual_information", {"estimate": "gaussian"}),
    "neuron-ranges, quantile": ("neuron_ranges", {"bounds": "quantile"}),
}


def make_store(folder: Path) -> Path:
    """A store of values that no codec shortens by much, which differ by checkpoint and move with labels and meanings."""

    def noise(corpus: Any, planting: Planting, site: str, step: int, sharing: float) -> NDArray[np.float16]:
        rng = np.random.default_rng(step)
        meanings = rng.standard_normal((500, N_NEURONS), dtype=np.float32)
        own = meanings[corpus.texts["parallel_id"].rank("dense").fill_null(1).to_numpy() % 500].T
        values = np.empty((N_LAYERS, N_NEURONS, corpus.n_texts), dtype=np.float16)
        for layer in range(N_LAYERS):
            values[layer] = rng.standard_normal(own.shape, dtype=np.float32) + own * (layer / N_LAYERS)
        return values

    with patch("actlas.testing.planted.planted_values", noise):
        return planted_store(folder / "measures.actlas", PLANTING)


def peak_bytes() -> int:
    """The most memory that this process ever had."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def child(path: Path, run: str) -> None:
    """Read everything, then take one measure; one line of JSON."""
    store = open_store(path)
    cubes = [store.cube(name, "mlp_pre") for name in store.checkpoints]
    function, options = RUNS[run]
    next(iter(neuron_blocks(cubes[0])))
    before = peak_bytes()
    begun = time.perf_counter()
    for cube in cubes:
        for block in neuron_blocks(cube):
            block.values.max()
    read = time.perf_counter() - begun
    begun = time.perf_counter()
    frame = getattr(actlas.query, function)(store, **options)
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, "read": read, "rows": frame.height, "bytes": peak_bytes() - before}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store", type=Path, help="made there, and used again (default: a temporary folder)")
    parser.add_argument("--measure", action="append", choices=RUNS, help="repeat for more (default: all)")
    parser.add_argument("--child", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    if options.child:
        child(options.store, options.child)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.store or Path(temporary)
        path = folder / "measures.actlas"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            make_store(folder)
        told: dict[str, list[dict[str, Any]]] = {run: [] for run in options.measure or RUNS}
        for _ in range(options.rounds):
            for run, rounds in told.items():
                command = [sys.executable, "-m", "benchmarks.bench_measures", "--store", str(path), "--child", run]
                rounds.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
                print(run, rounds[-1], flush=True)
    rows = [
        {
            "measure": run,
            "rows": rounds[0]["rows"],
            "seconds": statistics.median(one["seconds"] for one in rounds),
            "times_reading": statistics.median(one["seconds"] / one["read"] for one in rounds),
            "lowest": min(one["seconds"] / one["read"] for one in rounds),
            "highest": max(one["seconds"] / one["read"] for one in rounds),
            "mebibytes": max(one["bytes"] for one in rounds) / 2**20,
        }
        for run, rounds in told.items()
    ]
    if options.save:
        save(
            "measures",
            {"rounds": options.rounds, "texts": 4000, "layers": N_LAYERS, "neurons": N_NEURONS, "checkpoints": 3},
            rows,
        )


if __name__ == "__main__":
    main()
