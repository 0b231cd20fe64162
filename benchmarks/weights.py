"""What describing the weights of a checkpoint costs, beside reading texts with it, and how exact it is.

    python -m benchmarks.weights

A checkpoint of the size of BLOOM-560m with random weights: seconds of one core for norms, spectra and sketches of all its
tensors, and for tokens through the model. Spectra by four roads, beside float64 SVD; distances from sketches beside exact ones.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors.numpy import save_file
from threadpoolctl import threadpool_limits

from actlas.extract.checkpoints.weights import describe_weights
from actlas.kernels.sketch import SKETCH_ERROR, SKETCH_SIZE
from actlas.kernels.spectra import spectral_entropy, squared_singular_values
from actlas.store.notes.weights import WeightRecord
from benchmarks.harness import interleave, save

CONFIG = transformers.BloomConfig(hidden_size=1024, n_layer=24, n_head=16, vocab_size=250_880)
LAYER = {
    "self_attention.query_key_value": (3072, 1024),
    "self_attention.dense": (1024, 1024),
    "mlp.dense_h_to_4h": (4096, 1024),
    "mlp.dense_4h_to_h": (1024, 4096),
}
TOKENS = 256
ROUNDS = 1


def write_checkpoint(folder: Path, seed: int, moved: float) -> None:
    """Random weights in float16, and the same a little further."""
    folder.mkdir()
    rng, move = np.random.default_rng(0), np.random.default_rng(seed)
    shapes = {f"h.{layer}.{name}.weight": shape for layer in range(CONFIG.n_layer) for name, shape in LAYER.items()}
    tensors = {}
    for name, shape in {"word_embeddings.weight": (CONFIG.vocab_size, CONFIG.hidden_size), **shapes}.items():
        tensors[name] = rng.standard_normal(shape, dtype=np.float32)
        if moved:
            tensors[name] += moved * move.standard_normal(shape, dtype=np.float32)
        tensors[name] = (0.02 * tensors[name]).astype(np.float16)
    save_file(tensors, folder / "model.safetensors")


def cost_row(folder: Path) -> dict[str, Any]:
    """Seconds to describe a checkpoint, and to read tokens with a model of its size."""
    model = transformers.BloomModel(CONFIG).eval()
    ids = torch.randint(1, 1000, (TOKENS // 64, 64))
    records: list[WeightRecord] = []

    def describe() -> None:
        records[:] = describe_weights(folder)

    with torch.no_grad():
        timings = interleave(
            {"describe": describe, "forward": lambda: model(input_ids=ids, use_cache=False)}, ROUNDS, clock=time.process_time
        )
    n_weights = sum(record.n_weights for record in records)
    return {
        "what": "cost",
        "n_weights": n_weights,
        "seconds": timings["describe"].median,
        "seconds_per_100m": timings["describe"].median / n_weights * 1e8,
        "tokens_of_the_same_cost": timings["describe"].ratio_to(timings["forward"])["median"] * TOKENS,
        "bytes_per_checkpoint": 4 * SKETCH_SIZE * sum(record.sketch is not None for record in records),
    }


def _svd(matrix: NDArray[np.float32], dtype: str) -> NDArray[np.float64]:
    return np.linalg.svd(matrix.astype(dtype), compute_uv=False).astype(np.float64) ** 2


def _gram32(matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.maximum(np.linalg.eigvalsh((matrix.T @ matrix).astype(np.float64))[::-1], 0)


def spectrum_rows() -> list[dict[str, Any]]:
    """Roads to a spectrum, on a matrix whose singular values fall over eight decades."""
    rng = np.random.default_rng(1)
    left, right = (np.linalg.qr(rng.standard_normal((rows, 1024)))[0] for rows in (4096, 1024))
    matrix = ((left * np.logspace(0, -8, 1024)) @ right.T).astype(np.float32)
    roads: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float64]]] = {
        "SVD in float64": lambda given: _svd(given, "float64"),
        "SVD in float32": lambda given: _svd(given, "float32"),
        "Gram matrix in float32": _gram32,
        "Gram matrix in float64": squared_singular_values,
    }
    exact = spectral_entropy(roads["SVD in float64"](matrix))
    rows = []
    for name, road in roads.items():
        began = time.process_time()
        powers = road(matrix)
        error = abs(spectral_entropy(powers) - exact)
        rows.append({"what": "spectrum", "road": name, "seconds": time.process_time() - began, "entropy_error": error})
    return rows


def distance_row(folders: list[Path]) -> dict[str, Any]:
    """Distances of all matrices of two checkpoints, from sketches and exactly."""
    from safetensors import safe_open

    a, b = ({record.module: record for record in describe_weights(folder)} for folder in folders)
    errors = []
    with (
        safe_open(folders[0] / "model.safetensors", "np") as first,
        safe_open(folders[1] / "model.safetensors", "np") as second,
    ):
        for name, record in a.items():
            other = b[name].sketch
            assert record.sketch is not None
            assert other is not None
            exact = np.linalg.norm(first.get_tensor(name).astype(np.float64) - second.get_tensor(name).astype(np.float64))
            errors.append(float(np.linalg.norm(record.sketch - other) / exact - 1))
    stated = {"stated": SKETCH_ERROR, "size": SKETCH_SIZE}
    return {"what": "distance", "n": len(errors), "sd": float(np.std(errors)), "largest": float(np.abs(errors).max()), **stated}


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        folders = [Path(folder) / name for name in ("a", "b")]
        write_checkpoint(folders[0], 0, 0.0)
        write_checkpoint(folders[1], 1, 0.05)
        rows = [cost_row(folders[0]), *spectrum_rows(), distance_row(folders)]
    print(save("weights", {"model": "BLOOM-560m's shapes, random", "tokens": TOKENS, "rounds": ROUNDS}, rows, threads=1))


if __name__ == "__main__":
    main()
