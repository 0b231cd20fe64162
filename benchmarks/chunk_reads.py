"""What reading chunks takes: chunk by chunk in Python and in compiled loops, all of them, few values of each, and a search.

    python -m benchmarks.chunk_reads [--rounds 15]

Two arrays as stores have them, on warm caches: a concept's scores in 8 languages (float64, 8 x 1,024 a chunk) and values of
neurons (float16, 128 x 1,024 a chunk), with noise in every bit that noise is in. Both ways give the same before they are timed.
Microseconds are of wall time, per chunk, with every core at work where the way has it at work.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numba  # noqa: F401  compiled loops are used where it is loaded
import numpy as np

from actlas.store import layout
from actlas.store.bounds import Bounds
from actlas.store.files import shard_reader
from actlas.store.files.codecs import DEFAULT_CODEC
from actlas.store.files.shard_reader import Selector, find_part, read_part
from actlas.store.files.shard_writer import write_shards
from actlas.store.layout import ArrayPlan
from benchmarks.harness import interleave, save

ALL = slice(None)
Reading = Callable[[], Any]


def scores(folder: Path) -> tuple[ArrayPlan, dict[str, tuple[list[Selector], Bounds | None]]]:
    """Scores of 24 layers of 4,096 neurons, 30 concepts; and what is read of one concept."""
    plan = layout.score_plan(8, 30, 24, 4096, "ap")
    for layer in range(24):
        rng = np.random.default_rng(layer)
        block = rng.normal(0.2, 0.015, (8, 30, 1, 4096))
        block += rng.exponential(0.12, block.shape) * (rng.random(block.shape) < 0.02)
        write(folder, plan, np.clip(block, 0.001, 0.9999), (0, 0, layer, 0))
    one = slice(7, 8)
    return plan, {
        "all values": ([ALL, one, ALL, ALL], None),
        "1 neuron in 1,024": ([ALL, one, ALL, np.arange(77, 4096, 1024)], None),
        "values above 0.4": ([ALL, one, ALL, ALL], Bounds(0.4, is_above=True)),
    }


def values(folder: Path) -> tuple[ArrayPlan, dict[str, tuple[list[Selector], Bounds | None]]]:
    """Values of 4,096 neurons for 8,192 texts; and what is read of them."""
    plan = layout.cube_plan(1, 4096, 8192, 1024, "float16")
    for start in range(0, 8192, 1024):
        block = np.random.default_rng(start).standard_normal((1, 4096, 1024), dtype=np.float32)
        write(folder, plan, block.astype(np.float16), (0, 0, start))
    return plan, {
        "all values": ([ALL, ALL, ALL], None),
        "1 neuron in 128": ([ALL, np.arange(77, 4096, 128), ALL], None),
        "values above 4": ([ALL, ALL, ALL], Bounds(4.0, is_above=True)),
    }


def write(folder: Path, plan: ArrayPlan, block: np.ndarray, start: tuple[int, ...]) -> None:
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        write_shards(folder, "array", plan, DEFAULT_CODEC, block, start=start, pool=pool, sync=False)


@contextmanager
def way(in_loops: bool) -> Iterator[None]:
    with mock.patch.object(shard_reader, "is_worth_it", return_value=in_loops):
        yield


def reading(folder: Path, plan: ArrayPlan, selectors: list[Selector], bounds: Bounds | None, in_loops: bool) -> Reading:
    def read() -> Any:
        with way(in_loops):
            if bounds is None:
                return read_part(folder / "array", plan, selectors)
            return find_part(folder / "array", plan, selectors, None, bounds)[1]

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name, make in (("scores", scores), ("values", values)):
        with tempfile.TemporaryDirectory(prefix="actlas-bench-") as temporary:
            folder = Path(temporary)
            plan, asked = make(folder)
            for what, (selectors, bounds) in asked.items():
                ways = {
                    "chunk by chunk": reading(folder, plan, selectors, bounds, False),
                    "in loops": reading(folder, plan, selectors, bounds, True),
                }
                np.testing.assert_array_equal(ways["chunk by chunk"](), ways["in loops"]())
                timings = interleave(ways, options.rounds)
                n_chunks = shard_reader._chunk_reads(folder / "array", plan, selectors, None).n_chunks
                us = {one: 1e6 * timing.median / n_chunks for one, timing in timings.items()}
                ratio = timings["in loops"].ratio_to(timings["chunk by chunk"])
                rows.append({"of": name, "what": what, "chunks": n_chunks, "us": us, "ratio": ratio})
                print(rows[-1], flush=True)
    print(save("chunk_reads", {"rounds": options.rounds, "clock": "wall"}, rows))


if __name__ == "__main__":
    main()
