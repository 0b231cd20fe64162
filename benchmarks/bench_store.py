"""Writing and reading cubes against plain `np.save` and `np.load` of the same bytes, in the same process.

    python -m benchmarks.bench_store [--layers 8] [--neurons 2048] [--texts 4096] [--rounds 7]

Values are those of a random feed-forward layer over random inputs, stored as float16: what GELU leaves of a Gaussian. The check
that what was written reads back equal, through zarr-python too, runs on the timed arrays before any figure is printed.

Every write goes to a new file, for np.save as for the cube. Before each timing the last one's files are removed and memory of
three times the array's size is touched and freed: on a virtual machine the first use of a page costs more than the write itself,
and whichever method came after a large release would be flattered.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import zarr

from actlas.store import layout
from actlas.store.cube import Cube
from actlas.store.files.codecs import CODECS
from actlas.store.files.group_writer import create_array
from actlas.store.files.shard_writer import write_shards
from benchmarks.harness import interleave, save


def activations(layers: int, neurons: int, texts: int) -> np.ndarray:
    """Pooled GELU outputs, ``"texts layers neurons"`` float16, in the memory order in which a forward pass delivers them."""
    rng = np.random.default_rng(0)
    out = np.empty((texts, layers, neurons), dtype=np.float16)
    hidden = rng.standard_normal((texts, 64), dtype=np.float32)
    for layer in range(layers):
        x = hidden @ rng.standard_normal((64, neurons), dtype=np.float32) / 8
        out[:, layer] = x / (1 + np.exp(-1.702 * x))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("layers", 8), ("neurons", 2048), ("texts", 2048), ("rounds", 7), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--codec", action="append", dest="codecs", choices=sorted(CODECS))
    options = parser.parse_args()
    pool = ThreadPoolExecutor(options.threads)
    block = min(layout.CHUNK_TEXTS, options.texts)
    values = activations(options.layers, options.neurons, options.texts)
    by_neuron = np.ascontiguousarray(values.transpose(1, 2, 0))
    plan = layout.cube_plan(options.layers, options.neurons, options.texts, block, "float16")
    folder = Path(tempfile.mkdtemp(prefix="actlas-bench-"))
    numbers = itertools.count()
    rows = []

    def new() -> str:
        return f"new-{next(numbers)}"

    def saved(values: np.ndarray, sync: bool = False) -> None:
        with open(folder / f"{new()}.npy", "wb") as file:
            np.save(file, values)
            if sync:
                file.flush()
                os.fsync(file.fileno())

    def settle() -> None:
        for path in folder.glob("new-*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        np.ones(3 * by_neuron.nbytes // 8)

    try:
        for codec in options.codecs or sorted(CODECS):

            def write(source: np.ndarray, name: str | None = None, codec: str = codec, sync: bool = False) -> None:
                name = name or new()
                for start in range(0, options.texts, block):
                    part = source[:, :, start : start + block]
                    write_shards(folder, name, plan, CODECS[codec], part, start=(0, 0, start), pool=pool, sync=sync)

            create_array(folder, codec, plan, CODECS[codec], {})
            write(by_neuron, codec)
            np.save(folder / "plain.npy", by_neuron)
            array = zarr.open_array(folder / codec, mode="r")
            cube = Cube("checkpoint", "site", "max", array, np.arange(options.texts))
            np.testing.assert_array_equal(array[:], by_neuron)
            np.testing.assert_array_equal(cube.read(), by_neuron)
            on_disk = sum(f.stat().st_size for f in (folder / codec / "c").rglob("*") if f.is_file())

            timings = interleave(
                {
                    "np.save": lambda: saved(by_neuron),
                    "write, neuron-major in memory": lambda: write(by_neuron),
                    "np.save, fsync": lambda: saved(by_neuron, sync=True),
                    "write, neuron-major, fsync": lambda: write(by_neuron, sync=True),
                    "np.save of the transpose": lambda: saved(np.ascontiguousarray(values.transpose(1, 2, 0))),
                    "write, text-major in memory": lambda: write(values.transpose(1, 2, 0)),
                    "np.save of the transpose, fsync": lambda: saved(np.ascontiguousarray(values.transpose(1, 2, 0)), sync=True),
                    "write, text-major, fsync": lambda: write(values.transpose(1, 2, 0), sync=True),
                    "np.load": lambda: np.load(folder / "plain.npy"),
                    "read everything": cube.read,
                    "zarr-python, everything": partial(array.__getitem__, slice(None)),
                    "np.load one layer (memory map)": lambda: np.array(np.load(folder / "plain.npy", mmap_mode="r")[1]),
                    "read one layer": partial(cube.read, 1),
                    "np.load one neuron (memory map)": lambda: np.array(np.load(folder / "plain.npy", mmap_mode="r")[1, 5]),
                    "read one neuron": partial(cube.read, 1, 5),
                },
                options.rounds,
                before=settle,
            )
            peers = {
                "write, neuron-major in memory": "np.save",
                "write, neuron-major, fsync": "np.save, fsync",
                "write, text-major in memory": "np.save of the transpose",
                "write, text-major, fsync": "np.save of the transpose, fsync",
                "read everything": "np.load",
                "zarr-python, everything": "np.load",
                "read one layer": "np.load one layer (memory map)",
                "read one neuron": "np.load one neuron (memory map)",
            }
            for name, peer in peers.items():
                speed = {k: round(v, 4) for k, v in timings[peer].ratio_to(timings[name]).items()}
                rows.append(
                    {
                        "codec": codec,
                        "what": name,
                        "peer": peer,
                        "speed_over_peer": speed,
                        "mb_per_s": round(by_neuron.nbytes / 1e6 / timings[name].median, 1),
                        "peer_mb_per_s": round(by_neuron.nbytes / 1e6 / timings[peer].median, 1),
                        "compression_ratio": round(by_neuron.nbytes / on_disk, 3),
                    }
                )
                print(
                    f"{codec:5} {name:32} {speed['median']:.3f}x of {peer} ({speed['lowest']:.3f} to {speed['highest']:.3f}), "
                    f"{rows[-1]['mb_per_s']:,.0f} of {rows[-1]['peer_mb_per_s']:,.0f} MB/s"
                )
    finally:
        shutil.rmtree(folder)
    print("->", save("store", vars(options) | {"bytes": by_neuron.nbytes}, rows, options.threads))


if __name__ == "__main__":
    main()
