"""Writing and reading cubes against plain `np.save` and `np.load` of the same bytes, and against other readers of the same files.

    python -m benchmarks.bench_store [--layers 8] [--neurons 2048] [--texts 2048] [--rounds 7]
    make bench-store        # in an environment of its own, with the other readers: zarr-python's pipelines, zarrs, tensorstore

Values are those of a random feed-forward layer over random inputs, stored as float16: what GELU leaves of a Gaussian. All is done
in one process, methods interleaved. The check that what was written reads back equal, through every reader, runs on the timed
arrays before any figure is printed. Readers that are not installed are left out, by name.

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
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from actlas.store import layout
from actlas.store.cube import Cube
from actlas.store.files.codecs import CODECS
from actlas.store.files.group_writer import create_array
from actlas.store.files.shard_writer import write_shards
from benchmarks.harness import Timing, interleave, save

#: A reader of one array: layer or all, neuron or all -> values in memory.
Reader = Callable[[int | slice, int | slice], np.ndarray]

ALL = slice(None)
#: What is read, and what numpy does for the same: name -> (layer, neuron, peer).
READS: Mapping[str, tuple[int | slice, int | slice, str]] = {
    "everything": (ALL, ALL, "np.load"),
    "one layer": (1, ALL, "np.load one layer (memory map)"),
    "one neuron": (1, 5, "np.load one neuron (memory map)"),
}
#: zarr-python's codec pipelines: name -> (path of the class, package that it needs).
PIPELINES = {
    "zarr-python": ("zarr.core.codec_pipeline.BatchedCodecPipeline", "zarr"),
    "zarr-python, fused": ("zarr.core.codec_pipeline.FusedCodecPipeline", "zarr"),
    "zarrs": ("zarrs.ZarrsCodecPipeline", "zarrs"),
}


def activations(layers: int, neurons: int, texts: int) -> np.ndarray:
    """Pooled GELU outputs, ``"texts layers neurons"`` float16, in the memory order in which a forward pass delivers them."""
    rng = np.random.default_rng(0)
    out = np.empty((texts, layers, neurons), dtype=np.float16)
    hidden = rng.standard_normal((texts, 64), dtype=np.float32)
    for layer in range(layers):
        x = hidden @ rng.standard_normal((64, neurons), dtype=np.float32) / 8
        out[:, layer] = x / (1 + np.exp(-1.702 * x))
    return out


def other_readers(folder: Path, threads: int) -> dict[str, Reader]:
    """Other libraries on the array in `folder`, each opened once, with caches off and the same number of threads."""
    readers: dict[str, Reader] = {}
    for name, (pipeline, package) in PIPELINES.items():
        module, _, cls = pipeline.rpartition(".")
        if find_spec(package) is None or not hasattr(__import__(module, fromlist=[cls]), cls):
            print(f"{name}: not installed, left out")
            continue
        settings = {"codec_pipeline.path": pipeline, "threading.max_workers": threads, "codec_pipeline.max_workers": threads}
        with zarr.config.set(settings):
            array = zarr.open_array(folder, mode="r")
        if type(array._async_array.codec_pipeline).__name__ != cls:
            raise RuntimeError(f"{name} took {type(array._async_array.codec_pipeline).__name__}")
        readers[name] = partial(_read_with, settings, array)
    if find_spec("tensorstore") is None:
        print("tensorstore: not installed, left out")
    else:
        import tensorstore

        limits = {"data_copy_concurrency": {"limit": threads}, "file_io_concurrency": {"limit": threads}}
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder)}, "context": limits}
        opened = tensorstore.open(spec, read=True).result()
        readers["tensorstore"] = lambda layer, neuron: opened[layer, neuron, :].read().result()
    return readers


def _read_with(settings: Mapping[str, Any], array: zarr.Array[Any], layer: int | slice, neuron: int | slice) -> np.ndarray:
    # the pipeline inside a shard is looked up while it is read
    with zarr.config.set(settings):
        return np.asarray(array[layer, neuron, :])


def time_writes(
    folder: Path, values: np.ndarray, by_neuron: np.ndarray, write: Callable[..., None], rounds: int
) -> tuple[dict[str, Timing], dict[str, str]]:
    """Writes from both memory orders, with and without fsync, and which peer each has."""
    numbers = itertools.count()

    def new() -> str:
        return f"new-{next(numbers)}"

    def saved(values: np.ndarray, sync: bool = False) -> None:
        with open(folder / f"{new()}.npy", "wb") as file:
            np.save(file, values)
            if sync:
                file.flush()
                os.fsync(file.fileno())

    def remove() -> None:
        for path in folder.glob("new-*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        np.ones(3 * by_neuron.nbytes // 8)

    methods: dict[str, Callable[[], None]] = {}
    peers = {}
    for sync, suffix in ((False, ""), (True, ", fsync")):
        for order, peer, source in (
            ("neuron-major", "np.save", lambda: by_neuron),
            ("text-major", "np.save of the transpose", lambda: np.ascontiguousarray(values.transpose(1, 2, 0))),
        ):
            view = by_neuron if order == "neuron-major" else values.transpose(1, 2, 0)
            name = f"write, {order}{suffix or ' in memory'}"
            methods[peer + suffix] = lambda source=source, sync=sync: saved(source(), sync=sync)
            methods[name] = lambda view=view, sync=sync: write(view, new(), sync=sync)
            peers[name] = peer + suffix
    return interleave(methods, rounds, before=remove), peers


def time_reads(
    folder: Path, name: str, by_neuron: np.ndarray, threads: int, rounds: int
) -> tuple[dict[str, Timing], dict[str, str]]:
    """Reads of everything, a layer and a neuron by every reader, which must agree first, and which peer each has."""
    cube = Cube("checkpoint", "site", "max", zarr.open_array(folder / name, mode="r"), np.arange(by_neuron.shape[2]))

    def own(layer: int | slice, neuron: int | slice) -> np.ndarray:
        return cube.read(None if layer == ALL else layer, neuron)

    readers: dict[str, Reader] = {"read": own} | other_readers(folder / name, threads)
    plain = folder / "plain.npy"
    methods: dict[str, Callable[[], np.ndarray]] = {}
    peers = {}
    for what, (layer, neuron, peer) in READS.items():
        if layer == ALL:
            methods[peer] = lambda: np.load(plain)
        else:
            methods[peer] = lambda layer=layer, neuron=neuron: np.array(np.load(plain, mmap_mode="r")[layer, neuron])
        for reader, read in readers.items():
            label = f"read {what}" if reader == "read" else f"{reader}, {what}"
            np.testing.assert_array_equal(read(layer, neuron), by_neuron[layer, neuron], err_msg=label)
            methods[label] = partial(read, layer, neuron)
            peers[label] = peer
    # pages that one method frees are not to be another's
    return interleave(methods, rounds, before=lambda: np.ones(3 * by_neuron.nbytes // 8)), peers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("layers", 8), ("neurons", 2048), ("texts", 2048), ("rounds", 7), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--codec", action="append", dest="codecs", choices=sorted(CODECS))
    options = parser.parse_args()
    block = min(layout.CHUNK_TEXTS, options.texts)
    values = activations(options.layers, options.neurons, options.texts)
    by_neuron = np.ascontiguousarray(values.transpose(1, 2, 0))
    plan = layout.cube_plan(options.layers, options.neurons, options.texts, block, "float16")
    folder = Path(tempfile.mkdtemp(prefix="actlas-bench-"))
    rows = []
    try:
        np.save(folder / "plain.npy", by_neuron)
        for codec in options.codecs or sorted(CODECS):
            with ThreadPoolExecutor(options.threads) as pool:

                def write(source: np.ndarray, name: str, codec: str = codec, sync: bool = False, pool: Any = pool) -> None:
                    for start in range(0, options.texts, block):
                        part = source[:, :, start : start + block]
                        write_shards(folder, name, plan, CODECS[codec], part, start=(0, 0, start), pool=pool, sync=sync)

                create_array(folder, codec, plan, CODECS[codec], {})
                write(by_neuron, codec)
                on_disk = sum(f.stat().st_size for f in (folder / codec / "c").rglob("*") if f.is_file())
                for timings, peers in (
                    time_reads(folder, codec, by_neuron, options.threads, options.rounds),
                    time_writes(folder, values, by_neuron, write, options.rounds),
                ):
                    rows += report(codec, timings, peers, by_neuron.nbytes, by_neuron.nbytes / on_disk)
    finally:
        shutil.rmtree(folder)
    print("->", save("store", vars(options) | {"bytes": by_neuron.nbytes}, rows, options.threads))


def report(
    codec: str, timings: Mapping[str, Timing], peers: Mapping[str, str], n_bytes: int, compression: float
) -> list[dict[str, Any]]:
    """One row per method that has a peer, printed as well."""
    rows = []
    for name, peer in peers.items():
        speed = {k: round(v, 4) for k, v in timings[peer].ratio_to(timings[name]).items()}
        row = {
            "codec": codec,
            "what": name,
            "peer": peer,
            "speed_over_peer": speed,
            "ms": round(1e3 * timings[name].median, 3),
            "peer_ms": round(1e3 * timings[peer].median, 3),
            "mb_per_s": round(n_bytes / 1e6 / timings[name].median, 1),
            "peer_mb_per_s": round(n_bytes / 1e6 / timings[peer].median, 1),
            "compression_ratio": round(compression, 3),
        }
        rows.append(row)
        print(
            f"{codec:5} {name:32} {speed['median']:.3f}x of {peer} ({speed['lowest']:.3f} to {speed['highest']:.3f}), "
            f"{row['ms']:,.2f} of {row['peer_ms']:,.2f} ms"
        )
    return rows


if __name__ == "__main__":
    main()
