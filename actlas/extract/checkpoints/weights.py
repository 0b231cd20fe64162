"""Norms, spectra and sketches of a checkpoint's weights, tensor by tensor from its safetensors files; no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actlas.compiled.bfloat16 import bfloat16_to_float32
from actlas.extract.checkpoints.weight_hash import tensor_entries, weight_files
from actlas.kernels.sketch import SKETCH_SIZE, Sketch
from actlas.kernels.spectra import effective_rank, spectral_entropy, squared_singular_values
from actlas.store.notes.weights import WeightRecord

#: Dtypes of weights, as safetensors name them -> of their bytes. Whole numbers are no weights.
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
#: Numbers that are read at a time.
_CHUNK = 256 * SKETCH_SIZE


def describe_weights(folder: Path, go_on: Callable[[], bool] = lambda: True) -> Iterator[WeightRecord]:
    """What is kept of each tensor of a checkpoint, file by file.

    Args:
        folder: Where its safetensors files are.
        go_on: Asked before every tensor; the rest is left out once it says no.

    Raises:
        ModelNotLoaded: If there are no safetensors files, or one is damaged.
    """
    for path in weight_files(folder):
        with path.open("rb") as file:
            start, entries = tensor_entries(file, path)
        for name, entry in sorted(entries.items()):
            if not go_on():
                return
            if entry["dtype"] in _DTYPES and 0 not in entry["shape"]:
                shape, offset = tuple(entry["shape"]), start + entry["data_offsets"][0]
                stored = np.memmap(path, np.dtype(_DTYPES[entry["dtype"]]), "r", offset, shape or (1,))
                yield weight_record(name, entry["dtype"], stored if shape else stored.reshape(()))


def weight_record(name: str, dtype: str, stored: NDArray[Any]) -> WeightRecord:
    """What is kept of one tensor.

    Args:
        name: Of the tensor.
        dtype: As safetensors name it.
        stored: Its numbers; bits of bfloat16 in uint16.

    Example:
        >>> record = weight_record("h.0.up.weight", "F32", np.array([[3.0, 0.0], [0.0, 4.0]], np.float32))
        >>> record.norm, record.stable_rank
        (5.0, 1.5625)
    """
    shape = stored.shape
    with np.errstate(invalid="ignore", over="ignore"):
        squares = sum(float(part @ part) for part in _parts(stored))
    norm = float(np.sqrt(squares)) if np.isfinite(squares) else float("nan")
    if len(shape) < 2 or not norm > 0:
        return WeightRecord(name, shape, dtype, norm)
    sketch = Sketch(name, shape)
    sketch.add(_parts(stored))
    powers = squared_singular_values(stored.reshape(-1, shape[-1]), _numbers)
    stable_rank, entropy = float(powers.sum() / powers[0]), spectral_entropy(powers)
    return WeightRecord(name, shape, dtype, norm, stable_rank, entropy, effective_rank(powers), sketch.sums)


def _numbers(stored: NDArray[Any]) -> NDArray[np.float64]:
    return (bfloat16_to_float32(stored) if stored.dtype == np.uint16 else stored).astype(np.float64)


def _parts(stored: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    flat = stored.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        yield _numbers(flat[start : start + _CHUNK])
