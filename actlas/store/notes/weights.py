"""What is known of a checkpoint's weights without the weights: table `weights`, and a sketch of every matrix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.errors import DamagedStore
from actlas.store.files.parquet import parquet_bytes, read_parquet
from actlas.store.layout import WEIGHTS_FILE

#: Columns of table `weights`; the file has `sketch` beside them.
WEIGHT_COLUMNS: Mapping[str, pl.DataType] = {
    "checkpoint": pl.String(),
    "module": pl.String(),
    "layer": pl.Int32(),
    "kind": pl.String(),
    "shape": pl.List(pl.Int64()),
    "dtype": pl.String(),
    "n_weights": pl.Int64(),
    "norm": pl.Float64(),
    "stable_rank": pl.Float64(),
    "spectral_entropy": pl.Float64(),
    "effective_rank": pl.Float64(),
}
_LAYER = re.compile(r"(?:^|\.)(\d+)\.")


@dataclass(frozen=True)
class WeightRecord:
    """One tensor of a checkpoint.

    Attributes:
        module: Its name in the checkpoint.
        shape: Its shape; a tensor with more than two dimensions counts as a matrix of its last one.
        dtype: In which it is stored there, as safetensors write it ("BF16").
        norm: Frobenius norm; NaN where a weight is no number.
        stable_rank: Squared norm over the largest squared singular value; None of vectors, and where all are 0 or one is NaN.
        spectral_entropy: Entropy of the normalised squared singular values in nats; None likewise.
        effective_rank: exp of it; None likewise.
        sketch: See `actlas.kernels.sketch`; None of vectors.
    """

    module: str
    shape: tuple[int, ...]
    dtype: str
    norm: float
    stable_rank: float | None = None
    spectral_entropy: float | None = None
    effective_rank: float | None = None
    sketch: NDArray[np.float64] | None = None

    @property
    def n_weights(self) -> int:
        """How many numbers it has."""
        return int(np.prod(self.shape, dtype=np.int64))


def place_of(module: str) -> tuple[int | None, str]:
    """Layer and kind of a tensor, by its name: the first number in it is the layer, what follows is the kind.

    Example:
        >>> place_of("transformer.h.3.mlp.dense_4h_to_h.weight"), place_of("model.layers.0.mlp.experts.17.up_proj.weight")
        ((3, 'mlp.dense_4h_to_h'), (0, 'mlp.experts.17.up_proj'))
        >>> place_of("lm_head.weight"), place_of("h.2.ln.bias")
        ((None, 'lm_head'), (2, 'ln.bias'))
    """
    name = module.removesuffix(".weight")
    found = _LAYER.search(name)
    return (None, name) if found is None else (int(found[1]), name[found.end() :])


def weight_table(checkpoint: str, records: Iterable[WeightRecord]) -> bytes:
    """The file of one checkpoint: table `weights` by layer, those outside of any first, and the sketches."""
    rows = []
    for record in records:
        layer, kind = place_of(record.module)
        sketch = None if record.sketch is None else record.sketch.astype("<f4").tobytes()
        known = {**asdict(record), "shape": list(record.shape), "sketch": sketch}
        rows.append({**known, "checkpoint": checkpoint, "layer": layer, "kind": kind, "n_weights": record.n_weights})
    frame = pl.DataFrame(rows, schema={**WEIGHT_COLUMNS, "sketch": pl.Binary()})
    return parquet_bytes(frame.sort("layer", "kind", "module", nulls_last=False))


def read_weights(manifest: Path) -> tuple[pl.DataFrame, list[NDArray[np.float64] | None]]:
    """Table `weights` of one checkpoint, and the sketch of each of its rows.

    Args:
        manifest: Folder of the checkpoint's records.

    Raises:
        DamagedStore: If its file is missing or is not what was written.
    """
    frame = read_parquet(manifest / WEIGHTS_FILE)
    if missing := [name for name in (*WEIGHT_COLUMNS, "sketch") if name not in frame.columns]:
        raise DamagedStore(f"{manifest / WEIGHTS_FILE} is not what was written: it has no column {', '.join(missing)}")
    sketches = [None if one is None else np.frombuffer(one, "<f4").astype(np.float64) for one in frame["sketch"]]
    return frame.drop("sketch"), sketches
