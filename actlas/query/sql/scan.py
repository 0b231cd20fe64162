"""Cubes as tables that are read when asked for: `activations` and `scores`.

A row of such a table is one point of a grid (cube, layer, neuron, text). A filter is taken apart at its top-level
ANDs; every part that speaks of one axis alone is evaluated on that axis' few labels, and what is left of the axes is
a box of indices: only chunks inside it are read. Parts that are not understood filter the rows that were read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.io.plugins import register_io_source

from actlas.errors import ActlasError, QueryError
from actlas.query.schema import MAX_ROWS
from actlas.store.layout import CHUNK_NEURONS
from actlas.store.store import Store

#: Rows of one batch handed to polars.
_BATCH_ROWS = 4_000_000

Positions = NDArray[np.int64]
Box = Mapping[str, Positions]


class Grid(Protocol):
    """What a table of this kind has to know."""

    @property
    def name(self) -> str: ...

    @property
    def axes(self) -> Mapping[str, pl.DataFrame]:
        """axis -> its labels, one row per position; the columns of all axes and the values make the table."""
        ...

    @property
    def schema(self) -> pl.Schema: ...

    def n_rows(self, box: Box) -> int:
        """Rows inside a box."""
        ...

    def batches(self, box: Box, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Rows inside a box, at least with these columns, reading nothing outside it."""
        ...


def split_conjunction(predicate: pl.Expr) -> list[pl.Expr]:
    """The parts of a predicate that are joined by AND at its top.

    Hints that polars adds for its own top-k (dynamic predicates) are left out: they cannot be evaluated outside its engine, and
    leaving them out keeps more rows, never fewer.

    Example:
        >>> [str(part) for part in split_conjunction((pl.col("a") == 1) & (pl.col("b") > 2) & pl.col("c"))]
        ['[(col("a")) == (dyn int: 1)]', '[(col("b")) > (dyn int: 2)]', 'col("c")']
    """
    stack = [json.loads(predicate.meta.serialize(format="json"))]
    parts = []
    while stack:
        node = stack.pop()
        both = node.get("BinaryExpr") if isinstance(node, dict) else None
        if both and both["op"] in ("And", "LogicalAnd"):
            stack += [both["right"], both["left"]]
        elif not _is_dynamic(node):
            parts.append(pl.Expr.deserialize(io.BytesIO(json.dumps(node).encode()), format="json"))
    return parts


def _is_dynamic(node: Any) -> bool:
    shown = node.get("Display", {}) if isinstance(node, dict) else {}
    return isinstance(shown, dict) and str(shown.get("fmt_str", "")).startswith("dynamic_pred")


def plan_box(grid: Grid, predicate: pl.Expr | None) -> tuple[dict[str, Positions], list[pl.Expr]]:
    """Box of indices that holds every row for which `predicate` can be true, and the parts that still have to be applied."""
    frames = {axis: labels.with_row_index("_at") for axis, labels in grid.axes.items()}
    left = []
    for part in [] if predicate is None else split_conjunction(predicate):
        roots = set(part.meta.root_names())
        axis = next((axis for axis, labels in grid.axes.items() if roots and roots <= set(labels.columns)), None)
        if axis is None:
            left.append(part)
        else:
            frames[axis] = frames[axis].filter(part)
    return {axis: frame["_at"].to_numpy().astype(np.int64) for axis, frame in frames.items()}, left


def scan_grid(grid: Grid, *, max_rows: int = MAX_ROWS, refusals: list[ActlasError] | None = None) -> pl.LazyFrame:
    """A lazy frame over a grid.

    Args:
        grid: The table.
        max_rows: A scan that would read more rows raises `QueryError`.
        refusals: Takes the errors raised while polars runs the scan, which wraps them in its own.
    """

    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        box, left = plan_box(grid, predicate)
        columns = list(grid.schema) if with_columns is None else with_columns
        if n_rows == 0:
            return
        n_wanted = grid.n_rows(box)
        if n_wanted > max_rows and (n_rows is None or n_rows > max_rows):
            error = QueryError(_too_many(grid, n_wanted, max_rows))
            if refusals is not None:
                refusals.append(error)
            raise error
        needed = {*columns, *(name for part in left for name in part.meta.root_names())}
        remaining = n_rows
        for batch in _telling(grid.batches(box, [name for name in grid.schema if name in needed]), refusals):
            frame = batch.filter(*left) if left else batch
            frame = frame.select(columns)
            if remaining is not None:
                frame = frame.head(remaining)
                remaining -= frame.height
            yield frame
            if remaining is not None and remaining <= 0:
                return

    return register_io_source(source, schema=grid.schema, is_pure=True)


