"""Table `parameter_space`: distances of weights, told from what extraction kept of every matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from actlas.kernels.sketch import SKETCH_ERROR, SKETCH_SIZE
from actlas.query.schema import TABLES
from actlas.store.layout import WEIGHTS_FILE, manifest_path
from actlas.store.notes.weights import read_weights
from actlas.store.records import CheckpointRecord
from actlas.store.store import Store


def parameter_space_frame(store: Store, records: Sequence[CheckpointRecord]) -> pl.DataFrame:
    """Table `parameter_space` of some checkpoints, by step; those without table `weights` have no rows."""
    known = [record for record in records if WEIGHTS_FILE in record.tables]
    trained = [record for record in known if record.twin is None]
    last = _Weights.read(store, trained[-1]) if trained else None
    rows: list[dict[str, Any]] = []
    previous: _Weights | None = None
    for record in known:
        weights = _Weights.read(store, record)
        if record.twin is not None:
            previous = None
        rows += weights.rows(record, previous, last)
        previous = weights
    return pl.DataFrame(rows, schema=dict(TABLES["parameter_space"].columns))


@dataclass(frozen=True)
class _Weights:
    """Tensors of one checkpoint.

    Attributes:
        checkpoint: Its id.
        table: Rows of table `weights`.
        sketches: One per row; None of vectors.
        places: Module and shape -> row.
    """

    checkpoint: str
    table: list[dict[str, Any]]
    sketches: list[NDArray[np.float64] | None]
    places: dict[tuple[str, tuple[int, ...]], int]

    @classmethod
    def read(cls, store: Store, record: CheckpointRecord) -> _Weights:
        manifest = store.path / manifest_path(record.checkpoint)
        store.checked(manifest / WEIGHTS_FILE)
        frame, sketches = read_weights(manifest)
        table = frame.rows(named=True)
        places = {(row["module"], tuple(row["shape"])): number for number, row in enumerate(table)}
        return cls(record.checkpoint, table, sketches, places)

    def rows(self, record: CheckpointRecord, previous: _Weights | None, last: _Weights | None) -> Iterator[dict[str, Any]]:
        """Rows of table `parameter_space`."""
        for place, number in self.places.items():
            row, sketch = self.table[number], self.sketches[number]
            error = None if sketch is None else 0.0 if row["n_weights"] <= SKETCH_SIZE else SKETCH_ERROR
            own = {name: row[name] for name in TABLES["parameter_space"].columns if name in row}
            both = (("previous", previous), ("last", last))
            there = {key: value for word, other in both for key, value in self._from(place, word, other).items()}
            yield {**own, "step": record.step, **there, "relative_error": error}

    def _from(self, place: tuple[str, tuple[int, ...]], word: str, other: _Weights | None) -> dict[str, Any]:
        """Distance of a tensor from the one of another checkpoint, relative to that one's norm, and their cosine."""
        values: tuple[float | None, ...] = (None, None, None)
        number = None if other is None else other.places.get(place)
        if other is not None and number is not None:
            ours, theirs = self.sketches[self.places[place]], other.sketches[number]
            if ours is not None and theirs is not None:
                distance = float(np.linalg.norm(ours - theirs))
                norm, its_norm = self.table[self.places[place]]["norm"], other.table[number]["norm"]
                # the norms are exact: what is near has a cosine that is as near to 1
                cosine = (norm**2 + its_norm**2 - distance**2) / (2 * norm * its_norm)
                values = (distance, distance / its_norm, min(1.0, max(-1.0, cosine)))
        named = dict(zip((f"distance_{word}", f"change_{word}", f"cosine_{word}"), values, strict=True))
        return {word: None if other is None else other.checkpoint, **named}
