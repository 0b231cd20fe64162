"""How scores are cut into chunks, and what each cut costs: bytes, a slab, a neuron, a threshold, everything.

    python -m benchmarks.score_layouts [--checkpoints 10] [--rounds 5] [--save]

Scores of the neurons of BLOOM-560m (4 sites of 24 layers, 221,184 neurons) for 30 concepts in 8 languages, as float64, written
with every cut in turn. Timed, reading alone, caches warm: one (language, concept) of one checkpoint over all neurons; one neuron
over all checkpoints, languages and concepts; one concept in all languages of one checkpoint, compared with a threshold; every
score of one checkpoint. Each cut has to give the same values.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np

from actlas.store import layout
from actlas.store.files.codecs import CODECS
from actlas.store.files.shard_reader import read_part
from actlas.store.files.shard_writer import write_shards
from actlas.store.layout import ArrayPlan
from benchmarks.harness import interleave, save

SITES = {"attn_out": 1024, "attn_qkv": 3072, "mlp_out": 1024, "mlp_pre": 4096}
N_LAYERS, N_LANGUAGES, N_CONCEPTS = 24, 8, 30
#: languages, concepts and neurons of a chunk; 0: all of them
CUTS = {
    "a row of neurons": (1, 1, 0),
    "languages x 512 neurons": (8, 1, 512),
    "languages x 1,024 neurons": (8, 1, 1024),
    "languages x 2,048 neurons": (8, 1, 2048),
    "4 languages x 2,048 neurons": (4, 1, 2048),
    "everything of 64 neurons": (8, 30, 64),
}


def cut_plan(n_neurons: int, cut: tuple[int, int, int]) -> ArrayPlan:
    languages, concepts, neurons = cut
    plan = layout.score_plan(N_LANGUAGES, N_CONCEPTS, N_LAYERS, n_neurons, "ap")
    width = min(neurons or n_neurons, n_neurons)
    return replace(
        plan,
        chunk=(languages, concepts, 1, width),
        shard=(N_LANGUAGES, N_CONCEPTS, 1, ceil(n_neurons / width) * width),
    )


def layer_scores(checkpoint: int, site: str, layer: int) -> np.ndarray:
    rng = np.random.default_rng([checkpoint, layer, len(site), SITES[site]])
    scores = rng.normal(0.2, 0.015, (N_LANGUAGES, N_CONCEPTS, SITES[site]))
    scores += rng.exponential(0.12, scores.shape) * (rng.random(scores.shape) < 0.02)
    return np.clip(scores, 0.001, 0.9999)


def write(folder: Path, cut: tuple[int, int, int], n_checkpoints: int) -> int:
    """Bytes of all shards."""
    n_bytes = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for checkpoint in range(n_checkpoints):
            for site, n_neurons in SITES.items():
                plan = cut_plan(n_neurons, cut)
                for layer in range(N_LAYERS):
                    block = layer_scores(checkpoint, site, layer)[:, :, np.newaxis]
                    path, start = f"{checkpoint}/{site}", (0, 0, layer, 0)
                    records = write_shards(folder, path, plan, CODECS["lz4"], block, start=start, pool=pool, sync=False)
                    n_bytes += sum(record.n_bytes for record in records)
    return n_bytes


ALL = slice(None)


def readings(folder: Path, cut: tuple[int, int, int], n_checkpoints: int) -> dict[str, Callable[[], float]]:
    plans = {site: cut_plan(n_neurons, cut) for site, n_neurons in SITES.items()}

    def read(checkpoint: int, site: str, *where: slice) -> np.ndarray:
        return read_part(folder / f"{checkpoint}/{site}", plans[site], where)

    def one(at: int) -> slice:
        return slice(at, at + 1)

    def threshold() -> float:
        n_languages = [(read(1, site, ALL, one(7), ALL, ALL) > 0.3).sum(axis=0) for site in SITES]
        return float(sum((found >= 2).sum() for found in n_languages))

    return {
        "slab": lambda: sum(float(read(1, site, one(3), one(7), ALL, ALL).sum()) for site in SITES),
        "neuron": lambda: sum(float(read(c, "mlp_pre", ALL, ALL, one(5), one(77)).sum()) for c in range(n_checkpoints)),
        "threshold": threshold,
        "everything": lambda: sum(
            float(read(1, site, ALL, ALL, one(layer), ALL).sum()) for site in SITES for layer in range(N_LAYERS)
        ),
    }


def run(options: argparse.Namespace) -> None:
    rows, answers = [], None
    for name, cut in CUTS.items():
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        try:
            n_bytes = write(folder, cut, options.checkpoints)
            asked = readings(folder, cut, options.checkpoints)
            found = {what: ask() for what, ask in asked.items()}
            answers = answers or found
            for what, value in found.items():
                np.testing.assert_allclose(value, answers[what], rtol=1e-9, err_msg=f"{name}: {what}")
            timings = interleave(asked, options.rounds)
        finally:
            shutil.rmtree(folder)
        n_scores = options.checkpoints * N_LAYERS * sum(SITES.values()) * N_LANGUAGES * N_CONCEPTS
        milliseconds = {what: [1e3 * second for second in timing.seconds] for what, timing in timings.items()}
        rows.append({"cut": name, "bytes_per_score": n_bytes / n_scores, "milliseconds": milliseconds})
        print(name, f"{n_bytes / n_scores:.2f} B", {what: round(1e3 * timing.median, 1) for what, timing in timings.items()})
    if options.save:
        settings = {"checkpoints": options.checkpoints, "rounds": options.rounds, "clock": "wall", "dtype": "float64"}
        print(save("score_layouts", settings, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; needs 4 GB")
    parser.add_argument("--save", action="store_true")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