def _telling(batches: Iterator[pl.DataFrame], refusals: list[ActlasError] | None) -> Iterator[pl.DataFrame]:
    """The same batches; an error on the way, such as of a damaged file, is noted for what runs the engine."""
    try:
        yield from batches
    except ActlasError as error:
        if refusals is not None:
            refusals.append(error)
        raise


def _too_many(grid: Grid, n_wanted: int, max_rows: int) -> str:
    bounds = "checkpoint = '...' AND site = '...' AND layer = 7 AND neuron IN (1, 2, 3)"
    if grid.name == "scores":
        bounds = "checkpoint = '...' AND concept = '...' AND language = '...'"
    return (
        f"this query would read {n_wanted:,} rows of {grid.name}, the limit is {max_rows:,}; bound it by constants: {bounds}. "
        "Keys of a JOIN or of IN (SELECT ...) bound nothing; a list does: "
        "SET VARIABLE keys = (SELECT list(DISTINCT neuron) FROM ...); SELECT ... WHERE neuron IN getvariable('keys')"
    )


def _span(positions: Positions) -> slice | Positions:
    """A slice where positions are consecutive, which zarr reads faster."""
    if positions.size and positions[-1] - positions[0] == positions.size - 1:
        return slice(int(positions[0]), int(positions[-1]) + 1)
    return positions


def _groups(positions: Positions, per_group: int, unit: int) -> Iterator[Positions]:
    """Consecutive parts of about `per_group` positions that end at multiples of `unit`."""
    ends = np.flatnonzero(np.diff(positions // unit)) + 1
    start = 0
    for end in [*ends.tolist(), positions.size]:
        if end - start >= per_group or end == positions.size:
            if end > start:
                yield positions[start:end]
            start = end


def _range_axis(name: str, size: int) -> pl.DataFrame:
    return pl.DataFrame({name: np.arange(size, dtype=np.int32)})


@dataclass(frozen=True)
class ActivationGrid:
    """Table `activations`.

    Attributes:
        store: Where cubes are read from.
        cubes: checkpoint, site, n_layers, n_neurons of every cube.
        texts: text_id and language in the order of the text axis.
    """

    store: Store
    cubes: pl.DataFrame
    texts: pl.DataFrame
    name: str = "activations"

    @property
    def axes(self) -> Mapping[str, pl.DataFrame]:
        return {
            "cube": self.cubes.select("checkpoint", "site"),
            "layer": _range_axis("layer", int(self.cubes["n_layers"].max() or 0)),  # type: ignore[arg-type]
            "neuron": _range_axis("neuron", int(self.cubes["n_neurons"].max() or 0)),  # type: ignore[arg-type]
            "text": self.texts.select("text_id", "language"),
        }

    @property
    def schema(self) -> pl.Schema:
        names = {"checkpoint": pl.String(), "site": pl.String(), "layer": pl.Int32(), "neuron": pl.Int32()}
        return pl.Schema({**names, "text_id": pl.Int64(), "value": pl.Float32(), "language": pl.String()})

    def n_rows(self, box: Box) -> int:
        return sum(layers.size * neurons.size for _, _, layers, neurons in _cubes_in(self.cubes, box)) * box["text"].size

    def batches(self, box: Box, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        rows = box["text"]
        if not rows.size:
            return
        texts = self.texts[rows]
        for checkpoint, site, layers, neurons in _cubes_in(self.cubes, box):
            cube = self.store.cube(checkpoint, site) if "value" in columns else None
            for layer in layers.tolist():
                for part in _groups(neurons, max(1, _BATCH_ROWS // rows.size), CHUNK_NEURONS):
                    data: dict[str, Any] = {}
                    if "neuron" in columns:
                        data["neuron"] = np.repeat(part.astype(np.int32), rows.size)
                    for name in ("text_id", "language"):
                        if name in columns:
                            data[name] = texts[name].gather(np.tile(np.arange(rows.size, dtype=np.uint32), part.size))
                    if cube is not None:
                        values = cube.read(layer=layer, neurons=_span(part), texts=_span(rows))
                        data["value"] = values.reshape(-1).astype(np.float32)
                    yield _with_constants(data, part.size * rows.size, checkpoint=checkpoint, site=site, layer=layer)


@dataclass(frozen=True)
class ScoreGrid:
    """Table `scores`.

    Attributes:
        store: Where scores are read from.
        cubes: checkpoint, site, n_layers, n_neurons and stats of every scored cube.
        languages: Of the store.
        concepts: Of the store.
        columns: Statistics and their types.
    """

    store: Store
    cubes: pl.DataFrame
    languages: tuple[str, ...]
    concepts: tuple[str, ...]
    columns: Mapping[str, pl.DataType]
    name: str = "scores"

    @property
    def axes(self) -> Mapping[str, pl.DataFrame]:
        return {
            "cube": self.cubes.select("checkpoint", "site"),
            "language": pl.DataFrame({"language": self.languages}, schema={"language": pl.String}),
            "concept": pl.DataFrame({"concept": self.concepts}, schema={"concept": pl.String}),
            "layer": _range_axis("layer", int(self.cubes["n_layers"].max() or 0)),  # type: ignore[arg-type]
            "neuron": _range_axis("neuron", int(self.cubes["n_neurons"].max() or 0)),  # type: ignore[arg-type]
        }

    @property
    def schema(self) -> pl.Schema:
        names = ("checkpoint", "language", "concept", "site")
        labels: dict[str, pl.DataType] = {name: pl.String() for name in names}
        return pl.Schema({**labels, "layer": pl.Int32(), "neuron": pl.Int32(), **self.columns})

    def n_rows(self, box: Box) -> int:
        sizes = (layers.size * neurons.size for _, _, layers, neurons in _cubes_in(self.cubes, box))
        return sum(sizes) * box["language"].size * box["concept"].size

    def batches(self, box: Box, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        asked = [self.concepts[position] for position in box["concept"]]
        languages = [self.languages[position] for position in box["language"]]
        for checkpoint, site, layers, neurons in _cubes_in(self.cubes, box):
            scores = self.store.scores(checkpoint, site)
            concepts = [name for name in asked if name in scores.concepts]
            slab = layers.size * neurons.size
            per_batch = max(1, _BATCH_ROWS // max(1, slab))
            for language in (language for language in languages if language in scores.languages):
                for start in range(0, len(concepts), per_batch):
                    part = concepts[start : start + per_batch]
                    data: dict[str, Any] = {}
                    labels = {"checkpoint": checkpoint, "site": site, "language": language}
                    if len(part) == 1:
                        labels["concept"] = part[0]
                    elif "concept" in columns:
                        names = pl.Series(part, dtype=pl.String)
                        data["concept"] = names.gather(np.repeat(np.arange(len(part), dtype=np.uint32), slab))
                    if "layer" in columns:
                        data["layer"] = np.tile(np.repeat(layers.astype(np.int32), neurons.size), len(part))
                    if "neuron" in columns:
                        data["neuron"] = np.tile(neurons.astype(np.int32), len(part) * layers.size)
                    for stat in (name for name in columns if name in self.columns):
                        if stat in scores.stats:
                            read = scores.read(stat, language, part, _span(layers), _span(neurons))
                            data[stat] = pl.Series(read.reshape(-1), dtype=self.columns[stat]).fill_nan(None)
                        else:
                            data[stat] = pl.Series([None], dtype=self.columns[stat]).new_from_index(0, len(part) * slab)
                    yield _with_constants(data, len(part) * slab, **labels)


def _cubes_in(cubes: pl.DataFrame, box: Box) -> Iterator[tuple[str, str, Positions, Positions]]:
    """Cubes inside a box with the layers and neurons that they have of it."""
    for row in cubes[box["cube"]].iter_rows(named=True):
        layers, neurons = box["layer"], box["neuron"]
        layers, neurons = layers[layers < row["n_layers"]], neurons[neurons < row["n_neurons"]]
        if layers.size and neurons.size:
            yield row["checkpoint"], row["site"], layers, neurons


_LABEL_TYPES = {"checkpoint": pl.String, "site": pl.String, "language": pl.String, "concept": pl.String, "layer": pl.Int32}


def _with_constants(data: Mapping[str, Any], height: int, **labels: Any) -> pl.DataFrame:
    """A frame with labels that are one value for all its rows, which polars keeps as one value."""
    frame = pl.DataFrame(dict(data) or {"": np.zeros(height, dtype=np.int8)})
    return frame.with_columns(
        pl.lit(value, dtype=_LABEL_TYPES[name]).alias(name) for name, value in labels.items() if name not in data
    )
